"""Streams: work that the GPU carries out in order, each on a channel of its own."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from logv.errors import ClosedError, InvalidValueError
from logv.runtime.channel import Channel
from logv.runtime.event import Event, EventOptions

if TYPE_CHECKING:
    from logv.runtime.device import Device


class Stream:
    """A queue of copies and launches, made by :meth:`Device.create_stream`.

    An error stops the stream for good, and it alone: :meth:`sync`, and whatever else waits for it,
    raises; other streams go on.

    Attributes
    ----------
    device : Device
    channel : Channel
        What it submits to.
    """

    def __init__(self, device: "Device", channel: Channel) -> None:
        self.device = device
        self.channel = channel

    def __repr__(self) -> str:
        state = "closed" if self.channel.closed else f"channel {self.handle:#x}"
        return f"<Stream {state} on {self.device.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def handle(self) -> int:
        """Handle of the channel, as errors name it."""
        return self.channel.handle

    @property
    def closed(self) -> bool:
        """Whether the stream, or its device, was closed."""
        return self.channel.closed

    @property
    def is_done(self) -> bool:
        """Whether everything submitted so far is done; raises ChannelError if it never will be."""
        self._check_open()
        return self.channel.poll(self.channel.submitted)

    def sync(self) -> None:
        """Wait until everything submitted so far is done.

        Raises
        ------
        GpuFaultError
            A kernel or a copy touched memory that it may not.
        ChannelError
            The GPU stopped the stream for another reason, or a stream that it waits for.
        """
        self._check_open()
        self.channel.wait(self.channel.submitted)

    def record(self, event: Event | None = None, options: EventOptions | None = None) -> Event:
        """Mark this point of the stream.

        Parameters
        ----------
        event : Event, optional
            Recorded anew; without it, a new event is made.
        options : EventOptions, optional
            Of the new event.

        Returns
        -------
        Event
        """
        self._check_open()
        if event is None:
            event = self.device.create_event(options)
        elif options is not None:
            raise InvalidValueError("options are those of a new event; leave them out to record one again")
        elif not isinstance(event, Event):
            raise InvalidValueError(f"cannot record a {type(event).__name__}; give an Event, or options=...")
        elif event.device is not self.device:
            raise InvalidValueError("the event belongs to another device")
        event.mark(self.channel)
        return event

    def wait(self, event_or_stream: "Event | Stream") -> None:
        """Let everything submitted from now on wait for an event, or for all that a stream has got so far.

        Raises
        ------
        InvalidValueError
            It belongs to another device.
        """
        self._check_open()
        if not isinstance(event_or_stream, Event | Stream):
            raise InvalidValueError(
                f"cannot wait for a {type(event_or_stream).__name__}; give an Event or a Stream"
            )
        if event_or_stream.device is not self.device:
            raise InvalidValueError("streams wait within one device only; sync() the other one from the host")
        if isinstance(event_or_stream, Stream):
            point: tuple[Channel, int] | None = event_or_stream.channel, event_or_stream.channel.submitted
        else:
            point = event_or_stream.point
        if point is not None and point[0] is not self.channel:
            self.channel.follow(*point)

    def close(self) -> None:
        """Wait for what was submitted, and free the channel. Closing twice is harmless.

        An error that nobody has waited for is dropped here: ``sync()`` first to see it.
        """
        if not self.channel.closed:
            self.device.context.close_channel(self.channel)

    def _check_open(self) -> None:
        if self.channel.closed:
            raise ClosedError("the stream was closed; create another one")
