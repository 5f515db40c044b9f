"""MSI-X vectors of one client: from the GPU's eventfd to the one that the client gave."""

import os
import select
import threading
from contextlib import suppress

from logv.transport.messages import invalid

_JOIN_S = 0.05


class Relay:
    """Passes on what the GPU signals, on a thread of its own.

    The client's eventfd is shared with the client, which can fill its counter so that writing blocks.
    So the GPU never writes it: this thread does, and hurts nobody but its client.

    Parameters
    ----------
    source : int
        The GPU's eventfd; used, not owned.
    target : int
        The client's, closed with this.
    """

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stopping = False
        # What was raised before the client asked is not for it.
        with suppress(BlockingIOError):
            os.eventfd_read(source)
        self._thread = threading.Thread(target=self._run, name="logv-interrupts", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            os.close(self._stop)
            os.close(target)
            raise

    def trigger(self) -> None:
        """Raise the interrupt as if the GPU had."""
        with suppress(BlockingIOError):
            os.eventfd_write(self._source, 1)

    def close(self) -> None:
        """Stop, whatever the client does, and close its eventfd."""
        self._stopping = True
        os.eventfd_write(self._stop, 1)
        self._thread.join(_JOIN_S)
        while self._thread.is_alive():
            # It is stuck in a write; taking the counter away lets that one through, and there is no other.
            os.set_blocking(self._target, False)
            with suppress(BlockingIOError):
                os.eventfd_read(self._target)
            self._thread.join(_JOIN_S)
        os.close(self._stop)
        os.close(self._target)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._stop, select.POLLIN)
        while not self._stopping:
            poll.poll()
            with suppress(BlockingIOError):
                os.eventfd_read(self._source)
                if not self._stopping:
                    os.set_blocking(self._target, False)
                    os.eventfd_write(self._target, 1)


def check_eventfd(fd: int) -> None:
    """Raise ProtocolError unless `fd` is an eventfd: writes to anything else can do anything."""
    if os.readlink(f"/proc/self/fd/{fd}") != "anon_inode:[eventfd]":
        raise invalid("an interrupt's descriptor is no eventfd")
