from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from logv cimport _hw
from logv._fastpath cimport (
    ACCESS_READ, ACCESS_WRITE, FP_BAD_RANGE, FP_OK, dma_copy, dma_copy_pitch, dma_fill,
)
from logv.gpu._channel cimport (
    FAULT_BAD_COPY, FAULT_BAD_METHOD, FAULT_PRIVILEGED, channel_fault, channel_interrupt, channel_mmu_fault,
    release_semaphore,
)
from logv.gpu._state cimport STEP_OK, Channel, Copy, Gpu, field, load64

cdef enum:
    # Bounds how long the address space's lock is held: about a millisecond of memory bandwidth.
    CHUNK_BYTES = 4 << 20
    # The same bound for copies of many short lines, which cost a translation each.
    CHUNK_LINES = 16384


cdef inline uint64_t _address(const uint32_t *methods, uint32_t upper) noexcept nogil:
    # 17 upper bits: 49-bit addresses.
    return load64(&methods[upper >> 2]) & ((<uint64_t> 1 << 49) - 1)


cdef bint _take_pattern(Copy *copy, const uint32_t *methods) noexcept nogil:
    """Turn the remap methods into the bytes of one element; False if they ask for more than a fill."""
    cdef uint32_t components = methods[_hw.NVC7B5_SET_REMAP_COMPONENTS >> 2]
    cdef uint32_t size = field(components, _hw.NVC7B5_SET_REMAP_COMPONENTS_COMPONENT_SIZE) + 1
    cdef uint32_t count = field(components, _hw.NVC7B5_SET_REMAP_COMPONENTS_NUM_DST_COMPONENTS) + 1
    cdef uint32_t i, source
    for i in range(count):
        source = (components >> (4 * i)) & 7
        if source == _hw.NVC7B5_SET_REMAP_COMPONENTS_DST_CONST_A:
            memcpy(copy.pattern + i * size, &methods[_hw.NVC7B5_SET_REMAP_CONST_A >> 2], size)
        elif source == _hw.NVC7B5_SET_REMAP_COMPONENTS_DST_CONST_B:
            memcpy(copy.pattern + i * size, &methods[_hw.NVC7B5_SET_REMAP_CONST_B >> 2], size)
        else:
            return False
    copy.pattern_bytes = count * size
    return True


cdef int _launch(Gpu *gpu, Channel *channel, uint32_t data) noexcept nogil:
    cdef const uint32_t *methods = channel.copy_methods
    cdef Copy *copy = &channel.copy
    cdef uint32_t pitch_source, pitch_target
    cdef uint64_t elements
    if data & ((1 << _hw.NVC7B5_LAUNCH_DMA_SRC_TYPE__LOW) | (1 << _hw.NVC7B5_LAUNCH_DMA_DST_TYPE__LOW)):
        # Physical addresses know no address space: they would be the way into other VMs' memory.
        return channel_fault(gpu, channel, FAULT_PRIVILEGED, _hw.NVC7B5_LAUNCH_DMA, 0, NULL)
    if field(data, _hw.NVC7B5_LAUNCH_DMA_DATA_TRANSFER_TYPE) == _hw.NVC7B5_LAUNCH_DMA_DATA_TRANSFER_TYPE_NONE:
        copy.lines = 0
        copy.active = 1
        return STEP_OK
    pitch_source = field(data, _hw.NVC7B5_LAUNCH_DMA_SRC_MEMORY_LAYOUT)
    pitch_target = field(data, _hw.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT)
    copy.is_fill = (data >> _hw.NVC7B5_LAUNCH_DMA_REMAP_ENABLE__LOW) & 1
    if not pitch_target or not (pitch_source or copy.is_fill):
        return channel_fault(gpu, channel, FAULT_BAD_COPY, _hw.NVC7B5_LAUNCH_DMA, 0,
                             b"block-linear layouts are not supported")
    elements = methods[_hw.NVC7B5_LINE_LENGTH_IN >> 2]
    copy.line_bytes = elements
    if copy.is_fill:
        if not _take_pattern(copy, methods):
            return channel_fault(gpu, channel, FAULT_BAD_COPY, _hw.NVC7B5_SET_REMAP_COMPONENTS, 0,
                                 b"remap takes constants only")
        copy.line_bytes = elements * copy.pattern_bytes
    copy.src = _address(methods, _hw.NVC7B5_OFFSET_IN_UPPER)
    copy.dst = _address(methods, _hw.NVC7B5_OFFSET_OUT_UPPER)
    copy.src_pitch = copy.dst_pitch = 0
    copy.lines = 1
    if (data >> _hw.NVC7B5_LAUNCH_DMA_MULTI_LINE_ENABLE__LOW) & 1:
        copy.lines = methods[_hw.NVC7B5_LINE_COUNT >> 2]
        copy.src_pitch = methods[_hw.NVC7B5_PITCH_IN >> 2]
        copy.dst_pitch = methods[_hw.NVC7B5_PITCH_OUT >> 2]
    if copy.line_bytes == 0:
        copy.lines = 0
    copy.line_done = 0
    copy.active = 1
    return STEP_OK


cdef int _finish(Gpu *gpu, Channel *channel) noexcept nogil:
    cdef const uint32_t *methods = channel.copy_methods
    cdef uint32_t data = methods[_hw.NVC7B5_LAUNCH_DMA >> 2]
    cdef uint32_t kind = field(data, _hw.NVC7B5_LAUNCH_DMA_SEMAPHORE_TYPE)
    cdef uint64_t payload = methods[_hw.NVC7B5_SET_SEMAPHORE_PAYLOAD >> 2]
    cdef bint four_words = kind == _hw.NVC7B5_LAUNCH_DMA_SEMAPHORE_TYPE_RELEASE_FOUR_WORD_SEMAPHORE
    cdef int step = STEP_OK
    channel.copy.active = 0
    if kind != _hw.NVC7B5_LAUNCH_DMA_SEMAPHORE_TYPE_NONE:
        if four_words:
            payload |= <uint64_t> methods[_hw.NVC7B5_SET_SEMAPHORE_PAYLOAD_UPPER >> 2] << 32
        step = release_semaphore(gpu, channel, _address(methods, _hw.NVC7B5_SET_SEMAPHORE_A), payload,
                                 2 if four_words else 1, four_words)
    if step == STEP_OK and field(data, _hw.NVC7B5_LAUNCH_DMA_INTERRUPT_TYPE):
        channel_interrupt(gpu, channel)
    return step


cdef int copy_step(Gpu *gpu, Channel *channel) noexcept nogil:
    cdef Copy *copy = &channel.copy
    cdef uint64_t bytes, lines = 1
    cdef int status
    if copy.lines == 0:
        return _finish(gpu, channel)
    if copy.line_bytes > CHUNK_BYTES or copy.lines == 1:
        # One line, in pieces. A piece of a fill is whole elements.
        bytes = min(copy.line_bytes - copy.line_done, <uint64_t> CHUNK_BYTES)
        if copy.is_fill:
            bytes -= bytes % copy.pattern_bytes
            status = dma_fill(&gpu.vspaces[channel.vspace].mmu, copy.dst + copy.line_done, copy.pattern,
                              copy.pattern_bytes, bytes // copy.pattern_bytes)
        else:
            status = dma_copy(&gpu.vspaces[channel.vspace].mmu, copy.dst + copy.line_done,
                              copy.src + copy.line_done, bytes)
        copy.line_done += bytes
        if copy.line_done < copy.line_bytes:
            lines = 0
    elif copy.is_fill:
        bytes = copy.line_bytes
        status = dma_fill(&gpu.vspaces[channel.vspace].mmu, copy.dst, copy.pattern, copy.pattern_bytes,
                          bytes // copy.pattern_bytes)
    else:
        lines = min(min(copy.lines, CHUNK_BYTES // copy.line_bytes), <uint64_t> CHUNK_LINES)
        bytes = lines * copy.line_bytes
        status = dma_copy_pitch(&gpu.vspaces[channel.vspace].mmu, copy.dst, copy.dst_pitch, copy.src,
                                copy.src_pitch, copy.line_bytes, lines)
    if status == FP_BAD_RANGE:
        return channel_fault(gpu, channel, FAULT_BAD_COPY, copy.dst, ACCESS_READ | ACCESS_WRITE,
                             b"the range leaves the address space")
    if status != FP_OK:
        return channel_mmu_fault(gpu, channel)
    gpu.ports[channel.port].bytes_copied += bytes
    if lines:
        copy.line_done = 0
        copy.lines -= lines
        copy.src += lines * copy.src_pitch
        copy.dst += lines * copy.dst_pitch
    return _finish(gpu, channel) if copy.lines == 0 else STEP_OK


cdef int copy_method(Gpu *gpu, Channel *channel, uint32_t method, uint32_t data) noexcept nogil:
    if method == _hw.NVC7B5_LAUNCH_DMA:
        channel.copy_methods[method >> 2] = data
        return _launch(gpu, channel, data)
    if (
        _hw.NVC7B5_SET_SEMAPHORE_A <= method <= _hw.NVC7B5_SET_SEMAPHORE_PAYLOAD_UPPER
        or _hw.NVC7B5_OFFSET_IN_UPPER <= method <= _hw.NVC7B5_LINE_COUNT
        or _hw.NVC7B5_SET_REMAP_CONST_A <= method <= _hw.NVC7B5_SET_REMAP_COMPONENTS
    ):
        channel.copy_methods[method >> 2] = data
        return STEP_OK
    if method == _hw.NVC7B5_NOP:
        return STEP_OK
    return channel_fault(gpu, channel, FAULT_BAD_METHOD, method, 0, NULL)
