"""Chooses the regions that a kernel runs; compiled kernels find its functions by their names."""
