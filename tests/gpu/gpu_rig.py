"""A bare GPU for tests: page tables, rings and pushbuffers written by hand, no driver in between."""

import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from logv.gpu import Gpu, Port, Window
from logv.hw import clc7b5, clc7c0, clc7c0qmd, clc56f, dev_mmu, dev_ram
from logv.uapi import Domain, Fault

COPY, COMPUTE = 4, 1  # subchannels, as drivers use to bind them
_PAGE = 4096
_VRAM_BYTES = 16 << 20
_SYSTEM_BYTES = 1 << 20
_TABLES_BYTES = 1 << 20
BASE = 1 << 32  # GPU virtual address of VRAM window offset 0
SYSTEM_BASE = 2 << 32
READ_ONLY_BASE = 3 << 32  # the first VRAM pages once more, read only
RING_ENTRIES = 64
_CHANNEL_BYTES = 64 << 10  # ring, pushbuffer, semaphore
# Where Kernels puts what it launches, as offsets into a window; DATA is for whoever uses it.
_PROGRAM, QMD, _BANK, DATA = 0x100000, 0x110000, 0x112000, 0x200000


class Space:
    """An address space: VRAM at BASE, system memory at SYSTEM_BASE, a read-only view, 4 KiB pages."""

    def __init__(self, gpu: Gpu, vram: Window, system: Window, tables: Window) -> None:
        self.gpu = gpu
        self._tables = tables
        self._next = 0
        self._levels: dict[tuple[int, ...], int] = {}
        self.pdb = self._table()
        for page in range(0, vram.size, _PAGE):
            self.write_pte(BASE + page, vram.address + page)
        for page in range(0, system.size, _PAGE):
            self.write_pte(
                SYSTEM_BASE + page,
                system.address + page,
                dev_mmu.NV_MMU_VER2_PTE_APERTURE.encode(
                    dev_mmu.NV_MMU_VER2_PTE_APERTURE_SYSTEM_COHERENT_MEMORY
                ),
            )
        for page in range(0, 1 << 20, _PAGE):
            self.write_pte(
                READ_ONLY_BASE + page,
                vram.address + page,
                dev_mmu.NV_MMU_VER2_PTE_READ_ONLY.encode(1),
            )
        self.id = gpu.attach_vspace(self.pdb)
        for base, size in ((BASE, vram.size), (SYSTEM_BASE, system.size), (READ_ONLY_BASE, 1 << 20)):
            gpu.invalidate_tlb(self.id, base, size)

    def _table(self) -> int:
        address = self._tables.address + self._next
        self._next += _PAGE
        return address

    def _poke(self, address: int, value: int) -> None:
        offset = address - self._tables.address
        self._tables.memory[offset : offset + 8] = struct.pack("<Q", value)

    def write_pte(self, va: int, physical: int, flags: int = 0, valid: int = 1) -> None:
        """Write one 4 KiB PTE, making the directories above it."""
        table = self.pdb
        path: tuple[int, ...] = ()
        for field, size in (
            (dev_mmu.NV_MMU_VER2_VA_PDE3, 8),
            (dev_mmu.NV_MMU_VER2_VA_PDE2, 8),
            (dev_mmu.NV_MMU_VER2_VA_PDE1, 8),
            (dev_mmu.NV_MMU_VER2_VA_PDE0, 16),
        ):
            path = (*path, field.decode(va))
            if path not in self._levels:
                child = self._levels[path] = self._table()
                at = table + size * field.decode(va) + (size - 8)  # a dual PDE's 4 KiB half is its upper
                self._poke(
                    at,
                    dev_mmu.NV_MMU_VER2_PDE_APERTURE.encode(dev_mmu.NV_MMU_VER2_PDE_APERTURE_VIDEO_MEMORY)
                    | dev_mmu.NV_MMU_VER2_PDE_ADDRESS.encode(child >> dev_mmu.NV_MMU_VER2_PDE_ADDRESS_SHIFT),
                )
            table = self._levels[path]
        entry = (
            dev_mmu.NV_MMU_VER2_PTE_VALID.encode(valid)
            | dev_mmu.NV_MMU_VER2_PTE_ADDRESS.encode(physical >> dev_mmu.NV_MMU_VER2_PTE_ADDRESS_SHIFT)
            | flags
        )
        self._poke(table + 8 * dev_mmu.NV_MMU_VER2_VA_PTE_4K.decode(va), entry)


class Channel:
    """A channel whose ring and pushbuffer lie in the space's VRAM window, far up."""

    def __init__(self, rig: "Rig", space: Space, vram: Window, page: int, *, classes: bool = True) -> None:
        self.rig, self.space, self.vram = rig, space, vram
        self.userd = rig.port.page(page)
        self._ring = vram.size - page * _CHANNEL_BYTES
        self._push = self._ring + _PAGE
        self._cursor = 0
        self._put = 0
        self._value = 0
        self.semaphore = self._ring + _CHANNEL_BYTES - _PAGE
        vram.memory[self._ring : self._ring + _CHANNEL_BYTES] = bytes(_CHANNEL_BYTES)
        self.id = rig.gpu.bind_channel(rig.port, page, space.id)
        if classes:
            rig.gpu.allow_class(self.id, clc7b5.AMPERE_DMA_COPY_B)
            rig.gpu.allow_class(self.id, clc7c0.AMPERE_COMPUTE_B)
        rig.gpu.start_channel(self.id, BASE + self._ring, RING_ENTRIES)
        rig.runlist.append(self.id)
        rig.gpu.set_runlist(rig.runlist)
        if classes:
            self.submit(
                method(COPY, clc56f.NVC56F_SET_OBJECT, clc7b5.AMPERE_DMA_COPY_B),
                method(COMPUTE, clc56f.NVC56F_SET_OBJECT, clc7c0.AMPERE_COMPUTE_B),
            )

    def entry(self, low: int, high: int) -> None:
        """Write one GP entry as two words and ring."""
        at = self._ring + 8 * self._put
        self.vram.memory[at : at + 8] = struct.pack("<II", low, high)
        self.put((self._put + 1) % RING_ENTRIES)

    def put(self, value: int) -> None:
        """Write GP_PUT and ring the doorbell."""
        self._put = value % RING_ENTRIES
        self.userd[dev_ram.NV_RAMUSERD_GP_PUT : dev_ram.NV_RAMUSERD_GP_PUT + 4] = struct.pack("<I", value)
        self.rig.ring()

    def submit(self, *methods: bytes) -> None:
        """Write a pushbuffer segment and its GP entry."""
        data = b"".join(methods)
        if self._cursor + len(data) > _CHANNEL_BYTES - 2 * _PAGE:
            self._cursor = 0
        at = self._push + self._cursor
        self._cursor += len(data)
        self.vram.memory[at : at + len(data)] = data
        self.entry(*gp_entry(BASE + at, len(data) // 4))

    def release(self) -> tuple[bytes, int]:
        """Return methods that release this channel's own semaphore with the next value."""
        self._value += 1
        return semaphore_release(BASE + self.semaphore, self._value), self._value

    def run(self, *methods: bytes, timeout_s: float = 20.0) -> None:
        """Submit, and wait for the end or for an error; raise AssertionError after `timeout_s`."""
        release, value = self.release()
        self.submit(*methods, release)
        deadline = time.monotonic() + timeout_s
        while self.value() < value and not self.fault():
            assert time.monotonic() < deadline, "the channel hangs"
            time.sleep(0.0002)

    def value(self) -> int:
        """Return what the channel's own semaphore holds."""
        return int.from_bytes(self.vram.memory[self.semaphore : self.semaphore + 4], "little")

    def word(self, offset: int, size: int = 4) -> int:
        """Return a little-endian word of the USERD page."""
        return int.from_bytes(self.userd[offset : offset + size], "little")

    def fault(self) -> Fault:
        """Return the error notifier's status."""
        return Fault(self.word(dev_ram.NOTIFIER_STATUS))

    def fault_address(self) -> int:
        """Return the error notifier's address."""
        return self.word(dev_ram.NOTIFIER_ADDRESS, 8)

    def text(self, offset: int, size: int) -> str:
        """Return a NUL-terminated text of the USERD page."""
        return bytes(self.userd[offset : offset + size]).split(b"\0")[0].decode()

    def stop(self) -> None:
        """Take the channel off the runlist and unbind it."""
        self.rig.runlist.remove(self.id)
        self.rig.gpu.set_runlist(self.rig.runlist)
        self.rig.gpu.stop_channel(self.id)


class Rig:
    """One GPU, one port, two windows; spaces and channels on request."""

    def __init__(self, **options: Any) -> None:
        self.gpu = Gpu(**options)
        self.tables = [self.gpu.add_window(Domain.VRAM, _TABLES_BYTES) for _ in range(3)]
        self.vram = self.gpu.add_window(Domain.VRAM, _VRAM_BYTES)
        self.other_vram = self.gpu.add_window(Domain.VRAM, _VRAM_BYTES)
        self.system = self.gpu.add_window(Domain.SYSTEM, _SYSTEM_BYTES)
        self.port: Port = self.gpu.add_port(200)
        self.runlist: list[int] = []
        self._pages = 0
        self._spaces = 0

    def space(self, vram: Window | None = None) -> Space:
        """Make an address space over `vram` (the first window unless told)."""
        self._spaces += 1
        return Space(self.gpu, vram or self.vram, self.system, self.tables[self._spaces - 1])

    def channel(self, space: Space, vram: Window | None = None, **options: bool) -> Channel:
        """Make a channel in a space."""
        self._pages += 1
        return Channel(self, space, vram or self.vram, self._pages, **options)

    def ring(self) -> None:
        """Ring the doorbell as a client does: only if the engine says that it sleeps."""
        flag = dev_ram.DOORBELL_SLEEPING
        # A system call between the store of GP_PUT and this load orders the two.
        time.sleep(0)
        if self.port.memory[flag]:
            os.eventfd_write(self.port.doorbell_fd, 1)


@contextmanager
def rig(**options: Any) -> Iterator[Rig]:
    """Make a rig and close its GPU afterwards."""
    made = Rig(**options)
    try:
        yield made
    finally:
        made.gpu.close()


def gp_entry(address: int, words: int) -> tuple[int, int]:
    """Encode a GP entry."""
    high = clc56f.NVC56F_GP_ENTRY1_GET_HI.encode(address >> 32) | clc56f.NVC56F_GP_ENTRY1_LENGTH.encode(words)
    return address & 0xFFFFFFFC, high


def method(
    subchannel: int, address: int, *data: int, kind: int = clc56f.NVC56F_DMA_SEC_OP_INC_METHOD
) -> bytes:
    """Encode a method header and its data."""
    header = (
        clc56f.NVC56F_DMA_METHOD_ADDRESS.encode(address >> 2)
        | clc56f.NVC56F_DMA_METHOD_SUBCHANNEL.encode(subchannel)
        | clc56f.NVC56F_DMA_METHOD_COUNT.encode(len(data))
        | clc56f.NVC56F_DMA_SEC_OP.encode(kind)
    )
    return struct.pack(f"<{1 + len(data)}I", header, *data)


def immediate(subchannel: int, address: int, data: int) -> bytes:
    """Encode a method with immediate data."""
    return struct.pack(
        "<I",
        clc56f.NVC56F_DMA_METHOD_ADDRESS.encode(address >> 2)
        | clc56f.NVC56F_DMA_METHOD_SUBCHANNEL.encode(subchannel)
        | clc56f.NVC56F_DMA_IMMD_DATA.encode(data)
        | clc56f.NVC56F_DMA_SEC_OP.encode(clc56f.NVC56F_DMA_SEC_OP_IMMD_DATA_METHOD),
    )


def semaphore(address: int, payload: int, execute: int) -> bytes:
    """Encode a host semaphore operation."""
    return method(
        0,
        clc56f.NVC56F_SEM_ADDR_LO,
        address & 0xFFFFFFFF,
        address >> 32,
        payload & 0xFFFFFFFF,
        payload >> 32,
        execute,
    )


def semaphore_release(address: int, payload: int, **flags: int) -> bytes:
    """Encode a release; flags: ``wide``, ``timestamp``."""
    return semaphore(
        address,
        payload,
        clc56f.NVC56F_SEM_EXECUTE_OPERATION.encode(clc56f.NVC56F_SEM_EXECUTE_OPERATION_RELEASE)
        | clc56f.NVC56F_SEM_EXECUTE_PAYLOAD_SIZE.encode(flags.get("wide", 0))
        | clc56f.NVC56F_SEM_EXECUTE_RELEASE_TIMESTAMP.encode(flags.get("timestamp", 0)),
    )


LINEAR = (
    clc7b5.NVC7B5_LAUNCH_DMA_DATA_TRANSFER_TYPE.encode(
        clc7b5.NVC7B5_LAUNCH_DMA_DATA_TRANSFER_TYPE_NON_PIPELINED
    )
    | clc7b5.NVC7B5_LAUNCH_DMA_SRC_MEMORY_LAYOUT.encode(clc7b5.NVC7B5_LAUNCH_DMA_SRC_MEMORY_LAYOUT_PITCH)
    | clc7b5.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT.encode(clc7b5.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT_PITCH)
)


def copy(
    target: int,
    source: int,
    size: int,
    *,
    lines: int = 1,
    pitches: tuple[int, int] = (0, 0),
    flags: int = LINEAR,
) -> bytes:
    """Encode a copy; `pitches` are source's and target's."""
    if lines > 1:
        flags |= clc7b5.NVC7B5_LAUNCH_DMA_MULTI_LINE_ENABLE.encode(1)
    return method(
        COPY,
        clc7b5.NVC7B5_OFFSET_IN_UPPER,
        source >> 32,
        source & 0xFFFFFFFF,
        target >> 32,
        target & 0xFFFFFFFF,
        *pitches,
        size,
        lines,
    ) + method(COPY, clc7b5.NVC7B5_LAUNCH_DMA, flags)


def qmd(
    program: int,
    *,
    grid: tuple[int, int, int] = (1, 1, 1),
    block: tuple[int, int, int] = (1, 1, 1),
    bank0: tuple[int, int] | None = None,
    shared: int = 0,
    **fields: int,
) -> bytes:
    """Encode a QMD; `bank0` is (address, size); further fields by their name after ``QMDV03_00_``."""
    values = {
        "QMD_MAJOR_VERSION": 3,
        "CTA_RASTER_WIDTH": grid[0],
        "CTA_RASTER_HEIGHT": grid[1],
        "CTA_RASTER_DEPTH": grid[2],
        "CTA_THREAD_DIMENSION0": block[0],
        "CTA_THREAD_DIMENSION1": block[1],
        "CTA_THREAD_DIMENSION2": block[2],
        "SHARED_MEMORY_SIZE": shared,
        "PROGRAM_ADDRESS_LOWER": program & 0xFFFFFFFF,
        "PROGRAM_ADDRESS_UPPER": program >> 32,
    }
    if bank0 is not None:
        values |= {
            "CONSTANT_BUFFER_VALID0": 1,
            "CONSTANT_BUFFER_ADDR_LOWER0": bank0[0] & 0xFFFFFFFF,
            "CONSTANT_BUFFER_ADDR_UPPER0": bank0[0] >> 32,
            "CONSTANT_BUFFER_SIZE_SHIFTED4_0": -(-bank0[1] // 16),
        }
    word = 0
    for name, value in (values | fields).items():
        word = getattr(clc7c0qmd, f"NVC7C0_QMDV03_00_{name}").update(word, value)
    return word.to_bytes(clc7c0qmd.NVC7C0_QMDV03_00__SIZE, "little")


def launch(qmd_address: int) -> bytes:
    """Encode the launch of the QMD at a GPU address."""
    return method(COMPUTE, clc7c0.NVC7C0_SEND_PCAS_A, qmd_address >> 8) + method(
        COMPUTE,
        clc7c0.NVC7C0_SEND_SIGNALING_PCAS2_B,
        clc7c0.NVC7C0_SEND_SIGNALING_PCAS2_B_PCAS_ACTION_SCHEDULE,
    )


class Kernels:
    """Puts programs, constant banks and QMDs into a window and launches them."""

    def __init__(self, rig: Rig, space: Space, channel: Channel) -> None:
        self.rig, self.space, self.channel = rig, space, channel
        self.memory = channel.vram.memory
        self._programs: dict[str, int] = {}
        self._next = _PROGRAM

    def program(self, text: str) -> int:
        """Return the address of a program's text."""
        if text not in self._programs:
            data = text.encode() + b"\0"
            self._programs[text] = self._next
            self.memory[self._next : self._next + len(data)] = data
            self._next += -(-len(data) // 16) * 16
        return BASE + self._programs[text]

    def bank(self, parameters: bytes, at: int = _BANK) -> tuple[int, int]:
        """Write parameters into a constant bank; return its address and size."""
        start = at + clc7c0qmd.CONSTANT_BANK0_PARAMETERS
        self.memory[start : start + len(parameters)] = parameters
        return BASE + at, clc7c0qmd.CONSTANT_BANK0_PARAMETERS + len(parameters)

    def qmd(self, text: str, parameters: bytes, at: int = QMD, **options: Any) -> bytes:
        """Write a QMD; return the methods that launch it."""
        bank = self.bank(parameters, _BANK + 4 * (at - QMD))
        data = qmd(self.program(text), bank0=bank, **options)
        self.memory[at : at + len(data)] = data
        return launch(BASE + at)

    def run(self, text: str, parameters: bytes = b"", **options: Any) -> Fault:
        """Launch, wait, and return what the channel came to."""
        self.channel.run(self.qmd(text, parameters, **options))
        return self.channel.fault()

    def array(self, count: int, offset: int = DATA) -> npt.NDArray[np.uint32]:
        """Return words of the window."""
        return np.frombuffer(self.memory, np.uint32, count, offset)
