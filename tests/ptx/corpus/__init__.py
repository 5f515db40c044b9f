"""A corpus of CUDA kernels, and what NumPy says that they compute.

Each theme has a source `THEME.cu`, the PTX that nvcc makes of it beside it (`python compile.py` in this
folder makes it again), and a module `THEME.py` with a case for each kernel or group of kernels that work
together: arrays, launches, and the expected results with the largest error that is allowed. Integers, and
floating point sums that are exact in any order, must be equal. The sources include no host headers, so that
NVRTC compiles them as well, all but `tiles.cu`: the headers of cooperative groups come with a toolkit only.
"""

# Importing a theme registers its cases.
from tests.ptx.corpus import (  # noqa: F401
    atomics,
    graphs,
    half_precision,
    images,
    integers,
    language,
    linear_algebra,
    math_functions,
    reductions,
    simulation,
    sorting,
    stencils,
    tiles,
    warps,
)
from tests.ptx.corpus.case import CASES, Case, Launch, build

__all__ = ["CASES", "Case", "Launch", "build"]
