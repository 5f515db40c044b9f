"""State of one thread, of its block and of the launch, and the memories that they see."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from logv.errors import InvalidValueError
from logv.hw.software_gpu import WARP_SIZE
from logv.ptx.interpreter.memory import Memory

# Where the other memories stand among generic addresses: beyond everything that a kernel can reach as global.
WINDOWS = {
    "shared": 0x0001_0000_0000_0000,
    "local": 0x0002_0000_0000_0000,
    "const": 0x0003_0000_0000_0000,
    "param": 0x0004_0000_0000_0000,
}
WINDOW_BYTES = 1 << 32

Triple = tuple[int, int, int]


@dataclass(slots=True)
class Launch:
    """What all blocks of a launch share.

    Attributes
    ----------
    steps : int
        Instructions that may still be executed.
    executed : int
        Instructions that were; the clock.
    """

    grid: Triple
    block: Triple
    params: bytes
    constants: bytes
    memory: Memory
    shared_bytes: int
    local_bytes: int
    steps: int
    executed: int = 0


@dataclass(frozen=True, slots=True)
class Meeting:
    """A warp operation that a thread waits in for the other lanes that the mask names.

    Attributes
    ----------
    key : tuple of str
        Operation and qualifiers: lanes meet in equal operations only.
    mask : int
        Lanes that take part.
    values : tuple of int
        This lane's operands.
    resolve : callable
        From this lane and all lanes' operands to this lane's results.
    deliver : callable
        Writes the results to the thread's registers.
    """

    key: tuple[str, ...]
    mask: int
    values: tuple[int, ...]
    resolve: Callable[[int, Mapping[int, tuple[int, ...]]], tuple[int, ...]]
    deliver: "Callable[[Thread, tuple[int, ...]], None]"


@dataclass(frozen=True, slots=True)
class Gathering:
    """``activemask``: waits until no other thread of the warp can reach the same place."""

    place: int
    deliver: "Callable[[Thread, int], None]"


@dataclass(frozen=True, slots=True)
class BarrierWait:
    """A thread at a barrier; `deliver` is given what the votes came to."""

    number: int
    deliver: "Callable[[Thread, list[int]], None] | None"


@dataclass(eq=False, slots=True)
class Block:
    """One block: its shared memory, threads and barriers."""

    launch: Launch
    index: Triple
    shared: bytearray
    threads: "list[Thread]" = field(default_factory=list)
    barriers: "dict[int, Barrier]" = field(default_factory=dict)


@dataclass(slots=True)
class Barrier:
    """Who has come to a barrier so far; `expected` is None for the whole block."""

    expected: int | None
    arrived: int = 0
    votes: list[int] = field(default_factory=list)


@dataclass(eq=False, slots=True)
class Thread:
    """One thread.

    Attributes
    ----------
    pc : int
        Number of the next statement.
    registers : dict of str to int
        Bits by name. PTX leaves a register open that was not written; it reads as 0.
    carry : int
        The carry flag of ``add.cc`` and its kin.
    waiting : object or None
        What it waits for.
    """

    block: Block
    index: Triple
    linear: int
    local: bytearray
    pc: int = 0
    registers: dict[str, int] = field(default_factory=dict)
    carry: int = 0
    done: bool = False
    waiting: Meeting | Gathering | BarrierWait | None = None

    @property
    def lane(self) -> int:
        """Place in the warp."""
        return self.linear % WARP_SIZE

    @property
    def warp(self) -> int:
        """Number of the warp in the block."""
        return self.linear // WARP_SIZE

    # -- memory -------------------------------------------------------------------------------------

    def resolve(self, space: str, address: int) -> tuple[str, int]:
        """Return the memory that an address lies in and the place in that memory."""
        if space in ("generic", "global"):
            for name, begin in WINDOWS.items():
                if begin <= address < begin + WINDOW_BYTES:
                    # A table declared .global stands among the constants.
                    if space == "global" and name != "const":
                        raise InvalidValueError(f"{address:#x} is an address in .{name} memory")
                    return name, address - begin
            return "global", address
        begin = WINDOWS[space]
        return space, address - begin if begin <= address < begin + WINDOW_BYTES else address

    def read(self, space: str, address: int, size: int) -> int:
        """Load a little-endian number.

        Raises
        ------
        InvalidValueError
            Misaligned, or beyond the memory.
        """
        space, place = self.resolve(space, address)
        _check_alignment(address, size)
        if space == "global":
            return int.from_bytes(self.block.launch.memory.read(place, size), "little")
        array = self._array(space, place, size)
        return int.from_bytes(array[place : place + size], "little")

    def write(self, space: str, address: int, size: int, value: int) -> None:
        """Store a little-endian number.

        Raises
        ------
        InvalidValueError
            Misaligned, beyond the memory, or read-only.
        """
        space, place = self.resolve(space, address)
        _check_alignment(address, size)
        data = value.to_bytes(size, "little")
        if space == "global":
            self.block.launch.memory.write(place, data)
            return
        array = self._array(space, place, size)
        if not isinstance(array, bytearray):
            raise InvalidValueError(f".{space} memory is read-only")
        array[place : place + size] = data

    def _array(self, space: str, place: int, size: int) -> bytes | bytearray:
        launch = self.block.launch
        arrays: dict[str, bytes | bytearray] = {
            "shared": self.block.shared,
            "local": self.local,
            "const": launch.constants,
            "param": launch.params,
        }
        array = arrays[space]
        if place + size > len(array):
            raise InvalidValueError(
                f"{size} bytes at {place:#x} lie beyond the {len(array)} of .{space} memory"
            )
        return array


def _check_alignment(address: int, size: int) -> None:
    if address % size:
        raise InvalidValueError(f"{address:#x} is not a multiple of the {size} bytes accessed")
