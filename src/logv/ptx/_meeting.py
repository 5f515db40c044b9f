"""What threads do together at a point where they wait for each other.

Each thread publishes words and waits; once the threads it waits for are there, what becomes of the words
is worked out for all of them at once, and each collects its result and goes on.
"""

from dataclasses import dataclass

# Words that a thread can publish, and the one that it collects.
VALUE, OTHER, MASK, RESULT = range(4)
WORDS = 4


@dataclass(frozen=True, slots=True)
class Meeting:
    """A warp operation, or a barrier of the whole block that counts threads.

    Attributes
    ----------
    operation : str
        ``shfl.up``, ``vote.any``, ``match.all.b64``, ``redux.add``, ``activemask``, ``sync``, ``count``.
        Threads wait for others at the same operation.
    whole_block : bool
        Threads wait for all others of the block, not of their warp.
    mask : int or None
        The lanes that wait for each other, where all threads name the same; else each publishes its mask.
    place : int
        A number of its own where threads wait for those at the very same place only; else 0.
    """

    operation: str
    whole_block: bool = False
    mask: int | None = None
    place: int = 0

    @property
    def family(self) -> str:
        """First word of the operation."""
        return self.operation.partition(".")[0]
