"""Buffers: copies against a model, views, DLPack, bad input, lifetime."""

import gc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.fake_driver import FakeDriver

from logv.errors import BusyError, ClosedError, InvalidValueError, OutOfMemoryError
from logv.runtime import Buffer, Device, Stream
from logv.runtime._staging import CHUNK_BYTES, CHUNKS
from logv.uapi import Domain

SIZE = 1000


@pytest.fixture
def stream(device: Device) -> Stream:
    """A stream of the device."""
    return device.create_stream()


def content(buffer: Buffer) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a copy of the bytes as the CPU sees them."""
    return np.asarray(memoryview(buffer)).copy()


@settings(max_examples=60)
@given(st.data())
def test_copies_and_fills_follow_a_model(data: st.DataObject) -> None:
    """Whatever the order of copies, fills and pitch copies, the buffers hold what arrays would."""
    with Device(FakeDriver()) as device:
        stream = device.create_stream()
        buffers = [device.allocate(SIZE), device.allocate_pinned(SIZE)]
        model = [np.zeros(SIZE, np.uint8) for _ in buffers]
        for _ in range(data.draw(st.integers(1, 12))):
            which = data.draw(st.integers(0, 1))
            buffer, array = buffers[which], model[which]
            other, other_array = buffers[1 - which], model[1 - which]
            step = data.draw(st.sampled_from(["in", "out", "across", "fill", "pitch"]))
            offset = data.draw(st.integers(0, SIZE - 1))
            size = data.draw(st.integers(1, SIZE - offset))
            if step == "in":
                source = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), np.uint8)
                buffer.copy_from(source, stream=stream, offset=offset)
                array[offset : offset + size] = source
            elif step == "out":
                target = np.zeros(size, np.uint8)
                assert buffer.copy_to(target, stream=stream, offset=offset) is target
                np.testing.assert_array_equal(target, array[offset : offset + size])
            elif step == "across":
                buffer.copy_from(other, stream=stream)
                array[:] = other_array
            elif step == "fill":
                width = data.draw(st.sampled_from([1, 2, 4]))
                value = data.draw(st.integers(-(1 << (8 * width - 1)), (1 << 8 * width) - 1))
                offset, size = offset // width * width, max(width, size // width * width)
                size = min(size, (SIZE - offset) // width * width)
                if size:
                    buffer.fill(value, stream=stream, width=width, offset=offset, size=size)
                    pattern = (value & ((1 << 8 * width) - 1)).to_bytes(width, "little")
                    array[offset : offset + size] = np.frombuffer(pattern * (size // width), np.uint8)
            else:
                height = data.draw(st.integers(1, 8))
                width = data.draw(st.integers(1, 20))
                pitch, src_pitch = data.draw(st.integers(width, 100)), data.draw(st.integers(width, 100))
                src_offset = data.draw(st.integers(0, SIZE - (height - 1) * src_pitch - width))
                offset = data.draw(st.integers(0, SIZE - (height - 1) * pitch - width))
                buffer.copy_2d_from(
                    other,
                    stream=stream,
                    width=width,
                    height=height,
                    pitch=pitch,
                    src_pitch=src_pitch,
                    offset=offset,
                    src_offset=src_offset,
                )
                for line in range(height):
                    start, src_start = offset + line * pitch, src_offset + line * src_pitch
                    array[start : start + width] = other_array[src_start : src_start + width]
        stream.sync()
        for buffer, array in zip(buffers, model, strict=True):
            np.testing.assert_array_equal(content(buffer), array)


@pytest.mark.parametrize("extra", [-1, 0, 1])
@pytest.mark.parametrize("chunks", [1, CHUNKS, 2 * CHUNKS + 1])
def test_copies_around_the_size_of_the_staging_memory(
    driver: FakeDriver, device: Device, stream: Stream, chunks: int, extra: int
) -> None:
    """Host copies of any length arrive whole, and take one submission for each chunk."""
    size = chunks * CHUNK_BYTES + extra
    source = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    target = np.zeros_like(source)
    buffer = device.allocate(size)
    before = stream.channel.submitted
    buffer.copy_from(source, stream=stream)
    assert stream.channel.submitted - before == -(-size // CHUNK_BYTES)
    buffer.copy_to(target, stream=stream)
    assert stream.channel.submitted - before == 2 * -(-size // CHUNK_BYTES)
    np.testing.assert_array_equal(target, source)


def test_a_source_may_change_after_the_copy_was_asked_for(device: Device, stream: Stream) -> None:
    """The source has been read when copy_from returns, whenever the engine gets to it."""
    source = np.full(SIZE, 1, np.uint8)
    buffer = device.allocate(SIZE)
    buffer.copy_from(source, stream=stream)
    source[:] = 2
    stream.sync()
    assert (content(buffer) == 1).all()


@pytest.mark.parametrize(
    "source",
    [
        np.arange(24, dtype=np.float64).reshape(2, 3, 4),
        np.array(7, np.int16),
        np.ones(3, np.complex64),
        np.array([True, False]),
        bytearray(b"hello"),
        b"bytes",
        memoryview(b"view"),
    ],
    ids=lambda source: f"{type(source).__name__}-{memoryview(source).format}",
)
def test_any_contiguous_host_memory_can_be_copied(device: Device, stream: Stream, source: Any) -> None:
    """Arrays of any type and shape, and anything else with the buffer protocol, go in and come back."""
    data = bytes(memoryview(source).tobytes())
    buffer = device.allocate(len(data))
    buffer.copy_from(source, stream=stream)
    target = bytearray(len(data))
    buffer.copy_to(target, stream=stream)
    assert bytes(target) == data


def test_copying_to_nothing_makes_a_buffer(device: Device, stream: Stream) -> None:
    """Without a destination, the rest of the buffer goes to a new one."""
    buffer = device.allocate(16)
    buffer.copy_from(bytes(range(16)), stream=stream)
    copy = buffer.copy_to(stream=stream, offset=4)
    stream.sync()
    assert bytes(memoryview(copy)) == bytes(range(4, 16))
    small = device.allocate(4)
    assert buffer.copy_to(small, stream=stream, offset=8) is small
    stream.sync()
    assert bytes(memoryview(small)) == bytes(range(8, 12))


def test_a_memoryview_is_the_memory(device: Device, stream: Stream) -> None:
    """What the CPU writes through a view, the GPU reads."""
    for buffer in (device.allocate(SIZE), device.allocate_pinned(SIZE)):
        view = memoryview(buffer)
        assert (view.nbytes, view.readonly, view.format, len(buffer)) == (SIZE, False, "B", SIZE)
        view[:4] = b"abcd"
        target = bytearray(4)
        buffer.copy_to(target, stream=stream)
        assert target == b"abcd"


def test_dlpack_shares_and_copies_only_when_asked(device: Device) -> None:
    """An import shows the buffer's own bytes; a copy is made for ``copy=True`` alone."""
    buffer = device.allocate(16)
    shared = np.from_dlpack(buffer)
    memoryview(buffer)[3] = 9
    assert shared[3] == 9
    assert shared.nbytes == 16

    class Copy:
        def __dlpack__(self, **options: Any) -> Any:
            return buffer.__dlpack__(**{**options, "copy": True})

        def __dlpack_device__(self) -> tuple[int, int]:
            return buffer.__dlpack_device__()

    copied = np.from_dlpack(Copy())
    memoryview(buffer)[3] = 10
    assert copied[3] == 9
    assert shared[3] == 10
    assert buffer.__dlpack__(copy=False, max_version=(1, 0), dl_device=(1, 0)) is not None
    with pytest.raises(BufferError):
        buffer.__dlpack__(dl_device=(2, 0))
    with pytest.raises(InvalidValueError):
        buffer.__dlpack__(stream=1)


def test_views_keep_a_buffer_open(driver: FakeDriver, device: Device) -> None:
    """Closing buffer or device under a view is refused and changes nothing."""
    buffer = device.allocate(SIZE)
    view = memoryview(buffer)
    array = np.from_dlpack(buffer)
    before = driver.counts["calls"], driver.held
    for attempt in (buffer.close, device.close):
        with pytest.raises(BusyError):
            attempt()
    assert (driver.counts["calls"], driver.held) == before
    assert not buffer.closed
    array[0] = 5
    assert view[0] == 5
    view.release()
    del array
    buffer.close()
    assert buffer.closed


def test_an_error_matters_more_than_a_view() -> None:
    """Leaving the block on an error with a view alive raises that error, with a note."""
    device = Device(FakeDriver())
    kept = []

    def application() -> None:
        with device:
            kept.append(memoryview(device.allocate(16)))
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        application()
    assert "still open" in caught.value.__notes__[0]
    kept[0].release()
    device.close()
    with pytest.raises(BusyError), Device(FakeDriver()) as other:
        kept[0] = memoryview(other.allocate(16))


def test_dropped_buffers_are_freed_at_the_next_chance(driver: FakeDriver, device: Device) -> None:
    """A buffer that nobody has a name for any more makes room for the next one."""
    held = driver.held
    for _ in range(20):
        device.allocate(1 << 20)
        gc.collect()
    device.allocate(1 << 20).close()
    assert driver.held[0] <= held[0] + 1


def test_closing_waits_for_the_streams(driver: FakeDriver, device: Device, stream: Stream) -> None:
    """Memory is not freed under a copy that is still to come."""
    buffer = device.allocate(SIZE)
    source = device.allocate(SIZE)
    memoryview(source)[:] = b"s" * SIZE
    keep = device.allocate(SIZE)
    keep.copy_from(source, stream=stream)
    source.close()
    assert stream.is_done
    assert bytes(memoryview(keep)) == b"s" * SIZE
    buffer.close()


@pytest.mark.parametrize("size", [0, -1, 1.5, "64", None, True, 1 << 62, 1 << 64])
def test_impossible_sizes(driver: FakeDriver, device: Device, size: Any) -> None:
    """Sizes that are no sizes are refused with nothing held."""
    held = driver.held
    for allocate in (device.allocate, device.allocate_pinned):
        with pytest.raises((InvalidValueError, OutOfMemoryError)):
            allocate(size)
    assert driver.held == held


@pytest.mark.parametrize(("offset", "size"), [(-1, 4), (SIZE, 1), (SIZE - 3, 4), (0, SIZE + 1), (1 << 64, 1)])
def test_copies_out_of_range(device: Device, stream: Stream, offset: int, size: int) -> None:
    """A range that leaves the buffer is refused before anything is submitted."""
    buffer, other = device.allocate(SIZE), device.allocate(size)
    before = stream.channel.submitted
    for attempt in (
        lambda: buffer.copy_from(bytes(size), stream=stream, offset=offset),
        lambda: buffer.copy_to(bytearray(size), stream=stream, offset=offset),
        lambda: buffer.copy_from(other, stream=stream, offset=offset),
        lambda: buffer.copy_to(other, stream=stream, offset=offset),
        lambda: buffer.fill(0, stream=stream, offset=offset, size=size),
    ):
        with pytest.raises(InvalidValueError, match="do not fit"):
            attempt()
    assert stream.channel.submitted == before


def test_bad_copies(device: Device, stream: Stream) -> None:
    """Each wrong argument of a copy is named, and nothing is submitted."""
    buffer, other = device.allocate(SIZE), device.allocate(SIZE)
    foreign_device = Device(FakeDriver())
    foreign = foreign_device.allocate(SIZE)
    read_only = np.zeros(4, np.uint8)
    read_only.flags.writeable = False
    before = stream.channel.submitted
    lines = {"width": 8, "height": 2, "pitch": 8, "src_pitch": 8}
    attempts: list[tuple[str, Any]] = [
        ("ascontiguousarray", lambda: buffer.copy_from(np.zeros((4, 4))[:, ::2], stream=stream)),
        ("ascontiguousarray", lambda: buffer.copy_to(np.zeros((4, 4)).T[1:], stream=stream)),
        ("Python objects", lambda: buffer.copy_from(np.array([object()]), stream=stream)),
        ("empty", lambda: buffer.copy_from(b"", stream=stream)),
        ("read-only", lambda: buffer.copy_to(read_only, stream=stream)),
        ("read-only", lambda: buffer.copy_to(b"abc", stream=stream)),
        ("cannot copy", lambda: buffer.copy_from([1, 2], stream=stream)),
        ("cannot copy", lambda: buffer.copy_from("text", stream=stream)),
        ("another device", lambda: buffer.copy_from(foreign, stream=stream)),
        ("another device", lambda: buffer.copy_to(foreign, stream=stream)),
        ("another device", lambda: foreign.copy_from(b"a", stream=stream)),
        ("overlap", lambda: buffer.copy_from(buffer, stream=stream)),
        ("overlap", lambda: buffer.copy_to(buffer, stream=stream)),
        ("must be a Stream", lambda: buffer.copy_from(b"a", stream=None)),  # type: ignore[arg-type]
        ("integer", lambda: buffer.copy_from(b"a", stream=stream, offset=1.0)),  # type: ignore[arg-type]
        ("width", lambda: buffer.fill(0, stream=stream, width=3)),
        ("does not fit", lambda: buffer.fill(256, stream=stream)),
        ("does not fit", lambda: buffer.fill(-129, stream=stream)),
        ("integer", lambda: buffer.fill(1.5, stream=stream)),  # type: ignore[arg-type]
        ("multiples", lambda: buffer.fill(0, stream=stream, width=4, offset=2, size=4)),
        ("multiples", lambda: buffer.fill(0, stream=stream, width=2, size=3)),
        ("do not fit", lambda: buffer.fill(0, stream=stream, offset=SIZE)),
        ("copy_from takes host", lambda: buffer.copy_2d_from(b"", stream=stream, **lines)),  # type: ignore[arg-type]
        ("another device", lambda: buffer.copy_2d_from(foreign, stream=stream, **lines)),
        ("overlap", lambda: buffer.copy_2d_from(buffer, stream=stream, **lines, src_offset=8)),
        ("pitches", lambda: buffer.copy_2d_from(other, stream=stream, **{**lines, "pitch": 7})),
        ("pitches", lambda: buffer.copy_2d_from(other, stream=stream, **{**lines, "width": 0})),
        ("pitches", lambda: buffer.copy_2d_from(other, stream=stream, **{**lines, "src_pitch": 1 << 32})),
        ("height", lambda: buffer.copy_2d_from(other, stream=stream, **{**lines, "height": 0})),
        ("do not fit", lambda: buffer.copy_2d_from(other, stream=stream, **{**lines, "height": 126})),
    ]
    for message, attempt in attempts:
        with pytest.raises(InvalidValueError, match=message):
            attempt()
    assert stream.channel.submitted == before
    foreign_device.close()


def test_use_after_close_of_a_buffer(driver: FakeDriver, device: Device, stream: Stream) -> None:
    """A closed buffer refuses everything but another close, as source and as destination."""
    held = driver.held
    buffer, other = device.allocate(SIZE), device.allocate(SIZE)
    buffer.close()
    buffer.close()
    for attempt in (
        lambda: buffer.copy_from(b"a", stream=stream),
        lambda: buffer.copy_to(bytearray(1), stream=stream),
        lambda: other.copy_from(buffer, stream=stream),
        lambda: other.copy_to(buffer, stream=stream),
        lambda: buffer.fill(0, stream=stream),
        lambda: memoryview(buffer),
        buffer.__dlpack__,
    ):
        with pytest.raises(ClosedError):
            attempt()
    other.close()
    assert driver.held == held


def test_buffers_say_what_they_are(device: Device) -> None:
    """The properties are those asked for, and the text names them."""
    with device.allocate(SIZE) as buffer, device.allocate_pinned(SIZE) as pinned:
        assert (buffer.size, buffer.domain, pinned.domain) == (SIZE, Domain.VRAM, Domain.SYSTEM)
        assert buffer.device is device
        assert f"{buffer.handle:#x}" in repr(buffer)
        assert "system" in repr(pinned)
    assert "closed" in repr(buffer)
    assert device.compute_capability == (8, 0)
    free, total = device.memory_info
    assert 0 < free <= total
