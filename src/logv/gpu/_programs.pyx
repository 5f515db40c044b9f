from libc.stdint cimport uint8_t, uint64_t

from logv cimport _hw
from logv._fastpath cimport FP_OK, load_acquire32, mmu_read
from logv.gpu._channel cimport FAULT_BAD_PROGRAM, channel_fault
from logv.gpu._compute_engine cimport find_program, forget_programs
from logv.gpu._compute_threads cimport interrupt_kernels
from logv.gpu._scheduler cimport drain, lock_gpu, signal
from logv.gpu._state cimport (
    PROGRAM_LIMIT, Channel, Gpu, Launch, Program, VSpace, pthread_mutex_lock, pthread_mutex_unlock,
    qmd_field,
)


cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd *, unsigned long, int)
    enum:
        POLLIN

cdef enum:
    WATCHDOG_LOOK_MS = 500


cdef bint _take(Gpu *gpu, Request *request) noexcept nogil:
    """Take what was asked for. Needs the GPU's lock."""
    cdef Launch *launch
    if gpu.request_count:
        # Channels that wait come first.
        gpu.request_count -= 1
        request.baseline = NULL
        request.channel = gpu.requests[gpu.request_count]
        request.serial = gpu.serials[request.channel]
        request.vspace = gpu.channels[request.channel].vspace
        request.generation = gpu.vspaces[request.vspace].generation
        launch = &gpu.channels[request.channel].launch
        request.block = launch.block
        request.address = qmd_field(launch.qmd, _hw.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_UPPER)
        request.address = request.address << 32
        request.address |= qmd_field(launch.qmd, _hw.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_LOWER)
        return True
    if gpu.wish.baseline != NULL:
        request.baseline = gpu.wish.baseline
        request.vspace = gpu.wish.vspace
        request.generation = gpu.wish.generation
        request.block = gpu.wish.block
        request.address = gpu.wish.address
        gpu.wish.baseline = NULL
        return True
    return False


cdef bint _is_wanted(Gpu *gpu, const Request *request) noexcept nogil:
    """Does a wish still hold? The answer to the one before may have come in between."""
    cdef VSpace *space = &gpu.vspaces[request.vspace]
    cdef const Program *slot
    cdef bint wanted
    pthread_mutex_lock(&space.lock)
    wanted = is_current(gpu, request)
    if wanted:
        slot = find_program(space, request.address, request.block)
        wanted = slot.code == request.baseline and slot.baseline_ns
    pthread_mutex_unlock(&space.lock)
    return wanted


cdef bint wait_for_request(Gpu *gpu, Request *request) noexcept nogil:
    cdef bint found = False
    cdef pollfd waiting
    waiting.fd = gpu.service_fd
    waiting.events = POLLIN
    while not found and not load_acquire32(&gpu.stop):
        lock_gpu(gpu)
        found = _take(gpu, request)
        pthread_mutex_unlock(&gpu.lock)
        if found and request.baseline != NULL:
            found = _is_wanted(gpu, request)
        elif not found:
            if poll(&waiting, 1, WATCHDOG_LOOK_MS) > 0:
                drain(gpu.service_fd)
            interrupt_kernels(gpu, gpu.watchdog_ns)
    return found


cdef bytes program_text(Gpu *gpu, const Request *request):
    cdef VSpace *space = &gpu.vspaces[request.vspace]
    cdef uint8_t[4096] page
    cdef uint64_t length, address = request.address
    cdef int status
    cdef bytes chunk
    parts = []
    total = 0
    while total < _hw.MAX_PROGRAM_BYTES:
        length = 4096 - (address & 4095)
        with nogil:
            pthread_mutex_lock(&space.lock)
            status = FP_OK - 1
            if space.attached and space.generation == request.generation:
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


cdef bint is_current(const Gpu *gpu, const Request *request) noexcept nogil:
    cdef const VSpace *space = &gpu.vspaces[request.vspace]
    return space.attached and space.generation == request.generation


cdef void place_program(Gpu *gpu, const Request *request, const Program *program) noexcept nogil:
    cdef VSpace *space = &gpu.vspaces[request.vspace]
    cdef Program *slot
    pthread_mutex_lock(&space.lock)
    # Once more: the address space may have been detached while this waited for its lock.
    if is_current(gpu, request):
        if request.baseline == NULL and space.program_count >= PROGRAM_LIMIT:
            forget_programs(space)
        slot = find_program(space, program.address, program.block)
        # Better code comes late where the guest has put another program there.
        if request.baseline == NULL or slot.code == request.baseline:
            if slot.code == NULL:
                space.program_count += 1
            slot[0] = program[0]
    pthread_mutex_unlock(&space.lock)


cdef void answer_channel(Gpu *gpu, const Request *request, const char *message) noexcept nogil:
    cdef Channel *channel = &gpu.channels[request.channel]
    lock_gpu(gpu)
    if gpu.serials[request.channel] == request.serial and channel.program_wait == 2:
        channel.program_wait = 0
        if message != NULL:
            channel_fault(gpu, channel, FAULT_BAD_PROGRAM, channel.launch.qmd_address, 0, message)
    pthread_mutex_unlock(&gpu.lock)
    if message == NULL:
        signal(gpu.control_fd)
