"""The engine thread's loop: turns for runnable channels, sleeping, and waking."""

from logv.gpu._state cimport Gpu

# Run channels until ``gpu.stop``; the body of the engine thread.
cdef void run_engine(Gpu *gpu) noexcept nogil
# Take the GPU's lock from a Python thread; the engine steps back while anyone waits for it.
cdef void lock_gpu(Gpu *gpu) noexcept nogil
# Write to and empty an eventfd.
cdef void signal(int fd) noexcept nogil
cdef void drain(int fd) noexcept nogil
