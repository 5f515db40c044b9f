"""Compute engine, classes C6C0, C7C0 and C9C0: QMD launches, inline upload, report semaphores."""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from logv.gpu._state cimport Channel, Gpu, Program, VSpace

cdef enum:
    # Baseline code that has run for this long is worth a better one: a sixth of what most take to optimise.
    BASELINE_NS = 20_000_000

# Carry out one method. Returns a STEP_*; a kernel that was scheduled is in ``channel.launch``.
cdef int compute_method(Gpu *gpu, Channel *channel, uint32_t method, uint32_t data) noexcept nogil
# Run the next blocks of ``channel.launch`` until `deadline_ns`, and finish it after the last. Called
# with the address space's lock held; gives it up while the kernel runs.
cdef int launch_step(Gpu *gpu, Channel *channel, uint64_t deadline_ns) noexcept nogil

# The slot of a program in an address space: the compiled one, or an empty one (``code`` is NULL).
cdef Program *find_program(VSpace *space, uint64_t address, const uint32_t *block) noexcept nogil
# Forget an address space's compiled programs (instruction-cache invalidate).
cdef void forget_programs(VSpace *space) noexcept nogil
