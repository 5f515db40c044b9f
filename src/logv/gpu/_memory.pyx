from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from logv cimport _hw
from logv._fastpath cimport Span, mmu_range
from logv.gpu._state cimport VSpace

from logv.errors import InvalidValueError, OutOfMemoryError


cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *, size_t, int, int, int, int64_t)
    int munmap(void *, size_t)
    int madvise(void *, size_t, int)
    enum:
        PROT_NONE
        PROT_READ
        PROT_WRITE
        MAP_SHARED
        MAP_PRIVATE
        MAP_FIXED
        MAP_ANONYMOUS
        MAP_NORESERVE
        MADV_HUGEPAGE
    void *MAP_FAILED

cdef enum:
    # Host address space reserved for each kind of physical memory; nothing is committed.
    PHYSICAL_BITS = 40
    HUGE_PAGE = 2 << 20
    SPANS = 256

cdef uint64_t PHYSICAL_BYTES = <uint64_t> 1 << PHYSICAL_BITS
cdef uint64_t APERTURE_BYTES = <uint64_t> 1 << _hw.APERTURE_VA_BITS
cdef uint64_t GUARD_BYTES = <uint64_t> 1 << _hw.APERTURE_GUARD_BITS


cdef uint8_t *_reserve(uint64_t size) except NULL:
    """Reserve host address space, 2 MiB aligned, without access and without commitment."""
    cdef void *at = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    cdef uint64_t start, end
    if at == MAP_FAILED:
        raise OutOfMemoryError(f"cannot reserve {size} bytes of address space; is RLIMIT_AS (ulimit -v) set?")
    start = (<uint64_t> at + HUGE_PAGE - 1) & ~<uint64_t> (HUGE_PAGE - 1)
    end = <uint64_t> at + size + HUGE_PAGE
    if start > <uint64_t> at:
        munmap(at, start - <uint64_t> at)
    if end > start + size:
        munmap(<void *> (start + size), end - start - size)
    return <uint8_t *> start


cdef int _empty(uint8_t *at, uint64_t size) noexcept:
    """Take a part of a reservation back to "nothing there"."""
    cdef void *done = mmap(at, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)
    return -1 if done == MAP_FAILED else 0


cdef uint8_t *reserve_aperture() except NULL:
    return _reserve(APERTURE_BYTES + 2 * GUARD_BYTES) + GUARD_BYTES


cdef void release_aperture(uint8_t *aperture) noexcept:
    munmap(aperture - GUARD_BYTES, APERTURE_BYTES + 2 * GUARD_BYTES)


cdef uint8_t *make_arena(uint64_t size, uint64_t guard) except NULL:
    cdef uint8_t *arena = _reserve(size + 2 * guard) + guard
    cdef void *done = mmap(arena, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)
    if done == MAP_FAILED:
        drop_arena(arena, size, guard)
        raise OutOfMemoryError(f"no memory for {size} bytes of the engine's arenas")
    return arena


cdef void drop_arena(uint8_t *arena, uint64_t size, uint64_t guard) noexcept:
    munmap(arena - guard, size + 2 * guard)


cdef class HostMemory:
    """Physical memory as windows, and its mirror in the apertures.

    Both kinds of physical memory are one reservation each; a window is its memfd mapped at its
    address. An aperture shows, page for page, what an address space's page tables say.
    """

    def __cinit__(self):
        self.windows = {}
        self.extents = {}
        self.physical.vram = _reserve(PHYSICAL_BYTES)
        self.physical.vram_size = PHYSICAL_BYTES
        self.physical.system = _reserve(PHYSICAL_BYTES)
        self.physical.system_size = PHYSICAL_BYTES

    def __dealloc__(self):
        if self.physical.vram != NULL:
            munmap(self.physical.vram, PHYSICAL_BYTES)
        if self.physical.system != NULL:
            munmap(self.physical.system, PHYSICAL_BYTES)

    def map_window(self, bint system, uint64_t address, uint64_t size, int fd):
        """Map a window's memfd at its physical address."""
        cdef uint8_t *at = (self.physical.system if system else self.physical.vram) + address
        if address % HUGE_PAGE or size == 0 or size > PHYSICAL_BYTES or address > PHYSICAL_BYTES - size:
            raise InvalidValueError(f"a window cannot lie at {address:#x}+{size:#x}")
        if mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED:
            raise OutOfMemoryError(f"cannot map a window of {size} bytes (errno {errno})")
        madvise(at, size, MADV_HUGEPAGE)
        self.windows[bool(system), address] = (size, fd)

    def unmap_window(self, bint system, uint64_t address):
        """Take a window's memory away; nothing may be mapped from it any more."""
        cdef uint64_t size = self.windows.pop((bool(system), address))[0]
        _empty((self.physical.system if system else self.physical.vram) + address, size)

    cdef int mirror(self, uint32_t index, VSpace *space, uint64_t address, uint64_t size) except -1:
        """Show in the aperture what the page tables say of a range. Needs the address space's lock."""
        cdef Span spans[SPANS]
        cdef Py_ssize_t count = 0, i
        cdef uint64_t covered = 0, at = address, total = 0, end
        if address + size < address or address > APERTURE_BYTES:
            raise InvalidValueError(f"{address:#x}+{size:#x} is not a range of addresses that kernels reach")
        end = min(address + size, APERTURE_BYTES)
        self.extent_total -= self.extents.pop((index, address), 0)
        if end == address:
            return 0
        if self.hide(space, address, end) != 0:
            # The range may still be reachable. Emptying the aperture as a whole needs no new mapping, so
            # it works; kernels of this address space fault from here on.
            self.hide(space, 0, APERTURE_BYTES)
            raise OutOfMemoryError("the host's limit of memory mappings is reached (vm.max_map_count)")
        while at < end:
            mmu_range(&space.mmu, at, end - at, 0, spans, SPANS, &count, &covered)
            for i in range(count):
                total += 1
                if self.extent_total + total > _hw.MAX_APERTURE_EXTENTS or self.show(space, &spans[i]) != 0:
                    self.hide(space, address, end)
                    raise OutOfMemoryError(
                        f"the host mappings for GPU address spaces are used up ({_hw.MAX_APERTURE_EXTENTS}); "
                        "map fewer, larger buffer objects"
                    )
            if covered == 0:
                break
            at += covered
        if total:
            self.extents[index, address] = total
            self.extent_total += total
        return 0

    cdef int forget(self, uint32_t index) except -1:
        """Stop counting the mappings of an address space whose aperture was released."""
        for key in [key for key in self.extents if key[0] == index]:
            self.extent_total -= self.extents.pop(key)
        return 0

    cdef int hide(self, VSpace *space, uint64_t address, uint64_t end) noexcept:
        return _empty(space.aperture + address, end - address)

    cdef int show(self, VSpace *space, Span *span) except -2:
        cdef int protection = PROT_READ if span.read_only else PROT_READ | PROT_WRITE
        cdef uint64_t start, size
        for (system, start), (size, fd) in self.windows.items():
            if system != bool(span.system) or span.physical < start or span.physical + span.length > start + size:
                continue
            if mmap(space.aperture + span.va, span.length, protection, MAP_SHARED | MAP_FIXED, fd,
                    <int64_t> (span.physical - start)) == MAP_FAILED:
                return -1
            madvise(space.aperture + span.va, span.length, MADV_HUGEPAGE)
            return 0
        raise InvalidValueError(f"a PTE leads to {span.physical:#x}, where no window is")
