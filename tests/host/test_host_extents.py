from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from logv.host._extents import FreeExtents

_START = 3
_SIZE = 200


class ExtentsModel(RuleBasedStateMachine):
    """The free list against a plain map of who has which unit."""

    def __init__(self) -> None:
        super().__init__()
        self.extents = FreeExtents(_START, _SIZE)
        self.taken: dict[int, int] = {}
        self.units = [False] * (_START + _SIZE)

    def _fits(self, start: int, size: int) -> bool:
        return (
            start >= _START and start + size <= _START + _SIZE and not any(self.units[start : start + size])
        )

    @rule(size=st.integers(1, 40), alignment=st.sampled_from([1, 2, 8, 32]))
    def take(self, size: int, alignment: int) -> None:
        """Taking gives free, aligned units, and fails only if there are none."""
        start = self.extents.take(size, alignment)
        if start is None:
            assert not any(self._fits(at, size) for at in range(0, _START + _SIZE, alignment))
            return
        assert start % alignment == 0
        assert self._fits(start, size)
        self.taken[start] = size
        self.units[start : start + size] = [True] * size

    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        """Giving back one of those taken."""
        if self.taken:
            start = data.draw(st.sampled_from(sorted(self.taken)))
            size = self.taken.pop(start)
            self.extents.give(start, size)
            self.units[start : start + size] = [False] * size

    @invariant()
    def largest_is_exact(self) -> None:
        """Neighbouring free extents are always merged: the largest is the longest run of free units."""
        runs = "".join("x" if unit else "." for unit in self.units[_START:]).split("x")
        assert self.extents.largest == max(map(len, runs))


ExtentsModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestExtentsModel = ExtentsModel.TestCase


def test_best_fit() -> None:
    """The smallest extent that fits is used, not the first."""
    extents = FreeExtents(0, 100)
    first = extents.take(20, 1)
    barrier = extents.take(1, 1)
    second = extents.take(10, 1)
    assert (first, barrier, second) == (0, 20, 21)
    assert extents.take(1, 1) == 31
    extents.give(0, 20)
    extents.give(21, 10)
    assert extents.take(10, 1) == 21
