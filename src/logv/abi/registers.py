"""BAR0 of the virtual device: 32-bit registers, little endian, naturally aligned."""

from enum import IntEnum, unique

DEVICE_ID = int.from_bytes(b"LoGV", "little")
ABI_VERSION = 1
BAR0_SIZE = 4096
# A value that stray writes do not have: a reset takes everything from the VM.
RESET_KEY = int.from_bytes(b"rset", "little")


@unique
class Register(IntEnum):
    """Offsets in BAR0. Any other offset reads as all ones, and writes to it are ignored."""

    ID = 0x00
    """Read: ``DEVICE_ID``."""
    VERSION = 0x04
    """Read: ``ABI_VERSION``."""
    SLOTS = 0x08
    """Read: number of call slots in BAR1."""
    CHANNELS = 0x0C
    """Read: USERD pages in BAR3 behind the doorbell page."""
    EXECUTE = 0x10
    """Write: carry out a run of slots (:func:`encode_execute`); complete when the write returns."""
    STATUS = 0x14
    """Read: what the last EXECUTE came to; the status of its first call that failed, or 0."""
    RESET = 0x18
    """Write ``RESET_KEY``: free everything that the VM holds; its handles stay invalid for good."""
    HYPERCALLS = 0x20
    """Read: writes to EXECUTE so far, modulo 2**32."""
    CALLS = 0x24
    """Read: calls that succeeded so far, modulo 2**32."""

    DOORBELL = 0x28
    """Write anything: wake the GPU, for a guest without the doorbell's eventfd."""


def encode_execute(first: int, count: int) -> int:
    """Return the EXECUTE value for `count` slots from slot `first` on: 15:0 first, 31:16 count."""
    return count << 16 | first


def decode_execute(value: int) -> tuple[int, int]:
    """Return (first slot, number of slots) of an EXECUTE value."""
    return value & 0xFFFF, value >> 16
