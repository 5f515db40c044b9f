"""Events: order and time."""

import gc
from itertools import pairwise

import pytest
from tests.runtime.fake_driver import FakeDriver

from logv.errors import BusyError, InvalidValueError
from logv.runtime import Device, EventOptions

TIMED = EventOptions(timing_enabled=True)


def test_the_time_between_events_is_in_milliseconds(device: Device) -> None:
    """The fake engine's clock moves by one millisecond at each timestamp."""
    stream = device.create_stream()
    start, middle, end = (stream.record(options=TIMED) for _ in range(3))
    end.sync()
    assert (middle - start, end - start, start - end) == (1.0, 2.0, -2.0)
    assert start.is_timing_enabled


def test_events_are_done_when_the_stream_has_passed(driver: FakeDriver, device: Device) -> None:
    """An event asks nothing of the GPU but what lies before it."""
    stream = device.create_stream()
    driver.run()
    before = stream.channel.submitted
    empty = stream.record()
    assert stream.channel.submitted == before
    assert empty.is_done
    timed = stream.record(options=TIMED)
    after = stream.record()
    assert stream.channel.submitted == before + 1
    assert not timed.is_done
    assert not after.is_done
    with pytest.raises(BusyError):
        timed - timed
    after.sync()
    assert timed.is_done


def test_an_event_can_be_recorded_again(device: Device) -> None:
    """It then stands for the later point, on whichever stream."""
    one, two = device.create_stream(), device.create_stream()
    start = one.record(options=TIMED)
    end = device.create_event(TIMED)
    assert end.is_done
    end.sync()
    assert two.record(end) is end
    two.sync()
    one.sync()
    first = end - start
    one.record(end)
    end.sync()
    assert end - start > first


def test_times_that_do_not_exist(device: Device) -> None:
    """Events without timing, never recorded, or of another device have no difference."""
    stream = device.create_stream()
    timed, untimed = stream.record(options=TIMED), stream.record()
    other = Device(FakeDriver())
    foreign = other.create_stream().record(options=TIMED)
    stream.sync()
    for left, right in (
        (timed, untimed),
        (untimed, timed),
        (timed, device.create_event(TIMED)),
        (timed, foreign),
    ):
        with pytest.raises(InvalidValueError):
            left - right
    with pytest.raises(TypeError):
        timed - 1  # type: ignore[operator]
    other.close()


def test_options_are_checked(device: Device) -> None:
    """Options are EventOptions, and belong to new events only."""
    stream = device.create_stream()
    with pytest.raises(InvalidValueError):
        device.create_event({"timing_enabled": True})  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        stream.record(device.create_event(), TIMED)


def test_dropped_events_leave_no_trace(driver: FakeDriver, device: Device) -> None:
    """Events over and over need no more memory, and none is reused before the GPU has written it."""
    stream = device.create_stream()
    held = driver.held
    for _ in range(2000):
        stream.record(options=TIMED)
        gc.collect(0)
    kept = [stream.record(options=TIMED) for _ in range(5)]
    stream.sync()
    assert driver.held == held
    assert [later - earlier for earlier, later in pairwise(kept)] == [1.0] * 4
