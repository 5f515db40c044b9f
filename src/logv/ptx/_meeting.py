"""What threads do together at a point where they wait for each other.

Each thread publishes words and waits; once the threads it waits for are there, what becomes of the words
is worked out for all of them at once, and each collects its result and goes on.
"""

from dataclasses import dataclass

from logv.hw.software_gpu import WARP_SIZE

# Words that a thread can publish, and the one that it collects.
VALUE, OTHER, MASK, RESULT = range(4)
WORDS = 4
_LANES = WARP_SIZE - 1

# Operations on the warp; numbered alike in ``_dispatch.pyx``.
WARP_OPERATIONS = (
    "sync", "activemask", "elect", "shfl", "vote.all", "vote.any", "vote.uni", "vote.ballot",
    "match.any.b32", "match.any.b64", "match.all.b32", "match.all.b64",
    "redux.add", "redux.umin", "redux.smin", "redux.umax", "redux.smax", "redux.and", "redux.or", "redux.xor",
)  # fmt: skip
# Operations on the block: wait; wait and count true predicates; be counted at a barrier and go on.
BLOCK_OPERATIONS = ("barrier", "count", "arrive")


@dataclass(frozen=True, slots=True)
class Shuffle:
    """How a shuffle finds the lane to read from."""

    mode: str

    def sources(self, b: int, c: int) -> tuple[int, ...]:
        """Return the lane that each lane reads from, for the operands of these names in NVIDIA's manual."""
        return tuple(self._source(lane, b & _LANES, c) for lane in range(WARP_SIZE))

    def _source(self, lane: int, distance: int, c: int) -> int:
        segment = c >> 8 & _LANES
        first = lane & segment
        last = first | c & _LANES & ~segment
        other = {
            "up": lane - distance,
            "down": lane + distance,
            "bfly": lane ^ distance,
            "idx": first | distance & ~segment,
        }[self.mode]
        inside = other >= last if self.mode == "up" else other <= last
        return other if inside else lane


@dataclass(frozen=True, slots=True)
class Meeting:
    """A warp operation, or a barrier of the block.

    Attributes
    ----------
    operation : str
        One of ``WARP_OPERATIONS`` or ``BLOCK_OPERATIONS``.
    mask : int or None
        Of a warp operation, the lanes that wait for each other, where all threads name the same; else
        each publishes its mask.
    lanes : tuple of int
        Of a shuffle, the lane that each lane reads from, where that is a constant; else each publishes it.
    number : int or None
        Of a barrier, its number, where that is a constant; else each thread publishes it (MASK).
    threads : int or None
        Of a barrier, how many threads it waits for; 0 for all. None if each publishes that (OTHER).
    """

    operation: str
    mask: int | None = None
    lanes: tuple[int, ...] = ()
    number: int | None = 0
    threads: int | None = 0

    @property
    def of_warp(self) -> bool:
        """Whether threads wait for others of their warp only."""
        return self.operation in WARP_OPERATIONS

    @property
    def is_plain(self) -> bool:
        """Whether all threads of the block wait, or count as they wait, and nothing else."""
        return (
            not self.of_warp and self.operation != "arrive" and self.number is not None and self.threads == 0
        )

    @property
    def code(self) -> int:
        """Number of the operation in the dispatcher's table."""
        if self.of_warp:
            return WARP_OPERATIONS.index(self.operation)
        return len(WARP_OPERATIONS) + BLOCK_OPERATIONS.index(self.operation)
