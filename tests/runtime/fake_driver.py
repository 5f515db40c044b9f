"""A driver and an engine in memory: the engine decodes what the runtime submits, by the manuals' names."""

import os
import struct
from collections import Counter
from types import TracebackType
from typing import Any, Self

from logv.errors import ClosedError, ExhaustedError, InvalidValueError, OutOfMemoryError
from logv.hw import clc7b5, clc7c0, clc7c0qmd, clc56f, dev_ram
from logv.hw._bits import Field
from logv.uapi import Channel, Domain, Fault, Memory, Param, Pending

PAGE = 4096
_CLASSES = {clc7b5.AMPERE_DMA_COPY_B: "copy", clc7c0.AMPERE_COMPUTE_B: "compute"}


class Launch:
    """One decoded QMD with its constant bank 0 and its program."""

    def __init__(self, qmd: bytes, engine: "FakeChannel") -> None:
        whole = int.from_bytes(qmd, "little")

        def get(name: str) -> int:
            place: Field = getattr(clc7c0qmd, f"NVC7C0_QMDV03_00_{name}")
            return place.decode(whole)

        self.grid = (get("CTA_RASTER_WIDTH"), get("CTA_RASTER_HEIGHT"), get("CTA_RASTER_DEPTH"))
        self.block = tuple(get(f"CTA_THREAD_DIMENSION{i}") for i in range(3))
        self.shared = get("SHARED_MEMORY_SIZE")
        self.version = get("QMD_MAJOR_VERSION")
        bank = get("CONSTANT_BUFFER_ADDR_LOWER0") | get("CONSTANT_BUFFER_ADDR_UPPER0") << 32
        self.bank = engine.driver.read(bank, get("CONSTANT_BUFFER_SIZE_SHIFTED4_0") << 4)
        self.program_address = get("PROGRAM_ADDRESS_LOWER") | get("PROGRAM_ADDRESS_UPPER") << 32
        text = bytes(engine.driver.bytes_at(self.program_address)).split(b"\0", 1)[0].decode()
        self.kernel = text.splitlines()[0].removeprefix("//.entry ")
        self.text = text

    @property
    def parameters(self) -> bytes:
        """The bytes from the first parameter on."""
        return self.bank[clc7c0qmd.CONSTANT_BANK0_PARAMETERS :]


class FakeChannel:
    """A channel and what its engine has seen."""

    def __init__(self, driver: "FakeDriver", handle: int) -> None:
        self.driver = driver
        self.handle = handle
        self.userd = memoryview(bytearray(PAGE))
        self.ring = self.entries = self.get = 0
        self.allowed: set[int] = set()
        self.bound: dict[int, str] = {}
        self.methods: dict[tuple[str, int], int] = {}
        self.words: list[int] = []
        self.stopped = False

    def run(self) -> bool:
        """Carry out what was submitted; return whether anything moved."""
        moved = False
        while not self.stopped and self.entries:
            if not self.words:
                (put,) = struct.unpack_from("<I", self.userd, dev_ram.NV_RAMUSERD_GP_PUT)
                if put == self.get:
                    break
                entry = struct.unpack("<II", self.driver.read(self.ring + 8 * self.get, 8))
                self.get = (self.get + 1) % self.entries
                struct.pack_into("<I", self.userd, dev_ram.NV_RAMUSERD_GP_GET, self.get)
                address = entry[0] & ~3 | clc56f.NVC56F_GP_ENTRY1_GET_HI.decode(entry[1]) << 32
                count = clc56f.NVC56F_GP_ENTRY1_LENGTH.decode(entry[1])
                self.words = list(struct.unpack(f"<{count}I", self.driver.read(address, 4 * count)))
                self.driver.counts["submissions"] += 1
            if not self._header():
                break
            moved = True
        return moved

    def _header(self) -> bool:
        word = self.words[0]
        kind = clc56f.NVC56F_DMA_SEC_OP.decode(word)
        method = clc56f.NVC56F_DMA_METHOD_ADDRESS.decode(word) << 2
        subchannel = clc56f.NVC56F_DMA_METHOD_SUBCHANNEL.decode(word)
        count = clc56f.NVC56F_DMA_METHOD_COUNT.decode(word)
        if kind == clc56f.NVC56F_DMA_SEC_OP_IMMD_DATA_METHOD:
            data = [count]
            length = 1
        else:
            assert kind == clc56f.NVC56F_DMA_SEC_OP_INC_METHOD
            data = self.words[1 : 1 + count]
            length = 1 + count
        for index, value in enumerate(data):
            try:
                if not self._method(subchannel, method + 4 * index, value):
                    return False
            except LookupError as error:
                self.driver.fault(self, Fault.MMU_FAULT, address=error.args[0], access=2)
                return False
        del self.words[:length]
        return True

    def _method(self, subchannel: int, method: int, value: int) -> bool:
        if method == clc56f.NVC56F_SET_OBJECT:
            assert value in self.allowed
            self.bound[subchannel] = _CLASSES[value]
            return True
        engine = "host" if method < 0x100 else self.bound[subchannel]
        self.methods[engine, method] = value
        if engine == "host" and method == clc56f.NVC56F_SEM_EXECUTE:
            return self._semaphore(value)
        if engine == "copy" and method == clc7b5.NVC7B5_LAUNCH_DMA:
            self._copy(value)
        if engine == "compute" and method == clc7c0.NVC7C0_SEND_SIGNALING_PCAS2_B:
            address = self.methods["compute", clc7c0.NVC7C0_SEND_PCAS_A] << 8
            self.driver.launches.append(
                Launch(self.driver.read(address, clc7c0qmd.NVC7C0_QMDV03_00__SIZE), self)
            )
        return True

    def _wide(self, engine: str, upper: int, lower: int) -> int:
        return self.methods[engine, upper] << 32 | self.methods[engine, lower]

    def _semaphore(self, execute: int) -> bool:
        assert clc56f.NVC56F_SEM_EXECUTE_PAYLOAD_SIZE.decode(execute) == 1
        address = self._wide("host", clc56f.NVC56F_SEM_ADDR_HI, clc56f.NVC56F_SEM_ADDR_LO)
        payload = self._wide("host", clc56f.NVC56F_SEM_PAYLOAD_HI, clc56f.NVC56F_SEM_PAYLOAD_LO)
        operation = clc56f.NVC56F_SEM_EXECUTE_OPERATION.decode(execute)
        if operation == clc56f.NVC56F_SEM_EXECUTE_OPERATION_ACQ_STRICT_GEQ:
            return int.from_bytes(self.driver.read(address, 8), "little") >= payload
        assert operation == clc56f.NVC56F_SEM_EXECUTE_OPERATION_RELEASE
        if clc56f.NVC56F_SEM_EXECUTE_RELEASE_TIMESTAMP.decode(execute):
            assert address % 16 == 0
            self.driver.clock_ns += 1_000_000
            self.driver.write(address + 8, self.driver.clock_ns.to_bytes(8, "little"))
        self.driver.write(address, payload.to_bytes(8, "little"))
        return True

    def _copy(self, launch: int) -> None:
        assert clc7b5.NVC7B5_LAUNCH_DMA_DST_MEMORY_LAYOUT.decode(launch) == 1
        get = self.methods.get
        target = self._wide("copy", clc7b5.NVC7B5_OFFSET_OUT_UPPER, clc7b5.NVC7B5_OFFSET_OUT_LOWER)
        length = self.methods["copy", clc7b5.NVC7B5_LINE_LENGTH_IN]
        if clc7b5.NVC7B5_LAUNCH_DMA_REMAP_ENABLE.decode(launch):
            components = self.methods["copy", clc7b5.NVC7B5_SET_REMAP_COMPONENTS]
            width = clc7b5.NVC7B5_SET_REMAP_COMPONENTS_COMPONENT_SIZE.decode(components) + 1
            value = self.methods["copy", clc7b5.NVC7B5_SET_REMAP_CONST_A]
            self.driver.write(target, value.to_bytes(4, "little")[:width] * length)
            return
        source = self._wide("copy", clc7b5.NVC7B5_OFFSET_IN_UPPER, clc7b5.NVC7B5_OFFSET_IN_LOWER)
        lines = 1
        pitches = [0, 0]
        if clc7b5.NVC7B5_LAUNCH_DMA_MULTI_LINE_ENABLE.decode(launch):
            lines = self.methods["copy", clc7b5.NVC7B5_LINE_COUNT]
            pitches = [get(("copy", clc7b5.NVC7B5_PITCH_IN), 0), get(("copy", clc7b5.NVC7B5_PITCH_OUT), 0)]
        for line in range(lines):
            data = self.driver.read(source + line * pitches[0], length)
            self.driver.write(target + line * pitches[1], data)


class FakeDriver:
    """``uapi.Driver`` for one process. The engine runs when the runtime waits, and at :meth:`run`."""

    def __init__(self, vram: int = 64 << 20) -> None:
        self.counts: Counter[str] = Counter()
        self.launches: list[Launch] = []
        self.clock_ns = 0
        self.doorbell = memoryview(bytearray(PAGE))
        self.doorbell_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.closed = False
        self.max_channels = 8
        self.channels: dict[int, FakeChannel] = {}
        self._free = vram
        self.backing: list[bytearray] = []
        self._memories: dict[int, tuple[Memory, memoryview]] = {}
        self._mappings: dict[int, memoryview] = {}
        self._next = 0x1_0000_0000
        self._interrupts = 0

    @property
    def held(self) -> tuple[int, int, int]:
        """Buffer objects, mappings and channels that exist."""
        return len(self._memories), len(self._mappings), len(self.channels)

    # What the GPU sees.

    def bytes_at(self, address: int) -> memoryview:
        """Return the mapped bytes from `address` on; LookupError if there are none."""
        for start, view in self._mappings.items():
            if start <= address < start + len(view):
                return view[address - start :]
        raise LookupError(address)

    def read(self, address: int, size: int) -> bytes:
        """Read GPU virtual memory."""
        view = self.bytes_at(address)
        if size > len(view):
            raise LookupError(address + len(view))
        return bytes(view[:size])

    def write(self, address: int, data: bytes) -> None:
        """Write GPU virtual memory."""
        view = self.bytes_at(address)
        if len(data) > len(view):
            raise LookupError(address + len(view))
        view[: len(data)] = data

    def fault(
        self,
        channel: FakeChannel,
        fault: int,
        *,
        address: int = 0,
        access: int = 0,
        kernel: str = "",
        message: str = "",
    ) -> None:
        """Stop a channel as the GPU does."""
        page = channel.userd
        struct.pack_into("<IQ", page, dev_ram.NOTIFIER_ACCESS, access, address)
        for text, offset in ((kernel, dev_ram.NOTIFIER_KERNEL), (message, dev_ram.NOTIFIER_MESSAGE)):
            page[offset : offset + len(text) + 1] = text.encode() + b"\0"
        struct.pack_into("<I", page, dev_ram.NOTIFIER_STATUS, fault)
        channel.stopped = True

    def run(self) -> None:
        """Let the engine carry out all that it can."""
        while any(channel.run() for channel in list(self.channels.values())):
            pass

    # What the runtime sees.

    def get_param(self, param: Param) -> int:
        """Return one figure."""
        return {Param.COMPUTE_CAPABILITY: 80, Param.VRAM_FREE: self._free}.get(param, 1 << 30)

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Memory:
        """Allocate."""
        if size <= 0:
            raise InvalidValueError("size must be positive")
        rounded = -(-size // PAGE) * PAGE
        if rounded > self._free:
            raise OutOfMemoryError("no memory left")
        self._free -= rounded
        self.counts["calls"] += 1
        memory = Memory(self._number(), rounded, domain, 0)
        self.backing.append(bytearray(rounded))
        self._memories[memory.handle] = memory, memoryview(self.backing[-1])
        return memory

    def mem_free(self, memory: int) -> None:
        """Free."""
        self.counts["calls"] += 1
        self._free += self._memories.pop(memory)[0].size

    def mem_map(self, memory: int) -> memoryview:
        """Map for the CPU."""
        self.counts["calls"] += 1
        return self._memories[memory][1]

    def vspace_new(self) -> int:
        """Make an address space."""
        self.counts["calls"] += 1
        return self._number()

    def vspace_free(self, vspace: int) -> None:
        """Free an address space."""

    def vspace_map(
        self, vspace: int, memory: int, *, offset: int = 0, size: int | None = None, writable: bool = True
    ) -> int:
        """Map for the GPU, with a hole after each mapping."""
        self.counts["calls"] += 1
        address = self._next
        view = self._memories[memory][1]
        self._next += len(view) + PAGE
        self._mappings[address] = view
        return address

    def vspace_unmap(self, vspace: int, address: int) -> None:
        """Unmap."""
        self.counts["calls"] += 1
        del self._mappings[address]

    def chan_new(self, vspace: int) -> Channel:
        """Make a channel."""
        if len(self.channels) == self.max_channels:
            raise ExhaustedError("no channel left")
        self.counts["calls"] += 1
        channel = FakeChannel(self, self._number())
        self.channels[channel.handle] = channel
        return Channel(channel.handle, len(self.channels), channel.userd, self.doorbell, self.doorbell_fd)

    def chan_free(self, channel: int) -> None:
        """Free a channel."""
        self.counts["calls"] += 1
        del self.channels[channel]

    def fifo_init_ib(self, channel: int, ring: int, entries: int) -> None:
        """Set a channel's ring."""
        self.counts["calls"] += 1
        self.channels[channel].ring, self.channels[channel].entries = ring, entries

    def obj_eng_new(self, channel: int, engine_class: int) -> None:
        """Allow a class."""
        self.counts["calls"] += 1
        self.channels[channel].allowed.add(engine_class)

    def irq_sequence(self) -> int:
        """Count; the engine gets a turn here."""
        if self.closed:
            raise ClosedError("the driver was closed")
        self.run()
        return self._interrupts

    def wait_irq(self, seen: int, timeout_s: float) -> int:
        """Return at once."""
        self.counts["sleeps"] += 1
        self._interrupts += 1
        return self._interrupts

    def batch(self) -> "FakeBatch":
        """Return a batch."""
        return FakeBatch(self)

    def close(self) -> None:
        """Return everything."""
        if not self.closed:
            self.closed = True
            self.channels.clear()
            self._mappings.clear()
            self._memories.clear()
            os.close(self.doorbell_fd)

    def _number(self) -> int:
        self._next += PAGE
        return self._next


class FakeBatch:
    """Carries calls out when the block ends, and undoes them when one fails."""

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self._calls: list[tuple[str, tuple[Any, ...], dict[str, Any], Pending[Any]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            return
        self._driver.counts["batches"] += 1
        undo: list[tuple[str, tuple[Any, ...]]] = []
        try:
            for name, args, options, pending in self._calls:
                values = tuple(_resolved(arg) for arg in args)
                result = getattr(self._driver, name)(*values, **options)
                pending.resolve(result)
                if name == "mem_alloc":
                    undo.append(("mem_free", (result.handle,)))
                elif name == "vspace_map":
                    undo.append(("vspace_unmap", (values[0], result)))
                elif name == "chan_new":
                    undo.append(("chan_free", (result.handle,)))
        except BaseException:
            for name, args in reversed(undo):
                getattr(self._driver, name)(*args)
            raise

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Pending[Any]:
            pending: Pending[Any] = Pending(len(self._calls))
            self._calls.append((name, args, options, pending))
            return pending

        return call


def _resolved(value: Any) -> Any:
    if isinstance(value, Pending):
        value = value.value
    return value.handle if isinstance(value, Memory | Channel) else value
