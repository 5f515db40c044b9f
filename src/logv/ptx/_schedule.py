"""The table by which ``_dispatch.pyx`` runs a kernel's regions, and where its state lies."""

from collections.abc import Iterable, Mapping

from logv.ptx import _dispatch  # noqa: F401  (compiled kernels call into it)
from logv.ptx._ir import Block
from logv.ptx._regions import Region, RegionBuilder

# Codes of threads; see _dispatch.pyx.
WAITS = 0x8000
EXITED = 0xFFFF
# What the dispatcher answers when all threads have left.
DONE = -1
_BARRIERS = 16
_NONE = 0xFFFFFFFF
_HEADER_WORDS = 10
_REGION_WORDS = 6
# Counts, arrivals, and two flags.
_STATE_BYTES = 4 * (2 * _BARRIERS + 2)


class Schedule:
    """What is known of the regions of a kernel when its threads wait for each other.

    Parameters
    ----------
    block : tuple of int
        Block dimensions.
    builder : RegionBuilder
    areas : dict of Block to set of Block
        See :class:`logv.ptx._divergence.Divergence`.

    Attributes
    ----------
    regions : list of Region
    set_bits : int
        Size of a set of regions; one bit more says that threads have left.
    state_bytes : int
        Size of the dispatcher's state.
    publishes : bool
        Whether threads publish words.
    """

    def __init__(
        self, block: tuple[int, int, int], builder: RegionBuilder, areas: Mapping[Block, set[Block]]
    ) -> None:
        self.regions = builder.regions
        self.threads = block[0] * block[1] * block[2]
        width = len(self.regions) // 64 + 1
        self.set_bits = 64 * width
        self.state_bytes = _STATE_BYTES + 2 * 8 * width
        meetings = [region.meeting for region in self.regions if region.meeting is not None]
        self.publishes = not all(each.operation == "barrier" and each.is_plain for each in meetings)
        # Where no counter is shared, it does no harm if some threads run ahead.
        self._areas = areas if builder.classes.counters else {}

    @property
    def counts(self) -> int:
        """Offset in the state of what barriers have counted."""
        return 0

    @property
    def sets(self) -> int:
        """Offset in the state of the sets of regions: ready for, and waiting before."""
        return _STATE_BYTES

    def table(self, state: int, codes: int, words: tuple[int, ...]) -> list[int]:
        """Return the table, in 32-bit words.

        Parameters
        ----------
        state, codes : int
            Offsets in scratch memory.
        words : tuple of int
            Offsets of the published words and the results.
        """
        tail: list[int] = []
        places: dict[tuple[int, ...], int] = {}
        start = _HEADER_WORDS + _REGION_WORDS * len(self.regions)

        def place(content: tuple[int, ...]) -> int:
            if content not in places:
                places[content] = start + len(tail)
                tail.extend(content)
            return places[content]

        of_warp = place(self._set(r for r in self.regions if r.meeting is not None and r.meeting.of_warp))
        records: list[int] = []
        for region in self.regions:
            area = self._areas.get(region.start)
            inside = self._set(r for r in self.regions if area is not None and r.start in area)
            meeting = region.meeting
            records += self._record(region, place(meeting.lanes) if meeting and meeting.lanes else _NONE)
            records.append(place(inside) if any(inside) else _NONE)
        header = [self.threads, len(self.regions), self.set_bits // 64, of_warp, state, codes, *words]
        return header + records + tail

    @staticmethod
    def _record(region: Region, lanes: int) -> list[int]:
        meeting = region.meeting
        if meeting is None:
            return [_NONE, 0, 0, 0, _NONE]
        # Lanes that ask who else is active do so at the same place.
        group = region.index if meeting.operation == "activemask" else 0
        if meeting.of_warp:
            mask, threads = meeting.mask or 0, 0
        else:
            mask = _NONE if meeting.number is None else meeting.number
            threads = _NONE if meeting.threads is None else meeting.threads
        return [meeting.code, group << 8 | meeting.code, mask, threads, lanes]

    def _set(self, regions: Iterable[Region]) -> tuple[int, ...]:
        bits = sum(1 << region.index for region in regions)
        return tuple(bits >> shift & 0xFFFFFFFF for shift in range(0, self.set_bits, 32))
