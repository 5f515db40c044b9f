"""The compiled core: GPFIFO submission, PUT polling, MMU translation, DMA copies.

The upper half is plain C data and ``nogil`` functions, declared in ``_fastpath.pxd`` and shared with the
engine; the lower half is their Python face, described in ``_fastpath.pyi``. Bounds checks are off in this
file; what makes that sound stands beside the pointer arithmetic, marked SAFETY.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_CheckExact
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove, memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, nanosleep, timespec
from posix.unistd cimport read as posix_read, write as posix_write

from operator import index as _index

from logv.errors import BusyError, ClosedError, InvalidValueError, OutOfMemoryError

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    enum:
        POLLIN

cdef extern from "_fastpath.h" nogil:
    void logv_copy_and_fetch(uint8_t *, const uint8_t *, size_t, const uint8_t *, const uint8_t *)
    void logv_copy_large(void *, const void *, size_t)
    int logv_futex_wait(const uint32_t *, uint32_t, uint64_t)
    void logv_futex_wake_all(const uint32_t *)
    void logv_add32(uint32_t *, int32_t)
    size_t logv_pte_run(const uint64_t *, uint64_t, uint64_t, size_t)

cdef enum:
    # How long an engine polls before it sleeps, and a waiter before it does: longer than a typical gap
    # between submissions, and than a typical kernel.
    ENGINE_SPIN_NS = 200_000
    WAITER_SPIN_NS = 300_000
    # A waiter without an interrupt to wait for sleeps this long, doubled up to the second figure.
    FIRST_SLEEP_NS = 50_000
    LONGEST_SLEEP_NS = 1_000_000
    # And looks after signals this often.
    SIGNAL_SLICE_NS = 50_000_000
    # From here on libc's memcpy is a poor choice (see logv_copy_large).
    LARGE_COPY = 16 * 1024 * 1024
    # Bounds what one refill of a DMA cursor translates ahead of what is copied.
    CURSOR_SPANS = 32
    CURSOR_AHEAD = 64 * 1024 * 1024
    FILL_BLOCK = 4096
    # The largest length a GP entry has room for.
    LENGTH_MOST = (2 << (_hw.NVC56F_GP_ENTRY1_LENGTH__HIGH - _hw.NVC56F_GP_ENTRY1_LENGTH__LOW)) - 1

cdef uint64_t _VA_END = <uint64_t> 1 << _hw.NV_MMU_VER2_VA_BITS
# The tag of an empty TLB slot: no address below 2**49 has it.
cdef uint64_t _NO_TAG = ~<uint64_t> 0
# The largest pushbuffer address that a GP entry has room for.
cdef uint64_t _ADDRESS_MOST = (<uint64_t> 2 << (32 + _hw.NVC56F_GP_ENTRY1_GET_HI__HIGH)) - 1
# No wait is longer than about ten years; it keeps deadlines within 64 bits.
cdef double _LONGEST_WAIT_S = 3e8


# ---------------------------------------------------------------------------------------------- time

cdef uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t> now.tv_sec * 1_000_000_000 + <uint64_t> now.tv_nsec


cdef void _sleep_ns(uint64_t duration) noexcept nogil:
    cdef timespec time
    time.tv_sec = duration // 1_000_000_000
    time.tv_nsec = duration % 1_000_000_000
    nanosleep(&time, NULL)


# ----------------------------------------------------------------------------------------------- MMU

cdef inline uint64_t _mask(int high, int low) noexcept nogil:
    return ((<uint64_t> 2 << (high - low)) - 1) << low


cdef inline uint64_t _bits(uint64_t word, int high, int low) noexcept nogil:
    return (word & _mask(high, low)) >> low


cdef inline bint _in_range(uint64_t va, uint64_t size) noexcept nogil:
    return size <= _VA_END and va <= _VA_END - size


cdef int _fault(Mmu *mmu, uint64_t va, int access, int status) noexcept nogil:
    mmu.fault_va = va
    mmu.fault_access = access
    mmu.fault_status = status
    return status


cdef void mmu_init(Mmu *mmu, PhysicalMemory *memory, uint64_t pdb) noexcept nogil:
    memset(mmu, 0, sizeof(Mmu))
    mmu.memory = memory
    # Where a root near 2**64 would wrap, this one is outside VRAM just as well.
    mmu.pdb = min(pdb, _VA_END)
    mmu_invalidate(mmu)


cdef void mmu_invalidate(Mmu *mmu) noexcept nogil:
    # All ones is no page's number: see _NO_TAG.
    memset(mmu.pages, 0xFF, sizeof(mmu.pages))
    memset(mmu.leaves, 0xFF, sizeof(mmu.leaves))
    mmu.directory_tag = _NO_TAG


cdef inline const uint64_t *_table(const PhysicalMemory *memory, uint64_t physical,
                                   uint64_t size) noexcept nogil:
    """Host address of a page table; NULL if it does not lie in VRAM as a whole."""
    # No overflow: an address in a page-table entry has 58 bits.
    if unlikely(physical + size > memory.vram_size):
        return NULL
    return <const uint64_t *> (memory.vram + physical)


cdef inline const uint64_t *_next_table(const PhysicalMemory *memory, uint64_t pde) noexcept nogil:
    """The table that a PDE3, PDE2 or PDE1 leads to; NULL if it is invalid, not a PDE, or not in VRAM."""
    cdef uint64_t rest = pde ^ (_hw.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY << _hw.NV_MMU_VER2_PDE_APERTURE__LOW)
    if unlikely(rest & (_mask(_hw.NV_MMU_VER2_PDE_IS_PTE__HIGH, _hw.NV_MMU_VER2_PDE_IS_PTE__LOW)
                        | _mask(_hw.NV_MMU_VER2_PDE_APERTURE__HIGH, _hw.NV_MMU_VER2_PDE_APERTURE__LOW))):
        return NULL
    return _table(
        memory,
        _bits(rest, _hw.NV_MMU_VER2_PDE_ADDRESS__HIGH, _hw.NV_MMU_VER2_PDE_ADDRESS__LOW)
        << _hw.NV_MMU_VER2_PDE_ADDRESS_SHIFT,
        512 * _hw.NV_MMU_VER2_PDE__SIZE,
    )


cdef const uint64_t *_walk(Mmu *mmu, uint64_t va, uint32_t *hole) noexcept nogil:
    """Walk from the root to the PDE0 table for `va` (see `_directory`)."""
    cdef const PhysicalMemory *memory = mmu.memory
    # SAFETY: each index has exactly the bits that its table, checked to lie in VRAM, has entries for.
    cdef const uint64_t *table = _table(memory, mmu.pdb, 4 * _hw.NV_MMU_VER2_PDE__SIZE)
    mmu.walks += 1
    hole[0] = _hw.NV_MMU_VER2_VA_BITS
    if unlikely(table == NULL):
        return NULL
    hole[0] = _hw.NV_MMU_VER2_VA_PDE3__LOW
    table = _next_table(memory, load_relaxed64(table + (va >> _hw.NV_MMU_VER2_VA_PDE3__LOW)))
    if unlikely(table == NULL):
        return NULL
    hole[0] = _hw.NV_MMU_VER2_VA_PDE2__LOW
    table = _next_table(memory, load_relaxed64(
        table + _bits(va, _hw.NV_MMU_VER2_VA_PDE2__HIGH, _hw.NV_MMU_VER2_VA_PDE2__LOW)))
    if unlikely(table == NULL):
        return NULL
    hole[0] = _hw.NV_MMU_VER2_VA_PDE1__LOW
    table = _next_table(memory, load_relaxed64(
        table + _bits(va, _hw.NV_MMU_VER2_VA_PDE1__HIGH, _hw.NV_MMU_VER2_VA_PDE1__LOW)))
    if unlikely(table == NULL):
        return NULL
    mmu.directory_tag = va >> _hw.NV_MMU_VER2_VA_PDE1__LOW
    mmu.directory = table
    return table


cdef inline const uint64_t *_directory(Mmu *mmu, uint64_t va, uint32_t *hole) noexcept nogil:
    """The PDE0 table for `va`, which is below 2**49.

    NULL if there is none; `hole` is then log2 of the naturally aligned range that is missing.
    """
    if mmu.directory_tag == va >> _hw.NV_MMU_VER2_VA_PDE1__LOW:
        return mmu.directory
    return _walk(mmu, va, hole)


cdef inline void _read_leaf(const PhysicalMemory *memory, const uint64_t *table, uint64_t va,
                            LeafSlot *leaf) noexcept nogil:
    """What the PDE0 entry for `va` leads to."""
    # SAFETY: 256 entries of two words; the index has eight bits.
    cdef const uint64_t *entry = table + 2 * _bits(
        va, _hw.NV_MMU_VER2_VA_PDE0__HIGH, _hw.NV_MMU_VER2_VA_PDE0__LOW)
    cdef uint64_t low = load_relaxed64(entry)
    cdef uint64_t high = load_relaxed64(entry + 1)
    leaf.huge_pte = 0
    leaf.small = NULL
    leaf.big = NULL
    if low & _mask(_hw.NV_MMU_VER2_DUAL_PDE_IS_PTE__HIGH, _hw.NV_MMU_VER2_DUAL_PDE_IS_PTE__LOW):
        leaf.huge_pte = low
        return
    if (_bits(low, _hw.NV_MMU_VER2_DUAL_PDE_APERTURE_BIG__HIGH, _hw.NV_MMU_VER2_DUAL_PDE_APERTURE_BIG__LOW)
            == _hw.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY):
        leaf.big = _table(
            memory,
            _bits(low, _hw.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG__HIGH, _hw.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG__LOW)
            << _hw.NV_MMU_VER2_DUAL_PDE_ADDRESS_BIG_SHIFT,
            32 * _hw.NV_MMU_VER2_PTE__SIZE,
        )
    if (_bits(high, _hw.NV_MMU_VER2_DUAL_PDE_APERTURE_SMALL__HIGH - 64,
              _hw.NV_MMU_VER2_DUAL_PDE_APERTURE_SMALL__LOW - 64)
            == _hw.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY):
        leaf.small = _table(
            memory,
            _bits(high, _hw.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL__HIGH - 64,
                  _hw.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL__LOW - 64)
            << _hw.NV_MMU_VER2_DUAL_PDE_ADDRESS_SMALL_SHIFT,
            512 * _hw.NV_MMU_VER2_PTE__SIZE,
        )


# Which PTE is in charge of an address.
cdef struct _Pte:
    const uint64_t *entry    # NULL: there is none
    uint64_t value           # read once; 0 if there is none
    uint32_t shift           # log2 of the page's size, or of the range that has none


cdef inline void _read_pte(const LeafSlot *leaf, uint64_t va, _Pte *pte) noexcept nogil:
    """Find the PTE for `va`. Where both tables have one, a valid 64 KiB PTE wins."""
    # SAFETY: 32 and 512 entries; the indexes have five and nine bits.
    pte.shift = _hw.NV_MMU_VER2_VA_PDE0__LOW
    pte.entry = NULL
    pte.value = 0
    if leaf.huge_pte:
        pte.entry = &leaf.huge_pte
        pte.value = leaf.huge_pte
        return
    if leaf.big != NULL:
        pte.shift = _hw.NV_MMU_VER2_VA_PTE_64K__LOW
        pte.entry = leaf.big + _bits(va, _hw.NV_MMU_VER2_VA_PTE_64K__HIGH, _hw.NV_MMU_VER2_VA_PTE_64K__LOW)
        pte.value = load_relaxed64(pte.entry)
        if pte.value & _mask(_hw.NV_MMU_VER2_PTE_VALID__HIGH, _hw.NV_MMU_VER2_PTE_VALID__LOW):
            return
    if leaf.small != NULL:
        pte.shift = _hw.NV_MMU_VER2_VA_PTE_4K__LOW
        pte.entry = leaf.small + _bits(va, _hw.NV_MMU_VER2_VA_PTE_4K__HIGH, _hw.NV_MMU_VER2_VA_PTE_4K__LOW)
        pte.value = load_relaxed64(pte.entry)


cdef inline uint64_t _attributes(uint64_t pte) noexcept nogil:
    """The bits of a PTE that decide which memory it leads to, and who may go there."""
    return pte & (
        _mask(_hw.NV_MMU_VER2_PTE_VALID__HIGH, _hw.NV_MMU_VER2_PTE_VALID__LOW)
        | _mask(_hw.NV_MMU_VER2_PTE_APERTURE__HIGH, _hw.NV_MMU_VER2_PTE_APERTURE__LOW)
        | _mask(_hw.NV_MMU_VER2_PTE_PRIVILEGE__HIGH, _hw.NV_MMU_VER2_PTE_PRIVILEGE__LOW)
        | _mask(_hw.NV_MMU_VER2_PTE_READ_ONLY__HIGH, _hw.NV_MMU_VER2_PTE_READ_ONLY__LOW)
    )


cdef inline uint64_t _run_pte(uint64_t attributes, uint64_t physical) noexcept nogil:
    """The PTE, as of a 4 KiB page, of the first page of a run."""
    return attributes | physical >> (_hw.NV_MMU_VER2_PTE_ADDRESS_SHIFT - _hw.NV_MMU_VER2_PTE_ADDRESS__LOW)


# What attributes that allow an access say.
cdef struct _Grant:
    uint8_t *base            # host address of the memory's first byte
    uint64_t size            # of that memory
    uint32_t system
    uint32_t read_only


cdef inline uint64_t _page_address(uint64_t pte) noexcept nogil:
    """Where a 4 KiB page starts. That of a larger page has low bits that the hardware does not look at."""
    return (_bits(pte, _hw.NV_MMU_VER2_PTE_ADDRESS__HIGH, _hw.NV_MMU_VER2_PTE_ADDRESS__LOW)
            << _hw.NV_MMU_VER2_PTE_ADDRESS_SHIFT)


cdef inline int _use_pte(const PhysicalMemory *memory, uint64_t pte, uint32_t shift, int access,
                         _Grant *grant) noexcept nogil:
    """Check a PTE for `access`; its page must lie in its memory as a whole."""
    cdef uint64_t aperture = _bits(pte, _hw.NV_MMU_VER2_PTE_APERTURE__HIGH, _hw.NV_MMU_VER2_PTE_APERTURE__LOW)
    cdef uint64_t page_bytes = <uint64_t> 1 << shift
    cdef uint64_t physical = _page_address(pte) & ~(page_bytes - 1)
    if unlikely(not pte & _mask(_hw.NV_MMU_VER2_PTE_VALID__HIGH, _hw.NV_MMU_VER2_PTE_VALID__LOW)
                or aperture == _hw.NV_MMU_VER2_PTE_APERTURE_PEER_MEMORY):
        return FP_UNMAPPED
    grant.system = aperture != _hw.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY
    grant.base = memory.system if grant.system else memory.vram
    grant.size = memory.system_size if grant.system else memory.vram_size
    if unlikely(physical + page_bytes > grant.size):
        return FP_UNMAPPED
    if unlikely(pte & _mask(_hw.NV_MMU_VER2_PTE_PRIVILEGE__HIGH, _hw.NV_MMU_VER2_PTE_PRIVILEGE__LOW)):
        return FP_PRIVILEGED
    grant.read_only = _bits(pte, _hw.NV_MMU_VER2_PTE_READ_ONLY__HIGH, _hw.NV_MMU_VER2_PTE_READ_ONLY__LOW)
    if unlikely(grant.read_only and access & ACCESS_WRITE):
        return FP_READ_ONLY
    return FP_OK


cdef inline int _translate_pte(const PhysicalMemory *memory, uint64_t pte, uint32_t shift, uint64_t va, int access,
                               uint8_t **host, uint32_t *read_only) noexcept nogil:
    """Translate `va`, whose PTE is `pte`."""
    cdef uint64_t page_mask = (<uint64_t> 1 << shift) - 1
    cdef _Grant grant
    cdef int status = _use_pte(memory, pte, shift, access, &grant)
    if unlikely(status != FP_OK):
        return status
    host[0] = grant.base + (_page_address(pte) & ~page_mask | va & page_mask)
    read_only[0] = grant.read_only
    return FP_OK


cdef inline int _translate_leaf(const PhysicalMemory *memory, const LeafSlot *leaf, uint64_t va, int access,
                                uint8_t **host, uint32_t *read_only) noexcept nogil:
    """Translate `va`, whose PDE0 entry is `leaf`."""
    cdef _Pte pte
    _read_pte(leaf, va, &pte)
    # Once for each size: with a constant shift that is half the work.
    if pte.shift == _hw.NV_MMU_VER2_VA_PTE_4K__LOW:
        return _translate_pte(memory, pte.value, _hw.NV_MMU_VER2_VA_PTE_4K__LOW, va, access, host, read_only)
    if pte.shift == _hw.NV_MMU_VER2_VA_PTE_64K__LOW:
        return _translate_pte(memory, pte.value, _hw.NV_MMU_VER2_VA_PTE_64K__LOW, va, access, host, read_only)
    return _translate_pte(memory, pte.value, _hw.NV_MMU_VER2_VA_PDE0__LOW, va, access, host, read_only)


cdef uint8_t *mmu_translate_miss(Mmu *mmu, uint64_t va, int access) noexcept nogil:
    cdef LeafSlot *leaf = &mmu.leaves[(va >> _hw.NV_MMU_VER2_VA_PDE0__LOW) & (LEAF_SLOTS - 1)]
    cdef PageSlot *slot = &mmu.pages[(va >> 12) & (PAGE_SLOTS - 1)]
    cdef const uint64_t *table
    cdef uint8_t *host = NULL
    cdef uint32_t read_only = 0
    cdef uint32_t hole = 0
    cdef int status
    if unlikely(va >= _VA_END):
        _fault(mmu, va, access, FP_BAD_RANGE)
        return NULL
    if leaf.tag != va >> _hw.NV_MMU_VER2_VA_PDE0__LOW:
        table = _directory(mmu, va, &hole)
        if unlikely(table == NULL):
            _fault(mmu, va, access, FP_UNMAPPED)
            return NULL
        _read_leaf(mmu.memory, table, va, leaf)
        leaf.tag = va >> _hw.NV_MMU_VER2_VA_PDE0__LOW
        leaf.run_pte = 0
    status = _translate_leaf(mmu.memory, leaf, va, access, &host, &read_only)
    if unlikely(status != FP_OK):
        # What is not there is not cached: a driver need not invalidate to make an entry valid.
        leaf.tag = _NO_TAG
        _fault(mmu, va, access, status)
        return NULL
    slot.read_tag = va >> 12
    slot.write_tag = _NO_TAG if read_only else va >> 12
    slot.addend = <uint64_t> <uintptr_t> host - va
    return host


cdef int _scan(Mmu *mmu, uint64_t va, uint64_t size, int access, Span *out, Py_ssize_t capacity,
               Py_ssize_t *count, uint64_t *covered) noexcept nogil:
    """Do what `mmu_range` does, for a range below 2**49, but leave the fault, at `covered`, unrecorded."""
    cdef const PhysicalMemory *memory = mmu.memory
    cdef const uint64_t *table = NULL
    cdef uint64_t end = va + size
    cdef uint64_t at = va
    cdef uint64_t table_end = va        # `table` serves addresses below this
    cdef uint64_t block_end, reach, next_at, physical, page_start, page_bytes, run_bytes, step, left
    cdef uint64_t granted = ~<uint64_t> 0   # attributes that `grant` belongs to: none yet
    cdef uint32_t hole = 0
    cdef LeafSlot leaf
    cdef _Pte pte
    cdef _Grant grant
    # The span that grows, and what continues it.
    cdef Span *span = out - 1
    cdef Span *last = out + capacity - 1
    cdef uint64_t span_va = 0
    cdef uint64_t span_next = 0
    cdef uint64_t span_physical = 0
    cdef uint32_t kind = 0
    cdef uint32_t span_kind = ~<uint32_t> 0     # no page's: the first one starts a span
    cdef LeafSlot *slot
    cdef uint64_t block_bytes = <uint64_t> 1 << _hw.NV_MMU_VER2_VA_PDE0__LOW
    cdef size_t run
    cdef int status = FP_OK
    grant.base = NULL
    grant.size = 0
    grant.system = 0
    grant.read_only = 0
    while at < end:
        # What is known to be one run, and to continue the span, is not looked at again.
        slot = &mmu.leaves[(at >> _hw.NV_MMU_VER2_VA_PDE0__LOW) & (LEAF_SLOTS - 1)]
        if (at == span_next and slot.run_pte == _run_pte(granted, span_physical)
                and slot.tag << _hw.NV_MMU_VER2_VA_PDE0__LOW == at and end - at >= block_bytes):
            span_next += block_bytes
            span_physical += block_bytes
            span.length += block_bytes
            at = span_next
            continue
        if at >= table_end:
            table = _directory(mmu, at, &hole)
            if table == NULL:
                if access:
                    status = FP_UNMAPPED
                    break
                at = min(end, ((at >> hole) + 1) << hole)
                continue
            table_end = ((at >> _hw.NV_MMU_VER2_VA_PDE1__LOW) + 1) << _hw.NV_MMU_VER2_VA_PDE1__LOW
        _read_leaf(memory, table, at, &leaf)
        block_end = min(end, ((at >> _hw.NV_MMU_VER2_VA_PDE0__LOW) + 1) << _hw.NV_MMU_VER2_VA_PDE0__LOW)
        while at < block_end:
            _read_pte(&leaf, at, &pte)
            # 4 KiB PTEs beside a 64 KiB table are in charge up to the next 64 KiB PTE only.
            reach = block_end
            if pte.shift == _hw.NV_MMU_VER2_VA_PTE_4K__LOW and leaf.big != NULL:
                reach = min(reach, ((at >> _hw.NV_MMU_VER2_VA_PTE_64K__LOW) + 1)
                            << _hw.NV_MMU_VER2_VA_PTE_64K__LOW)
            page_bytes = <uint64_t> 1 << pte.shift
            page_start = at & ~(page_bytes - 1)
            step = page_bytes >> (_hw.NV_MMU_VER2_PTE_ADDRESS_SHIFT - _hw.NV_MMU_VER2_PTE_ADDRESS__LOW)
            left = ((reach - 1) >> pte.shift) - (at >> pte.shift) + 1
            # One page, or one run of pages that follow each other in memory, per turn.
            while True:
                physical = _page_address(pte.value) & ~(page_bytes - 1)
                if unlikely(_attributes(pte.value) != granted or physical + page_bytes > grant.size):
                    status = _use_pte(memory, pte.value, pte.shift, access, &grant)
                    if unlikely(status != FP_OK):
                        break
                    granted = _attributes(pte.value)
                    kind = grant.system | grant.read_only << 1
                # SAFETY: `left` entries are there, `entry` the first: `reach` stays within the table's 2 MiB.
                run_bytes = page_bytes
                run = 1
                if left > 1 and load_relaxed64(pte.entry + 1) == pte.value + step:
                    run = logv_pte_run(pte.entry, pte.value, step, min(left, (grant.size - physical) >> pte.shift))
                    run_bytes = <uint64_t> run << pte.shift
                if run_bytes == block_bytes:
                    slot[0] = leaf
                    slot.tag = at >> _hw.NV_MMU_VER2_VA_PDE0__LOW
                    slot.run_pte = _run_pte(granted, physical)
                next_at = min(reach, page_start + run_bytes)
                physical += at - page_start
                if physical != span_physical or at != span_next or kind != span_kind:
                    if unlikely(span == last):
                        end = at        # full: stop here, without a fault
                        block_end = at
                        break
                    span += 1
                    span.va = at
                    span.host = grant.base + physical
                    span.physical = physical
                    span.system = grant.system
                    span.read_only = grant.read_only
                    span_va = at
                    span_kind = kind
                span.length = next_at - span_va
                span_next = next_at
                span_physical = physical + (next_at - at)
                at = next_at
                left -= run
                if left == 0:
                    break
                pte.entry += run
                pte.value = load_relaxed64(pte.entry)
                page_start = at
                if not pte.value & _mask(_hw.NV_MMU_VER2_PTE_VALID__HIGH, _hw.NV_MMU_VER2_PTE_VALID__LOW):
                    break               # a 4 KiB PTE may be in charge instead
            if unlikely(status != FP_OK):
                if access:
                    break
                status = FP_OK
                granted = ~<uint64_t> 0
                at = min(block_end, page_start + page_bytes)
        if unlikely(status != FP_OK):
            break
    count[0] = span + 1 - out
    covered[0] = at - va
    return status


cdef int mmu_range(Mmu *mmu, uint64_t va, uint64_t size, int access,
                   Span *out, Py_ssize_t capacity, Py_ssize_t *count, uint64_t *covered) noexcept nogil:
    cdef int status
    count[0] = 0
    covered[0] = 0
    if unlikely(not _in_range(va, size)):
        return _fault(mmu, va, access, FP_BAD_RANGE)
    status = _scan(mmu, va, size, access, out, capacity, count, covered)
    if unlikely(status != FP_OK):
        return _fault(mmu, va + covered[0], access, status)
    return FP_OK


cdef int mmu_read(Mmu *mmu, uint64_t va, void *target, uint64_t size) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t part
    cdef uint8_t *host
    if unlikely(not _in_range(va, size)):
        return _fault(mmu, va, ACCESS_READ, FP_BAD_RANGE)
    while done < size:
        part = min(size - done, 4096 - ((va + done) & 4095))
        host = mmu_translate(mmu, va + done, ACCESS_READ)
        if unlikely(host == NULL):
            return mmu.fault_status
        memcpy(<uint8_t *> target + done, host, part)
        done += part
    return FP_OK


cdef int mmu_write(Mmu *mmu, uint64_t va, const void *source, uint64_t size) noexcept nogil:
    cdef uint64_t done = 0
    cdef uint64_t part
    cdef uint8_t *host
    if unlikely(not _in_range(va, size)):
        return _fault(mmu, va, ACCESS_WRITE, FP_BAD_RANGE)
    while done < size:
        part = min(size - done, 4096 - ((va + done) & 4095))
        host = mmu_translate(mmu, va + done, ACCESS_WRITE)
        if unlikely(host == NULL):
            return mmu.fault_status
        memcpy(host, <const uint8_t *> source + done, part)
        done += part
    return FP_OK


# ----------------------------------------------------------------------------------------------- DMA

# One side of a copy: the spans translated last, and which of them is in use.
cdef struct _Cursor:
    Mmu *mmu
    int access
    Py_ssize_t count
    Py_ssize_t current
    Span spans[CURSOR_SPANS]


cdef inline void _cursor_init(_Cursor *cursor, Mmu *mmu, int access) noexcept nogil:
    cursor.mmu = mmu
    cursor.access = access
    cursor.count = 0
    cursor.current = 0


cdef inline int _cursor_seek(_Cursor *cursor, uint64_t va, uint64_t ahead, uint8_t **host,
                             uint64_t *room) noexcept nogil:
    """Host address of `va`, and how many bytes follow it there; `ahead` is what may be needed later."""
    cdef Span *span
    cdef uint64_t covered
    cdef int status
    while cursor.current < cursor.count:
        span = &cursor.spans[cursor.current]
        if va - span.va < span.length:  # unsigned: false for a `va` below the span as well
            host[0] = span.host + (va - span.va)
            room[0] = span.length - (va - span.va)
            return FP_OK
        cursor.current += 1
    status = _scan(cursor.mmu, va, min(ahead, <uint64_t> CURSOR_AHEAD), cursor.access, cursor.spans,
                   CURSOR_SPANS, &cursor.count, &covered)
    cursor.current = 0
    # A fault further on is not one yet: the copy may never get there.
    if unlikely(cursor.count == 0):
        return _fault(cursor.mmu, va, cursor.access, status)
    host[0] = cursor.spans[0].host
    room[0] = cursor.spans[0].length
    return FP_OK


cdef inline void _copy_bytes(uint8_t *target, const uint8_t *source, uint64_t size) noexcept nogil:
    # Two spans may overlap, even be two names of one page: memmove, for which that is defined.
    if size >= LARGE_COPY and (target + size <= source or source + size <= target):
        logv_copy_large(target, source, size)
    else:
        memmove(target, source, size)


cdef inline void _copy_and_fetch(const _Cursor *to, const _Cursor *source, uint8_t *target,
                                 const uint8_t *origin, uint64_t size) noexcept nogil:
    """Copy the rest of a span, its last page together with fetching the next span's first."""
    cdef const uint8_t *next_target = NULL
    cdef const uint8_t *next_origin = NULL
    cdef uint64_t first = size - min(size, <uint64_t> 4096)
    if target < origin + size and origin < target + size:
        memmove(target, origin, size)
        return
    if to.current + 1 < to.count:
        next_target = to.spans[to.current + 1].host
    if source.current + 1 < source.count:
        next_origin = source.spans[source.current + 1].host
    _copy_bytes(target, origin, first)
    logv_copy_and_fetch(target + first, origin + first, size - first, next_target, next_origin)


cdef int _copy_line(_Cursor *to, _Cursor *source, uint64_t dst, uint64_t src, uint64_t size,
                    uint64_t dst_ahead, uint64_t src_ahead) noexcept nogil:
    cdef uint8_t *target = NULL
    cdef uint8_t *origin = NULL
    cdef uint64_t target_room = 0
    cdef uint64_t origin_room = 0
    cdef uint64_t done = 0
    cdef uint64_t part
    cdef int status
    while done < size:
        status = _cursor_seek(source, src + done, src_ahead - done, &origin, &origin_room)
        if unlikely(status != FP_OK):
            return status
        status = _cursor_seek(to, dst + done, dst_ahead - done, &target, &target_room)
        if unlikely(status != FP_OK):
            return status
        part = min(size - done, min(origin_room, target_room))
        if part < size - done:
            _copy_and_fetch(to, source, target, origin, part)
        else:
            _copy_bytes(target, origin, part)
        done += part
    return FP_OK


cdef int dma_copy(Mmu *mmu, uint64_t dst, uint64_t src, uint64_t size) noexcept nogil:
    cdef _Cursor to, source
    cdef uint8_t *target
    cdef uint8_t *origin
    if unlikely(not _in_range(src, size)):
        return _fault(mmu, src, ACCESS_READ, FP_BAD_RANGE)
    if unlikely(not _in_range(dst, size)):
        return _fault(mmu, dst, ACCESS_WRITE, FP_BAD_RANGE)
    if size == 0:
        return FP_OK
    if (src & 4095) + size <= 4096 and (dst & 4095) + size <= 4096:
        origin = mmu_translate(mmu, src, ACCESS_READ)
        if unlikely(origin == NULL):
            return mmu.fault_status
        target = mmu_translate(mmu, dst, ACCESS_WRITE)
        if unlikely(target == NULL):
            return mmu.fault_status
        memmove(target, origin, size)
        return FP_OK
    _cursor_init(&to, mmu, ACCESS_WRITE)
    _cursor_init(&source, mmu, ACCESS_READ)
    return _copy_line(&to, &source, dst, src, size, size, size)


cdef inline bint _pitch_extent(uint64_t pitch, uint64_t line_bytes, uint64_t lines,
                               uint64_t *extent) noexcept nogil:
    """Bytes from the first line's start to the last line's end; false if beyond 49 bits."""
    if line_bytes > _VA_END or (lines > 1 and pitch > (_VA_END - line_bytes) // (lines - 1)):
        return False
    extent[0] = pitch * (lines - 1) + line_bytes
    return True


cdef int dma_copy_pitch(Mmu *mmu, uint64_t dst, uint64_t dst_pitch, uint64_t src, uint64_t src_pitch,
                        uint64_t line_bytes, uint64_t lines) noexcept nogil:
    cdef _Cursor to, source
    cdef uint64_t dst_extent, src_extent, line
    cdef int status
    if lines == 0 or line_bytes == 0:
        return FP_OK
    if unlikely(not _pitch_extent(src_pitch, line_bytes, lines, &src_extent)
                or not _in_range(src, src_extent)):
        return _fault(mmu, src, ACCESS_READ, FP_BAD_RANGE)
    if unlikely(not _pitch_extent(dst_pitch, line_bytes, lines, &dst_extent)
                or not _in_range(dst, dst_extent)):
        return _fault(mmu, dst, ACCESS_WRITE, FP_BAD_RANGE)
    if dst_pitch == line_bytes and src_pitch == line_bytes:
        return dma_copy(mmu, dst, src, dst_extent)
    _cursor_init(&to, mmu, ACCESS_WRITE)
    _cursor_init(&source, mmu, ACCESS_READ)
    for line in range(lines):
        status = _copy_line(&to, &source, dst + line * dst_pitch, src + line * src_pitch, line_bytes,
                            dst_extent - line * dst_pitch, src_extent - line * src_pitch)
        if unlikely(status != FP_OK):
            return status
    return FP_OK


cdef int dma_fill(Mmu *mmu, uint64_t dst, const uint8_t *pattern, uint32_t pattern_bytes,
                  uint64_t count) noexcept nogil:
    # The block holds whole patterns and one more, so that it can be read from any phase.
    cdef uint8_t block[FILL_BLOCK + 16]
    cdef _Cursor to
    cdef uint8_t *target = NULL
    cdef uint64_t room = 0
    cdef uint64_t done = 0
    cdef uint64_t size, filled, chunk, part, piece
    cdef uint32_t i
    cdef bint uniform = True
    cdef int status
    if unlikely(pattern_bytes == 0 or pattern_bytes > 16 or count > _VA_END // pattern_bytes
                or not _in_range(dst, count * pattern_bytes)):
        return _fault(mmu, dst, ACCESS_WRITE, FP_BAD_RANGE)
    size = count * pattern_bytes
    for i in range(1, pattern_bytes):
        uniform = uniform and pattern[i] == pattern[0]
    chunk = FILL_BLOCK // pattern_bytes * pattern_bytes
    if not uniform:
        memcpy(block, pattern, pattern_bytes)
        filled = pattern_bytes
        while filled < min(size, chunk) + pattern_bytes:
            # SAFETY: chunk + pattern_bytes is at most FILL_BLOCK + 16.
            part = min(filled, chunk + pattern_bytes - filled)
            memcpy(block + filled, block, part)
            filled += part
    _cursor_init(&to, mmu, ACCESS_WRITE)
    while done < size:
        status = _cursor_seek(&to, dst + done, size - done, &target, &room)
        if unlikely(status != FP_OK):
            return status
        part = min(room, size - done)
        if uniform:
            memset(target, pattern[0], part)
            done += part
            continue
        while part:
            piece = min(part, chunk)
            memcpy(target, block + done % pattern_bytes, piece)
            target += piece
            done += piece
            part -= piece
    return FP_OK


# ------------------------------------------------------------------------------- polling and doorbell

cdef Py_ssize_t poll_next(const PollSlot *slots, const uint32_t *order, Py_ssize_t count,
                          Py_ssize_t start) noexcept nogil:
    cdef Py_ssize_t i
    if start < 0 or start >= count:
        start = 0
    for i in range(start, count):
        if gp_pending(&slots[order[i]]):
            return i
    for i in range(start):
        if gp_pending(&slots[order[i]]):
            return i
    return -1


cdef void gp_publish(PollSlot *slot) noexcept nogil:
    # Release: the entries up to `get` have been read before their places are given back.
    store_release32(<uint32_t *> (slot.userd + _hw.NV_RAMUSERD_GP_GET), slot.get)


cdef void doorbell_sleeping(uint8_t *page, uint32_t sleeping) noexcept nogil:
    store_release32(<uint32_t *> (page + _hw.DOORBELL_SLEEPING), sleeping)
    # Orders the flag before the loads of GP_PUT that follow: with the submitter's fence, either the
    # engine sees the new PUT or the submitter sees the flag.
    fence_full()


cdef void doorbell_interrupt(uint8_t *page, int interrupt_fd) noexcept nogil:
    cdef uint32_t *sequence = <uint32_t *> (page + _hw.DOORBELL_IRQ_SEQUENCE)
    cdef uint64_t one = 1
    # The page is guest-writable: a wrong sequence or count costs its owner a wake, or a sleep.
    store_release32(sequence, load_relaxed32(sequence) + 1)
    # Orders the new sequence before the load of the count: with the waiter's fence, either the waiter's
    # futex sees the sequence or this load sees the waiter.
    fence_full()
    if load_relaxed32(<uint32_t *> (page + _hw.DOORBELL_IRQ_WAITERS)):
        logv_futex_wake_all(sequence)
        # Ours alone and non-blocking, so a write that fails has found the counter full.
        posix_write(interrupt_fd, &one, 8)


cdef int idle_step(uint64_t idle_since_ns) noexcept nogil:
    sched_yield()
    return idle_since_ns != 0 and now_ns() - idle_since_ns >= ENGINE_SPIN_NS


# --------------------------------------------------------------------------- arguments from Python

cdef uint64_t _unsigned(object value, uint64_t most, str what) except? -1:
    """`value` as an integer of 0 to `most`; raise InvalidValueError if it is none."""
    cdef uint64_t number
    try:
        # A float converts to C silently, so all but true integers take the long way.
        number = value if PyLong_CheckExact(value) else _index(value)
    except (OverflowError, TypeError):
        raise InvalidValueError(f"{what} must be an integer of 0 to {most:#x}, not {value!r}") from None
    if number > most:
        raise InvalidValueError(f"{what} must be an integer of 0 to {most:#x}, not {number:#x}")
    return number


cdef uint64_t _nanoseconds(object seconds) except? -1:
    """A time-out in nanoseconds: negative means 0, and about ten years is the longest."""
    cdef double number
    try:
        number = seconds
    except TypeError:
        raise InvalidValueError(f"a time-out must be a number of seconds, not {seconds!r}") from None
    if number != number:
        raise InvalidValueError("a time-out must be a number of seconds, not NaN")
    return <uint64_t> (max(0.0, min(number, _LONGEST_WAIT_S)) * 1e9)


# tp_clear would drop the view's owner without telling it that the buffer is released.
@cython.final
@cython.no_gc_clear
cdef class _Pin:
    """A hold on somebody's writable, contiguous buffer."""

    cdef Py_buffer view
    cdef uint8_t *data
    cdef uint64_t size

    def __cinit__(self, source, str what, uint64_t least, uint64_t alignment):
        try:
            PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        except (BufferError, TypeError, ValueError) as error:
            raise InvalidValueError(f"{what} must be a writable, contiguous buffer: {error}") from None
        self.data = <uint8_t *> self.view.buf
        self.size = self.view.len
        if self.size < least:
            raise InvalidValueError(f"{what} must have at least {least} bytes, not {self.size}")
        if <uintptr_t> self.data % alignment:
            raise InvalidValueError(f"{what} must start at a multiple of {alignment} bytes in memory")

    def __dealloc__(self):
        PyBuffer_Release(&self.view)


cdef uint32_t _ring_mask(object entries) except? 0:
    cdef uint64_t count = _unsigned(entries, _hw.MAX_GPFIFO_ENTRIES, "the number of ring entries")
    if count < _hw.MIN_GPFIFO_ENTRIES or count & (count - 1):
        raise InvalidValueError(
            f"a ring has a power of two of entries, {_hw.MIN_GPFIFO_ENTRIES} to {_hw.MAX_GPFIFO_ENTRIES}, "
            f"not {count}")
    return count - 1


# ------------------------------------------------------------------------------------------- waiting

# What a waiter waits for: reads shared memory, and nothing else.
ctypedef bint (*_ready_t)(const void *state) noexcept nogil


cdef bint _spin(_ready_t ready, const void *state, uint64_t until_ns) noexcept nogil:
    """Poll until `ready` or `until_ns`, giving the CPU to whoever else wants it in between."""
    while not ready(state):
        if now_ns() >= until_ns:
            return False
        sched_yield()
    return True


cdef bint _doze(_ready_t ready, const void *state, uint64_t until_ns) noexcept nogil:
    """Poll until `ready` or `until_ns`, sleeping longer and longer in between."""
    cdef uint64_t pause = FIRST_SLEEP_NS
    cdef uint64_t now
    while not ready(state):
        now = now_ns()
        if now >= until_ns:
            return False
        _sleep_ns(min(pause, until_ns - now))
        pause = min(2 * pause, <uint64_t> LONGEST_SLEEP_NS)
    return True


cdef bint _wait(_ready_t ready, const void *state, uint64_t timeout_ns) except -1:
    """Spin, then doze, without the GIL; run signal handlers, which may raise."""
    cdef uint64_t start = now_ns()
    cdef bint done
    if ready(state):
        return True
    with nogil:
        done = _spin(ready, state, start + min(timeout_ns, <uint64_t> WAITER_SPIN_NS))
    while not done and now_ns() - start < timeout_ns:
        PyErr_CheckSignals()
        with nogil:
            done = _doze(ready, state, min(start + timeout_ns, now_ns() + SIGNAL_SLICE_NS))
    return done


cdef struct _RingWait:
    const uint32_t *get
    uint32_t put
    uint32_t mask
    uint32_t count


cdef bint _ring_has_room(const void *state) noexcept nogil:
    cdef const _RingWait *wait = <const _RingWait *> state
    return wait.mask - ((wait.put - load_acquire32(wait.get)) & wait.mask) >= wait.count


cdef struct _WordWait:
    const uint64_t *word
    uint64_t value
    const uint32_t *stop


cdef bint _word_is_due(const void *state) noexcept nogil:
    cdef const _WordWait *wait = <const _WordWait *> state
    return load_acquire64(wait.word) >= wait.value or (wait.stop != NULL and load_relaxed32(wait.stop) != 0)


# ------------------------------------------------------------------------------------- a channel's ring

cdef uint64_t _gp_entry(object address, object dwords) except 0:
    cdef uint64_t where = _unsigned(address, _ADDRESS_MOST, "a pushbuffer address")
    cdef uint64_t length = _unsigned(dwords, LENGTH_MOST, "a pushbuffer length in dwords")
    if where & 3:
        raise InvalidValueError(f"a pushbuffer address must be a multiple of 4, not {where:#x}")
    if length == 0:
        raise InvalidValueError("a pushbuffer length must be at least one dword; 0 makes a control entry")
    # Address bits 31:2 stay where they are, bits 39:32 are GET_HI of the second word.
    return (where | length << (32 + _hw.NVC56F_GP_ENTRY1_LENGTH__LOW))


@cython.final
cdef class GpFifo:
    """The application's side of a channel: its ring, GP_PUT, and the doorbell."""

    # The pins keep what the pointers point to. `_get` is what GP_GET was when last looked at, masked:
    # places before it are surely free. One submission at a time: the GIL is held from entry to PUT.
    cdef _Pin _ring_pin
    cdef _Pin _userd_pin
    cdef _Pin _doorbell_pin
    cdef uint64_t *_ring
    cdef uint32_t *_gp_put
    cdef uint32_t *_gp_get
    cdef const uint32_t *_sleeping
    cdef uint32_t _mask
    cdef uint32_t _get
    cdef uint32_t _submitted
    cdef int _doorbell_fd
    cdef uint64_t _wakes

    def __cinit__(self, ring, userd, doorbell, int doorbell_fd, entries, *, submitted=0):
        self._mask = _ring_mask(entries)
        self._ring_pin = _Pin(ring, "the ring", 8 * (<uint64_t> self._mask + 1), 8)
        self._userd_pin = _Pin(userd, "the USERD page", _hw.USERD_PAGE_SIZE, 8)
        self._doorbell_pin = _Pin(doorbell, "the doorbell page", _hw.USERD_PAGE_SIZE, 8)
        self._ring = <uint64_t *> self._ring_pin.data
        self._gp_put = <uint32_t *> (self._userd_pin.data + _hw.NV_RAMUSERD_GP_PUT)
        self._gp_get = <uint32_t *> (self._userd_pin.data + _hw.NV_RAMUSERD_GP_GET)
        self._sleeping = <const uint32_t *> (self._doorbell_pin.data + _hw.DOORBELL_SLEEPING)
        self._doorbell_fd = doorbell_fd
        self._submitted = _unsigned(submitted, 0xFFFFFFFF, "a count of submitted entries")
        self._look()

    cdef inline void _look(self) noexcept:
        # Acquire: the engine has read the entries before GP_GET before their places are written again.
        # Masked, because whoever maps the page can write it.
        self._get = load_acquire32(self._gp_get) & self._mask

    cdef inline uint32_t _room(self) noexcept:
        """Free places, as far as known: the ring is full when one is left."""
        return (self._get - self._submitted - 1) & self._mask

    cdef inline int _announce(self) except -1:
        # Release: the entries are there before GP_PUT says so.
        store_release32(self._gp_put, self._submitted & self._mask)
        # Orders GP_PUT before the load of the flag: with the engine's fence, either it sees the new
        # GP_PUT or the flag is seen here.
        fence_full()
        if unlikely(load_relaxed32(self._sleeping) == 1):
            self._wake()
        return 0

    cdef int _wake(self) except -1:
        cdef uint64_t one = 1
        while posix_write(self._doorbell_fd, &one, 8) < 0:
            if errno == EAGAIN:
                break  # as many wakes as the eventfd can count are under way
            if errno != EINTR:
                raise ClosedError("the doorbell's eventfd is closed; open the device anew")
        self._wakes += 1
        return 0

    @staticmethod
    def encode(address, dwords):
        """Return the GP entry for `dwords` dwords of methods at `address`."""
        return _gp_entry(address, dwords)

    def submit(self, address, dwords):
        """Submit one pushbuffer segment; False if the ring is full."""
        cdef uint64_t entry = _gp_entry(address, dwords)
        if self._room() == 0:
            self._look()
            if self._room() == 0:
                return False
        # SAFETY: the mask is the ring's size less one, and the ring was measured when it was pinned.
        self._ring[self._submitted & self._mask] = entry
        self._submitted += 1
        self._announce()
        return True

    def submit_entries(self, entries):
        """Submit encoded entries with one GP_PUT; return how many fitted."""
        cdef Py_buffer view
        cdef uint32_t count, first
        try:
            PyObject_GetBuffer(entries, &view, PyBUF_ND | PyBUF_FORMAT)
        except (BufferError, TypeError, ValueError) as error:
            raise InvalidValueError(f"entries must be a contiguous array of uint64: {error}") from None
        try:
            if view.ndim != 1 or view.itemsize != 8 or view.format == NULL or view.format[0] not in b"QLN":
                raise InvalidValueError("entries must be a one-dimensional array of uint64")
            if <uint64_t> view.shape[0] > self._room():
                self._look()
            count = min(<uint64_t> view.shape[0], <uint64_t> self._room())
            if count == 0:
                return 0
            # SAFETY: count is at most the mask, so the part after the wrap ends before the first part.
            first = min(count, self._mask + 1 - (self._submitted & self._mask))
            memcpy(&self._ring[self._submitted & self._mask], view.buf, 8 * <size_t> first)
            memcpy(self._ring, <uint64_t *> view.buf + first, 8 * <size_t> (count - first))
            self._submitted += count
        finally:
            PyBuffer_Release(&view)
        self._announce()
        return count

    @property
    def entries(self):
        """Places in the ring."""
        return self._mask + 1

    @property
    def free(self):
        """Entries that can be submitted now."""
        self._look()
        return self._room()

    @property
    def pending(self):
        """Entries that the engine has not fetched."""
        self._look()
        return self._mask - self._room()

    @property
    def submitted(self):
        """Entries submitted so far, modulo 2**32."""
        return self._submitted

    @property
    def wakes(self):
        """Times the engine had to be woken."""
        return self._wakes

    def wait_free(self, count, timeout_s):
        """Wait until `count` entries can be submitted; False when the time is over."""
        cdef _RingWait wait
        wait.count = _unsigned(count, self._mask, "a number of entries to wait for")
        wait.get = self._gp_get
        wait.put = self._submitted
        wait.mask = self._mask
        return _wait(_ring_has_room, &wait, _nanoseconds(timeout_s))

    def bench_round_trips(self, rounds, address, dwords):
        """Submit `rounds` times, each time polling until the engine has fetched the entry."""
        cdef uint64_t count = _unsigned(rounds, 0xFFFFFFFF, "a number of rounds")
        cdef uint64_t entry = _gp_entry(address, dwords)
        cdef uint64_t one = 1
        cdef uint64_t _round
        with nogil:
            for _round in range(count):
                self._ring[self._submitted & self._mask] = entry
                self._submitted += 1
                store_release32(self._gp_put, self._submitted & self._mask)
                fence_full()
                if load_relaxed32(self._sleeping) == 1:
                    self._wakes += posix_write(self._doorbell_fd, &one, 8) == 8
                while (load_acquire32(self._gp_get) ^ self._submitted) & self._mask:
                    sched_yield()


# -------------------------------------------------------------------------- semaphores and interrupts

@cython.final
cdef class Word64:
    """A 64-bit word in shared memory that the GPU counts up."""

    cdef _Pin _pin
    cdef _Pin _stop_pin
    cdef uint64_t *_word
    cdef const uint32_t *_stop      # NULL: none

    def __cinit__(self, buffer, offset, stop_buffer=None, stop_offset=0):
        cdef uint64_t where
        self._pin = _Pin(buffer, "a semaphore's buffer", 8, 8)
        where = _unsigned(offset, self._pin.size - 8, "a semaphore's offset")
        if where & 7:
            raise InvalidValueError(f"a semaphore's offset must be a multiple of 8, not {where:#x}")
        self._word = <uint64_t *> (self._pin.data + where)
        if stop_buffer is not None:
            self._stop_pin = _Pin(stop_buffer, "a stop word's buffer", 4, 4)
            where = _unsigned(stop_offset, self._stop_pin.size - 4, "a stop word's offset")
            if where & 3:
                raise InvalidValueError(f"a stop word's offset must be a multiple of 4, not {where:#x}")
            self._stop = <const uint32_t *> (self._stop_pin.data + where)

    @property
    def value(self):
        """The word: reading acquires, writing releases."""
        return load_acquire64(self._word)

    @value.setter
    def value(self, number):
        store_release64(self._word, _unsigned(number, ~<uint64_t> 0, "a semaphore's value"))

    cdef _WordWait _aim(self, object value) except *:
        return _WordWait(self._word, _unsigned(value, ~<uint64_t> 0, "a semaphore's value"), self._stop)

    def spin(self, value, spin_ns):
        """Poll for at most `spin_ns`; True once the word is at least `value`."""
        cdef _WordWait wait = self._aim(value)
        cdef uint64_t duration = _unsigned(spin_ns, <uint64_t> (_LONGEST_WAIT_S * 1e9), "nanoseconds to spin")
        if not _word_is_due(&wait):
            with nogil:
                _spin(_word_is_due, &wait, now_ns() + duration)
        return load_acquire64(self._word) >= wait.value

    def wait_at_least(self, value, timeout_s):
        """Spin, then sleep in short steps; True once the word is at least `value`."""
        cdef _WordWait wait = self._aim(value)
        _wait(_word_is_due, &wait, _nanoseconds(timeout_s))
        return load_acquire64(self._word) >= wait.value


cdef bint _is_readable(const void *state) noexcept nogil:
    # The end of the stream and errors count: whoever reads finds out.
    cdef pollfd waiting
    waiting.fd = (<const int *> state)[0]
    waiting.events = POLLIN
    return poll(&waiting, 1, 0) != 0


def spin_readable(fd, spin_ns):
    """Poll a descriptor for at most `spin_ns`; True once it can be read."""
    cdef int number = _unsigned(fd, 0x7FFFFFFF, "a descriptor")
    cdef uint64_t duration = _unsigned(spin_ns, <uint64_t> (_LONGEST_WAIT_S * 1e9), "nanoseconds to spin")
    cdef bint ready
    with nogil:
        ready = _spin(_is_readable, &number, now_ns() + duration)
    return ready


def irq_sequence(doorbell):
    """Return the number of interrupts so far, modulo 2**32."""
    cdef _Pin pin = _Pin(doorbell, "the doorbell page", _hw.USERD_PAGE_SIZE, 8)
    return load_acquire32(<uint32_t *> (pin.data + _hw.DOORBELL_IRQ_SEQUENCE))


def irq_wait(doorbell, seen, timeout_s):
    """Sleep until the interrupt count differs from `seen` or the time is over; return the count."""
    cdef _Pin pin = _Pin(doorbell, "the doorbell page", _hw.USERD_PAGE_SIZE, 8)
    cdef uint32_t *sequence = <uint32_t *> (pin.data + _hw.DOORBELL_IRQ_SEQUENCE)
    cdef uint32_t *waiters = <uint32_t *> (pin.data + _hw.DOORBELL_IRQ_WAITERS)
    cdef uint32_t expected = _unsigned(seen, 0xFFFFFFFF, "an interrupt count")
    cdef uint64_t timeout = _nanoseconds(timeout_s)
    cdef uint64_t start = now_ns()
    cdef uint64_t elapsed = 0
    cdef uint32_t current = load_acquire32(sequence)
    cdef int error
    if current != expected or timeout == 0:
        return current
    # A full fence: the waiter is counted before the futex looks at the sequence (see doorbell_interrupt).
    logv_add32(waiters, 1)
    try:
        while current == expected and elapsed < timeout:
            with nogil:
                error = logv_futex_wait(sequence, expected, timeout - elapsed)
            if error == EINTR:
                PyErr_CheckSignals()
            current = load_acquire32(sequence)
            elapsed = now_ns() - start
    finally:
        logv_add32(waiters, -1)
    return current


# ------------------------------------------------------------------------------------- mapped memory

# See _Pin for tp_clear; views of a part may still be in use when a cycle is broken up.
@cython.no_gc_clear
cdef class MappedMemory:
    """Part of another buffer, as a buffer that knows how many views of it are alive."""

    cdef _Pin _pin                  # None: released, or no view was asked for yet
    cdef object _source             # what gives the buffer; None: released, or not yet initialised
    cdef uint64_t _offset
    cdef Py_ssize_t _size
    cdef Py_ssize_t _exports

    def __init__(self, buffer, offset, size):
        if self._exports:
            raise BusyError(f"{self._exports} views of this memory are alive; release them first")
        self._pin = None
        self._source = None
        self._offset = _unsigned(offset, ~<uint64_t> 0, "an offset into mapped memory")
        self._size = _unsigned(size, <uint64_t> -1 >> 1, "a size of mapped memory")
        if self._size == 0:
            raise InvalidValueError("a size of mapped memory must be at least 1")
        if not callable(buffer):
            self._hold(buffer)
        self._source = buffer

    cdef int _hold(self, buffer) except -1:
        cdef _Pin pin = _Pin(buffer, "the memory to map", 1, 1)
        if self._offset >= pin.size or <uint64_t> self._size > pin.size - self._offset:
            raise InvalidValueError(
                f"{self._size} bytes at offset {self._offset} do not lie in a buffer of {pin.size} bytes")
        self._pin = pin
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self._source is None:
            view.obj = None
            raise ClosedError("this memory was released; allocate anew")
        if self._pin is None:
            view.obj = None
            self._hold(self._source())
        PyBuffer_FillInfo(view, self, self._pin.data + self._offset, self._size, False, flags)
        self._exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self._exports -= 1

    @property
    def exports(self):
        """How many views are alive."""
        return self._exports

    @property
    def released(self):
        """Whether the hold on the underlying buffer is gone."""
        return self._source is None

    def release(self):
        """Let go of the underlying buffer; BusyError while views are alive."""
        if self._exports:
            raise BusyError(f"{self._exports} views of this memory are alive; release them first")
        self._pin = None
        self._source = None


# ---------------------------------------------------------------- faces of the engine's own functions

@cython.final
cdef class Translator:
    """One address space over two plain buffers: the MMU and DMA functions without a GPU around them."""

    cdef _Pin _vram
    cdef _Pin _system
    cdef PhysicalMemory _memory
    cdef Mmu _mmu

    def __cinit__(self, vram, system, pdb):
        cdef uint64_t directory
        self._vram = _Pin(vram, "VRAM", 0, 8)
        self._system = _Pin(system, "system memory", 0, 1)
        self._memory.vram = self._vram.data
        self._memory.vram_size = self._vram.size
        self._memory.system = self._system.data
        self._memory.system_size = self._system.size
        directory = _unsigned(pdb, ~<uint64_t> 0, "a page directory's address")
        if directory & 7:
            raise InvalidValueError(f"a page directory's address must be a multiple of 8, not {directory:#x}")
        mmu_init(&self._mmu, &self._memory, directory)

    cdef uint64_t _start(self, object va) except? -1:
        self._mmu.fault_status = FP_OK
        return _unsigned(va, ~<uint64_t> 0, "a virtual address")

    @property
    def fault(self):
        """Of the last call: None, or (virtual address, access, status)."""
        if self._mmu.fault_status == FP_OK:
            return None
        return (self._mmu.fault_va, self._mmu.fault_access, self._mmu.fault_status)

    @property
    def walks(self):
        """Walks from the root so far."""
        return self._mmu.walks

    def invalidate(self):
        """Forget every cached translation."""
        mmu_invalidate(&self._mmu)

    def translate(self, va, write=False):
        """Translate one address into (is_system, physical); None on a fault."""
        cdef uint64_t where = self._start(va)
        cdef uint8_t *host = mmu_translate(&self._mmu, where, ACCESS_WRITE if write else ACCESS_READ)
        if host == NULL:
            return None
        if self._memory.vram <= host < self._memory.vram + self._memory.vram_size:
            return (False, host - self._memory.vram)
        return (True, host - self._memory.system)

    def translate_range(self, va, size, write=False, *, mirror=False, capacity=64):
        """Translate a range into merged spans, up to a fault."""
        cdef uint64_t where = self._start(va)
        cdef uint64_t left = _unsigned(size, ~<uint64_t> 0, "a size")
        cdef Py_ssize_t most = _unsigned(capacity, 1 << 16, "a capacity")
        cdef int access = 0 if mirror else ACCESS_WRITE if write else ACCESS_READ
        cdef Py_ssize_t count, i
        cdef uint64_t covered
        cdef int status = FP_OK
        cdef Span *spans
        if most == 0:
            raise InvalidValueError("a capacity must be at least 1")
        spans = <Span *> calloc(most, sizeof(Span))
        if spans == NULL:
            raise OutOfMemoryError("no memory is left for spans")
        try:
            found = []
            while True:
                status = mmu_range(&self._mmu, where, left, access, spans, most, &count, &covered)
                for i in range(count):
                    found.append((spans[i].va, spans[i].physical, spans[i].length, bool(spans[i].system),
                                  bool(spans[i].read_only)))
                where += covered
                left -= covered
                if status != FP_OK or left == 0:
                    return found
        finally:
            free(spans)

    def read(self, va, size):
        """Read bytes through the page tables; None on a fault."""
        cdef uint64_t where = self._start(va)
        cdef bytearray target = bytearray(_unsigned(size, _VA_END, "a size"))
        if mmu_read(&self._mmu, where, <uint8_t *> target, len(target)) != FP_OK:
            return None
        return bytes(target)

    def write(self, va, data):
        """Write bytes through the page tables; False on a fault."""
        cdef uint64_t where = self._start(va)
        cdef const uint8_t[::1] source = data
        return mmu_write(&self._mmu, where, &source[0] if len(source) else NULL, len(source)) == FP_OK

    def copy(self, dst, src, size):
        """Copy between virtual addresses; False on a fault."""
        cdef uint64_t target = self._start(dst)
        cdef uint64_t source = self._start(src)
        return dma_copy(&self._mmu, target, source, _unsigned(size, ~<uint64_t> 0, "a size")) == FP_OK

    def copy_pitch(self, dst, dst_pitch, src, src_pitch, line_bytes, lines):
        """Copy lines that lie a pitch apart; False on a fault."""
        cdef uint64_t target = self._start(dst)
        cdef uint64_t source = self._start(src)
        return dma_copy_pitch(
            &self._mmu,
            target,
            _unsigned(dst_pitch, ~<uint64_t> 0, "a pitch"),
            source,
            _unsigned(src_pitch, ~<uint64_t> 0, "a pitch"),
            _unsigned(line_bytes, ~<uint64_t> 0, "a line's length"),
            _unsigned(lines, ~<uint64_t> 0, "a number of lines"),
        ) == FP_OK

    def fill(self, dst, pattern, count):
        """Write `count` copies of a pattern; False on a fault."""
        cdef uint64_t target = self._start(dst)
        cdef const uint8_t[::1] source = pattern
        if not 1 <= len(source) <= 16:
            raise InvalidValueError(f"a pattern has 1 to 16 bytes, not {len(source)}")
        return dma_fill(&self._mmu, target, &source[0], len(source),
                        _unsigned(count, ~<uint64_t> 0, "a count")) == FP_OK

    def bench_translate(self, addresses, repeat, *, walk=False):
        """Translate each of `addresses` `repeat` times; return the sum of the VRAM addresses."""
        cdef const uint64_t[::1] all_of_them = addresses
        cdef uint64_t rounds = _unsigned(repeat, 1 << 32, "a number of rounds")
        cdef const uint64_t *list_of_them
        cdef Py_ssize_t count = len(all_of_them)
        cdef bint cached = not walk
        cdef uint64_t total = 0
        cdef uint64_t _round
        cdef Py_ssize_t i
        if count == 0:
            return 0
        list_of_them = &all_of_them[0]
        with nogil:
            for _round in range(rounds):
                if cached:
                    for i in range(count):
                        total += <uintptr_t> mmu_translate(&self._mmu, list_of_them[i], ACCESS_READ)
                else:
                    for i in range(count):
                        total += <uintptr_t> _translate_walking(&self._mmu, list_of_them[i])
        return total - rounds * count * <uintptr_t> self._memory.vram

    def bench_range(self, va, size, repeat):
        """Translate a range `repeat` times into at most 65,536 spans; return how many there were."""
        cdef uint64_t where = self._start(va)
        cdef uint64_t length = _unsigned(size, ~<uint64_t> 0, "a size")
        cdef uint64_t rounds = _unsigned(repeat, 1 << 32, "a number of rounds")
        cdef Py_ssize_t count = 0
        cdef uint64_t covered, _round
        cdef Span *spans = <Span *> calloc(1 << 16, sizeof(Span))
        if spans == NULL:
            raise OutOfMemoryError("no memory is left for spans")
        with nogil:
            for _round in range(rounds):
                mmu_range(&self._mmu, where, length, ACCESS_READ, spans, 1 << 16, &count, &covered)
        free(spans)
        return count


cdef inline uint8_t *_translate_walking(Mmu *mmu, uint64_t va) noexcept nogil:
    """Translate a mapped address past the TLB, as at the first access to a page."""
    cdef LeafSlot leaf
    cdef uint32_t hole = 0
    cdef uint32_t read_only = 0
    cdef uint8_t *host = NULL
    cdef const uint64_t *table = _directory(mmu, va, &hole)
    if table != NULL:
        _read_leaf(mmu.memory, table, va, &leaf)
        _translate_leaf(mmu.memory, &leaf, va, ACCESS_READ, &host, &read_only)
    return host


@cython.final
cdef class Poller:
    """The engine's side of some channels of one client: what it polls, and how it sleeps."""

    cdef list _pins
    cdef _Pin _doorbell_pin
    cdef PollSlot *_slots
    cdef uint32_t *_order
    cdef Py_ssize_t _count
    cdef int _doorbell_fd
    cdef uint64_t _sleeps

    def __cinit__(self, userds, doorbell, int doorbell_fd, entries):
        cdef uint32_t mask = _ring_mask(entries)
        cdef _Pin pin
        cdef Py_ssize_t i
        self._doorbell_pin = _Pin(doorbell, "the doorbell page", _hw.USERD_PAGE_SIZE, 8)
        self._doorbell_fd = doorbell_fd
        self._pins = [_Pin(userd, "a USERD page", _hw.USERD_PAGE_SIZE, 8) for userd in userds]
        self._count = len(self._pins)
        self._slots = <PollSlot *> calloc(self._count + 1, sizeof(PollSlot))
        self._order = <uint32_t *> calloc(self._count + 1, sizeof(uint32_t))
        if self._slots == NULL or self._order == NULL:
            raise OutOfMemoryError("no memory is left for poll slots")
        for i in range(self._count):
            pin = self._pins[i]
            self._slots[i].userd = pin.data
            self._slots[i].mask = mask
            self._order[i] = i

    def __dealloc__(self):
        free(self._slots)
        free(self._order)

    cdef PollSlot *_slot(self, object index) except NULL:
        if self._count == 0:
            raise InvalidValueError("this poller has no channels")
        return &self._slots[_unsigned(index, self._count - 1, "a channel's index")]

    @property
    def sleeps(self):
        """How often :meth:`serve` went to sleep."""
        return self._sleeps

    def pending(self, index):
        """Entries that wait in one channel's ring."""
        return gp_pending(self._slot(index))

    def next(self, start=0):
        """The first channel from `start` on, wrapping, with entries waiting; None if none has."""
        cdef Py_ssize_t found = poll_next(self._slots, self._order, self._count,
                                          _unsigned(start, 1 << 32, "a position"))
        return None if found < 0 else found

    def publish(self, index, get):
        """Set and publish how far one channel's ring was fetched."""
        cdef PollSlot *slot = self._slot(index)
        slot.get = _unsigned(get, slot.mask, "a ring index")
        gp_publish(slot)

    def interrupt(self):
        """Raise an interrupt on the doorbell page."""
        doorbell_interrupt(self._doorbell_pin.data, -1)

    def serve(self, stop, *, spin=True):
        """Fetch entries, and do nothing with them, until the first word of `stop` is set."""
        cdef _Pin stop_pin = _Pin(stop, "a stop word's buffer", 4, 4)
        cdef const uint32_t *stop_word = <const uint32_t *> stop_pin.data
        cdef bint polling = spin
        cdef uint64_t served
        with nogil:
            served = self._serve(stop_word, polling)
        return served

    cdef uint64_t _serve(self, const uint32_t *stop, bint polling) noexcept nogil:
        cdef uint8_t *doorbell = self._doorbell_pin.data
        cdef uint64_t served = 0
        cdef uint64_t idle_since = 0
        cdef bint idle = False
        cdef uint64_t wakes
        cdef uint32_t pending
        cdef Py_ssize_t turn = 0
        cdef Py_ssize_t found
        cdef pollfd waiting
        waiting.fd = self._doorbell_fd
        waiting.events = POLLIN
        while load_acquire32(stop) == 0:
            found = poll_next(self._slots, self._order, self._count, turn)
            if found >= 0:
                pending = gp_pending(&self._slots[found])
                self._slots[found].get = (self._slots[found].get + pending) & self._slots[found].mask
                gp_publish(&self._slots[found])
                served += pending
                turn = found + 1
                idle = False
                continue
            if polling:
                if not idle:
                    idle = True
                    idle_since = 0
                elif idle_since == 0:
                    idle_since = now_ns()
                if idle_step(idle_since) == 0:
                    continue
            doorbell_sleeping(doorbell, 1)
            if poll_next(self._slots, self._order, self._count, turn) < 0 and load_acquire32(stop) == 0:
                self._sleeps += 1
                poll(&waiting, 1, -1)
                posix_read(self._doorbell_fd, &wakes, 8)
            doorbell_sleeping(doorbell, 0)
            idle = False
        return served
