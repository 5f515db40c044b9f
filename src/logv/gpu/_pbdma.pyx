from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from logv cimport _hw
from logv._fastpath cimport (
    ACCESS_READ, ACCESS_WRITE, FP_OK, PollSlot, fence_full, gp_pending, gp_publish, load_acquire32,
    load_acquire64, load_relaxed32, mmu_read, mmu_translate, now_ns,
)
from logv.gpu._channel cimport (
    FAULT_BAD_CLASS, FAULT_BAD_GP_ENTRY, FAULT_BAD_METHOD, FAULT_BAD_SEMAPHORE, FAULT_PRIVILEGED,
    channel_fault, channel_interrupt, channel_mmu_fault, logv_swap32, logv_swap64, release_semaphore,
)
from logv.gpu._compute_engine cimport compute_method, launch_step
from logv.gpu._copy_engine cimport copy_method, copy_step
from logv.gpu._state cimport (
    CLASS_COMPUTE, CLASS_COPY, STEP_BLOCKED, STEP_IDLE, STEP_OK, STEP_YIELD, Channel, Gpu, VSpace,
    field, pthread_mutex_lock, pthread_mutex_unlock,
)

cdef enum:
    # Host methods end here; what lies above belongs to the class bound to the subchannel.
    HOST_METHODS_END = 0x100
    # How many methods are carried out between two looks at the clock.
    METHODS_PER_LOOK = 64
    # Words of ``Channel.semaphore``.
    SEM_ADDR_LO = 0
    SEM_ADDR_HI = 1
    SEM_PAYLOAD_LO = 2
    SEM_PAYLOAD_HI = 3
    SEM_EXECUTE = 4


cdef bint _acquired(uint32_t operation, uint64_t value, uint64_t payload, bint wide) noexcept nogil:
    if operation == _hw.NVC56F_SEM_EXECUTE_OPERATION_ACQUIRE:
        return value == payload
    if operation == _hw.NVC56F_SEM_EXECUTE_OPERATION_ACQ_STRICT_GEQ:
        return value >= payload
    if operation == _hw.NVC56F_SEM_EXECUTE_OPERATION_ACQ_CIRC_GEQ:
        return <int64_t> (value - payload) >= 0 if wide else <int32_t> (<uint32_t> value - <uint32_t> payload) >= 0
    if operation == _hw.NVC56F_SEM_EXECUTE_OPERATION_ACQ_AND:
        return (value & payload) != 0
    # ACQ_NOR
    return (~(value | payload) & (~<uint64_t> 0 if wide else <uint64_t> 0xFFFFFFFF)) != 0


cdef uint64_t _reduced(uint32_t operation, bint is_unsigned, uint64_t value, uint64_t payload,
                       bint wide) noexcept nogil:
    cdef int64_t signed_value = <int64_t> value if wide else <int32_t> value
    cdef int64_t signed_payload = <int64_t> payload if wide else <int32_t> payload
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_IMIN:
        if is_unsigned:
            return min(value, payload)
        return value if signed_value <= signed_payload else payload
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_IMAX:
        if is_unsigned:
            return max(value, payload)
        return value if signed_value >= signed_payload else payload
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_IXOR:
        return value ^ payload
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_IAND:
        return value & payload
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_IOR:
        return value | payload
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_IADD:
        return value + payload
    # INC and DEC wrap at the payload, as atomicInc and atomicDec do.
    if operation == _hw.NVC56F_SEM_EXECUTE_REDUCTION_INC:
        return 0 if value >= payload else value + 1
    return payload if value == 0 or value > payload else value - 1


cdef inline bint _swap(uint8_t *target, uint64_t seen, uint64_t value, bint wide) noexcept nogil:
    if wide:
        return logv_swap64(<uint64_t *> target, seen, value)
    return logv_swap32(<uint32_t *> target, <uint32_t> seen, <uint32_t> value)


cdef int _semaphore(Gpu *gpu, Channel *channel) noexcept nogil:
    """Carry out SEM_EXECUTE, or try a failed acquire again."""
    cdef uint32_t execute = channel.semaphore[SEM_EXECUTE]
    cdef uint32_t operation = field(execute, _hw.NVC56F_SEM_EXECUTE_OPERATION)
    cdef bint wide = field(execute, _hw.NVC56F_SEM_EXECUTE_PAYLOAD_SIZE)
    cdef uint64_t address = <uint64_t> (channel.semaphore[SEM_ADDR_HI] & 0x1FFFF) << 32
    cdef uint64_t payload = channel.semaphore[SEM_PAYLOAD_LO]
    cdef uint64_t value, result
    cdef uint32_t reduction, _attempt
    cdef uint8_t *target
    address |= channel.semaphore[SEM_ADDR_LO] & ~<uint32_t> 3
    if wide:
        payload |= <uint64_t> channel.semaphore[SEM_PAYLOAD_HI] << 32
    if operation == _hw.NVC56F_SEM_EXECUTE_OPERATION_RELEASE:
        # Everything of this channel before the release is done: one engine runs it in order.
        return release_semaphore(gpu, channel, address, payload, 2 if wide else 1,
                                 (execute >> _hw.NVC56F_SEM_EXECUTE_RELEASE_TIMESTAMP__LOW) & 1)
    if address & (7 if wide else 3) or operation > _hw.NVC56F_SEM_EXECUTE_OPERATION_REDUCTION:
        return channel_fault(gpu, channel, FAULT_BAD_SEMAPHORE, address, 0, NULL)
    if operation == _hw.NVC56F_SEM_EXECUTE_OPERATION_REDUCTION:
        reduction = field(execute, _hw.NVC56F_SEM_EXECUTE_REDUCTION)
        target = mmu_translate(&gpu.vspaces[channel.vspace].mmu, address, ACCESS_WRITE)
        if target == NULL:
            return channel_mmu_fault(gpu, channel)
        if reduction > _hw.NVC56F_SEM_EXECUTE_REDUCTION_DEC:
            return channel_fault(gpu, channel, FAULT_BAD_SEMAPHORE, address, 0, NULL)
        # A CPU that keeps writing the word could keep this from ending: after that many tries the
        # reduction is tried again in the channel's next turn.
        for _attempt in range(64):
            value = load_acquire64(<const uint64_t *> target) if wide else load_acquire32(<const uint32_t *> target)
            result = _reduced(reduction, execute >> _hw.NVC56F_SEM_EXECUTE_REDUCTION_FORMAT__LOW, value, payload, wide)
            if _swap(target, value, result, wide):
                channel.acquiring = 0
                return STEP_OK
        channel.acquiring = 1
        return STEP_BLOCKED
    target = mmu_translate(&gpu.vspaces[channel.vspace].mmu, address, ACCESS_READ)
    if target == NULL:
        return channel_mmu_fault(gpu, channel)
    value = load_acquire64(<const uint64_t *> target) if wide else load_acquire32(<const uint32_t *> target)
    channel.acquiring = not _acquired(operation, value, payload, wide)
    return STEP_BLOCKED if channel.acquiring else STEP_OK


cdef int _set_object(Gpu *gpu, Channel *channel, uint32_t data) noexcept nogil:
    cdef uint32_t engine_class = field(data, _hw.NVC56F_SET_OBJECT_NVCLASS)
    if channel.allow_copy == engine_class and engine_class:
        channel.bound_class[channel.subchannel] = CLASS_COPY
    elif channel.allow_compute == engine_class and engine_class:
        channel.bound_class[channel.subchannel] = CLASS_COMPUTE
    else:
        # Only what the driver made an engine object for.
        return channel_fault(gpu, channel, FAULT_BAD_CLASS, engine_class, 0, NULL)
    return STEP_OK


cdef int _host_method(Gpu *gpu, Channel *channel, uint32_t method, uint32_t data) noexcept nogil:
    if method == _hw.NVC56F_SEM_EXECUTE:
        channel.semaphore[SEM_EXECUTE] = data
        return _semaphore(gpu, channel)
    if _hw.NVC56F_SEM_ADDR_LO <= method < _hw.NVC56F_SEM_EXECUTE:
        channel.semaphore[(method - _hw.NVC56F_SEM_ADDR_LO) >> 2] = data
        return STEP_OK
    if method == _hw.NVC56F_NON_STALL_INTERRUPT:
        channel_interrupt(gpu, channel)
        return STEP_OK
    if method == _hw.NVC56F_SET_OBJECT:
        return _set_object(gpu, channel, data)
    if method in (_hw.NVC56F_NOP, _hw.NVC56F_WFI, _hw.NVC56F_MEM_OP_A, _hw.NVC56F_MEM_OP_B, _hw.NVC56F_MEM_OP_C):
        return STEP_OK
    if method == _hw.NVC56F_MEM_OP_D:
        if field(data, _hw.NVC56F_MEM_OP_D_OPERATION) != _hw.NVC56F_MEM_OP_D_OPERATION_MEMBAR:
            # TLB operations reach beyond the channel's own address space.
            return channel_fault(gpu, channel, FAULT_PRIVILEGED, method, 0, NULL)
        fence_full()
        return STEP_OK
    if method == _hw.NVC56F_YIELD:
        return STEP_YIELD
    if method == _hw.NVC56F_CLEAR_FAULTED:
        return channel_fault(gpu, channel, FAULT_PRIVILEGED, method, 0, NULL)
    return channel_fault(gpu, channel, FAULT_BAD_METHOD, method, 0, NULL)


cdef int _method(Gpu *gpu, Channel *channel, uint32_t method, uint32_t data) noexcept nogil:
    cdef uint32_t bound
    if method < HOST_METHODS_END:
        return _host_method(gpu, channel, method, data)
    bound = channel.bound_class[channel.subchannel]
    if bound == CLASS_COPY:
        return copy_method(gpu, channel, method, data)
    if bound == CLASS_COMPUTE:
        return compute_method(gpu, channel, method, data)
    return channel_fault(gpu, channel, FAULT_BAD_CLASS, method, 0, b"no class is bound to the subchannel")


cdef int _header(Gpu *gpu, Channel *channel, uint32_t word) noexcept nogil:
    """Take in a method header. Immediate data is carried out at once."""
    cdef uint32_t kind = field(word, _hw.NVC56F_DMA_SEC_OP)
    if word == 0:
        return STEP_OK
    channel.method = field(word, _hw.NVC56F_DMA_METHOD_ADDRESS) << 2
    channel.subchannel = field(word, _hw.NVC56F_DMA_METHOD_SUBCHANNEL)
    channel.method_kind = kind
    if kind == _hw.NVC56F_DMA_SEC_OP_IMMD_DATA_METHOD:
        return _method(gpu, channel, channel.method, field(word, _hw.NVC56F_DMA_IMMD_DATA))
    if kind == _hw.NVC56F_DMA_SEC_OP_END_PB_SEGMENT:
        channel.segment_words = 0
        return STEP_OK
    if kind not in (
        _hw.NVC56F_DMA_SEC_OP_INC_METHOD, _hw.NVC56F_DMA_SEC_OP_NON_INC_METHOD, _hw.NVC56F_DMA_SEC_OP_ONE_INC,
    ):
        return channel_fault(gpu, channel, FAULT_BAD_METHOD, word, 0, b"unknown kind of method header")
    channel.method_left = field(word, _hw.NVC56F_DMA_METHOD_COUNT)
    return STEP_OK


cdef int _data(Gpu *gpu, Channel *channel, uint32_t word) noexcept nogil:
    """Carry out the next method of the header taken in last."""
    cdef uint32_t method = channel.method
    channel.method_left -= 1
    # Methods wrap within the 4,096 dwords that the header can address.
    if channel.method_kind == _hw.NVC56F_DMA_SEC_OP_INC_METHOD:
        channel.method = (method + 4) & 0x3FFF
    elif channel.method_kind == _hw.NVC56F_DMA_SEC_OP_ONE_INC:
        channel.method = (method + 4) & 0x3FFF
        channel.method_kind = _hw.NVC56F_DMA_SEC_OP_NON_INC_METHOD
    return _method(gpu, channel, method, word)


cdef int _segment(Gpu *gpu, Channel *channel, uint64_t *progress) noexcept nogil:
    """Carry out up to METHODS_PER_LOOK words of the current segment."""
    cdef uint8_t *at
    cdef uint32_t words, i, word
    cdef int step = STEP_OK
    # A pushbuffer is dword-aligned, so a word never crosses the page that was translated.
    words = min(channel.segment_words, <uint32_t> METHODS_PER_LOOK)
    words = min(words, <uint32_t> (4096 - (channel.segment & 4095)) >> 2)
    at = mmu_translate(&gpu.vspaces[channel.vspace].mmu, channel.segment, ACCESS_READ)
    if at == NULL:
        return channel_mmu_fault(gpu, channel)
    for i in range(words):
        if channel.segment_words == 0:
            break
        # Read once: the guest may rewrite it at any time.
        word = load_relaxed32(<const uint32_t *> (at + 4 * i))
        channel.segment += 4
        channel.segment_words -= 1
        progress[0] += 1
        step = _data(gpu, channel, word) if channel.method_left else _header(gpu, channel, word)
        # A launch or a copy is carried out before the next method.
        if step != STEP_OK or channel.launch.active or channel.copy.active:
            break
    return step


cdef int _entry(Gpu *gpu, Channel *channel, PollSlot *slot) noexcept nogil:
    """Fetch the next GP entry."""
    cdef uint32_t entry[2]
    cdef uint32_t words, opcode
    if mmu_read(&gpu.vspaces[channel.vspace].mmu, channel.ring + 8 * <uint64_t> slot.get, entry, 8) != FP_OK:
        return channel_mmu_fault(gpu, channel)
    slot.get = (slot.get + 1) & slot.mask
    gp_publish(slot)
    gpu.ports[channel.port].submissions += 1
    words = field(entry[1], _hw.NVC56F_GP_ENTRY1_LENGTH)
    if words == 0:
        opcode = field(entry[1], _hw.NVC56F_GP_ENTRY1_OPCODE)
        if opcode in (
            _hw.NVC56F_GP_ENTRY1_OPCODE_NOP, _hw.NVC56F_GP_ENTRY1_OPCODE_GP_CRC, _hw.NVC56F_GP_ENTRY1_OPCODE_PB_CRC,
        ):
            return STEP_OK
        return channel_fault(gpu, channel, FAULT_BAD_GP_ENTRY,
                             channel.ring + 8 * <uint64_t> ((slot.get - 1) & slot.mask), 0, NULL)
    # Conditional fetch, subroutine level and sync wait change nothing here: entries are carried out
    # whole and in order.
    channel.segment = (<uint64_t> field(entry[1], _hw.NVC56F_GP_ENTRY1_GET_HI) << 32) | (entry[0] & ~<uint32_t> 3)
    channel.segment_words = words
    return STEP_OK


cdef int channel_run(Gpu *gpu, Channel *channel, uint64_t deadline_ns, uint64_t *progress) noexcept nogil:
    cdef VSpace *space = &gpu.vspaces[channel.vspace]
    cdef PollSlot *slot = &gpu.slots[channel - gpu.channels]
    cdef int step = STEP_OK
    pthread_mutex_lock(&space.lock)
    while step == STEP_OK:
        if channel.launch.active:
            step = launch_step(gpu, channel, deadline_ns)
            progress[0] += step != STEP_BLOCKED
        elif channel.copy.active:
            step = copy_step(gpu, channel)
            progress[0] += 1
        elif channel.acquiring:
            step = _semaphore(gpu, channel)
            progress[0] += step != STEP_BLOCKED
        elif channel.segment_words:
            step = _segment(gpu, channel, progress)
        elif gp_pending(slot):
            step = _entry(gpu, channel, slot)
            progress[0] += 1
            # An entry alone is cheap; the clock is read after its segment.
            if step == STEP_OK and channel.segment_words:
                continue
        else:
            step = STEP_IDLE
        if step == STEP_OK and (now_ns() >= deadline_ns or load_acquire32(&channel.stopping)):
            step = STEP_YIELD
    pthread_mutex_unlock(&space.lock)
    return step
