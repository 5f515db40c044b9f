from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logv.errors import OutOfMemoryError
from logv.gpu import Gpu, Window
from logv.host._quota import Quota
from logv.host.vram import BIG_PAGE_SIZE, HUGE_PAGE_SIZE, Buffer, Placement
from logv.uapi import Domain

_PAGE = 4096
_SIZE = 8 << 20


@pytest.fixture
def window(gpu: Gpu) -> Iterator[Window]:
    """A window of 8 MiB of GPU memory that does not start at physical address 0."""
    gpu.add_window(Domain.VRAM, _PAGE)
    made = gpu.add_window(Domain.VRAM, _SIZE)
    yield made
    gpu.remove_window(made)


_pages = st.one_of(st.integers(1, 40), st.sampled_from([16, 17, 512, 513, 700, 1024]))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.tuples(st.booleans(), _pages, st.integers(0, 1 << 16)), max_size=40))
def test_placement_model(window: Window, steps: list[tuple[bool, int, int]]) -> None:
    """Buffers never overlap, stay inside, count exactly, and arrive zeroed whatever was written before."""
    placement = Placement(window, None)
    window.memory[:] = bytes(_SIZE)
    live: list[Buffer] = []
    for free, pages, pick in steps:
        if free and live:
            placement.release(live.pop(pick % len(live)))
            continue
        try:
            buffer = placement.place(pages * _PAGE)
        except OutOfMemoryError:
            continue
        end = buffer.offset + buffer.size
        assert buffer.size == pages * _PAGE
        assert buffer.offset >= 0
        assert end <= _SIZE
        assert buffer.physical == window.address + buffer.offset
        assert all(end <= other.offset or other.offset + other.size <= buffer.offset for other in live)
        assert not any(window.memory[buffer.offset : end])
        window.memory[buffer.offset : end] = b"\xa5" * buffer.size
        live.append(buffer)
        assert placement.allocated == sum(other.size for other in live)
        assert placement.buffers == len(live)
    for buffer in live:
        placement.release(buffer)
    assert (placement.allocated, placement.buffers, placement.free) == (0, 0, _SIZE)
    assert placement.place(_SIZE).offset == 0


@pytest.mark.parametrize(
    ("size", "alignment"),
    [
        (_PAGE, _PAGE),
        (BIG_PAGE_SIZE - _PAGE, _PAGE),
        (BIG_PAGE_SIZE, BIG_PAGE_SIZE),
        (HUGE_PAGE_SIZE - _PAGE, BIG_PAGE_SIZE),
        (HUGE_PAGE_SIZE, HUGE_PAGE_SIZE),
        (HUGE_PAGE_SIZE + _PAGE, HUGE_PAGE_SIZE),
    ],
)
def test_alignment_by_size(window: Window, size: int, alignment: int) -> None:
    """Large objects start where large pages can."""
    placement = Placement(window, None)
    placement.place(_PAGE)
    buffer = placement.place(size)
    assert buffer.physical % alignment == 0
    if alignment > _PAGE:
        assert buffer.offset == alignment


def test_alignment_gives_way(window: Window) -> None:
    """An object that fits, only not aligned to its page size, is placed all the same."""
    placement = Placement(window, None)
    placement.place(_PAGE)
    rest = placement.place(_SIZE - _PAGE)
    assert rest.offset == _PAGE
    assert placement.free == 0


def test_fresh_memory_is_not_touched(window: Window) -> None:
    """Memory that was never handed out is zero already; writing it would only cost page faults."""
    placement = Placement(window, None)
    window.memory[_PAGE] = 7
    assert placement.place(_PAGE).offset == 0
    assert window.memory[placement.place(_PAGE).offset] == 7


def test_fragmentation_is_named(window: Window) -> None:
    """Where enough is free, but not in one piece, the message says so; nothing is taken."""
    placement = Placement(window, None)
    pieces = [placement.place(HUGE_PAGE_SIZE) for _ in range(_SIZE // HUGE_PAGE_SIZE)]
    for buffer in pieces[::2]:
        placement.release(buffer)
    free = placement.free
    with pytest.raises(OutOfMemoryError, match="in one piece"):
        placement.place(HUGE_PAGE_SIZE + _PAGE)
    assert placement.free == free


def test_shared_bytes_are_charged(window: Window) -> None:
    """A placement that shares its bytes takes them from the common quota, and gives them back."""
    quota = Quota("bytes", 3 * _PAGE, OutOfMemoryError)
    placement = Placement(window, quota)
    assert (placement.size, placement.free) == (3 * _PAGE, 3 * _PAGE)
    buffer = placement.place(2 * _PAGE)
    assert quota.used == 2 * _PAGE
    with pytest.raises(OutOfMemoryError, match="4096 of 12288 free"):
        placement.place(2 * _PAGE)
    placement.release(buffer)
    assert quota.used == 0


def test_charge_is_undone_when_fragmented(window: Window) -> None:
    """A shared placement that finds no piece charges nothing."""
    quota = Quota("bytes", _SIZE, OutOfMemoryError)
    placement = Placement(window, quota)
    first = placement.place(HUGE_PAGE_SIZE)
    placement.place(HUGE_PAGE_SIZE)
    placement.release(first)
    used = quota.used
    with pytest.raises(OutOfMemoryError, match="in one piece"):
        placement.place(_SIZE - HUGE_PAGE_SIZE)
    assert quota.used == used
