"""Method headers, and the method sequences that the runtime submits.

Sources: NVIDIA class headers clc56f.h (headers, semaphores), clc7b5.h (copies), clc7c0.h (launches).
A sequence is a list of 32-bit words.
"""

from collections.abc import Sequence

from logv.hw import clc7b5 as copy
from logv.hw import clc7c0 as compute
from logv.hw import clc56f as host

COMPUTE_SUBCHANNEL = 1
COPY_SUBCHANNEL = 4
ENGINE_CLASSES = ((COMPUTE_SUBCHANNEL, compute.AMPERE_COMPUTE_B), (COPY_SUBCHANNEL, copy.AMPERE_DMA_COPY_B))
"""Which class a stream binds to which subchannel (the numbers that NVIDIA's own driver uses)."""

LINE_BYTES = 1 << 30
"""Bytes of one line of a copy: LINE_LENGTH_IN has 32 bits, and a round number keeps fills aligned."""

_LOW = 0xFFFFFFFF


def _header(kind: int, subchannel: int, method: int, count: int) -> int:
    return (
        host.NVC56F_DMA_SEC_OP.encode(kind)
        | host.NVC56F_DMA_METHOD_COUNT.encode(count)
        | host.NVC56F_DMA_METHOD_SUBCHANNEL.encode(subchannel)
        | host.NVC56F_DMA_METHOD_ADDRESS.encode(method >> 2)
    )


def incrementing(subchannel: int, method: int, count: int) -> int:
    """Return the header of `count` data words for `method` and the methods after it."""
    return _header(host.NVC56F_DMA_SEC_OP_INC_METHOD, subchannel, method, count)


def immediate(subchannel: int, method: int, data: int) -> int:
    """Return the header that carries its own data, of at most 13 bits."""
    return _header(host.NVC56F_DMA_SEC_OP_IMMD_DATA_METHOD, subchannel, method, data)


SEMAPHORE = incrementing(0, host.NVC56F_SEM_ADDR_LO, 5)
"""Header of SEM_ADDR_LO to SEM_EXECUTE: address (64 bits), payload (64 bits), what to do (32 bits)."""
SEMAPHORE_RELEASE = (
    host.NVC56F_SEM_EXECUTE_OPERATION.encode(host.NVC56F_SEM_EXECUTE_OPERATION_RELEASE)
    | host.NVC56F_SEM_EXECUTE_RELEASE_WFI.encode(1)
    | host.NVC56F_SEM_EXECUTE_PAYLOAD_SIZE.encode(1)
)
INTERRUPT = immediate(0, host.NVC56F_NON_STALL_INTERRUPT, 0)
SEND_PCAS_A = incrementing(COMPUTE_SUBCHANNEL, compute.NVC7C0_SEND_PCAS_A, 1)
SCHEDULE = immediate(
    COMPUTE_SUBCHANNEL,
    compute.NVC7C0_SEND_SIGNALING_PCAS2_B,
    compute.NVC7C0_SEND_SIGNALING_PCAS2_B_PCAS_ACTION.encode(
        compute.NVC7C0_SEND_SIGNALING_PCAS2_B_PCAS_ACTION_INVALIDATE_COPY_SCHEDULE
    ),
)

BIND_CLASSES = [
    word
    for subchannel, number in ENGINE_CLASSES
    for word in (incrementing(subchannel, host.NVC56F_SET_OBJECT, 1), number)
]
"""Methods that bind the engine classes to their subchannels."""

_RELEASE_TIMESTAMP = SEMAPHORE_RELEASE | host.NVC56F_SEM_EXECUTE_RELEASE_TIMESTAMP.encode(1)
_ACQUIRE = (
    host.NVC56F_SEM_EXECUTE_OPERATION.encode(host.NVC56F_SEM_EXECUTE_OPERATION_ACQ_STRICT_GEQ)
    | host.NVC56F_SEM_EXECUTE_ACQUIRE_SWITCH_TSG.encode(1)
    | host.NVC56F_SEM_EXECUTE_PAYLOAD_SIZE.encode(1)
)
_OFFSETS = incrementing(COPY_SUBCHANNEL, copy.NVC7B5_OFFSET_IN_UPPER, 4)
_OFFSETS_TO_COUNT = incrementing(COPY_SUBCHANNEL, copy.NVC7B5_OFFSET_IN_UPPER, 8)
_OFFSET_OUT = incrementing(COPY_SUBCHANNEL, copy.NVC7B5_OFFSET_OUT_UPPER, 2)
_LINE_LENGTH = incrementing(COPY_SUBCHANNEL, copy.NVC7B5_LINE_LENGTH_IN, 1)
_REMAP_CONST_A = incrementing(COPY_SUBCHANNEL, copy.NVC7B5_SET_REMAP_CONST_A, 1)
_REMAP_COMPONENTS = incrementing(COPY_SUBCHANNEL, copy.NVC7B5_SET_REMAP_COMPONENTS, 1)
_DMA = (
    copy.NVC7B5_LAUNCH_DMA_DATA_TRANSFER_TYPE.encode(copy.NVC7B5_LAUNCH_DMA_DATA_TRANSFER_TYPE_NON_PIPELINED)
    | copy.NVC7B5_LAUNCH_DMA_FLUSH_ENABLE.encode(1)
    | copy.NVC7B5_LAUNCH_DMA_SRC_MEMORY_LAYOUT.encode(copy.NVC7B5_LAUNCH_DMA_SRC_MEMORY_LAYOUT_PITCH)
    | copy.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT.encode(copy.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT_PITCH)
)
_LAUNCH_COPY = immediate(COPY_SUBCHANNEL, copy.NVC7B5_LAUNCH_DMA, _DMA)
_LAUNCH_PITCH = immediate(
    COPY_SUBCHANNEL, copy.NVC7B5_LAUNCH_DMA, _DMA | copy.NVC7B5_LAUNCH_DMA_MULTI_LINE_ENABLE.encode(1)
)
_LAUNCH_FILL = immediate(
    COPY_SUBCHANNEL, copy.NVC7B5_LAUNCH_DMA, _DMA | copy.NVC7B5_LAUNCH_DMA_REMAP_ENABLE.encode(1)
)
_FILL_COMPONENTS = {
    width: copy.NVC7B5_SET_REMAP_COMPONENTS_DST_X.encode(copy.NVC7B5_SET_REMAP_COMPONENTS_DST_CONST_A)
    | copy.NVC7B5_SET_REMAP_COMPONENTS_COMPONENT_SIZE.encode(width - 1)
    for width in (1, 2, 4)
}


def release(address: int, value: int, *, timestamp: bool = False) -> list[int]:
    """Write `value` (64 bits) to `address` once all before it is done; at +8, the time in nanoseconds."""
    execute = _RELEASE_TIMESTAMP if timestamp else SEMAPHORE_RELEASE
    return [SEMAPHORE, address & _LOW, address >> 32, value & _LOW, value >> 32, execute]


def acquire(address: int, value: int) -> list[int]:
    """Hold the channel, and let others run, until the 64-bit word at `address` is at least `value`."""
    return [SEMAPHORE, address & _LOW, address >> 32, value & _LOW, value >> 32, _ACQUIRE]


def linear_copy(target: int, source: int, size: int) -> list[int]:
    """Copy `size` bytes between GPU virtual addresses."""
    words = []
    for start in range(0, size, LINE_BYTES):
        words += [_OFFSETS, *_split(source + start), *_split(target + start)]
        words += [_LINE_LENGTH, min(LINE_BYTES, size - start), _LAUNCH_COPY]
    return words


def pitch_copy(
    target: int, target_pitch: int, source: int, source_pitch: int, width: int, height: int
) -> list[int]:
    """Copy `height` lines of `width` bytes, which begin `target_pitch` and `source_pitch` bytes apart."""
    words = [_OFFSETS_TO_COUNT, *_split(source), *_split(target)]
    return [*words, source_pitch, target_pitch, width, height, _LAUNCH_PITCH]


def fill(target: int, value: int, width: int, size: int) -> list[int]:
    """Write `value`, `width` bytes (1, 2 or 4) wide, over `size` bytes."""
    words = [_REMAP_CONST_A, value, _REMAP_COMPONENTS, _FILL_COMPONENTS[width]]
    for start in range(0, size, LINE_BYTES):
        length = min(LINE_BYTES, size - start)
        words += [_OFFSET_OUT, *_split(target + start), _LINE_LENGTH, length // width, _LAUNCH_FILL]
    return words


def _split(address: int) -> Sequence[int]:
    return address >> 32, address & _LOW
