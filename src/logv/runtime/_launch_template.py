"""Everything about a launch that does not change from one to the next, laid out once."""

import struct
from typing import TYPE_CHECKING

from logv.errors import InvalidValueError
from logv.hw import Field, software_gpu
from logv.hw import clc7c0qmd as qmd
from logv.runtime import pushbuffer
from logv.runtime._arguments import layout
from logv.runtime.channel import TAIL, Channel
from logv.runtime.launcher import LaunchConfig

if TYPE_CHECKING:
    from logv.ptx.module import Entry
    from logv.runtime.device import Device

_BANK_OFFSET = qmd.NVC7C0_QMDV03_00__SIZE
_BANK_ALIGNMENT = 16  # CONSTANT_BUFFER_SIZE counts in units of 16 bytes
_SHARED_ALIGNMENT = 16  # where the dynamic part of shared memory begins
# The one word of a QMD that depends on where the record lies: address and size of constant bank 0.
_BANK_WORD = qmd.NVC7C0_QMDV03_00_CONSTANT_BUFFER_ADDR_LOWER0.low // 8
_BANK_SIZE_SHIFT = (
    qmd.NVC7C0_QMDV03_00_CONSTANT_BUFFER_SIZE_SHIFTED4_0.low
    - qmd.NVC7C0_QMDV03_00_CONSTANT_BUFFER_ADDR_LOWER0.low
)
_QMD_ADDRESS_SHIFT = 8  # SEND_PCAS_A


class LaunchTemplate:
    """A kernel with a geometry on one device.

    A launch is one record in the channel's command memory: the QMD, constant bank 0, and the methods
    that send it. One ``struct`` writes all three; only the parameters, three addresses and the
    timeline's value are filled in each time.

    Parameters
    ----------
    entry : Entry
        The kernel.
    program : int
        GPU virtual address of its text.
    config : LaunchConfig
    data : int, optional
        GPU virtual address of the program's variables, for a kernel that uses them.

    Raises
    ------
    InvalidValueError
        The geometry does not suit the kernel.
    """

    __slots__ = ("_bank", "_converters", "_data", "_end", "_head", "_middle", "_name", "_record", "_words")

    def __init__(self, entry: "Entry", program: int, config: LaunchConfig, data: int | None = None) -> None:
        self._data = () if data is None else (data,)
        self._name = entry.name
        description = _describe(entry, program, config)
        bank_head = struct.pack("<3I3I", *config.block, *config.grid).ljust(
            qmd.CONSTANT_BANK0_PARAMETERS, b"\0"
        )
        parameters, self._converters = layout(entry)
        bank_bytes = -(-(len(bank_head) + entry.parameter_bytes) // _BANK_ALIGNMENT) * _BANK_ALIGNMENT
        self._bank = bank_bytes >> 4 << _BANK_SIZE_SHIFT
        self._head = description[:_BANK_WORD]
        self._middle = description[_BANK_WORD + 8 :] + bank_head
        padding = "x" * (bank_bytes - len(bank_head) - entry.parameter_bytes)
        self._record = struct.Struct(
            f"<{len(self._head)}sQ{len(self._middle)}s{parameters}{padding}III{TAIL.format.lstrip('<')}"
        )
        self._words = _BANK_OFFSET + bank_bytes
        self._end = self._record.size

    def submit(self, channel: Channel, device: "Device", args: tuple[object, ...]) -> None:
        """Launch with `args` on a channel of `device`."""
        converters = self._converters
        if len(args) != len(converters):
            raise InvalidValueError(f"kernel {self._name} takes {len(converters)} arguments, not {len(args)}")
        values = [convert(value, device) for convert, value in zip(converters, args, strict=True)]
        with channel.lock:
            start = channel.reserve(self._end)
            address = channel.commands_address + start
            self._record.pack_into(
                channel.commands,
                start,
                self._head,
                (address + _BANK_OFFSET) | self._bank,
                self._middle,
                *values,
                *self._data,
                pushbuffer.SEND_PCAS_A,
                address >> _QMD_ADDRESS_SHIFT,
                pushbuffer.SCHEDULE,
                pushbuffer.SEMAPHORE,
                channel.timeline_address,
                channel.submitted + 1,
                pushbuffer.SEMAPHORE_RELEASE,
                pushbuffer.INTERRUPT,
            )
            channel.commit(start + self._words, start + self._end)


def _describe(entry: "Entry", program: int, config: LaunchConfig) -> bytes:
    """Return the QMD, but for where its constant bank lies."""
    grid, block = config.grid, config.block
    shared = entry.shared_bytes
    if config.shmem_size:
        shared = -(-shared // _SHARED_ALIGNMENT) * _SHARED_ALIGNMENT + config.shmem_size
    if shared > software_gpu.MAX_SHARED_MEMORY_PER_BLOCK:
        raise InvalidValueError(
            f"kernel {entry.name} would take {shared} bytes of shared memory for each block, "
            f"of {software_gpu.MAX_SHARED_MEMORY_PER_BLOCK}"
        )
    if entry.required_block is not None and block != entry.required_block:
        raise InvalidValueError(f"kernel {entry.name} requires blocks of {entry.required_block}, not {block}")
    threads = block[0] * block[1] * block[2]
    if entry.max_threads is not None and threads > entry.max_threads:
        raise InvalidValueError(
            f"kernel {entry.name} takes at most {entry.max_threads} threads a block, not {threads}"
        )
    fields: list[tuple[Field, int]] = [
        (qmd.NVC7C0_QMDV03_00_QMD_MAJOR_VERSION, 3),
        (qmd.NVC7C0_QMDV03_00_CTA_RASTER_WIDTH, grid[0]),
        (qmd.NVC7C0_QMDV03_00_CTA_RASTER_HEIGHT, grid[1]),
        (qmd.NVC7C0_QMDV03_00_CTA_RASTER_DEPTH, grid[2]),
        (qmd.NVC7C0_QMDV03_00_CTA_THREAD_DIMENSION0, block[0]),
        (qmd.NVC7C0_QMDV03_00_CTA_THREAD_DIMENSION1, block[1]),
        (qmd.NVC7C0_QMDV03_00_CTA_THREAD_DIMENSION2, block[2]),
        (qmd.NVC7C0_QMDV03_00_SHARED_MEMORY_SIZE, shared),
        (qmd.NVC7C0_QMDV03_00_CONSTANT_BUFFER_VALID0, 1),
        (qmd.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_LOWER, program & 0xFFFFFFFF),
        (qmd.NVC7C0_QMDV03_00_PROGRAM_ADDRESS_UPPER, program >> 32),
    ]
    whole = 0
    for place, value in fields:
        whole |= place.encode(value)
    return whole.to_bytes(qmd.NVC7C0_QMDV03_00__SIZE, "little")
