"""The service thread's side of compiled programs: what is asked for, and where the answer goes."""

from libc.stdint cimport uint32_t, uint64_t
from logv.gpu._state cimport Gpu, Program, kernel_t

# Something to compile for the program at an address, for blocks of these dimensions.
cdef struct Request:
    kernel_t baseline           # to be replaced by better code; NULL: a channel waits
    uint32_t channel            # that waits
    uint32_t serial
    uint32_t vspace
    uint32_t generation
    uint32_t block[3]
    uint64_t address

# Wait for something to compile, and watch over kernels that take too long; False when the GPU stops.
cdef bint wait_for_request(Gpu *gpu, Request *request) noexcept nogil
# The program text: what stands at its address up to its NUL; None if there is no NUL within the bound,
# or the memory is not mapped.
cdef bytes program_text(Gpu *gpu, const Request *request)
# Whether the request still means something.
cdef bint is_current(const Gpu *gpu, const Request *request) noexcept nogil
# Put a program into its address space's table: to an empty place, or to that of the code it replaces.
cdef void place_program(Gpu *gpu, const Request *request, const Program *program) noexcept nogil
# Let the channel that waits go on; with a `message`, to its end.
cdef void answer_channel(Gpu *gpu, const Request *request, const char *message) noexcept nogil
