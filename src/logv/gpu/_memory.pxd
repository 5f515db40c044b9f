"""Host address space of the GPU: physical memory, apertures, and the arenas that kernels use."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from logv._fastpath cimport PhysicalMemory, Span
from logv.gpu._state cimport VSpace

# Address space around an aperture or an arena that kernels may reach without harm, but never use.
cdef uint8_t *reserve_aperture() except NULL
cdef void release_aperture(uint8_t *aperture) noexcept
cdef uint8_t *make_arena(uint64_t size, uint64_t guard) except NULL
cdef void drop_arena(uint8_t *arena, uint64_t size, uint64_t guard) noexcept


cdef class HostMemory:
    cdef PhysicalMemory physical
    cdef dict windows            # (system, address) -> (size, fd)
    cdef dict extents            # (vspace, address) -> host mappings used
    cdef uint64_t extent_total

    cdef int mirror(self, uint32_t index, VSpace *space, uint64_t address, uint64_t size) except -1
    cdef int forget(self, uint32_t index) except -1
    cdef int hide(self, VSpace *space, uint64_t address, uint64_t end) noexcept
    cdef int show(self, VSpace *space, Span *span) except -2
