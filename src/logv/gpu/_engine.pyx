"""The engine: one thread, outside the GIL, that runs every channel of the software GPU, and its helpers.

The class below is the wiring: it owns the C state, maps memory, and lets Python threads change the
tables while the engine runs. It checks what a driver could get wrong; what a guest can write is
checked where it is read (``_pbdma``, ``_copy_engine``, ``_compute_engine``).
"""

import os
import select

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from logv cimport _hw
from logv._fastpath cimport mmu_init, mmu_invalidate, store_release32
from logv.gpu._compute_engine cimport BASELINE_NS
from logv.gpu._compute_threads cimport dismiss_workers, interrupt_kernels, join_teams
from logv.gpu._memory cimport HostMemory, drop_arena, make_arena, release_aperture, reserve_aperture
from logv.gpu._programs cimport (
    Request, answer_channel, is_current, place_program, program_text, wait_for_request,
)
from logv.gpu._scheduler cimport lock_gpu, run_engine, signal
from logv.gpu._state cimport (
    MAX_PORTS, METHOD_WORDS, PROGRAM_SLOTS, Channel, Gpu, Port, Program, VSpace,
    kernel_t, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)

from logv.errors import ExhaustedError, InvalidValueError, NotSupportedError, OutOfMemoryError
from logv.hw.clc7b5 import AMPERE_DMA_COPY_A, AMPERE_DMA_COPY_B
from logv.hw.clc7c0 import ADA_COMPUTE_A, AMPERE_COMPUTE_A, AMPERE_COMPUTE_B


cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t, size_t)

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int)

cdef enum:
    SCRATCH_GUARD = 2 << 20
    # How long stop_channel waits for a block range to end by itself.
    STOP_GRACE_US = 2000
    STOP_POLL_US = 50


# Edges: see _scheduler._sleep.
_DOORBELL_EVENTS = select.EPOLLIN | select.EPOLLET

cdef uint64_t GUARD_BYTES = <uint64_t> 1 << _hw.APERTURE_GUARD_BITS
cdef uint64_t SHARED_BYTES = <uint64_t> 1 << _hw.SHARED_ARENA_BITS


cdef class ProgramRequest:
    """A program that is to be compiled.

    Attributes
    ----------
    text : bytes or None
        What stands at the program address up to its NUL; None if there is no NUL within the bound, or the
        memory is not mapped.
    block : tuple of int
    baseline : Executable or None
        Code that is to be replaced by better code; None where a channel waits for the program.
    """

    cdef Request request
    cdef readonly bytes text
    cdef readonly object baseline

    @property
    def block(self):
        """Threads of a block in x, y and z."""
        return (self.request.block[0], self.request.block[1], self.request.block[2])


cdef class Engine:
    """The state of one software GPU, and the verbs a driver changes it with.

    Parameters
    ----------
    watchdog_ns : int
        A range of thread blocks (at least one block) that runs longer stops its channel.
    timeslice_ns : int
        How long a channel may run while others wait; one thread block is the smallest step.
    compute_threads : int
        How many threads run the blocks of a launch, at most ``MAX_COMPUTE_THREADS``. The engine's is one.
    """

    cdef Gpu gpu
    cdef HostMemory memory
    cdef list kernels        # per address space: id -> (compiled kernel, name) its programs point into
    cdef object epoll

    def __cinit__(self, uint64_t watchdog_ns, uint64_t timeslice_ns, uint32_t compute_threads):
        cdef int i
        cdef Gpu *gpu = &self.gpu
        memset(gpu, 0, sizeof(Gpu))
        gpu.control_fd = gpu.service_fd = -1
        gpu.current = -1
        gpu.thread_count = compute_threads
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

    def __init__(self, uint64_t watchdog_ns, uint64_t timeslice_ns, uint32_t compute_threads):
        cdef Gpu *gpu = &self.gpu
        cdef uint32_t i
        self.kernels = [{} for _ in range(_hw.MAX_VSPACES)]
        self.memory = HostMemory()
        for i in range(gpu.thread_count):
            gpu.threads[i].arena_vspace = -1
            gpu.threads[i].shared_arena = make_arena(SHARED_BYTES, GUARD_BYTES)
            gpu.threads[i].scratch_arena = make_arena(_hw.MAX_SCRATCH_BYTES, SCRATCH_GUARD)
        gpu.control_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        gpu.service_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.epoll = select.epoll()
        gpu.epoll_fd = self.epoll.fileno()
        self.epoll.register(gpu.control_fd, select.EPOLLIN)

    def __dealloc__(self):
        cdef Gpu *gpu = &self.gpu
        cdef int i
        for thread in gpu.threads[:gpu.thread_count]:
            if thread.shared_arena != NULL:
                drop_arena(thread.shared_arena, SHARED_BYTES, GUARD_BYTES)
            if thread.scratch_arena != NULL:
                drop_arena(thread.scratch_arena, _hw.MAX_SCRATCH_BYTES, SCRATCH_GUARD)
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
            release_aperture(space.aperture)
            space.aperture = NULL
        free(space.programs)
        space.programs = NULL

    # Threads

    def run(self):
        """Run channels until :meth:`stop`; the body of the engine thread."""
        with nogil:
            run_engine(&self.gpu)

    def compute(self, uint32_t index):
        """Run blocks beside the engine until :meth:`stop`; the body of compute thread `index`, from 1 on."""
        with nogil:
            join_teams(&self.gpu, index)

    def stop(self):
        """Make :meth:`run`, :meth:`compute` and :meth:`next_request` return, whatever a kernel is doing."""
        cdef int64_t current
        store_release32(&self.gpu.stop, 1)
        signal(self.gpu.control_fd)
        signal(self.gpu.service_fd)
        with nogil:
            # The engine looks at `stop` under the lock before it takes a channel up.
            lock_gpu(&self.gpu)
            current = self.gpu.current
            pthread_mutex_unlock(&self.gpu.lock)
        if current >= 0:
            self._let_go(current)
        dismiss_workers(&self.gpu)

    def close(self):
        """Give up the descriptors; call it when all threads have ended."""
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
        self.memory.map_window(system, address, size, fd)

    def unmap_window(self, bint system, uint64_t address):
        """Take a window's memory away; nothing may be mapped from it any more."""
        self.memory.unmap_window(system, address)

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
            space.aperture = reserve_aperture()
        except OutOfMemoryError:
            free(space.programs)
            space.programs = NULL
            raise
        mmu_init(&space.mmu, &self.memory.physical, pdb)
        space.program_count = 0
        space.generation += 1
        space.attached = 1
        return i

    def detach_vspace(self, uint32_t index):
        """Give up an address space that no channel uses."""
        cdef VSpace *space = self._space(index)
        cdef uint32_t i
        if space.channels:
            raise InvalidValueError(f"address space {index} still has {space.channels} channels")
        with nogil:
            pthread_mutex_lock(&space.lock)
            space.attached = 0
            pthread_mutex_unlock(&space.lock)
            lock_gpu(&self.gpu)
            for i in range(self.gpu.thread_count):
                if self.gpu.threads[i].arena_vspace == index:
                    # The next owner of this number must not pass for the one whose data the arenas hold.
                    self.gpu.threads[i].arena_vspace = -1
            pthread_mutex_unlock(&self.gpu.lock)
        self._drop_space(space)
        self.kernels[index] = {}
        self.memory.forget(index)

    cdef VSpace *_space(self, uint32_t index) except NULL:
        if index >= _hw.MAX_VSPACES or not self.gpu.vspaces[index].attached:
            raise InvalidValueError(f"{index} is not an attached address space")
        return &self.gpu.vspaces[index]

    def invalidate_tlb(self, uint32_t index, uint64_t address, uint64_t size):
        """Forget cached translations, and mirror [address, address + size) into the aperture.

        Returns when nothing uses the old translations any more.
        """
        cdef VSpace *space = self._space(index)
        with nogil:
            pthread_mutex_lock(&space.lock)
            mmu_invalidate(&space.mmu)
        try:
            self.memory.mirror(index, space, address, size)
        finally:
            pthread_mutex_unlock(&space.lock)

    def aperture(self, uint32_t index):
        """Return the host address of an address space's GPU virtual address 0."""
        return <uintptr_t> self._space(index).aperture

    # Ports

    def add_port(self, uint8_t[::1] pages not None, int doorbell_fd, int interrupt_fd):
        """Take in a client's BAR3 and eventfds; return the port's index. `pages` must outlive the port."""
        cdef int i
        cdef Port *port
        for i in range(MAX_PORTS):
            port = &self.gpu.ports[i]
            if not port.page_count:
                break
        else:
            raise ExhaustedError(f"all {MAX_PORTS} ports of the GPU are in use")
        self.epoll.register(doorbell_fd, _DOORBELL_EVENTS)
        with nogil:
            lock_gpu(&self.gpu)
            memset(port, 0, sizeof(Port))
            port.pages = &pages[0]
            port.doorbell_fd = doorbell_fd
            port.interrupt_fd = interrupt_fd
            port.page_count = <uint32_t> (pages.shape[0] // _hw.USERD_PAGE_SIZE)
            pthread_mutex_unlock(&self.gpu.lock)
        # An engine that sleeps has not put up its flag here yet.
        signal(self.gpu.control_fd)
        return i

    def set_doorbell(self, uint32_t index, int doorbell_fd):
        """Let another eventfd wake the engine for a port; the old one may be closed then."""
        self.epoll.register(doorbell_fd, _DOORBELL_EVENTS)
        self.epoll.unregister(self.gpu.ports[index].doorbell_fd)
        self.gpu.ports[index].doorbell_fd = doorbell_fd

    def wake(self):
        """Wake the engine, if it sleeps."""
        signal(self.gpu.control_fd)

    def remove_port(self, uint32_t index):
        """Forget a port none of whose channels is bound any more."""
        self.epoll.unregister(self.gpu.ports[index].doorbell_fd)
        with nogil:
            lock_gpu(&self.gpu)
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
            lock_gpu(&self.gpu)
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
            lock_gpu(&self.gpu)
            channel.ring = ring
            self.gpu.slots[index].mask = entries - 1
            channel.enabled = 1
            pthread_mutex_unlock(&self.gpu.lock)
        signal(self.gpu.control_fd)

    cdef void _let_go(self, int64_t index) noexcept:
        """Wait until the engine does not run channel `index`; interrupt its kernel if it lasts."""
        cdef uint64_t waited = 0
        with nogil:
            store_release32(&self.gpu.channels[index].stopping, 1)
            while True:
                lock_gpu(&self.gpu)
                if self.gpu.current != index:
                    break
                # While the channel has its turn, whatever runs is its own; the lock keeps it from ending.
                if waited >= STOP_GRACE_US:
                    interrupt_kernels(&self.gpu, 0)
                pthread_mutex_unlock(&self.gpu.lock)
                usleep(STOP_POLL_US)
                waited += STOP_POLL_US
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
            lock_gpu(&self.gpu)
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
            lock_gpu(&self.gpu)
            for i in range(count):
                self.gpu.runlist[i] = copy[i]
            self.gpu.runlist_count = count
            pthread_mutex_unlock(&self.gpu.lock)
        signal(self.gpu.control_fd)

    # Programs: the service thread's side

    def next_request(self):
        """Wait for a program to compile.

        Returns
        -------
        ProgramRequest or None
            None when the engine stops.
        """
        cdef ProgramRequest asked = ProgramRequest.__new__(ProgramRequest)
        cdef bint found
        while True:
            with nogil:
                found = wait_for_request(&self.gpu, &asked.request)
            if not found:
                return None
            if asked.request.baseline == NULL:
                break
            # Kept as long as its address space is attached; otherwise nobody wants better code any more.
            asked.baseline = self._kept(&asked.request)
            if asked.baseline is not None:
                break
        asked.text = program_text(&self.gpu, &asked.request)
        return asked

    cdef object _kept(self, const Request *request):
        if is_current(&self.gpu, request):
            for kernel, _ in self.kernels[request.vspace].values():
                if <uintptr_t> kernel.address == <uintptr_t> request.baseline:
                    return kernel
        return None

    def install_program(self, ProgramRequest asked, kernel):
        """Put a compiled kernel into its address space's table, and let the channel that waits go on.

        `kernel` is kept alive until the address space is detached. Where it is the baseline code that was to
        be replaced, that stays.
        """
        cdef Request *request = &asked.request
        cdef Program program
        cdef bytes name
        if not is_current(&self.gpu, request):
            return
        kept = self.kernels[request.vspace]
        if id(kernel) not in kept:
            if len(kept) >= _hw.MAX_PROGRAMS_PER_VSPACE:
                if asked.baseline is None:
                    self.refuse_program(asked, b"too many different programs in one address space")
                return
            kept[id(kernel)] = (kernel, kernel.name.encode())
        name = kept[id(kernel)][1]
        program.address = request.address
        program.block = request.block
        program.code = <kernel_t> <void *> <uintptr_t> kernel.address
        program.shared_bytes = kernel.shared_bytes
        program.parameter_bytes = kernel.parameter_bytes
        program.scratch_bytes = kernel.scratch_bytes
        program.ns_per_block = 0
        program.baseline_ns = 0 if kernel.optimized or asked.baseline is not None else BASELINE_NS
        program.replaces = request.baseline
        program.name = name
        with nogil:
            place_program(&self.gpu, request, &program)
            if request.baseline == NULL:
                answer_channel(&self.gpu, request, NULL)

    def refuse_program(self, ProgramRequest asked, bytes message):
        """Stop the channel that waits, with the compiler's message in its error notifier."""
        cdef const char *text = message
        with nogil:
            answer_channel(&self.gpu, &asked.request, text)
