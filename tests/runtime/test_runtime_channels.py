"""Channels and streams: order, reuse of command memory, failures, waiting, closing."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.fake_driver import FakeDriver

from logv.errors import ChannelError, ClosedError, ExhaustedError, GpuFaultError, InvalidValueError, LogvError
from logv.hw import dev_ram
from logv.runtime import Device, EventOptions, Stream
from logv.runtime.channel import RING_ENTRIES, SEGMENT_BYTES
from logv.uapi import Fault


def fail(driver: FakeDriver, stream: Stream, fault: int = Fault.TRAP, **details: object) -> None:
    """Stop a stream as the GPU does."""
    driver.fault(driver.channels[stream.handle], fault, **details)  # type: ignore[arg-type]


def test_opening_takes_one_batch(driver: FakeDriver) -> None:
    """A device, its first stream and a copy need no call but the batch that opens it."""
    with Device(driver) as device:
        buffer = device.allocate(4096)
        before = driver.counts["calls"], driver.counts["batches"]
        stream = device.create_stream()
        buffer.copy_from(bytes(4096), stream=stream)
        stream.sync()
        assert (driver.counts["calls"], driver.counts["batches"]) == before
    assert driver.counts["batches"] == 2


def test_a_failed_opening_leaves_nothing() -> None:
    """A driver without memory for the arena raises, and holds nothing afterwards."""
    driver = FakeDriver(vram=4096)
    with pytest.raises(LogvError):
        Device(driver)
    assert driver.held == (0, 0, 0)


def test_command_memory_is_reused_only_when_done(driver: FakeDriver, device: Device) -> None:
    """Many more submissions than fit into the command memory and the ring all arrive, in order."""
    stream = device.create_stream()
    buffer = device.allocate(4096)
    expected = np.zeros(4096, np.uint8)
    for number in range(3 * RING_ENTRIES):
        buffer.fill(number & 0xFF, stream=stream, offset=number % 1000, size=7)
        expected[number % 1000 : number % 1000 + 7] = number & 0xFF
    stream.sync()
    np.testing.assert_array_equal(np.asarray(memoryview(buffer)), expected)


@settings(max_examples=25)
@given(st.lists(st.integers(1, SEGMENT_BYTES // 4 - 16), min_size=1, max_size=40))
def test_records_of_any_size_keep_their_order(sizes: list[int]) -> None:
    """Records never straddle segments, whatever their sizes; the last word of each takes effect."""
    driver = FakeDriver()
    with Device(driver) as device:
        channel = device.create_stream().channel
        start = channel.submitted
        for words in sizes:
            value = channel.submit([0x80000000 | 2 << 0] * words)  # NOPs with immediate data
        channel.wait(value)
        assert channel.submitted == start + len(sizes)
        assert driver.counts["submissions"] == channel.submitted


def test_a_page_that_something_overwrote_is_an_error(driver: FakeDriver, device: Device) -> None:
    """When GP_GET no longer moves, submitting raises instead of overwriting the ring."""
    channel = device.create_stream().channel
    userd = driver.channels[channel.handle].userd
    with pytest.raises(LogvError, match="GP_GET"):  # noqa: PT012  (which submission meets it is not the point)
        for _ in range(2 * RING_ENTRIES):
            (put,) = struct.unpack_from("<I", userd, dev_ram.NV_RAMUSERD_GP_PUT)
            struct.pack_into("<I", userd, dev_ram.NV_RAMUSERD_GP_GET, (put + 1) % RING_ENTRIES)
            channel.submit([])
    driver.run()


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
def test_every_fault_has_words(driver: FakeDriver, device: Device, fault: Fault) -> None:
    """Each code of the notifier becomes an exception that names the channel and a reason."""
    stream = device.create_stream()
    fail(driver, stream, fault, address=0xDEAD000, access=2, kernel="smash")
    with pytest.raises(ChannelError) as caught:
        stream.sync()
    assert caught.value.channel == stream.handle
    assert caught.value.reason
    assert "'smash'" in str(caught.value)
    if fault in (Fault.MMU_FAULT, Fault.MISALIGNED):
        assert isinstance(caught.value, GpuFaultError)
        assert (caught.value.address, caught.value.access, caught.value.kernel) == (
            0xDEAD000,
            "write",
            "smash",
        )
    else:
        assert not isinstance(caught.value, GpuFaultError)


def test_an_unknown_fault_is_still_an_error(driver: FakeDriver, device: Device) -> None:
    """A code that this version does not know is reported by its number."""
    stream = device.create_stream()
    fail(driver, stream, 999)
    with pytest.raises(ChannelError, match="999"):
        stream.sync()


def test_a_refused_program_says_why(driver: FakeDriver, device: Device) -> None:
    """The compiler's message reaches the application."""
    stream = device.create_stream()
    fail(driver, stream, Fault.BAD_PROGRAM, message="line 3: unknown instruction")
    with pytest.raises(ChannelError, match="line 3: unknown instruction"):
        stream.sync()


def test_a_failure_is_for_good_and_for_one_stream(driver: FakeDriver, device: Device) -> None:
    """Everything on the failed stream raises, the other stream works, and both can be closed."""
    bad, good = device.create_stream(), device.create_stream()
    buffer = device.allocate(64)
    event = bad.record()
    late = bad.record(options=EventOptions(timing_enabled=True))
    fail(driver, bad)
    for attempt in (
        bad.sync,
        late.sync,
        lambda: bad.is_done,
        lambda: late.is_done,
        lambda: late - late,
        lambda: buffer.copy_from(bytes(64), stream=bad),
        lambda: buffer.copy_to(bytearray(64), stream=bad),
        lambda: buffer.fill(1, stream=bad),
    ):
        with pytest.raises(ChannelError):
            attempt()
    with pytest.raises(ChannelError):
        event.sync()
    buffer.fill(7, stream=good)
    good.sync()
    assert bytes(memoryview(buffer)) == b"\x07" * 64
    bad.close()
    with pytest.raises(ChannelError):
        late.sync()
    with pytest.raises(ChannelError):
        good.wait(late)


def test_waiting_for_a_failed_stream_is_an_error(driver: FakeDriver, device: Device) -> None:
    """A stream that waits for what will never come says so, also through another stream."""
    first, second, third = (device.create_stream() for _ in range(3))
    driver.run()
    first.record(options=EventOptions(timing_enabled=True))
    fail(driver, first)
    second.wait(first)
    third.wait(second)
    with pytest.raises(ChannelError, match=f"{first.handle:#x}"):
        second.sync()
    with pytest.raises(ChannelError, match="waits for"):
        third.sync()
    buffer = device.allocate(64)
    buffer.close()


def test_streams_that_wait_for_each_other_in_turn_all_finish(device: Device) -> None:
    """Waits in both directions are no deadlock: each waits for what was submitted before."""
    one, two = device.create_stream(), device.create_stream()
    buffer = device.allocate(64)
    for number in range(10):
        buffer.fill(number, stream=one)
        two.wait(one)
        buffer.fill(number + 100, stream=two)
        one.wait(two)
    two.sync()
    one.sync()
    assert memoryview(buffer)[0] == 109


def test_a_stream_holds_back_until_the_event(driver: FakeDriver, device: Device) -> None:
    """What follows a wait is not carried out before what the event marks."""
    one, two = device.create_stream(), device.create_stream()
    buffer = device.allocate(64)
    driver.run()
    driver.channels[one.handle].stopped = True
    buffer.fill(1, stream=one)
    event = one.record()
    two.wait(event)
    buffer.fill(2, stream=two)
    driver.run()
    assert not event.is_done
    assert not two.is_done
    assert memoryview(buffer)[0] == 0
    driver.channels[one.handle].stopped = False
    two.sync()
    assert event.is_done
    assert memoryview(buffer)[0] == 2


def test_waiting_for_itself_or_a_finished_stream_costs_nothing(driver: FakeDriver, device: Device) -> None:
    """Neither is a submission."""
    stream, other = device.create_stream(), device.create_stream()
    event = other.record()
    other.close()
    before = stream.channel.submitted
    stream.wait(stream)
    stream.wait(event)
    stream.wait(device.create_event())
    assert stream.channel.submitted == before


def test_a_closed_stream_does_not_leave_others_waiting(driver: FakeDriver, device: Device) -> None:
    """A wait that comes to its turn after the other stream was closed still finds it done."""
    one, two = device.create_stream(), device.create_stream()
    driver.run()
    driver.channels[two.handle].stopped = True
    one.record(options=EventOptions(timing_enabled=True))
    two.wait(one)
    one.close()
    third = device.create_stream()
    third.sync()
    driver.channels[two.handle].stopped = False
    two.sync()
    fourth = device.create_stream()
    fourth.sync()
    assert fourth.channel.timeline_address == one.channel.timeline_address


def test_long_waits_sleep_on_the_interrupt(driver: FakeDriver, device: Device) -> None:
    """A waiter that has spun for long enough asks the driver to wake it."""
    stream = device.create_stream()
    real_run = driver.run
    turns = iter(range(3))
    driver.run = lambda: None if next(turns, None) is not None else real_run()  # type: ignore[method-assign]
    stream.sync()
    assert driver.counts["sleeps"] == 3


def test_channels_run_out_with_a_clear_error(driver: FakeDriver, device: Device) -> None:
    """The error comes from the driver, and room is there again after a close."""
    driver.max_channels = 2
    first = device.create_stream()
    device.create_stream()
    with pytest.raises(ExhaustedError):
        device.create_stream()
    first.close()
    device.create_stream().sync()


def test_closing_streams_returns_their_memory(driver: FakeDriver, device: Device) -> None:
    """Streams made and closed over and over need no more memory than the arena has."""
    held = driver.held
    for _ in range(50):
        with device.create_stream() as stream:
            device.allocate(64).fill(1, stream=stream)
    device.allocate(64).close()
    assert driver.held[:2] == held[:2]


def test_streams_beyond_the_arena_take_another_one(driver: FakeDriver, device: Device) -> None:
    """More streams than the first arena has room for work as well."""
    driver.max_channels = 40
    streams = [device.create_stream() for _ in range(40)]
    for stream in streams:
        stream.sync()
    assert driver.held[2] == 40


def test_use_after_close(driver: FakeDriver, device: Device) -> None:
    """A closed stream refuses everything but another close."""
    stream = device.create_stream()
    buffer = device.allocate(64)
    event = stream.record(options=EventOptions(timing_enabled=True))
    stream.close()
    stream.close()
    assert stream.closed
    assert event.is_done
    event.sync()
    for attempt in (
        stream.sync,
        stream.record,
        lambda: stream.wait(event),
        lambda: stream.is_done,
        lambda: buffer.fill(0, stream=stream),
        lambda: buffer.copy_from(bytes(64), stream=stream),
    ):
        with pytest.raises(ClosedError):
            attempt()


def test_a_closed_device_refuses_everything(driver: FakeDriver) -> None:
    """Nothing made from a device survives it, and each says so."""
    device = Device(driver)
    stream, buffer = device.create_stream(), device.allocate(64)
    event = stream.record(options=EventOptions(timing_enabled=True))
    pending = device.create_event()
    device.close()
    device.close()
    assert device.closed
    assert driver.held == (0, 0, 0)
    for attempt in (
        device.create_stream,
        device.create_event,
        device.sync,
        lambda: device.allocate(64),
        lambda: device.memory_info,
        stream.sync,
        lambda: stream.record(pending),
        lambda: event - event,
        lambda: buffer.fill(0, stream=stream),
        lambda: memoryview(buffer),
    ):
        with pytest.raises(ClosedError):
            attempt()
    buffer.close()
    stream.close()


def test_a_closed_device_maps_nothing(driver: FakeDriver) -> None:
    """Objects that outlive their device do not keep its memory."""
    device = Device(driver)
    stream, buffer, pinned = device.create_stream(), device.allocate(64), device.allocate_pinned(64)
    late = stream.record(options=EventOptions(timing_enabled=True))
    buffer.copy_from(bytes(64), stream=stream)
    device.close()
    assert (stream.closed, buffer.closed, pinned.closed, late.is_done) == (True,) * 4
    for memory in driver.backing:
        memory.append(0)  # raises BufferError while a view is alive


def test_streams_and_events_know_their_device(device: Device) -> None:
    """Streams of different devices do not mix."""
    other = Device(FakeDriver(), "other")
    stream = device.create_stream()
    foreign = other.create_stream()
    for wrong in (foreign, foreign.record(), "now"):
        with pytest.raises(InvalidValueError):
            stream.wait(wrong)  # type: ignore[arg-type]
    for event in (foreign.record(), 5):
        with pytest.raises(InvalidValueError):
            stream.record(event)  # type: ignore[arg-type]
    other.close()


def test_device_sync_waits_for_all_streams(driver: FakeDriver, device: Device) -> None:
    """After it, every stream is done; a failed one is reported."""
    streams = [device.create_stream() for _ in range(3)]
    device.sync()
    assert all(stream.is_done for stream in streams)
    fail(driver, streams[1])
    streams[1].channel.submitted += 1
    with pytest.raises(ChannelError):
        device.sync()
