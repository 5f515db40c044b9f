from libc.stdint cimport uint32_t, uint64_t

from logv._fastpath cimport doorbell_sleeping, gp_pending, idle_step, load_acquire32, now_ns
from logv.gpu._channel cimport logv_count
from logv.gpu._compute_threads cimport enter_compute_thread, install_guard
from logv.gpu._pbdma cimport channel_run
from logv.gpu._state cimport (
    MAX_PORTS, STEP_BLOCKED, Channel, Gpu, pthread_mutex_lock, pthread_mutex_unlock,
)

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        uint32_t u32
    struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_wait(int, epoll_event *, int, int)

cdef extern from "<unistd.h>" nogil:
    ssize_t read(int, void *, size_t)
    ssize_t write(int, const void *, size_t)

cdef extern from "<sched.h>" nogil:
    int sched_yield()

cdef enum:
    EVENTS = 64
    # While a channel waits on a semaphore that a CPU may write without ringing, the engine looks this
    # often.
    ACQUIRE_LOOK_MS = 1


cdef void drain(int fd) noexcept nogil:
    cdef uint64_t value
    read(fd, &value, 8)


cdef void signal(int fd) noexcept nogil:
    cdef uint64_t one = 1
    write(fd, &one, 8)


cdef void lock_gpu(Gpu *gpu) noexcept nogil:
    """Take the GPU's lock from a Python thread; the engine steps back while anyone is counted here."""
    logv_count(&gpu.want_lock, 1)
    pthread_mutex_lock(&gpu.lock)
    logv_count(&gpu.want_lock, -1)


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
    signal(gpu.service_fd)


cdef void _post_wish(Gpu *gpu, Channel *channel) noexcept nogil:
    """Hand a channel's wish for better code to the service thread. Needs the GPU's lock."""
    if gpu.wish.baseline == NULL:
        gpu.wish = channel.wish
        signal(gpu.service_fd)
    channel.wish.baseline = NULL


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
        if gpu.channels[index].wish.baseline != NULL:
            _post_wish(gpu, &gpu.channels[index])
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
    cdef uint32_t j, index
    pthread_mutex_lock(&gpu.lock)
    _say_sleeping(gpu, 1)
    # Each flag was followed by a full fence: a submitter that did not see it is seen here.
    for j in range(gpu.runlist_count):
        index = gpu.runlist[j]
        if gp_pending(&gpu.slots[index]) and _runnable(gpu, index) and not gpu.channels[index].acquiring:
            work = True
            break
    timeout = ACQUIRE_LOOK_MS if _waits_for_memory(gpu) else -1
    pthread_mutex_unlock(&gpu.lock)
    if not work:
        gpu.sleeps += 1
        count = epoll_wait(gpu.epoll_fd, events, EVENTS, timeout)
        for i in range(max(count, 0)):
            # A client's eventfd is never read: whoever shares it can turn its reads into blocking ones.
            # It is watched for edges, of which each write is one.
            if <int> events[i].data.u32 == gpu.control_fd:
                drain(gpu.control_fd)
        install_guard()
    pthread_mutex_lock(&gpu.lock)
    _say_sleeping(gpu, 0)
    pthread_mutex_unlock(&gpu.lock)
    return count > 0


cdef void run_engine(Gpu *gpu) noexcept nogil:
    cdef uint64_t idle_since = now_ns()
    enter_compute_thread(gpu, 0, b"logv-engine")
    while not load_acquire32(&gpu.stop):
        if _pass(gpu):
            idle_since = now_ns()
        elif idle_step(idle_since) and _sleep(gpu):
            idle_since = now_ns()
