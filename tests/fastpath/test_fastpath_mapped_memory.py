"""MappedMemory: part of a buffer as a buffer, which knows its views."""

import gc
import mmap

import numpy as np
import pytest

from logv._fastpath import MappedMemory
from logv.errors import BusyError, ClosedError, InvalidValueError


def test_a_view_shows_the_part() -> None:
    """Views are writable bytes of the underlying buffer, without a copy."""
    memory = bytearray(range(16))
    part = MappedMemory(memory, 4, 8)
    view = memoryview(part)
    assert (view.format, view.nbytes, view.readonly, view.obj) == ("B", 8, False, part)
    view[0] = 99
    assert memory[4] == 99
    assert np.asarray(memoryview(part)).tolist() == [99, *range(5, 12)]


def test_views_are_counted() -> None:
    """Each view counts while it is alive, whoever made it, slices not twice."""
    part = MappedMemory(bytearray(16), 0, 16)
    assert part.exports == 0
    view = memoryview(part)
    array = np.asarray(memoryview(part))
    piece = view[2:5]
    assert part.exports == 2
    del array
    view.release()
    assert part.exports == 1
    piece.release()
    assert part.exports == 0


def test_memory_in_view_is_busy() -> None:
    """Release waits for the views; the hold stays as it was."""
    memory = bytearray(16)
    part = MappedMemory(memory, 0, 16)
    view = memoryview(part)
    with pytest.raises(BusyError, match="1 views"):
        part.release()
    assert not part.released
    view[3] = 5
    assert memory[3] == 5
    view.release()
    part.release()
    assert part.released


def test_released_memory_is_closed() -> None:
    """No view can be made any more, the underlying buffer is free, and releasing again is harmless."""
    memory = mmap.mmap(-1, 4096)
    part = MappedMemory(memory, 0, 4096)
    with pytest.raises(BufferError):
        memory.close()
    part.release()
    part.release()
    assert part.released
    assert part.exports == 0
    with pytest.raises(ClosedError):
        memoryview(part)
    memory.close()


class Derived(MappedMemory):
    """As the runtime derives its buffers: other arguments, attributes, a cycle."""

    def __init__(self, size: int) -> None:
        self.memory = bytearray(size)
        self.me = self
        super().__init__(self.memory, 0, size)


def test_classes_can_be_derived() -> None:
    """A derived class has attributes, and views of its own memory."""
    derived = Derived(32)
    memoryview(derived)[7] = 1
    assert derived.memory[7] == 1
    assert derived.exports == 0


def test_a_cycle_gives_its_memory_back() -> None:
    """Garbage collection undoes the hold."""
    derived = Derived(8)
    memory = derived.memory
    with pytest.raises(BufferError):
        memory.append(0)
    del derived
    gc.collect()
    memory.append(0)


def test_what_was_not_initialised_is_closed() -> None:
    """A derived class that forgets ``super().__init__`` has no memory to show."""
    part = MappedMemory.__new__(MappedMemory)
    assert part.released
    with pytest.raises(ClosedError):
        memoryview(part)


def test_initialising_anew_waits_for_the_views() -> None:
    """A second ``__init__`` must not move memory under a view."""
    part = MappedMemory(bytearray(8), 0, 8)
    view = memoryview(part)
    with pytest.raises(BusyError):
        part.__init__(bytearray(8), 0, 8)  # type: ignore[misc]
    view.release()


@pytest.mark.parametrize(
    ("buffer", "offset", "size"),
    [
        (bytearray(8), 0, 0),
        (bytearray(8), 0, 9),
        (bytearray(8), 8, 1),
        (bytearray(8), 4, 5),
        (bytearray(8), -1, 1),
        (bytearray(8), 0, -1),
        (bytearray(8), 1, 2**64 - 1),
        (bytearray(8), 2**63, 2**63),
        (bytearray(0), 0, 1),
        (bytes(8), 0, 8),
        (None, 0, 1),
        (bytearray(8), "0", 1),
    ],
)
def test_a_part_lies_inside_its_buffer(buffer: object, offset: object, size: object) -> None:
    """Empty, wrapping and outside parts, and buffers that cannot be written, are refused."""
    with pytest.raises(InvalidValueError):
        MappedMemory(buffer, offset, size)  # type: ignore[arg-type]


def test_a_source_is_asked_once_and_late() -> None:
    """A callable gives the buffer when the first view is made, and is not asked again."""
    memory, asked = bytearray(16), []

    def source() -> bytearray:
        asked.append(True)
        return memory

    mapped = MappedMemory(source, 4, 8)
    assert not asked
    assert not mapped.released
    memoryview(mapped)[0] = 7
    memoryview(mapped)[1] = 8
    assert (memory[4], memory[5], len(asked)) == (7, 8, 1)
    mapped.release()
    assert mapped.released
    with pytest.raises(ClosedError):
        memoryview(mapped)


def test_a_source_that_fails_or_is_too_small() -> None:
    """The source's own error comes through, a small buffer is refused, and nothing counts as a view."""

    def broken() -> bytearray:
        raise BusyError("not now")

    for source, error in ((broken, BusyError), (lambda: bytearray(4), InvalidValueError)):
        mapped = MappedMemory(source, 0, 8)
        with pytest.raises(error):
            memoryview(mapped)
        assert mapped.exports == 0
