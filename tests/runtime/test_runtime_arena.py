"""The suballocator, against a model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logv.errors import OutOfMemoryError
from logv.runtime._arena import CHUNK_BYTES, Arena, Heap, Span

SIZE = 1 << 14
BASE = 0x10_0000


def make_arena(size: int = SIZE) -> Arena:
    """Return an arena over memory of its own."""
    return Arena(memoryview(bytearray(size)), BASE)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("allocate"), st.integers(1, 3000), st.sampled_from([1, 16, 64, 256, 4096])),
            st.tuples(st.just("free"), st.integers(0, 50), st.just(0)),
        ),
        max_size=60,
    )
)
def test_spans_never_overlap_and_all_comes_back(steps: list[tuple[str, int, int]]) -> None:
    """Spans are aligned, inside, and apart; a refusal means that no hole would do; holes grow together."""
    arena = make_arena()
    live: list[Span] = []
    for what, number, alignment in steps:
        if what == "free":
            if live:
                arena.free(live.pop(number % len(live)))
            continue
        span = arena.allocate(number, alignment)
        taken = {byte for other in live for byte in range(other.offset, other.offset + other.size)}
        if span is None:
            starts = range(0, SIZE - number + 1, alignment)
            assert all(any(byte in taken for byte in range(s, s + number)) for s in starts)
            continue
        assert span.offset % alignment == 0
        assert span.size == number
        assert 0 <= span.offset <= SIZE - number
        assert taken.isdisjoint(range(span.offset, span.offset + number))
        live.append(span)
    for span in live:
        arena.free(span)
    whole = arena.allocate(SIZE, 4096)
    assert whole is not None
    assert whole.offset == 0


def test_a_span_is_the_same_bytes_for_both_sides() -> None:
    """The view and the address of a span name the same place."""
    arena = make_arena()
    arena.allocate(100, 1)
    span = arena.allocate(16, 16)
    assert span is not None
    span.view[:] = b"x" * 16
    assert span.address == BASE + span.offset
    assert bytes(arena.view[span.offset : span.offset + 16]) == b"x" * 16


def test_the_heap_grows_when_no_arena_has_room() -> None:
    """Another arena is made for what does not fit, large enough for it."""
    grown: list[int] = []

    def grow(size: int) -> Arena:
        grown.append(size)
        return make_arena(size)

    heap = Heap(make_arena(), grow)
    heap.allocate(SIZE, 1)
    assert not grown
    heap.allocate(1, 1)
    heap.allocate(2 * CHUNK_BYTES, 16)
    assert grown == [CHUNK_BYTES, 2 * CHUNK_BYTES]


def test_a_heap_that_cannot_grow_has_lost_nothing() -> None:
    """What the driver raises passes through, and freed space can be had again."""

    def grow(size: int) -> Arena:
        raise OutOfMemoryError("no more")

    heap = Heap(make_arena(), grow)
    span = heap.allocate(SIZE, 1)
    with pytest.raises(OutOfMemoryError):
        heap.allocate(1, 1)
    heap.free(span)
    assert heap.allocate(SIZE, 1).offset == 0


def test_a_retired_span_comes_back_once_it_is_unused() -> None:
    """A span that the GPU may still write is not handed out."""
    heap = Heap(make_arena(2048), make_arena)
    first = heap.allocate(2048, 1)
    unused = False
    heap.retire(first, lambda: unused)
    assert heap.allocate(2048, 1).arena is not first.arena
    unused = True
    assert heap.allocate(2048, 1).arena is first.arena
