"""The engine: one thread, outside the GIL, that runs every channel of the software GPU.

The class below is the wiring: it owns the C state, maps memory, and lets Python threads change the
tables while the engine runs. It checks what a driver could get wrong; what a guest can write is
checked where it is read (``_pbdma``, ``_copy_engine``, ``_compute_engine``).
"""

import os
import select

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from logv cimport _hw
from logv._fastpath cimport (
    FP_OK, Span, doorbell_sleeping, gp_pending, idle_step, load_acquire32, load_acquire64, mmu_init,
    mmu_invalidate, mmu_range, mmu_read, now_ns, store_release32,
)
from logv.gpu._channel cimport (
    FAULT_BAD_PROGRAM, channel_fault, logv_count,
)
from logv.gpu._compute_engine cimport (
    enter_engine_thread, find_program, forget_programs, install_guard, interrupt_kernel,
)
from logv.gpu._pbdma cimport channel_run
from logv.gpu._state cimport (
    MAX_PORTS, METHOD_WORDS, PROGRAM_LIMIT, PROGRAM_SLOTS, STEP_BLOCKED, Channel, Gpu, Port, Program, VSpace,
    kernel_t, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)

from logv.errors import ExhaustedError, InvalidValueError, NotSupportedError, OutOfMemoryError
from logv.hw.clc7b5 import AMPERE_DMA_COPY_A, AMPERE_DMA_COPY_B
from logv.hw.clc7c0 import ADA_COMPUTE_A, AMPERE_COMPUTE_A, AMPERE_COMPUTE_B


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

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t, size_t)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int, epoll_event *, int, int)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    enum:
        POLLIN

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int, void *, size_t)
    ssize_t write(int, const void *, size_t)
    int usleep(unsigned int)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef extern from *:
    """
    #include <sys/syscall.h>
    #include <unistd.h>
    static inline pid_t logv_gettid(void) { return (pid_t)syscall(SYS_gettid); }
    """
    int logv_gettid() nogil

cdef enum:
    # Host address space reserved for each kind of physical memory; nothing is committed.
    PHYSICAL_BITS = 40
    HUGE_PAGE = 2 << 20
    EVENTS = 64
    SPANS = 256
    # While a channel waits on a semaphore that a CPU may write without ringing, the engine looks this
    # often.
    ACQUIRE_LOOK_MS = 1
    # How long stop_channel waits for a block range to end by itself.
    STOP_GRACE_US = 2000
    STOP_POLL_US = 50
    WATCHDOG_LOOK_MS = 500

cdef uint64_t PHYSICAL_BYTES = <uint64_t> 1 << PHYSICAL_BITS
cdef uint64_t APERTURE_BYTES = <uint64_t> 1 << _hw.APERTURE_VA_BITS
cdef uint64_t GUARD_BYTES = <uint64_t> 1 << _hw.APERTURE_GUARD_BITS
cdef uint64_t SHARED_BYTES = <uint64_t> 1 << _hw.SHARED_ARENA_BITS


cdef uint8_t *_reserve(uint64_t size) except NULL:
    """Reserve host address space, 2 MiB aligned, without access and without commitment."""
    cdef void *at = mmap(NULL, size + HUGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    cdef uint64_t aligned
    if at == MAP_FAILED:
        raise OutOfMemoryError(f"cannot reserve {size} bytes of address space; is RLIMIT_AS (ulimit -v) set?")
    aligned = (<uint64_t> at + HUGE_PAGE - 1) & ~<uint64_t> (HUGE_PAGE - 1)
    if aligned > <uint64_t> at:
        munmap(at, aligned - <uint64_t> at)
    if aligned + size < <uint64_t> at + size + HUGE_PAGE:
        munmap(<void *> (aligned + size), <uint64_t> at + HUGE_PAGE - aligned)
    return <uint8_t *> aligned


cdef void _drain(int fd) noexcept nogil:
    cdef uint64_t value
    read(fd, &value, 8)


cdef void _signal(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, 8)


cdef void _lock(Gpu *gpu) noexcept nogil:
    """Take the GPU's lock from a Python thread; the engine steps back while anyone is counted here."""
    logv_count(&gpu.want_lock, 1)
    pthread_mutex_lock(&gpu.lock)
    logv_count(&gpu.want_lock, -1)


cdef void _lock_space(VSpace *space) noexcept nogil:
    pthread_mutex_lock(&space.lock)


cdef bint _runnable(Gpu *gpu, uint32_t index) noexcept nogil:
    cdef Channel *channel = &gpu.channels[index]
    if not channel.enabled or channel.faulted or channel.stopping or channel.program_wait:
        return False
    return (
        channel.launch.active != 0 or channel.copy.active != 0 or channel.acquiring != 0
        or channel.segment_words != 0 or gp_pending(&gpu.slots[index]) != 0
    )


cdef bint _waits_for_memory(Gpu *gpu) noexcept nogil:
    """Is there a channel that only a look at memory can set going again?"""
    cdef uint32_t i
    for i in range(gpu.runlist_count):
        if _runnable(gpu, gpu.runlist[i]):
            return True
    return False


cdef void _post_request(Gpu *gpu, uint32_t index) noexcept nogil:
    """Hand a channel's missing program to the service thread. Needs the GPU's lock."""
    gpu.channels[index].program_wait = 2
    gpu.requests[gpu.request_count] = index
    gpu.request_count += 1
    _signal(gpu.service_fd)


cdef uint64_t _pass(Gpu *gpu) noexcept nogil:
    """Give each channel of the runlist one turn; return how much was done."""
    cdef uint64_t progress = 0
    cdef uint32_t i = 0, index
    cdef int step
    pthread_mutex_lock(&gpu.lock)
    while i < gpu.runlist_count and not load_acquire32(&gpu.stop):
        index = gpu.runlist[i]
        i += 1
        if not _runnable(gpu, index):
            continue
        gpu.current = index
        pthread_mutex_unlock(&gpu.lock)
        step = channel_run(gpu, &gpu.channels[index], now_ns() + gpu.timeslice_ns, &progress)
        # Let those in who wait: a mutex alone would mostly go back to this thread.
        while load_acquire32(&gpu.want_lock):
            sched_yield()
        pthread_mutex_lock(&gpu.lock)
        gpu.current = -1
        if step == STEP_BLOCKED and gpu.channels[index].program_wait == 1:
            _post_request(gpu, index)
    pthread_mutex_unlock(&gpu.lock)
    return progress


cdef void _say_sleeping(Gpu *gpu, uint32_t sleeping) noexcept nogil:
    """Tell every client whether it must ring. Needs the GPU's lock."""
    cdef uint32_t i
    for i in range(MAX_PORTS):
        if gpu.ports[i].page_count:
            doorbell_sleeping(gpu.ports[i].pages, sleeping)


cdef bint _sleep(Gpu *gpu) noexcept nogil:
    """Sleep until somebody rings, or it is time to look at semaphores; return whether somebody rang."""
    cdef epoll_event events[EVENTS]
    cdef int count = 1, i, timeout
    cdef bint work = False
    cdef uint32_t j
    pthread_mutex_lock(&gpu.lock)
    _say_sleeping(gpu, 1)
    # Each flag was followed by a full fence: a submitter that did not see it is seen here.
    for j in range(gpu.runlist_count):
        if gp_pending(&gpu.slots[gpu.runlist[j]]) and _runnable(gpu, gpu.runlist[j]) and not gpu.channels[gpu.runlist[j]].acquiring:
            work = True
            break
    timeout = ACQUIRE_LOOK_MS if _waits_for_memory(gpu) else -1
    pthread_mutex_unlock(&gpu.lock)
    if not work:
        gpu.sleeps += 1
        count = epoll_wait(gpu.epoll_fd, events, EVENTS, timeout)
        for i in range(max(count, 0)):
            _drain(<int> events[i].data.u32)
        install_guard()
    pthread_mutex_lock(&gpu.lock)
    _say_sleeping(gpu, 0)
    pthread_mutex_unlock(&gpu.lock)
    return count > 0


cdef void _run(Gpu *gpu) noexcept nogil:
    cdef uint64_t idle_since = now_ns()
    gpu.engine_tid = logv_gettid()
    enter_engine_thread()
    while not load_acquire32(&gpu.stop):
        if _pass(gpu):
            idle_since = now_ns()
        elif idle_step(idle_since) and _sleep(gpu):
            idle_since = now_ns()


cdef class Engine:
    """The state of one software GPU, and the verbs a driver changes it with.

    Parameters
    ----------
    watchdog_ns : int
        A range of thread blocks (at least one block) that runs longer stops its channel.
    timeslice_ns : int
        How long a channel may run while others wait; one thread block is the smallest step.
    """

    cdef Gpu gpu
    cdef uint64_t space_bytes
    cdef list kernels        # per address space: id -> (compiled kernel, name) its programs point into
    cdef object epoll
    cdef dict windows        # (system, address) -> (size, fd)
    cdef dict extents        # (vspace, address) -> host mappings used
    cdef uint64_t extent_total

    def __cinit__(self, uint64_t watchdog_ns, uint64_t timeslice_ns):
        cdef int i
        cdef Gpu *gpu = &self.gpu
        memset(gpu, 0, sizeof(Gpu))
        gpu.control_fd = gpu.service_fd = -1
        gpu.current = gpu.arena_vspace = -1
        gpu.watchdog_ns = watchdog_ns
        gpu.timeslice_ns = timeslice_ns
        pthread_mutex_init(&gpu.lock, NULL)
        gpu.channels = <Channel *> calloc(_hw.MAX_CHANNELS, sizeof(Channel))
        gpu.vspaces = <VSpace *> calloc(_hw.MAX_VSPACES, sizeof(VSpace))
        gpu.ports = <Port *> calloc(MAX_PORTS, sizeof(Port))
        gpu.parameter_arena = <uint8_t *> aligned_alloc(64, _hw.MAX_PARAMETER_BYTES)
        if gpu.channels == NULL or gpu.vspaces == NULL or gpu.ports == NULL or gpu.parameter_arena == NULL:
            raise OutOfMemoryError("no memory for the software GPU's tables")
        for i in range(_hw.MAX_VSPACES):
            pthread_mutex_init(&gpu.vspaces[i].lock, NULL)

    def __init__(self, uint64_t watchdog_ns, uint64_t timeslice_ns):
        cdef Gpu *gpu = &self.gpu
        cdef uint8_t *at
        self.kernels = [{} for _ in range(_hw.MAX_VSPACES)]
        self.windows = {}
        self.extents = {}
        self.extent_total = 0
        self.space_bytes = APERTURE_BYTES + 2 * GUARD_BYTES
        gpu.memory.vram = _reserve(PHYSICAL_BYTES)
        gpu.memory.vram_size = PHYSICAL_BYTES
        gpu.memory.system = _reserve(PHYSICAL_BYTES)
        gpu.memory.system_size = PHYSICAL_BYTES
        at = _reserve(SHARED_BYTES + 2 * GUARD_BYTES)
        gpu.shared_arena = self._commit(at + GUARD_BYTES, SHARED_BYTES)
        at = _reserve(_hw.MAX_SCRATCH_BYTES + 2 * HUGE_PAGE)
        gpu.scratch_arena = self._commit(at + HUGE_PAGE, _hw.MAX_SCRATCH_BYTES)
        gpu.control_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        gpu.service_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll = select.epoll()
        gpu.epoll_fd = self.epoll.fileno()
        self.epoll.register(gpu.control_fd, select.EPOLLIN)

    cdef uint8_t *_commit(self, uint8_t *at, uint64_t size) except NULL:
        cdef void *done = mmap(at, size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)
        if done == MAP_FAILED:
            raise OutOfMemoryError(f"no memory for {size} bytes of the engine's arenas")
        return at

    def __dealloc__(self):
        cdef Gpu *gpu = &self.gpu
        cdef int i
        if gpu.memory.vram != NULL:
            munmap(gpu.memory.vram, PHYSICAL_BYTES)
        if gpu.memory.system != NULL:
            munmap(gpu.memory.system, PHYSICAL_BYTES)
        if gpu.shared_arena != NULL:
            munmap(gpu.shared_arena - GUARD_BYTES, SHARED_BYTES + 2 * GUARD_BYTES)
        if gpu.scratch_arena != NULL:
            munmap(gpu.scratch_arena - HUGE_PAGE, _hw.MAX_SCRATCH_BYTES + 2 * HUGE_PAGE)
        if gpu.vspaces != NULL:
            for i in range(_hw.MAX_VSPACES):
                self._drop_space(&gpu.vspaces[i])
                pthread_mutex_destroy(&gpu.vspaces[i].lock)
        if gpu.channels != NULL:
            for i in range(_hw.MAX_CHANNELS):
                free(gpu.channels[i].copy_methods)
                free(gpu.channels[i].compute_methods)
        pthread_mutex_destroy(&gpu.lock)
        free(gpu.parameter_arena)
        free(gpu.channels)
        free(gpu.vspaces)
        free(gpu.ports)

    cdef void _drop_space(self, VSpace *space) noexcept:
        if space.aperture != NULL:
            munmap(space.aperture - GUARD_BYTES, APERTURE_BYTES + 2 * GUARD_BYTES)
            space.aperture = NULL
        free(space.programs)
        space.programs = NULL

    # Threads

    def run(self):
        """Run channels until :meth:`stop`; the body of the engine thread."""
        with nogil:
            _run(&self.gpu)

    def stop(self):
        """Make :meth:`run` and :meth:`next_request` return, whatever a kernel is doing."""
        store_release32(&self.gpu.stop, 1)
        _signal(self.gpu.control_fd)
        _signal(self.gpu.service_fd)
        if self.gpu.engine_tid and self.gpu.current >= 0:
            self._let_go(self.gpu.current)

    def close(self):
        """Give up the descriptors; call it when both threads have ended."""
        for fd in (self.gpu.control_fd, self.gpu.service_fd):
            if fd >= 0:
                os.close(fd)
        self.gpu.control_fd = self.gpu.service_fd = -1
        self.epoll.close()

    @property
    def sleeps(self):
        """How often the engine went to sleep."""
        return self.gpu.sleeps

    # Memory

    def map_window(self, bint system, uint64_t address, uint64_t size, int fd):
        """Map a window's memfd at its physical address."""
        cdef uint8_t *base = self.gpu.memory.system if system else self.gpu.memory.vram
        if address % HUGE_PAGE or size == 0 or size > PHYSICAL_BYTES or address > PHYSICAL_BYTES - size:
            raise InvalidValueError(f"a window cannot lie at {address:#x}+{size:#x}")
        if mmap(base + address, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED:
            raise OutOfMemoryError(f"cannot map a window of {size} bytes (error {errno})")
        madvise(base + address, size, MADV_HUGEPAGE)
        self.windows[bool(system), address] = (size, fd)

    def unmap_window(self, bint system, uint64_t address):
        """Take a window's memory away; nothing may be mapped from it any more."""
        cdef uint8_t *base = self.gpu.memory.system if system else self.gpu.memory.vram
        cdef uint64_t size = self.windows.pop((bool(system), address))[0]
        mmap(base + address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)

    def attach_vspace(self, uint64_t pdb):
        """Reserve an aperture for the page tables at VRAM address `pdb`; return the address space's id."""
        cdef VSpace *space
        cdef int i
        for i in range(_hw.MAX_VSPACES):
            space = &self.gpu.vspaces[i]
            if not space.attached:
                break
        else:
            raise ExhaustedError(f"all {_hw.MAX_VSPACES} GPU address spaces are in use; free some first")
        space.programs = <Program *> calloc(PROGRAM_SLOTS, sizeof(Program))
        if space.programs == NULL:
            raise OutOfMemoryError("no memory for an address space's program table")
        try:
            space.aperture = _reserve(self.space_bytes) + GUARD_BYTES
        except OutOfMemoryError:
            free(space.programs)
            space.programs = NULL
            raise
        mmu_init(&space.mmu, &self.gpu.memory, pdb)
        space.program_count = 0
        space.generation += 1
        space.attached = 1
        return i

    def detach_vspace(self, uint32_t index):
        """Give up an address space that no channel uses."""
        cdef VSpace *space = self._space(index)
        if space.channels:
            raise InvalidValueError(f"address space {index} still has {space.channels} channels")
        with nogil:
            _lock_space(space)
            space.attached = 0
            pthread_mutex_unlock(&space.lock)
            _lock(&self.gpu)
            if self.gpu.arena_vspace == index:
                # The next owner of this number must not pass for the one whose data the arenas hold.
                self.gpu.arena_vspace = -1
            pthread_mutex_unlock(&self.gpu.lock)
        self._drop_space(space)
        self.kernels[index] = {}
        for key in [key for key in self.extents if key[0] == index]:
            self.extent_total -= self.extents.pop(key)

    cdef VSpace *_space(self, uint32_t index) except NULL:
        if index >= _hw.MAX_VSPACES or not self.gpu.vspaces[index].attached:
            raise InvalidValueError(f"{index} is not an attached address space")
        return &self.gpu.vspaces[index]

    def invalidate_tlb(self, uint32_t index, uint64_t address, uint64_t size):
        """Forget cached translations, and mirror [address, address + size) into the aperture.

        Returns when nothing uses the old translations any more.
        """
        cdef VSpace *space = self._space(index)
        cdef uint64_t end = min(address + size, APERTURE_BYTES)
        if address + size < address or address > APERTURE_BYTES:
            raise InvalidValueError(f"{address:#x}+{size:#x} is not a range of addresses")
        with nogil:
            _lock_space(space)
            mmu_invalidate(&space.mmu)
        try:
            self._mirror(index, space, address, end)
        finally:
            pthread_mutex_unlock(&space.lock)

    cdef int _mirror(self, uint32_t index, VSpace *space, uint64_t address, uint64_t end) except -1:
        cdef Span spans[SPANS]
        cdef Py_ssize_t count = 0, i
        cdef uint64_t covered = 0, at = address, total = 0
        self.extent_total -= self.extents.pop((index, address), 0)
        if end <= address:
            return 0
        if self._hide(space, address, end) != 0:
            raise OutOfMemoryError("the host's limit of memory mappings is reached (vm.max_map_count)")
        while at < end:
            mmu_range(&space.mmu, at, end - at, 0, spans, SPANS, &count, &covered)
            for i in range(count):
                total += 1
                if self.extent_total + total > _hw.MAX_APERTURE_EXTENTS or self._show(space, &spans[i]) != 0:
                    self._hide(space, address, end)
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

    cdef int _hide(self, VSpace *space, uint64_t address, uint64_t end) noexcept:
        return -1 if mmap(space.aperture + address, end - address, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED else 0

    cdef int _show(self, VSpace *space, Span *span) except -2:
        cdef int protection = PROT_READ if span.read_only else PROT_READ | PROT_WRITE
        cdef uint64_t start, size
        for (system, start), (size, fd) in self.windows.items():
            if system == bool(span.system) and start <= span.physical and span.physical + span.length <= start + size:
                if mmap(space.aperture + span.va, span.length, protection, MAP_SHARED | MAP_FIXED, fd,
                        <int64_t> (span.physical - start)) == MAP_FAILED:
                    return -1
                madvise(space.aperture + span.va, span.length, MADV_HUGEPAGE)
                return 0
        raise InvalidValueError(f"a PTE leads to {span.physical:#x}, where no window is")

    def aperture(self, uint32_t index):
        """Return the host address of an address space's GPU virtual address 0."""
        return <uintptr_t> self._space(index).aperture

    # Ports

    def add_port(self, uint8_t[::1] pages not None, int doorbell_fd):
        """Take in a client's BAR3 and doorbell; return the port's index. `pages` must outlive the port."""
        cdef int i
        cdef Port *port
        for i in range(MAX_PORTS):
            port = &self.gpu.ports[i]
            if not port.page_count:
                break
        else:
            raise ExhaustedError(f"all {MAX_PORTS} ports of the GPU are in use")
        self.epoll.register(doorbell_fd, select.EPOLLIN)
        with nogil:
            _lock(&self.gpu)
            memset(port, 0, sizeof(Port))
            port.pages = &pages[0]
            port.doorbell_fd = doorbell_fd
            port.page_count = <uint32_t> (pages.shape[0] // _hw.USERD_PAGE_SIZE)
            pthread_mutex_unlock(&self.gpu.lock)
        # An engine that sleeps has not put up its flag here yet.
        _signal(self.gpu.control_fd)
        return i

    def remove_port(self, uint32_t index):
        """Forget a port none of whose channels is bound any more."""
        self.epoll.unregister(self.gpu.ports[index].doorbell_fd)
        with nogil:
            _lock(&self.gpu)
            self.gpu.ports[index].page_count = 0
            pthread_mutex_unlock(&self.gpu.lock)

    def port_counters(self, uint32_t index):
        """Return submissions, launches, bytes copied, faults and interrupts of a port."""
        cdef Port *port = &self.gpu.ports[index]
        return port.submissions, port.launches, port.bytes_copied, port.faults, port.interrupts

    # Channels

    def bind_channel(self, uint32_t port, uint32_t page, uint32_t vspace):
        """Make a channel in an address space, with its USERD page; return its id."""
        cdef uint32_t i
        cdef Channel *channel
        cdef VSpace *space = self._space(vspace)
        if port >= MAX_PORTS or not 0 < page < self.gpu.ports[port].page_count:
            raise InvalidValueError(f"port {port} has no USERD page {page}")
        for i in range(_hw.MAX_CHANNELS):
            channel = &self.gpu.channels[i]
            if not channel.bound:
                break
        else:
            raise ExhaustedError(f"all {_hw.MAX_CHANNELS} channels of the GPU are in use; free some first")
        memset(channel, 0, sizeof(Channel))
        self.gpu.serials[i] += 1
        channel.port = port
        channel.vspace = vspace
        self.gpu.slots[i].userd = self.gpu.ports[port].pages + page * _hw.USERD_PAGE_SIZE
        self.gpu.slots[i].get = 0
        self.gpu.slots[i].mask = 0
        memset(self.gpu.slots[i].userd, 0, _hw.USERD_PAGE_SIZE)
        space.channels += 1
        channel.bound = 1
        return i

    cdef Channel *_channel(self, uint32_t index) except NULL:
        if index >= _hw.MAX_CHANNELS or not self.gpu.channels[index].bound:
            raise InvalidValueError(f"{index} is not a bound channel")
        return &self.gpu.channels[index]

    def allow_class(self, uint32_t index, uint32_t engine_class):
        """Make an engine object: the channel may bind the class to a subchannel."""
        cdef Channel *channel = self._channel(index)
        cdef uint32_t *methods = NULL
        cdef bint copy = engine_class in (AMPERE_DMA_COPY_A, AMPERE_DMA_COPY_B)
        if not copy and engine_class not in (AMPERE_COMPUTE_A, AMPERE_COMPUTE_B, ADA_COMPUTE_A):
            raise NotSupportedError(f"class {engine_class:#06x} is neither a copy nor a compute class of this GPU")
        if (channel.copy_methods if copy else channel.compute_methods) == NULL:
            methods = <uint32_t *> calloc(METHOD_WORDS, 4)
            if methods == NULL:
                raise OutOfMemoryError("no memory for an engine object")
        with nogil:
            _lock(&self.gpu)
            if copy:
                channel.allow_copy = engine_class
                channel.copy_methods = methods if methods != NULL else channel.copy_methods
            else:
                channel.allow_compute = engine_class
                channel.compute_methods = methods if methods != NULL else channel.compute_methods
            pthread_mutex_unlock(&self.gpu.lock)

    def start_channel(self, uint32_t index, uint64_t ring, uint32_t entries):
        """Give a channel its ring and let it run."""
        cdef Channel *channel = self._channel(index)
        if entries < _hw.MIN_GPFIFO_ENTRIES or entries > _hw.MAX_GPFIFO_ENTRIES or entries & (entries - 1):
            raise InvalidValueError(f"{entries} is not a number of ring entries (a power of two, 2 to 65,536)")
        if ring & 7:
            raise InvalidValueError(f"the ring at {ring:#x} is not 8-byte aligned")
        with nogil:
            _lock(&self.gpu)
            channel.ring = ring
            self.gpu.slots[index].mask = entries - 1
            channel.enabled = 1
            pthread_mutex_unlock(&self.gpu.lock)
        _signal(self.gpu.control_fd)

    cdef void _let_go(self, int64_t index) noexcept:
        """Wait until the engine does not run channel `index`; interrupt its kernel if it lasts."""
        cdef uint64_t waited = 0
        with nogil:
            store_release32(&self.gpu.channels[index].stopping, 1)
            while True:
                _lock(&self.gpu)
                if self.gpu.current != index:
                    break
                pthread_mutex_unlock(&self.gpu.lock)
                usleep(STOP_POLL_US)
                waited += STOP_POLL_US
                if waited >= STOP_GRACE_US:
                    interrupt_kernel(&self.gpu)
            pthread_mutex_unlock(&self.gpu.lock)

    def stop_channel(self, uint32_t index):
        """Stop a channel, whatever it is doing, and unbind it. Take it off the runlist first."""
        cdef Channel *channel = self._channel(index)
        cdef uint32_t i, kept = 0
        for i in range(self.gpu.runlist_count):
            if self.gpu.runlist[i] == index:
                raise InvalidValueError(f"channel {index} is still on the runlist")
        self._let_go(index)
        with nogil:
            _lock(&self.gpu)
            channel.enabled = 0
            for i in range(self.gpu.request_count):
                if self.gpu.requests[i] != index:
                    self.gpu.requests[kept] = self.gpu.requests[i]
                    kept += 1
            self.gpu.request_count = kept
            pthread_mutex_unlock(&self.gpu.lock)
        self.gpu.vspaces[channel.vspace].channels -= 1
        free(channel.copy_methods)
        free(channel.compute_methods)
        memset(channel, 0, sizeof(Channel))
        self.gpu.slots[index].userd = NULL
        self.gpu.slots[index].mask = 0

    def set_runlist(self, order):
        """Set the order in which bound channels get their turns."""
        cdef uint32_t count = len(order), i
        cdef uint32_t[_hw.MAX_CHANNELS] copy
        if count > _hw.MAX_CHANNELS:
            raise InvalidValueError(f"a runlist has at most {_hw.MAX_CHANNELS} channels")
        for i in range(count):
            self._channel(order[i])
            copy[i] = order[i]
        with nogil:
            _lock(&self.gpu)
            for i in range(count):
                self.gpu.runlist[i] = copy[i]
            self.gpu.runlist_count = count
            pthread_mutex_unlock(&self.gpu.lock)
        _signal(self.gpu.control_fd)

    # Programs: the service thread's side

    def next_request(self):
        """Wait for a program to compile.

        Returns
        -------
        tuple or None
            ``((channel, serial), (vspace, generation), address, block, text)``; None when the engine
            stops. `text` is what stands at the program address up to its NUL, None if there is no NUL
            within the bound or the memory is not mapped.
        """
        cdef uint32_t index = 0, serial = 0, vspace = 0, generation = 0
        cdef uint32_t[3] block
        cdef uint64_t address = 0
        cdef bint found = False
        cdef const uint32_t *qmd
        cdef pollfd waiting
        waiting.fd = self.gpu.service_fd
        waiting.events = POLLIN
        with nogil:
            while not found and not load_acquire32(&self.gpu.stop):
                _lock(&self.gpu)
                if self.gpu.request_count:
                    found = True
                    self.gpu.request_count -= 1
                    index = self.gpu.requests[self.gpu.request_count]
                    serial = self.gpu.serials[index]
                    vspace = self.gpu.channels[index].vspace
                    generation = self.gpu.vspaces[vspace].generation
                    block = self.gpu.channels[index].launch.block
                    qmd = self.gpu.channels[index].launch.qmd
                    address = qmd[_hw.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_UPPER__LOW >> 5] & 0x1FFFF
                    address = address << 32 | qmd[_hw.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_LOWER__LOW >> 5]
                pthread_mutex_unlock(&self.gpu.lock)
                if not found:
                    if poll(&waiting, 1, WATCHDOG_LOOK_MS) > 0:
                        _drain(self.gpu.service_fd)
                    self._watch()
        if not found:
            return None
        text = self._text(vspace, generation, address)
        return (index, serial), (vspace, generation), address, (block[0], block[1], block[2]), text

    cdef void _watch(self) noexcept nogil:
        cdef uint64_t started = load_acquire64(&self.gpu.kernel_start_ns)
        if started and now_ns() - started > self.gpu.watchdog_ns:
            interrupt_kernel(&self.gpu)

    cdef bytes _text(self, uint32_t vspace, uint32_t generation, uint64_t address):
        cdef VSpace *space = &self.gpu.vspaces[vspace]
        cdef uint8_t[4096] page
        cdef uint64_t length
        cdef int status
        cdef bytes chunk
        parts = []
        total = 0
        while total < _hw.MAX_PROGRAM_BYTES:
            length = 4096 - (address & 4095)
            with nogil:
                _lock_space(space)
                status = FP_OK - 1
                if space.attached and space.generation == generation:
                    status = mmu_read(&space.mmu, address, page, length)
                pthread_mutex_unlock(&space.lock)
            if status != FP_OK:
                return None
            chunk = (<char *> page)[:length]
            end = chunk.find(b"\0")
            if end >= 0:
                parts.append(chunk[:end])
                return b"".join(parts)
            parts.append(chunk)
            total += length
            address += length
        return None

    def install_program(self, asked, target, uint64_t address, block, kernel, uintptr_t code,
                        uint32_t shared_bytes, uint64_t scratch_bytes, uint32_t parameter_bytes, bytes name):
        """Put a compiled kernel into its address space's table, and let the channel that asked go on.

        `asked`, `target`, `address` and `block` are as :meth:`next_request` returned them. `kernel` is
        kept alive until the address space is detached.
        """
        cdef uint32_t index = asked[0], serial = asked[1], vspace = target[0], generation = target[1]
        cdef VSpace *space = &self.gpu.vspaces[vspace]
        cdef Program *slot
        cdef uint32_t[3] dimensions
        cdef uint32_t i
        cdef const char *text
        cdef bytes kept_name
        for i in range(3):
            dimensions[i] = block[i]
        if not space.attached or space.generation != generation:
            return
        kept = self.kernels[vspace]
        if id(kernel) not in kept:
            if len(kept) >= _hw.MAX_PROGRAMS_PER_VSPACE:
                self.refuse_program(asked, b"too many different programs in one address space")
                return
            kept[id(kernel)] = (kernel, name)
        kept_name = kept[id(kernel)][1]
        text = kept_name
        with nogil:
            _lock_space(space)
            if space.program_count >= PROGRAM_LIMIT:
                forget_programs(space)
            slot = find_program(space, address, dimensions)
            if slot.code == NULL:
                space.program_count += 1
            slot.address = address
            slot.block = dimensions
            slot.shared_bytes = shared_bytes
            slot.scratch_bytes = scratch_bytes
            slot.parameter_bytes = parameter_bytes
            slot.ns_per_block = 0
            slot.name = text
            slot.code = <kernel_t> <void *> code
            pthread_mutex_unlock(&space.lock)
            _lock(&self.gpu)
            if self.gpu.serials[index] == serial and self.gpu.channels[index].program_wait == 2:
                self.gpu.channels[index].program_wait = 0
            pthread_mutex_unlock(&self.gpu.lock)
        _signal(self.gpu.control_fd)

    def refuse_program(self, asked, bytes message):
        """Stop the channel that asked, with the compiler's message in its error notifier."""
        cdef uint32_t index = asked[0], serial = asked[1]
        cdef Channel *channel = &self.gpu.channels[index]
        cdef const char *text = message
        with nogil:
            _lock(&self.gpu)
            if self.gpu.serials[index] == serial and channel.program_wait == 2:
                channel.program_wait = 0
                channel_fault(&self.gpu, channel, FAULT_BAD_PROGRAM, channel.launch.qmd_address, 0, text)
            pthread_mutex_unlock(&self.gpu.lock)
