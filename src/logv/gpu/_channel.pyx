from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strlen

from logv cimport _hw
from logv._fastpath cimport (
    ACCESS_WRITE, doorbell_interrupt, mmu_translate, now_ns, store_release32, store_release64,
)
from logv.gpu._state cimport STEP_FAULT, STEP_OK, Channel, Gpu, Port, VSpace


cdef void _write_text(uint8_t *target, uint64_t capacity, const char *text) noexcept nogil:
    cdef uint64_t length = 0
    memset(target, 0, capacity)
    if text != NULL:
        length = min(<uint64_t> strlen(text), capacity - 1)
        memcpy(target, text, length)


cdef int channel_fault(Gpu *gpu, Channel *channel, uint32_t fault, uint64_t address, uint32_t access,
                       const char *message) noexcept nogil:
    cdef uint8_t *page = gpu.slots[channel - gpu.channels].userd
    cdef uint64_t program = 0
    cdef const char *kernel = NULL
    cdef uint64_t time = now_ns()
    if channel.launch.active:
        program = channel.launch.program.address
        kernel = channel.launch.program.name
    memcpy(page + _hw.NOTIFIER_ACCESS, &access, 4)
    memcpy(page + _hw.NOTIFIER_ADDRESS, &address, 8)
    memcpy(page + _hw.NOTIFIER_PROGRAM, &program, 8)
    memcpy(page + _hw.NOTIFIER_TIMESTAMP, &time, 8)
    _write_text(page + _hw.NOTIFIER_KERNEL, _hw.NOTIFIER_KERNEL__SIZE, kernel)
    _write_text(page + _hw.NOTIFIER_MESSAGE, _hw.NOTIFIER_MESSAGE__SIZE, message)
    store_release32(<uint32_t *> (page + _hw.NOTIFIER_STATUS), fault)
    channel.faulted = 1
    channel.launch.active = 0
    channel.copy.active = 0
    channel.acquiring = 0
    gpu.ports[channel.port].faults += 1
    channel_interrupt(gpu, channel)
    return STEP_FAULT


cdef int channel_mmu_fault(Gpu *gpu, Channel *channel) noexcept nogil:
    cdef VSpace *space = &gpu.vspaces[channel.vspace]
    return channel_fault(gpu, channel, FAULT_MMU, space.mmu.fault_va, space.mmu.fault_access, NULL)


cdef int release_semaphore(Gpu *gpu, Channel *channel, uint64_t address, uint64_t payload, uint32_t words,
                           bint timestamp) noexcept nogil:
    cdef uint64_t bytes = 16 if timestamp else 4 * words
    cdef uint8_t *target
    cdef uint64_t time
    if address & (bytes - 1):
        return channel_fault(gpu, channel, FAULT_BAD_SEMAPHORE, address, ACCESS_WRITE, NULL)
    # Aligned to its size, so it never crosses the page that was translated.
    target = mmu_translate(&gpu.vspaces[channel.vspace].mmu, address, ACCESS_WRITE)
    if target == NULL:
        return channel_mmu_fault(gpu, channel)
    if timestamp:
        time = now_ns()
        memcpy(target + 8, &time, 8)
        if words == 1:
            payload = <uint32_t> payload
        words = 2
    if words == 2:
        store_release64(<uint64_t *> target, payload)
    else:
        store_release32(<uint32_t *> target, <uint32_t> payload)
    return STEP_OK


cdef void channel_interrupt(Gpu *gpu, Channel *channel) noexcept nogil:
    cdef Port *port = &gpu.ports[channel.port]
    port.interrupts += 1
    doorbell_interrupt(port.pages, port.interrupt_fd)
