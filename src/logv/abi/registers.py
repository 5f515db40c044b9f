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


EXECUTE_GO_ON = 1 << 31
"""In an EXECUTE value: a call that fails does not end the run."""


def encode_execute(first: int, count: int, *, go_on: bool = False) -> int:
    """Return the EXECUTE value for `count` slots from slot `first` on.

    Bits 15:0 are the first slot, 30:16 the number of slots, 31 ``EXECUTE_GO_ON``.
    """
    return (EXECUTE_GO_ON if go_on else 0) | count << 16 | first


def decode_execute(value: int) -> tuple[int, int, bool]:
    """Return first slot, number of slots, and whether to go on after a failure, of an EXECUTE value."""
    return value & 0xFFFF, value >> 16 & 0x7FFF, bool(value & EXECUTE_GO_ON)
