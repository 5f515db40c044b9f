"""The threads that run kernels: the engine's own, and workers that join it for launches that last.

Each has memory and a guard of its own. The engine opens a team for a part of a launch; everybody inside takes
ranges of blocks, in order, until none is left or the timeslice is over; the engine goes on when all are
out. So what a launch has left is always its last blocks, and between two parts nobody but the engine
holds anything of it.
"""

from libc.stdint cimport uint32_t, uint64_t
from logv.gpu._state cimport Channel, ComputeThread, Gpu

cdef enum:
    # What a range of blocks came to; mirrors _guard.h.
    KERNEL_RAN = 0
    KERNEL_TRAPPED = 1
    KERNEL_FAULTED = 2
    KERNEL_INTERRUPTED = 3

cdef void install_guard() noexcept nogil
# Make the calling thread number `index` (0 is the engine). The kernel shows `name`.
cdef void enter_compute_thread(Gpu *gpu, uint32_t index, const char *name) noexcept nogil

# Let no kernel read what one of another address space left in shared or local memory of `thread`.
cdef void clean_arenas(ComputeThread *thread, const Channel *channel) noexcept nogil
# Run blocks [begin, end) of the channel's launch on `thread`, the caller. Returns ``thread.outcome``.
cdef int run_blocks(Gpu *gpu, ComputeThread *thread, Channel *channel, uint64_t begin, uint64_t end,
                    uint64_t started_ns) noexcept nogil
# Run blocks of the channel's launch on all threads until `deadline_ns`; update the nanoseconds that a block
# takes. Returns the thread whose outcome counts: the first that did not end well.
cdef ComputeThread *run_together(Gpu *gpu, Channel *channel, uint64_t deadline_ns,
                                 uint64_t *ns_per_block) noexcept nogil
# Be a worker, until the engine stops.
cdef void join_teams(Gpu *gpu, uint32_t index) noexcept nogil
# Wake the workers, so that they see that the engine stops.
cdef void dismiss_workers(Gpu *gpu) noexcept nogil
# Interrupt every range of blocks that has run for `ns` and more.
cdef void interrupt_kernels(Gpu *gpu, uint64_t ns) noexcept nogil
