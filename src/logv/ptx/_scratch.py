"""Where a block's spilled values, thread states and local memory lie in its scratch memory."""

from logv.errors import PtxError
from logv.hw.software_gpu import MAX_SCRATCH_BYTES, WARP_SIZE
from logv.ptx._liveness import Liveness, SlotClass
from logv.ptx._meeting import WORDS
from logv.ptx._schedule import Schedule
from logv.ptx._types import VALUE_BITS
from logv.ptx.module import Entry

_LINE = 64  # every array begins on a cache line


def _align_line(size: int) -> int:
    return -(-size // _LINE) * _LINE


class ScratchLayout:
    """Offsets in scratch memory.

    Parameters
    ----------
    entry : Entry
    block : tuple of int
    classes : Liveness
    scheduled : bool
        Whether threads note their next region (two bytes each).
    schedule : Schedule
    constant_bytes : int
        Size of constant memory.

    Attributes
    ----------
    constant_bytes, parameter_bytes : int
        Sizes of these memories, which accesses are confined to.
    state : int
        Offset of the dispatcher's state; see :mod:`logv.ptx._schedule`.
    next_region : int
        Offset of the array of thread states.
    words : tuple of int
        Offsets of the arrays of published words and results.
    arrays : dict of SlotClass to int
    local : int
        Offset of local memory; each thread has `local_stride` bytes of it.
    size : int

    Raises
    ------
    PtxError
        The block needs more than ``MAX_SCRATCH_BYTES``.
    """

    def __init__(
        self,
        entry: Entry,
        block: tuple[int, int, int],
        classes: Liveness,
        scheduled: bool,
        schedule: Schedule,
        constant_bytes: int,
    ) -> None:
        threads = block[0] * block[1] * block[2]
        self.constant_bytes = constant_bytes
        self.parameter_bytes = entry.parameter_bytes
        # Warps are looked at as a whole, also where the block ends in the middle of one.
        lanes = -(-threads // WARP_SIZE) * WARP_SIZE
        self.state = 0
        self.next_region = _align_line(schedule.state_bytes) if scheduled or schedule.publishes else 0
        offset = self.next_region + (_align_line(2 * lanes) if scheduled else 0)
        self.words = tuple(offset + word * _align_line(4 * lanes) for word in range(WORDS))
        offset += _align_line(4 * lanes) * WORDS if schedule.publishes else 0
        self.arrays: dict[SlotClass, int] = {}
        for slot in dict.fromkeys(classes.spilled.values()):
            self.arrays[slot] = offset
            offset += _align_line(self.element_bytes(slot.type) * threads)
        self.local = offset
        self.local_stride = entry.local_bytes
        offset += _align_line(entry.local_bytes * threads)
        if offset > MAX_SCRATCH_BYTES:
            raise PtxError(
                f"{threads} threads of {entry.name} need {offset} bytes of spilled and local memory, "
                f"more than {MAX_SCRATCH_BYTES}; launch smaller blocks"
            )
        self.size = offset

    @staticmethod
    def element_bytes(kind: str) -> int:
        """Return the bytes that one thread's element takes."""
        return max(1, VALUE_BITS[kind] // 8)
