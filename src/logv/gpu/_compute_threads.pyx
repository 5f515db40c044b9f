from libc.stdint cimport UINT64_MAX, int32_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from posix.types cimport pid_t

from logv._fastpath cimport fence_full, load_acquire32, load_acquire64, now_ns, store_release64
from logv.gpu._channel cimport logv_count, logv_swap32, logv_swap64
from logv.gpu._state cimport Channel, ComputeThread, Gpu, Launch, Team


cdef extern from "_guard.h" nogil:
    ctypedef int32_t (*logv_kernel_t)(const uint8_t *, uint8_t *, uint8_t *, uint8_t *, const uint32_t *,
                                      uint64_t, uint64_t)
    void logv_guard_install()
    void logv_guard_thread()
    int logv_guarded_run(logv_kernel_t, const uint8_t *, uint8_t *, uint8_t *, uint8_t *, const uint32_t *,
                         uint64_t, uint64_t, uint64_t, const uint64_t *)
    size_t logv_guard_fault_address()
    int logv_guard_fault_write()
    void logv_guard_interrupt(pid_t)

cdef extern from "_team.h" nogil:
    void logv_sleep(const uint32_t *, uint32_t)
    void logv_wake(const uint32_t *, int)
    void logv_gate_open(uint32_t *)
    bint logv_gate_enter(uint32_t *)
    bint logv_gate_is_open(const uint32_t *)
    void logv_gate_leave(uint32_t *)
    void logv_gate_close(uint32_t *)
    void logv_add64(uint64_t *, uint64_t)

cdef extern from "<unistd.h>" nogil:
    int usleep(unsigned int)

cdef extern from *:
    """
    #include <sys/prctl.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    static inline pid_t logv_gettid(void) { return (pid_t)syscall(SYS_gettid); }
    static inline void logv_name_thread(const char *name) { prctl(PR_SET_NAME, name); }
    """
    int logv_gettid() nogil
    void logv_name_thread(const char *) nogil

cdef enum:
    # Ranges that a team's threads take: small enough that all end at about the same time, and large
    # enough that the guard and the clock around each do not count.
    LONGEST_RANGE_NS = 100_000
    SHORTEST_RANGE_NS = 10_000
    INTERRUPT_AGAIN_US = 50


cdef void install_guard() noexcept nogil:
    logv_guard_install()


cdef void enter_compute_thread(Gpu *gpu, uint32_t index, const char *name) noexcept nogil:
    gpu.threads[index].tid = logv_gettid()
    # Python does not tell the kernel; top, perf and who pins threads look there.
    logv_name_thread(name)
    logv_guard_install()
    logv_guard_thread()


cdef void clean_arenas(ComputeThread *thread, const Channel *channel) noexcept nogil:
    cdef uint64_t shared = channel.launch.shared_bytes
    if thread.arena_vspace != channel.vspace:
        memset(thread.shared_arena, 0, thread.shared_dirty)
        memset(thread.scratch_arena, 0, thread.scratch_dirty)
        thread.shared_dirty = thread.scratch_dirty = 0
        thread.arena_vspace = channel.vspace
    # Shared offsets may reach the end of the last page without a fault, so that page counts as used.
    thread.shared_dirty = max(thread.shared_dirty, (shared + 4095) & ~<uint64_t> 4095)
    thread.scratch_dirty = max(thread.scratch_dirty, channel.launch.program.scratch_bytes)


cdef int run_blocks(Gpu *gpu, ComputeThread *thread, Channel *channel, uint64_t begin, uint64_t end,
                    uint64_t started_ns) noexcept nogil:
    cdef Launch *launch = &channel.launch
    cdef uint64_t run = thread.run + 1
    store_release64(&thread.run, run)
    store_release64(&thread.start_ns, started_ns)
    # Whoever fails says so and looks at the start afterwards: one of the two sees the other.
    fence_full()
    if load_acquire32(&gpu.team.failed):
        thread.outcome = KERNEL_INTERRUPTED
    else:
        thread.outcome = logv_guarded_run(
            <logv_kernel_t> launch.program.code, gpu.parameter_arena, gpu.vspaces[channel.vspace].aperture,
            thread.shared_arena, thread.scratch_arena, launch.grid, begin, end, run, &thread.abort_run,
        )
    store_release64(&thread.start_ns, 0)
    if thread.outcome == KERNEL_FAULTED:
        thread.fault_address = logv_guard_fault_address()
        thread.fault_write = logv_guard_fault_write()
    return thread.outcome


cdef void _interrupt(ComputeThread *thread, uint64_t run) noexcept nogil:
    # Says which run is meant: the signal may arrive when another one is under way.
    store_release64(&thread.abort_run, run)
    logv_guard_interrupt(thread.tid)


cdef void interrupt_kernels(Gpu *gpu, uint64_t ns) noexcept nogil:
    cdef ComputeThread *thread
    cdef uint64_t run, started
    cdef uint32_t i
    for i in range(gpu.thread_count):
        thread = &gpu.threads[i]
        # In this order: a run that begins in between has a start of its own, which is recent.
        run = load_acquire64(&thread.run)
        started = load_acquire64(&thread.start_ns)
        if started and now_ns() - started >= ns:
            _interrupt(thread, run)


cdef void _fail(Gpu *gpu, ComputeThread *thread) noexcept nogil:
    """Make `thread` the one that is reported, if it is the first, and end what the others run."""
    cdef uint32_t i, running = 1
    if not logv_swap32(&gpu.team.failed, 0, <uint32_t> (thread - &gpu.threads[0]) + 1):
        return
    fence_full()
    while running:
        running = 0
        for i in range(gpu.thread_count):
            if &gpu.threads[i] != thread and load_acquire64(&gpu.threads[i].start_ns):
                running += 1
                _interrupt(&gpu.threads[i], load_acquire64(&gpu.threads[i].run))
        if running:
            # A signal that came just before its run was armed is lost.
            usleep(INTERRUPT_AGAIN_US)


cdef uint64_t _take(Gpu *gpu, Launch *launch, uint64_t *begin) noexcept nogil:
    """Take the next range of blocks; return how many they are, 0 if none is left."""
    cdef uint64_t cost = gpu.team.ns_per_block, seen, left, count
    while True:
        seen = load_acquire64(&launch.next_block)
        left = launch.blocks - seen
        if left == 0:
            return 0
        # Large ranges first, small ones at the end.
        count = min(left // (2 * gpu.thread_count), LONGEST_RANGE_NS // cost)
        count = min(left, max(count, SHORTEST_RANGE_NS // cost, <uint64_t> 1))
        if logv_swap64(&launch.next_block, seen, seen + count):
            begin[0] = seen
            return count


cdef void _take_part(Gpu *gpu, ComputeThread *thread, uint64_t deadline_ns) noexcept nogil:
    """Run blocks of the team's launch until there are none, it is `deadline_ns`, or the gate is closed."""
    cdef Team *team = &gpu.team
    cdef Channel *channel = team.channel
    cdef uint64_t begin = 0, count, started, now, busy = 0, done = 0
    clean_arenas(thread, channel)
    while True:
        count = _take(gpu, &channel.launch, &begin)
        if count == 0:
            break
        started = now_ns()
        if run_blocks(gpu, thread, channel, begin, begin + count, started) != KERNEL_RAN:
            _fail(gpu, thread)
            break
        now = now_ns()
        busy += now - started
        done += count
        if now >= deadline_ns or not logv_gate_is_open(&team.gate) or load_acquire32(&channel.stopping):
            break
    logv_add64(&team.busy_ns, busy)
    logv_add64(&team.blocks_done, done)


cdef ComputeThread *run_together(Gpu *gpu, Channel *channel, uint64_t deadline_ns,
                                 uint64_t *ns_per_block) noexcept nogil:
    cdef Team *team = &gpu.team
    cdef uint32_t failed
    team.channel = channel
    team.ns_per_block = ns_per_block[0]
    team.busy_ns = team.blocks_done = 0
    gpu.threads[0].outcome = KERNEL_RAN
    logv_gate_open(&team.gate)
    logv_count(&team.calls, 1)
    logv_wake(&team.calls, gpu.thread_count - 1)
    _take_part(gpu, &gpu.threads[0], deadline_ns)
    logv_gate_close(&team.gate)
    if team.blocks_done:
        ns_per_block[0] = (3 * team.ns_per_block + team.busy_ns // team.blocks_done) // 4 + 1
    failed = team.failed
    team.failed = 0
    return &gpu.threads[failed - 1 if failed else 0]


cdef void join_teams(Gpu *gpu, uint32_t index) noexcept nogil:
    cdef Team *team = &gpu.team
    cdef uint32_t seen = 0
    enter_compute_thread(gpu, index, b"logv-compute")
    while True:
        logv_sleep(&team.calls, seen)
        seen = load_acquire32(&team.calls)
        if load_acquire32(&gpu.stop):
            return
        # Who comes late finds the gate closed, or blocks of another part to take.
        if logv_gate_enter(&team.gate):
            # Until the engine closes the gate: while it is busy, the part cannot end.
            _take_part(gpu, &gpu.threads[index], UINT64_MAX)
            logv_gate_leave(&team.gate)


cdef void dismiss_workers(Gpu *gpu) noexcept nogil:
    logv_count(&gpu.team.calls, 1)
    logv_wake(&gpu.team.calls, gpu.thread_count)
