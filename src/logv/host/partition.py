"""Partitions: one client's share of the GPU, be it a VM or the native applications."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from threading import RLock
from typing import TYPE_CHECKING, Self

from logv.errors import ClosedError, ExhaustedError
from logv.gpu import Gpu, Port, PortCounters
from logv.host._quota import Quota
from logv.host._table_pool import TableShare
from logv.host.runlist import Runlist
from logv.host.vram import Placement
from logv.hw.software_gpu import MAX_APERTURE_EXTENTS, VSPACES_PER_CLIENT
from logv.uapi import Domain

if TYPE_CHECKING:
    from logv.host.session import Session

# A quarter of what the GPU has: no partition can take what three others need.
_MAX_MAPPINGS = MAX_APERTURE_EXTENTS // 4


@dataclass(frozen=True, slots=True)
class Usage:
    """What is held at one moment. Two equal readings mean that nothing leaked in between."""

    sessions: int = 0
    buffers: int = 0
    vspaces: int = 0
    mappings: int = 0
    channels: int = 0
    vram_bytes: int = 0
    """Bytes of buffer objects in VRAM."""
    system_bytes: int = 0
    """Bytes of buffer objects in system memory."""
    table_bytes: int = 0
    """Bytes of page tables."""

    def __add__(self, other: Self) -> Self:
        return type(self)(
            *(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        )


class Partition:
    """Windows, a port, and quotas of their own; sessions share them. ``HostDriver`` makes partitions.

    Parameters
    ----------
    name : str
    gpu : Gpu
    lock : RLock
        The host driver's one lock.
    runlist : Runlist
    tables : TableShare
        Page tables of this partition.
    memory : dict of Domain to Quota
        What the host driver has to give of each kind of memory.
    reserve : dict of Domain to int or None
        Bytes to set aside for this partition; None shares whatever is not reserved.
    channels : int
        Channels at one time.
    forget : callable
        Called with the partition when it closes.

    Attributes
    ----------
    placements : dict of Domain to Placement
        The windows, and what is allocated in them.
    port : Port
        USERD pages, doorbell, and the GPU's counters.
    """

    def __init__(
        self,
        name: str,
        *,
        gpu: Gpu,
        lock: RLock,
        runlist: Runlist,
        tables: TableShare,
        memory: dict[Domain, Quota],
        reserve: dict[Domain, int | None],
        channels: int,
        forget: Callable[["Partition"], None],
    ) -> None:
        self.name = name
        self.gpu = gpu
        self.lock = lock
        self.runlist = runlist
        self.tables = tables
        self.channels = channels
        self.vspaces = Quota("GPU address spaces", VSPACES_PER_CLIENT)
        self.mappings = Quota("mappings", _MAX_MAPPINGS)
        self.placements: dict[Domain, Placement] = {}
        self._sessions: list[Session] = []
        # Popped from the end: page 1 first, and what was used last is used next.
        self._pages = list(range(channels, 0, -1))
        self._forget = forget
        self.closed = False
        with ExitStack() as undo:
            for domain, bytes_reserved in reserve.items():
                quota = memory[domain]
                if bytes_reserved is not None:
                    quota.take(bytes_reserved)
                    undo.callback(quota.give, bytes_reserved)
                window = gpu.add_window(domain, quota.limit if bytes_reserved is None else bytes_reserved)
                undo.callback(gpu.remove_window, window)
                self.placements[domain] = Placement(window, quota if bytes_reserved is None else None)
            self.port: Port = gpu.add_port(channels)
            undo.callback(gpu.remove_port, self.port)
            self._resources = undo.pop_all()

    def __repr__(self) -> str:
        return f"<Partition {self.name!r}>"

    def allocated(self, domain: Domain) -> int:
        """Return the bytes of buffer objects in one kind of memory."""
        return self.placements[domain].allocated

    def usage(self) -> Usage:
        """Return what this partition's sessions hold."""
        with self.lock:
            return Usage(
                sessions=len(self._sessions),
                buffers=sum(placement.buffers for placement in self.placements.values()),
                vspaces=self.vspaces.used,
                mappings=self.mappings.used,
                channels=self.channels - len(self._pages),
                vram_bytes=self.allocated(Domain.VRAM),
                system_bytes=self.allocated(Domain.SYSTEM),
                table_bytes=self.tables.bytes,
            )

    def counters(self) -> PortCounters:
        """Return what the GPU did for this partition so far."""
        return self.port.counters()

    def enter(self, session: "Session") -> None:
        """Take in a session; raise ClosedError if the partition is closed."""
        if self.closed:
            raise ClosedError(f"partition {self.name!r} is closed; create another")
        self._sessions.append(session)

    def leave(self, session: "Session") -> None:
        """Let go of a session that has returned everything."""
        self._sessions.remove(session)

    def take_page(self) -> int:
        """Return the index of a free USERD page; raise ExhaustedError when all channels are in use."""
        if not self._pages:
            raise ExhaustedError(f"all {self.channels} channels are in use; free some first")
        return self._pages.pop()

    def give_page(self, page: int) -> None:
        """Take back a USERD page."""
        self._pages.append(page)

    def close(self) -> None:
        """Close the sessions, and give windows, port and reservation back. Closing twice is harmless."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            for session in list(self._sessions):
                session.close()
            self._resources.close()
            self._forget(self)
