"""Layout of the compiled core, and the functions that the engine calls across the module border.

Everything here is nogil and takes plain C data. A function returns a status (``FP_*``); raising is the
business of the Python classes in ``_fastpath.pyx``. Whatever a guest can write (USERD pages, rings,
doorbell pages, the memory behind a GPU virtual address) is read once and bounded before use.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from logv cimport _hw

# The memory orderings used on shared pages. C11 atomics as GCC and Clang spell them for plain words.
cdef extern from *:
    """
    #define fp_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
    #define fp_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
    #define fp_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
    #define fp_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
    #define fp_fence_full() __atomic_thread_fence(__ATOMIC_SEQ_CST)
    #define fp_unlikely(x) __builtin_expect(!!(x), 0)
    """
    uint32_t load_relaxed32 "fp_load_relaxed"(const uint32_t *) noexcept nogil
    uint32_t load_acquire32 "fp_load_acquire"(const uint32_t *) noexcept nogil
    void store_relaxed32 "fp_store_relaxed"(uint32_t *, uint32_t) noexcept nogil
    void store_release32 "fp_store_release"(uint32_t *, uint32_t) noexcept nogil
    uint64_t load_relaxed64 "fp_load_relaxed"(const uint64_t *) noexcept nogil
    uint64_t load_acquire64 "fp_load_acquire"(const uint64_t *) noexcept nogil
    void store_relaxed64 "fp_store_relaxed"(uint64_t *, uint64_t) noexcept nogil
    void store_release64 "fp_store_release"(uint64_t *, uint64_t) noexcept nogil
    void fence_full "fp_fence_full"() noexcept nogil
    bint unlikely "fp_unlikely"(bint) noexcept nogil

cdef enum:
    FP_OK = 0
    FP_UNMAPPED = 1      # no valid PTE; Mmu.fault_va and .fault_access say where and what
    FP_READ_ONLY = 2     # a write to a read-only page; likewise
    FP_PRIVILEGED = 3    # an access to a privileged page; likewise
    FP_BAD_RANGE = 4     # address beyond 49 bits, or start + size wraps

cdef enum:
    ACCESS_READ = 1
    ACCESS_WRITE = 2

# Where physical addresses live in host memory. Set once, before the first translation.
cdef struct PhysicalMemory:
    uint8_t *vram        # host address of VRAM physical address 0
    uint64_t vram_size   # bytes; a PTE or PDE that leads beyond is treated as invalid
    uint8_t *system      # host address of bus address 0 (system coherent aperture)
    uint64_t system_size

# A run of bytes that is contiguous in GPU virtual, physical and host address.
cdef struct Span:
    uint64_t va
    uint8_t *host
    uint64_t physical
    uint64_t length
    uint32_t system      # 1: `physical` is a bus address, 0: a VRAM address
    uint32_t read_only

cdef enum:
    PAGE_SLOTS = 128
    LEAF_SLOTS = 64

# One 4 KiB page whose translation is known. A tag is va >> 12, all ones if empty; a page that may not
# be written has no write tag, so that one comparison answers both "is it here" and "is it allowed".
cdef struct PageSlot:
    uint64_t read_tag
    uint64_t write_tag
    uint64_t addend      # host address - virtual address, modulo 2**64
    uint64_t padding     # to a power of two: finding a slot is then a shift and a mask

# What lies behind one PDE0 entry (2 MiB): a table of 4 KiB PTEs and/or of 64 KiB PTEs, or one page.
cdef struct LeafSlot:
    uint64_t tag         # va >> 21, all ones if empty
    const uint64_t *small
    const uint64_t *big
    uint64_t huge_pte    # 0: not a 2 MiB page
    uint64_t run_pte     # if all 2 MiB are one run of pages: the first one's PTE (0: not known)

# One address space as the MMU sees it. `memory` and `pdb` are fixed; the rest is cache and fault
# record. One thread at a time (the owner's lock sees to that).
cdef struct Mmu:
    PhysicalMemory *memory
    uint64_t pdb             # VRAM physical address of the PDE3 table
    uint64_t walks           # walks from the root, since mmu_init
    uint64_t fault_va        # of the last translation that failed
    uint32_t fault_access
    uint32_t fault_status    # FP_*
    uint64_t directory_tag   # va >> 29 of the PDE0 table walked to last, all ones if none
    const uint64_t *directory
    PageSlot pages[PAGE_SLOTS]
    LeafSlot leaves[LEAF_SLOTS]

cdef void mmu_init(Mmu *mmu, PhysicalMemory *memory, uint64_t pdb) noexcept nogil
cdef void mmu_invalidate(Mmu *mmu) noexcept nogil

cdef uint8_t *mmu_translate_miss(Mmu *mmu, uint64_t va, int access) noexcept nogil

# Host address of one byte of GPU virtual memory, valid up to the end of its 4 KiB page; NULL on a
# fault (recorded in `mmu`).
cdef inline uint8_t *mmu_translate(Mmu *mmu, uint64_t va, int access) noexcept nogil:
    cdef uint64_t page = va >> 12
    cdef PageSlot *slot = &mmu.pages[page & (PAGE_SLOTS - 1)]
    if unlikely((slot.write_tag if access & ACCESS_WRITE else slot.read_tag) != page):
        return mmu_translate_miss(mmu, va, access)
    return <uint8_t *> <uintptr_t> (slot.addend + va)

# Translate a range into merged spans. Stops at the first fault, or when `capacity` spans are full.
# Returns FP_OK if it stopped for neither or for capacity; `*count` spans cover `*covered` bytes, also
# on a fault. access 0 asks for no permission (for mirroring) and skips invalid and privileged pages
# instead of faulting; `*covered` then counts what was skipped.
cdef int mmu_range(Mmu *mmu, uint64_t va, uint64_t size, int access,
                   Span *out, Py_ssize_t capacity, Py_ssize_t *count, uint64_t *covered) noexcept nogil

# Small copies between host memory and GPU virtual memory (any alignment, any page crossing).
cdef int mmu_read(Mmu *mmu, uint64_t va, void *target, uint64_t size) noexcept nogil
cdef int mmu_write(Mmu *mmu, uint64_t va, const void *source, uint64_t size) noexcept nogil

# DMA between GPU virtual addresses. One call moves at most what it is given: callers that must
# stay interruptible pass bounded sizes. Overlapping ranges: as memmove would do it is NOT promised
# (the hardware does not either), staying inside the two ranges is. What lies before a fault may have
# been written.
cdef int dma_copy(Mmu *mmu, uint64_t dst, uint64_t src, uint64_t size) noexcept nogil
cdef int dma_copy_pitch(Mmu *mmu, uint64_t dst, uint64_t dst_pitch, uint64_t src, uint64_t src_pitch,
                        uint64_t line_bytes, uint64_t lines) noexcept nogil
# Write `count` copies of `pattern` (1 to 16 bytes).
cdef int dma_fill(Mmu *mmu, uint64_t dst, const uint8_t *pattern, uint32_t pattern_bytes,
                  uint64_t count) noexcept nogil

# One channel as the poller sees it. `userd` is guest-writable; `get` is the engine's own copy.
cdef struct PollSlot:
    uint8_t *userd           # the channel's page
    uint32_t get             # next entry to fetch, 0 to mask
    uint32_t mask            # ring entries - 1; 0: channel not ready, never polled as pending

# Entries that wait in the channel's ring: (GP_PUT - get) & mask. The acquire orders the load of GP_PUT
# before the loads of the entries that it announces.
cdef inline uint32_t gp_pending(const PollSlot *slot) noexcept nogil:
    if slot.mask == 0:
        return 0
    return (load_acquire32(<const uint32_t *> (slot.userd + _hw.NV_RAMUSERD_GP_PUT)) - slot.get) & slot.mask

# The position i of the first `slots[order[i]]`, starting at position `start` and wrapping, that has
# entries waiting; -1 if none has.
cdef Py_ssize_t poll_next(const PollSlot *slots, const uint32_t *order, Py_ssize_t count,
                          Py_ssize_t start) noexcept nogil
# Publish the engine's progress (release store of `slot.get` to GP_GET).
cdef void gp_publish(PollSlot *slot) noexcept nogil

# The engine's side of the doorbell page (hw.dev_ram): say "sleeping" with a full fence after it, take
# it back, and raise an interrupt (bump the sequence; futex-wake only if somebody counts as waiting).
cdef void doorbell_sleeping(uint8_t *page, uint32_t sleeping) noexcept nogil
cdef void doorbell_interrupt(uint8_t *page, int interrupt_fd) noexcept nogil

# One fruitless turn of a polling loop that has found nothing since `idle_since_ns`: gives the CPU to
# whoever else wants it, then says whether to poll on (0) or to publish "sleeping", look once more, and
# wait (1). 0 for a loop that has only just found nothing: the clock is not worth reading then, for a
# submitter on the same CPU answers within one turn.
cdef int idle_step(uint64_t idle_since_ns) noexcept nogil

cdef uint64_t now_ns() noexcept nogil    # CLOCK_MONOTONIC
