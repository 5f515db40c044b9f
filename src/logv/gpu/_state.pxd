"""The engine's state: plain C structs, shared by the compiled modules of this folder.

Locks. ``Gpu.lock`` guards the runlist, the tables of ports, address spaces and channels, and
``Gpu.current``. ``VSpace.lock`` guards an address space's MMU: the engine holds it while it touches
memory through page walks, a TLB invalidate takes it, so that an invalidate returns only when nothing
uses the old translations. Order: ``Gpu.lock`` is never taken while a ``VSpace.lock`` is held.
Kernels run with neither: what they may touch is enforced by the CPU's own page tables.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from logv._fastpath cimport Mmu, PollSlot
from posix.types cimport pid_t
from logv cimport _hw


cdef extern from "<pthread.h>" nogil:
    ctypedef struct pthread_mutex_t:
        pass
    int pthread_mutex_init(pthread_mutex_t *, const void *)
    int pthread_mutex_destroy(pthread_mutex_t *)
    int pthread_mutex_lock(pthread_mutex_t *)
    int pthread_mutex_unlock(pthread_mutex_t *)

cdef enum:
    # What a step of a channel came to.
    STEP_OK = 0         # go on with the next method
    STEP_IDLE = 1       # nothing left to do
    STEP_BLOCKED = 2    # a semaphore or a program is not there yet
    STEP_YIELD = 3      # the timeslice is over, or the channel asked to yield
    STEP_FAULT = 4      # the channel was stopped

cdef enum:
    SUBCHANNELS = 8
    METHOD_WORDS = 4096         # all that a method header can address
    BANK0_BYTES = 4448          # 0x160 + MAX_PARAMETER_BYTES
    PROGRAM_SLOTS = 1024        # per address space; open addressing, at most 3/4 full
    PROGRAM_LIMIT = 768
    SEMAPHORE_WORDS = 5

cdef enum:
    CLASS_NONE = 0
    CLASS_COPY = 1
    CLASS_COMPUTE = 2

ctypedef int32_t (*kernel_t)(const uint8_t *params, uint8_t *global_base, uint8_t *shared, uint8_t *scratch,
                             const uint32_t *grid, uint64_t begin, uint64_t end) noexcept nogil

# One compiled kernel as the engine finds it: by program address and block dimensions.
cdef struct Program:
    uint64_t address
    uint32_t block[3]
    kernel_t code               # NULL: empty slot
    uint32_t shared_bytes       # static part
    uint32_t parameter_bytes
    uint64_t scratch_bytes
    uint64_t ns_per_block       # estimate from earlier launches, 0: none yet
    uint64_t baseline_ns        # how long baseline code runs before better code is asked for; 0: none is
    kernel_t replaces           # the baseline code whose place this one took, NULL: none
    const char *name            # kept alive by the engine's list of kernels

cdef struct VSpace:
    uint32_t attached
    uint32_t generation         # grows at each attach: a late compile must not land in a successor
    uint32_t channels
    uint64_t program_count
    Program *programs           # PROGRAM_SLOTS entries
    uint8_t *aperture           # host address of GPU virtual address 0
    pthread_mutex_t lock
    Mmu mmu

cdef struct Port:
    uint8_t *pages              # BAR3: doorbell page, then USERD pages; guest-writable
    uint32_t page_count         # 0: free
    int doorbell_fd
    int interrupt_fd            # an eventfd that no client holds
    uint64_t submissions
    uint64_t launches
    uint64_t bytes_copied
    uint64_t faults
    uint64_t interrupts

# Baseline code that has run for so long that better code should take its place.
cdef struct Wish:
    kernel_t baseline           # NULL: there is no wish
    uint32_t vspace
    uint32_t generation
    uint32_t block[3]
    uint64_t address

# A launch in progress. Lives across timeslices; `next_block` holds the place.
cdef struct Launch:
    uint32_t active             # 0 none, 1 waits for its program, 2 running
    uint64_t qmd_address
    uint32_t qmd[64]
    uint32_t grid[4]            # in blocks; what kernels get, with the bytes of dynamic shared memory behind
    uint32_t block[3]
    uint64_t next_block
    uint64_t blocks
    Program program             # a copy: the cache may be invalidated while the launch runs
    uint32_t shared_bytes
    uint8_t bank0[BANK0_BYTES]
    uint32_t bank0_bytes

# A copy in progress, cut into chunks so that it yields like a launch.
cdef struct Copy:
    uint32_t active
    uint32_t is_fill
    uint32_t pattern_bytes
    uint8_t pattern[16]
    uint64_t src
    uint64_t dst
    uint64_t src_pitch
    uint64_t dst_pitch
    uint64_t line_bytes
    uint64_t lines
    uint64_t line_done          # bytes of the current line, for lines longer than a chunk

# Inline upload (compute class): where the next LOAD_INLINE_DATA word goes.
cdef struct Upload:
    uint64_t address
    uint64_t remaining

cdef struct Channel:
    uint32_t bound
    uint32_t enabled
    uint32_t faulted
    uint32_t stopping           # set by stop_channel; kernels are aborted
    uint32_t program_wait       # 1: asked for, 2: with the service thread
    Wish wish                   # on its way to the service thread
    uint32_t port
    uint32_t vspace
    uint32_t allow_copy
    uint32_t allow_compute
    uint64_t ring
    # pushbuffer segment being executed
    uint64_t segment
    uint32_t segment_words
    # method header being executed
    uint32_t method
    uint32_t method_left
    uint32_t method_kind
    uint32_t subchannel
    uint32_t bound_class[SUBCHANNELS]
    # host semaphore: ADDR_LO, ADDR_HI, PAYLOAD_LO, PAYLOAD_HI, EXECUTE
    uint32_t semaphore[SEMAPHORE_WORDS]
    uint32_t acquiring
    Launch launch
    Copy copy
    Upload upload
    uint32_t *copy_methods      # METHOD_WORDS each, allocated when the class is allowed
    uint32_t *compute_methods

# A thread that runs kernels; the first is the engine.
cdef struct ComputeThread:
    pid_t tid
    uint64_t start_ns           # when the range of blocks that runs began; 0: none runs
    uint64_t run                # counts the ranges; the one that runs, or the last
    uint64_t abort_run          # the range that is to be interrupted
    # what the last range came to, and where if it faulted
    int outcome
    int fault_write
    size_t fault_address
    uint8_t *shared_arena
    uint8_t *scratch_arena
    # whose data the arenas hold, and how much of it
    int64_t arena_vspace
    uint64_t shared_dirty
    uint64_t scratch_dirty

# A part of a launch that several threads run.
cdef struct Team:
    uint32_t calls              # grows when there is something to do; workers sleep on it
    uint32_t gate               # whether workers may enter, and how many are inside
    uint32_t failed             # 1 + the thread whose kernel ended early first, 0: none did
    Channel *channel
    uint64_t ns_per_block       # estimate
    uint64_t busy_ns            # measured, in all threads, and for how many blocks
    uint64_t blocks_done

cdef struct Gpu:
    pthread_mutex_t lock
    uint32_t want_lock          # threads that wait for `lock`; the engine lets them go first
    uint32_t stop
    int control_fd
    int service_fd
    int epoll_fd
    ComputeThread threads[_hw.MAX_COMPUTE_THREADS]
    uint32_t thread_count
    Team team
    int64_t current             # channel being run, -1 none
    uint64_t watchdog_ns
    uint64_t timeslice_ns
    uint32_t runlist[_hw.MAX_CHANNELS]
    uint32_t runlist_count
    PollSlot slots[_hw.MAX_CHANNELS]
    Channel *channels           # MAX_CHANNELS
    uint32_t serials[_hw.MAX_CHANNELS]    # grow at each bind: a late compile must not reach a successor
    VSpace *vspaces             # MAX_VSPACES
    Port *ports                 # MAX_PORTS
    uint32_t requests[_hw.MAX_CHANNELS]   # channels whose program is asked for
    uint32_t request_count
    Wish wish                   # the one that waits; a program whose wish is dropped makes it again
    uint8_t *parameter_arena    # 64-byte aligned, for vector loads
    uint64_t sleeps             # statistics

cdef enum:
    MAX_PORTS = 256


cdef inline uint32_t field(uint32_t word, uint32_t bits) noexcept nogil:
    """A field of a 32-bit word; `bits` is a constant of ``_hw``: high << 16 | low."""
    return (word >> (bits & 0xFFFF)) & <uint32_t> ((<uint64_t> 1 << ((bits >> 16) - (bits & 0xFFFF) + 1)) - 1)


cdef inline uint64_t qmd_field(const uint32_t *qmd, uint32_t bits) noexcept nogil:
    """A field of a QMD. Bits count over the whole structure; a field lies within one 32-bit word."""
    cdef uint32_t low = bits & 0xFFFF
    return (qmd[low >> 5] >> (low & 31)) & ((<uint64_t> 1 << ((bits >> 16) - low + 1)) - 1)


cdef inline uint64_t load64(const uint32_t *high_low) noexcept nogil:
    """An address given as two methods, upper word first."""
    return (<uint64_t> high_low[0] << 32) | high_low[1]
