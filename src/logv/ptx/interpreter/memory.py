"""Global memory as the interpreter sees it."""

from typing import Protocol

from logv.errors import InvalidValueError


class Memory(Protocol):
    """What a kernel reaches through global addresses.

    Both methods raise ``InvalidValueError`` for bytes that are not there, which ends the kernel with an
    error that names the instruction.
    """

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Replace the bytes at an address."""
        ...


class RangeMemory:
    """Byte arrays at addresses of one's choice, and nothing between them."""

    def __init__(self) -> None:
        self._ranges: list[tuple[int, bytearray]] = []

    def map(self, address: int, data: bytearray) -> None:
        """Place a byte array, which the kernel then reads and writes, at an address.

        Raises
        ------
        InvalidValueError
            It overlaps one that is there.
        """
        for begin, other in self._ranges:
            if begin < address + len(data) and address < begin + len(other):
                raise InvalidValueError(f"{len(data)} bytes at {address:#x} overlap what lies at {begin:#x}")
        self._ranges.append((address, data))

    def read(self, address: int, size: int) -> bytes:
        """Return `size` bytes."""
        data, offset = self._find(address, size)
        return bytes(data[offset : offset + size])

    def write(self, address: int, data: bytes) -> None:
        """Replace the bytes at an address."""
        target, offset = self._find(address, len(data))
        target[offset : offset + len(data)] = data

    def _find(self, address: int, size: int) -> tuple[bytearray, int]:
        for begin, data in self._ranges:
            if begin <= address and address + size <= begin + len(data):
                return data, address - begin
        raise InvalidValueError(f"{size} bytes at {address:#x} are not mapped")
