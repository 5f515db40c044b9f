from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from logv cimport _hw
from logv._fastpath cimport (
    ACCESS_READ, ACCESS_WRITE, FP_OK, load_acquire32, mmu_read, mmu_write, now_ns,
)
from logv.gpu._channel cimport (
    FAULT_BAD_LAUNCH, FAULT_BAD_METHOD, FAULT_MISALIGNED, FAULT_MMU, FAULT_TIMEOUT, FAULT_TRAP,
    channel_fault, channel_mmu_fault, release_semaphore,
)
from logv.gpu._compute_threads cimport (
    KERNEL_INTERRUPTED, KERNEL_RAN, KERNEL_TRAPPED, clean_arenas, run_blocks, run_together,
)
from logv.gpu._state cimport (
    BANK0_BYTES, PROGRAM_SLOTS, STEP_BLOCKED, STEP_OK, STEP_YIELD, Channel, ComputeThread, Gpu, Launch, Program,
    VSpace, Wish, load64, qmd_field, pthread_mutex_lock, pthread_mutex_unlock,
)


cdef enum:
    LAUNCH_WAITS = 1
    LAUNCH_RUNS = 2
    # A range of blocks is cut so that it takes about this long: the grain of yielding and of stopping.
    RANGE_NS = 250_000
    # What is left of a launch is run by all threads if one needs at least this long for it: about four
    # times what it takes to wake the others.
    TOGETHER_NS = 200_000
    # The fields of RELEASE1 lie this many words after those of RELEASE0.
    RELEASE_WORDS = 4


cdef Program *find_program(VSpace *space, uint64_t address, const uint32_t *block) noexcept nogil:
    # Programs lie at multiples of 16; the odd factors spread what differs in a few bits.
    cdef uint64_t key = (address >> 4) * 40503 + block[0] * 31 + block[1] * 1021 + block[2] * 65537
    cdef uint64_t index = (key ^ (key >> 13)) & (PROGRAM_SLOTS - 1)
    cdef Program *slot
    # At least a quarter of the slots is empty (PROGRAM_LIMIT), so this ends.
    while True:
        slot = &space.programs[index]
        if slot.code == NULL or (slot.address == address and memcmp(slot.block, block, 12) == 0):
            return slot
        index = (index + 1) & (PROGRAM_SLOTS - 1)


cdef void forget_programs(VSpace *space) noexcept nogil:
    memset(space.programs, 0, PROGRAM_SLOTS * sizeof(Program))
    space.program_count = 0


cdef int _bad_launch(Gpu *gpu, Channel *channel, const char *why) noexcept nogil:
    return channel_fault(gpu, channel, FAULT_BAD_LAUNCH, channel.launch.qmd_address, 0, why)


cdef int _schedule(Gpu *gpu, Channel *channel, uint64_t address) noexcept nogil:
    """Take in the QMD at `address`: read it once, check every field that is used, start the launch."""
    cdef Launch *launch = &channel.launch
    cdef VSpace *space = &gpu.vspaces[channel.vspace]
    cdef const uint32_t *qmd = launch.qmd
    cdef uint64_t bank_address, size, width, height
    memset(&launch.program, 0, sizeof(Program))
    launch.qmd_address = address
    if mmu_read(&space.mmu, address, launch.qmd, _hw.NVC7C0_QMDV03_00__SIZE) != FP_OK:
        return channel_mmu_fault(gpu, channel)
    if qmd_field(qmd, _hw.NVC7C0_QMDV03_00_QMD_MAJOR_VERSION) != 3:
        return _bad_launch(gpu, channel, b"the QMD's major version is not 3")
    launch.block[0] = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_THREAD_DIMENSION0)
    launch.block[1] = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_THREAD_DIMENSION1)
    launch.block[2] = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_THREAD_DIMENSION2)
    if (
        launch.block[0] == 0 or launch.block[0] > _hw.MAX_BLOCK_DIM_X
        or launch.block[1] == 0 or launch.block[1] > _hw.MAX_BLOCK_DIM_Y
        or launch.block[2] == 0 or launch.block[2] > _hw.MAX_BLOCK_DIM_Z
        or launch.block[0] * launch.block[1] * launch.block[2] > _hw.MAX_THREADS_PER_BLOCK
    ):
        return _bad_launch(gpu, channel, b"impossible block dimensions")
    launch.grid[0] = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_RASTER_WIDTH)
    launch.grid[1] = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_RASTER_HEIGHT)
    launch.grid[2] = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_RASTER_DEPTH)
    if launch.grid[0] == 0 or launch.grid[0] > _hw.MAX_GRID_DIM_X or launch.grid[1] == 0 or launch.grid[2] == 0:
        return _bad_launch(gpu, channel, b"impossible grid dimensions")
    launch.blocks = <uint64_t> launch.grid[0] * launch.grid[1] * launch.grid[2]
    width = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_RASTER_WIDTH_RESUME)
    height = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_RASTER_HEIGHT_RESUME)
    launch.next_block = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CTA_RASTER_DEPTH_RESUME)
    launch.next_block = width + launch.grid[0] * (height + launch.grid[1] * launch.next_block)
    if launch.next_block >= launch.blocks:
        return _bad_launch(gpu, channel, b"the resume position lies outside the grid")
    launch.shared_bytes = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_SHARED_MEMORY_SIZE)
    if launch.shared_bytes > _hw.MAX_SHARED_MEMORY_PER_BLOCK:
        return _bad_launch(gpu, channel, b"too much shared memory")
    launch.bank0_bytes = 0
    if qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CONSTANT_BUFFER_VALID0):
        bank_address = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CONSTANT_BUFFER_ADDR_LOWER0)
        bank_address |= qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CONSTANT_BUFFER_ADDR_UPPER0) << 32
        size = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_CONSTANT_BUFFER_SIZE_SHIFTED4_0) << 4
        size = min(size, <uint64_t> BANK0_BYTES)
        # Copied once: what the guest does to the bank afterwards does not reach a running kernel.
        if mmu_read(&space.mmu, bank_address, launch.bank0, size) != FP_OK:
            return channel_mmu_fault(gpu, channel)
        launch.bank0_bytes = <uint32_t> size
    if qmd_field(qmd, _hw.NVC7C0_QMDV03_00_INVALIDATE_INSTRUCTION_CACHE):
        forget_programs(space)
    launch.active = LAUNCH_WAITS
    return STEP_OK


cdef int _find(Gpu *gpu, Channel *channel) noexcept nogil:
    """Find the launch's compiled program, or ask the service thread for it."""
    cdef Launch *launch = &channel.launch
    cdef const uint32_t *qmd = launch.qmd
    cdef uint64_t address = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_LOWER)
    cdef Program *program
    cdef uint32_t static_bytes
    address |= qmd_field(qmd, _hw.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_UPPER) << 32
    program = find_program(&gpu.vspaces[channel.vspace], address, launch.block)
    if program.code == NULL:
        channel.program_wait = 1
        return STEP_BLOCKED
    launch.program = program[0]
    if launch.shared_bytes < program.shared_bytes:
        return _bad_launch(gpu, channel, b"the QMD's shared memory is smaller than the kernel's own")
    if program.parameter_bytes and launch.bank0_bytes < _hw.CONSTANT_BANK0_PARAMETERS + program.parameter_bytes:
        return _bad_launch(gpu, channel, b"constant bank 0 is too small for the kernel's parameters")
    # The dynamic part begins behind the static one, at the next multiple of 16.
    static_bytes = (program.shared_bytes + 15) & ~<uint32_t> 15
    launch.grid[3] = launch.shared_bytes - min(static_bytes, launch.shared_bytes)
    launch.active = LAUNCH_RUNS
    return STEP_OK


cdef void _note_run(Gpu *gpu, Channel *channel, uint64_t cost, uint64_t ran_ns) noexcept nogil:
    """Note how long blocks of a launch take; ask for better code, and go over to it once it is there."""
    cdef VSpace *space = &gpu.vspaces[channel.vspace]
    cdef Program *program = &channel.launch.program
    cdef Program *slot = find_program(space, program.address, program.block)
    program.ns_per_block = cost
    if slot.code == program.code:
        slot.ns_per_block = cost
        if slot.baseline_ns > ran_ns:
            slot.baseline_ns -= ran_ns
        elif slot.baseline_ns:
            # Until it is there it is asked for again now and then: the wish may get lost.
            slot.baseline_ns = BASELINE_NS
            channel.wish = Wish(program.code, channel.vspace, space.generation, program.block, program.address)
    elif slot.replaces != NULL and slot.replaces == program.code:
        program[0] = slot[0]


cdef int _release(Gpu *gpu, Channel *channel, const uint32_t *qmd) noexcept nogil:
    """Carry out RELEASE0 of `qmd`, or RELEASE1 if `qmd` is advanced by the distance of the two."""
    cdef uint64_t address, payload, structure
    if not qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_ENABLE):
        return STEP_OK
    address = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_ADDRESS_LOWER)
    address |= qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_ADDRESS_UPPER) << 32
    payload = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_PAYLOAD_LOWER)
    if qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_PAYLOAD64B):
        payload |= qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_PAYLOAD_UPPER) << 32
    structure = qmd_field(qmd, _hw.NVC7C0_QMDV03_00_RELEASE0_STRUCTURE_SIZE)
    return release_semaphore(
        gpu, channel, address, payload,
        1 if structure == _hw.NVC7C0_QMDV03_00_RELEASE_STRUCTURE_SIZE_ONE_WORD else 2,
        structure == _hw.NVC7C0_QMDV03_00_RELEASE_STRUCTURE_SIZE_FOUR_WORDS,
    )


cdef int _complete(Gpu *gpu, Channel *channel) noexcept nogil:
    cdef const uint32_t *qmd = channel.launch.qmd
    cdef int step
    gpu.ports[channel.port].launches += 1
    channel.launch.active = 0
    step = _release(gpu, channel, qmd)
    if step == STEP_OK:
        step = _release(gpu, channel, qmd + RELEASE_WORDS)
    if (
        step == STEP_OK
        and qmd_field(qmd, _hw.NVC7C0_QMDV03_00_DEPENDENT_QMD0_ENABLE)
        and qmd_field(qmd, _hw.NVC7C0_QMDV03_00_DEPENDENT_QMD0_ACTION)
        == _hw.NVC7C0_QMDV03_00_DEPENDENT_QMD0_ACTION_QMD_SCHEDULE
    ):
        step = _schedule(gpu, channel, qmd_field(qmd, _hw.NVC7C0_QMDV03_00_DEPENDENT_QMD0_POINTER) << 8)
    return step


cdef int _kernel_fault(Gpu *gpu, Channel *channel, const ComputeThread *thread) noexcept nogil:
    """Report what ended a kernel early."""
    cdef size_t address = thread.fault_address
    cdef size_t low = <size_t> gpu.vspaces[channel.vspace].aperture
    cdef size_t guard = <size_t> 1 << _hw.APERTURE_GUARD_BITS
    cdef uint32_t access = ACCESS_WRITE if thread.fault_write else ACCESS_READ
    if thread.outcome == KERNEL_TRAPPED:
        return channel_fault(gpu, channel, FAULT_TRAP, 0, 0, NULL)
    if thread.outcome == KERNEL_INTERRUPTED:
        return channel_fault(gpu, channel, FAULT_TIMEOUT, 0, 0, NULL)
    if low - guard <= address < low + (<size_t> 1 << _hw.APERTURE_VA_BITS) + guard:
        # Below the aperture it reads as the two's complement address that the kernel computed.
        return channel_fault(gpu, channel, FAULT_MMU, address - low, access, NULL)
    low = <size_t> thread.shared_arena
    if low - guard <= address < low + (<size_t> 1 << _hw.SHARED_ARENA_BITS) + guard:
        return channel_fault(gpu, channel, FAULT_MMU, address - low, access, b"outside shared memory")
    # The CPU reports a misaligned vector access with no address.
    return channel_fault(gpu, channel, FAULT_MISALIGNED, 0, access, NULL)


cdef int launch_step(Gpu *gpu, Channel *channel, uint64_t deadline_ns) noexcept nogil:
    cdef Launch *launch = &channel.launch
    cdef VSpace *space = &gpu.vspaces[channel.vspace]
    cdef Program *program = &launch.program
    cdef ComputeThread *thread = &gpu.threads[0]
    cdef uint64_t begin, count, started, now, cost, ran_ns = 0
    cdef int step
    if launch.active == LAUNCH_WAITS:
        step = _find(gpu, channel)
        if step != STEP_OK:
            return step
    cost = program.ns_per_block
    clean_arenas(thread, channel)
    memcpy(gpu.parameter_arena, launch.bank0 + _hw.CONSTANT_BANK0_PARAMETERS, program.parameter_bytes)
    # The kernel's own accesses are checked by the CPU's page tables, which a TLB invalidate changes at
    # once; so the lock is not needed, and a long kernel does not hold up an unmap.
    pthread_mutex_unlock(&space.lock)
    while True:
        begin = launch.next_block
        started = now_ns()
        if gpu.thread_count > 1 and cost and launch.blocks - begin > TOGETHER_NS // cost:
            thread = run_together(gpu, channel, deadline_ns, &cost)
            now = now_ns()
        else:
            count = RANGE_NS // cost if cost else 1
            count = max(<uint64_t> 1, min(count, launch.blocks - begin))
            run_blocks(gpu, thread, channel, begin, begin + count, started)
            now = now_ns()
            if thread.outcome == KERNEL_RAN:
                launch.next_block = begin + count
                # At least 1 ns, so that "no estimate" stays apart; smoothed against interruptions.
                cost = (3 * cost + (now - started) // count) // 4 + 1 if cost else (now - started) // count + 1
        ran_ns += now - started
        if (
            thread.outcome != KERNEL_RAN or launch.next_block >= launch.blocks or now >= deadline_ns
            or load_acquire32(&channel.stopping)
        ):
            break
    pthread_mutex_lock(&space.lock)
    if thread.outcome != KERNEL_RAN:
        if load_acquire32(&channel.stopping):
            launch.active = 0
            return STEP_YIELD
        return _kernel_fault(gpu, channel, thread)
    _note_run(gpu, channel, cost, ran_ns)
    if launch.next_block >= launch.blocks:
        return _complete(gpu, channel)
    return STEP_YIELD


cdef int _upload_word(Gpu *gpu, Channel *channel, uint32_t data) noexcept nogil:
    cdef uint64_t bytes = min(channel.upload.remaining, <uint64_t> 4)
    if mmu_write(&gpu.vspaces[channel.vspace].mmu, channel.upload.address, &data, bytes) != FP_OK:
        return channel_mmu_fault(gpu, channel)
    channel.upload.address += bytes
    channel.upload.remaining -= bytes
    gpu.ports[channel.port].bytes_copied += bytes
    return STEP_OK


cdef int _report_semaphore(Gpu *gpu, Channel *channel, uint32_t data) noexcept nogil:
    cdef const uint32_t *methods = channel.compute_methods
    cdef uint64_t address = load64(&methods[_hw.NVC7C0_SET_REPORT_SEMAPHORE_A >> 2]) & ((<uint64_t> 1 << 49) - 1)
    cdef uint32_t one_word = (data >> _hw.NVC7C0_SET_REPORT_SEMAPHORE_D_STRUCTURE_SIZE__LOW) & 1
    if (data & 3) != _hw.NVC7C0_SET_REPORT_SEMAPHORE_D_OPERATION_RELEASE:
        return channel_fault(gpu, channel, FAULT_BAD_METHOD, _hw.NVC7C0_SET_REPORT_SEMAPHORE_D, 0,
                             b"only releases are supported")
    return release_semaphore(gpu, channel, address, methods[_hw.NVC7C0_SET_REPORT_SEMAPHORE_C >> 2], 1, not one_word)


cdef int compute_method(Gpu *gpu, Channel *channel, uint32_t method, uint32_t data) noexcept nogil:
    cdef uint32_t *methods = channel.compute_methods
    cdef uint64_t address
    cdef int64_t inline_qmd
    if method == _hw.NVC7C0_LOAD_INLINE_DATA:
        return _upload_word(gpu, channel, data)
    inline_qmd = <int64_t> method - _hw.NVC7C0_LOAD_INLINE_QMD_DATA
    if 0 <= inline_qmd < 4 * _hw.NVC7C0_LOAD_INLINE_QMD_DATA__COUNT:
        address = (load64(&methods[_hw.NVC7C0_SET_INLINE_QMD_ADDRESS_A >> 2]) << 8) + inline_qmd
        if mmu_write(&gpu.vspaces[channel.vspace].mmu, address, &data, 4) != FP_OK:
            return channel_mmu_fault(gpu, channel)
        return STEP_OK
    methods[method >> 2] = data
    address = <uint64_t> methods[_hw.NVC7C0_SEND_PCAS_A >> 2] << 8
    if method == _hw.NVC7C0_SEND_SIGNALING_PCAS_B:
        if (data >> _hw.NVC7C0_SEND_SIGNALING_PCAS_B_SCHEDULE__LOW) & 1:
            return _schedule(gpu, channel, address)
    elif method == _hw.NVC7C0_SEND_SIGNALING_PCAS2_B:
        if (data & 15) in (_hw.NVC7C0_SEND_SIGNALING_PCAS2_B_PCAS_ACTION_SCHEDULE,
                           _hw.NVC7C0_SEND_SIGNALING_PCAS2_B_PCAS_ACTION_INVALIDATE_COPY_SCHEDULE):
            return _schedule(gpu, channel, address)
    elif method == _hw.NVC7C0_LAUNCH_DMA:
        channel.upload.address = load64(&methods[_hw.NVC7C0_OFFSET_OUT_UPPER >> 2]) & ((<uint64_t> 1 << 49) - 1)
        channel.upload.remaining = methods[_hw.NVC7C0_LINE_LENGTH_IN >> 2]
        channel.upload.remaining *= methods[_hw.NVC7C0_LINE_COUNT >> 2]
    elif method == _hw.NVC7C0_SET_REPORT_SEMAPHORE_D:
        return _report_semaphore(gpu, channel, data)
    elif method in (_hw.NVC7C0_INVALIDATE_SHADER_CACHES, _hw.NVC7C0_INVALIDATE_SHADER_CACHES_NO_WFI):
        forget_programs(&gpu.vspaces[channel.vspace])
    elif not (
        _hw.NVC7C0_LINE_LENGTH_IN <= method <= _hw.NVC7C0_OFFSET_OUT
        or _hw.NVC7C0_SET_REPORT_SEMAPHORE_A <= method <= _hw.NVC7C0_SET_REPORT_SEMAPHORE_C
        or method in (
            _hw.NVC7C0_NO_OPERATION, _hw.NVC7C0_WAIT_FOR_IDLE,
            _hw.NVC7C0_SET_SHADER_SHARED_MEMORY_WINDOW_A, _hw.NVC7C0_SET_SHADER_SHARED_MEMORY_WINDOW_B,
            _hw.NVC7C0_SET_SHADER_LOCAL_MEMORY_WINDOW_A, _hw.NVC7C0_SET_SHADER_LOCAL_MEMORY_WINDOW_B,
            _hw.NVC7C0_SEND_PCAS_A, _hw.NVC7C0_SEND_PCAS_B,
            _hw.NVC7C0_SET_INLINE_QMD_ADDRESS_A, _hw.NVC7C0_SET_INLINE_QMD_ADDRESS_B,
        )
    ):
        return channel_fault(gpu, channel, FAULT_BAD_METHOD, method, 0, NULL)
    return STEP_OK
