"""Events: points in a stream that others wait for, and whose time can be asked."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from logv.errors import BusyError, InvalidValueError
from logv.runtime import pushbuffer
from logv.runtime._arena import Heap
from logv.runtime.channel import Channel

if TYPE_CHECKING:
    from logv.runtime.device import Device

_SEMAPHORE_BYTES = 16  # payload, and the time at +8


@dataclass(frozen=True, slots=True)
class EventOptions:
    """What an event can do.

    Attributes
    ----------
    timing_enabled : bool
        Whether the GPU notes the time; otherwise recording costs no submission.
    """

    timing_enabled: bool = False


class Event:
    """A point in a stream, made by :meth:`Stream.record` or :meth:`Device.create_event`.

    One that was never recorded counts as done. ``end - start`` is the time between two events in
    milliseconds.

    Attributes
    ----------
    device : Device
    """

    def __init__(self, device: "Device", heap: Heap, options: EventOptions) -> None:
        self.device = device
        self._point: tuple[Channel, int] | None = None
        self._heap = heap
        self._span = heap.allocate(_SEMAPHORE_BYTES, _SEMAPHORE_BYTES) if options.timing_enabled else None

    def __repr__(self) -> str:
        state = "not recorded" if self._point is None else f"submission {self._point[1]}"
        return f"<Event {state} on {self.device.name}>"

    def __del__(self) -> None:
        span = getattr(self, "_span", None)
        if span is not None:
            point = self._point
            self._heap.retire(span, lambda: point is None or point[0].is_settled(point[1]))

    @property
    def is_timing_enabled(self) -> bool:
        """Whether the event notes the time."""
        return self._span is not None

    @property
    def is_done(self) -> bool:
        """Whether the stream has passed the point; raises ChannelError if it never will."""
        return self._point is None or self._point[0].poll(self._point[1])

    @property
    def point(self) -> tuple[Channel, int] | None:
        """The channel and its timeline's value at the point; None before it is recorded."""
        return self._point

    def mark(self, channel: Channel) -> None:
        """Record the event on `channel`."""
        if self._span is None:
            self._point = channel, channel.submitted
        else:
            value = channel.submit(pushbuffer.release(self._span.address, 1, timestamp=True))
            self._point = channel, value

    def sync(self) -> None:
        """Wait until the stream has passed the point.

        Raises
        ------
        GpuFaultError, ChannelError
            The stream failed before.
        """
        if self._point is not None:
            self._point[0].wait(self._point[1])

    def __sub__(self, earlier: "Event") -> float:
        """Return the milliseconds from `earlier` to this event.

        Raises
        ------
        InvalidValueError
            One of them notes no time, was never recorded, or belongs to another device.
        BusyError
            One of them is not done yet.
        """
        if not isinstance(earlier, Event):
            return NotImplemented
        if earlier.device is not self.device:
            raise InvalidValueError("the events belong to different devices, whose clocks need not agree")
        return (self._nanoseconds() - earlier._nanoseconds()) / 1e6

    def _nanoseconds(self) -> int:
        if self._span is None:
            raise InvalidValueError(
                "the event notes no time; record it with EventOptions(timing_enabled=True)"
            )
        if self._point is None:
            raise InvalidValueError("the event was never recorded")
        self.device.context.check_open()
        channel, value = self._point
        if not channel.poll(value):
            raise BusyError("the event is not done yet; sync() it first")
        return int.from_bytes(self._span.view[8:16], "little")
