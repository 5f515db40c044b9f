"""Ports: what the GPU shares with one client besides memory."""

import mmap
import os
from dataclasses import dataclass

from logv.errors import ClosedError
from logv.gpu._engine import Engine
from logv.hw.dev_ram import USERD_PAGE_SIZE
from logv.memfd import sealed_memfd


@dataclass(frozen=True, slots=True)
class PortCounters:
    """What the GPU did for one client since the port was made."""

    submissions: int
    """GP entries fetched."""
    launches: int
    """Kernels completed."""
    bytes_copied: int
    """Bytes written by the copy engine and by inline uploads."""
    faults: int
    """Channels stopped by an error."""
    interrupts: int
    """Interrupts raised."""


class Port:
    """A client's BAR3: the doorbell page and one USERD page per channel, plus its two eventfds.

    Parameters
    ----------
    channels : int
        How many USERD pages follow the doorbell page.

    Attributes
    ----------
    fd : int
        Sealed memfd of ``pages`` pages; page 0 is the doorbell page (``hw.dev_ram``).
    doorbell_fd : int
        Eventfd that wakes the engine.
    interrupt_fd : int
        Eventfd that the engine writes at an interrupt that somebody waits for (``DOORBELL_IRQ_WAITERS``).
        Never handed to a client, who could fill its counter and block the engine.
    memory : memoryview
        A CPU mapping of all pages, format ``B``, writable.
    """

    def __init__(self, channels: int) -> None:
        self.pages = channels + 1
        self.fd = sealed_memfd("logv-userd", self.pages * USERD_PAGE_SIZE)
        self.doorbell_fd = _eventfd()
        self.interrupt_fd = _eventfd()
        self.memory = memoryview(mmap.mmap(self.fd, self.pages * USERD_PAGE_SIZE))
        self.index = -1
        self._engine: Engine | None = None

    def counters(self) -> PortCounters:
        """Return what the GPU did for this client so far."""
        return PortCounters(*self._attached().port_counters(self.index))

    def attach(self, engine: Engine) -> None:
        """Become part of a GPU."""
        self.index = engine.add_port(self.memory, self.doorbell_fd, self.interrupt_fd)
        self._engine = engine

    def ring(self) -> None:
        """Wake the GPU without the doorbell's eventfd, which others can fill."""
        self._attached().wake()

    def renew_doorbell(self) -> None:
        """Replace the doorbell's eventfd: whoever has the old one can do nothing with it any more."""
        fresh = _eventfd()
        try:
            self._attached().set_doorbell(self.index, fresh)
        except BaseException:
            os.close(fresh)
            raise
        os.close(self.doorbell_fd)
        self.doorbell_fd = fresh

    def page(self, index: int) -> memoryview:
        """Return page `index`."""
        return self.memory[index * USERD_PAGE_SIZE : (index + 1) * USERD_PAGE_SIZE]

    def close(self) -> None:
        """Give up the descriptors."""
        for name in ("fd", "doorbell_fd", "interrupt_fd"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)

    def _attached(self) -> Engine:
        if self._engine is None:
            raise ClosedError("the port is not part of a GPU")
        return self._engine


def _eventfd() -> int:
    return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
