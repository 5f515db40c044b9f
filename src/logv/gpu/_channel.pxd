"""What every engine does to a channel: stop it with a report, and write its semaphores."""

from libc.stdint cimport uint32_t, uint64_t
from logv.gpu._state cimport Channel, Gpu


cdef extern from *:
    """
    #include <stdint.h>
    /* Reductions write back with compare-and-swap, so that a CPU's atomics on the same word hold. */
    static inline int logv_swap32(uint32_t *p, uint32_t seen, uint32_t v)
    { return __atomic_compare_exchange_n(p, &seen, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); }
    static inline int logv_swap64(uint64_t *p, uint64_t seen, uint64_t v)
    { return __atomic_compare_exchange_n(p, &seen, v, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE); }
    /* Sequentially consistent: a waiter counts itself before it looks at the lock. */
    static inline void logv_count(uint32_t *p, int32_t by) { __atomic_fetch_add(p, by, __ATOMIC_SEQ_CST); }
    """
    bint logv_swap32(uint32_t *, uint32_t, uint32_t) noexcept nogil
    bint logv_swap64(uint64_t *, uint64_t, uint64_t) noexcept nogil
    void logv_count(uint32_t *, int) noexcept nogil

cdef enum:
    # Mirrors logv.uapi.Fault; a test holds the two together.
    FAULT_NONE = 0
    FAULT_MMU = 1
    FAULT_BAD_GP_ENTRY = 2
    FAULT_BAD_METHOD = 3
    FAULT_PRIVILEGED = 4
    FAULT_BAD_CLASS = 5
    FAULT_BAD_LAUNCH = 6
    FAULT_BAD_PROGRAM = 7
    FAULT_BAD_SEMAPHORE = 8
    FAULT_TRAP = 9
    FAULT_TIMEOUT = 10
    FAULT_MISALIGNED = 11
    FAULT_BAD_COPY = 12

# Stop a channel: write its error notifier, count, raise its client's interrupt. Returns STEP_FAULT.
cdef int channel_fault(Gpu *gpu, Channel *channel, uint32_t fault, uint64_t address, uint32_t access,
                       const char *message) noexcept nogil
# The same for the page walk that failed last in the channel's address space.
cdef int channel_mmu_fault(Gpu *gpu, Channel *channel) noexcept nogil
# Write a semaphore: `words` is 1 (32-bit payload) or 2 (64-bit); a timestamp goes to +8. The address
# must be a multiple of what is written. Returns a STEP_*. Needs the address space's lock.
cdef int release_semaphore(Gpu *gpu, Channel *channel, uint64_t address, uint64_t payload, uint32_t words,
                           bint timestamp) noexcept nogil
cdef void channel_interrupt(Gpu *gpu, Channel *channel) noexcept nogil
