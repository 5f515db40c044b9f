"""Copy engine, classes C6B5 and C7B5: linear and pitch copies, multi-line, fill, semaphores."""

from libc.stdint cimport uint32_t, uint64_t
from logv.gpu._state cimport Channel, Gpu

# Carry out one method. Returns a STEP_*; a copy that was started is in ``channel.copy``.
cdef int copy_method(Gpu *gpu, Channel *channel, uint32_t method, uint32_t data) noexcept nogil
# Move the next chunk of ``channel.copy``, and finish it after the last. Needs the address space's lock.
cdef int copy_step(Gpu *gpu, Channel *channel) noexcept nogil
