"""The host driver as the hypervisor needs it: the driver interface, and how a VM gets its share."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from logv.uapi import Domain, Driver


class HostWindow(Protocol):
    """A VM's share of one memory domain, behind one sealed memfd."""

    @property
    def fd(self) -> int:
        """The memfd."""
        ...

    @property
    def size(self) -> int:
        """Bytes."""
        ...


class HostPlacement(Protocol):
    """What is allocated in a window."""

    @property
    def window(self) -> HostWindow:
        """The window."""
        ...


class HostPortCounters(Protocol):
    """What the GPU did for one client so far."""

    @property
    def submissions(self) -> int:
        """GP entries fetched."""
        ...

    @property
    def launches(self) -> int:
        """Kernels completed."""
        ...

    @property
    def bytes_copied(self) -> int:
        """Bytes written by copies."""
        ...

    @property
    def faults(self) -> int:
        """Channels stopped by an error."""
        ...

    @property
    def interrupts(self) -> int:
        """Interrupts raised."""
        ...


class HostPort(Protocol):
    """A VM's USERD pages and doorbell."""

    @property
    def fd(self) -> int:
        """The memfd of ``pages`` pages."""
        ...

    @property
    def pages(self) -> int:
        """The doorbell page and the USERD pages."""
        ...

    @property
    def doorbell_fd(self) -> int:
        """Eventfd that wakes the engine."""
        ...

    @property
    def interrupt_fd(self) -> int:
        """Eventfd that is written at an interrupt that somebody waits for."""
        ...

    def ring(self) -> None:
        """Wake the GPU."""
        ...

    def renew_doorbell(self) -> None:
        """Replace the doorbell's eventfd."""
        ...

    def counters(self) -> HostPortCounters:
        """Return what the GPU did so far."""
        ...


class HostPartition(Protocol):
    """A VM's share of the GPU."""

    @property
    def placements(self) -> Mapping[Domain, HostPlacement]:
        """Its memory."""
        ...

    @property
    def port(self) -> HostPort:
        """Its channels."""
        ...

    def close(self) -> None:
        """Close its sessions and give everything back."""
        ...


_Partition = TypeVar("_Partition", bound=HostPartition)


class Host(Protocol[_Partition]):
    """The host driver."""

    def create_partition(self, name: str, *, vram: int, system: int, channels: int) -> _Partition:
        """Reserve a share of the GPU."""
        ...

    def open(self, partition: _Partition) -> Driver:
        """Open a session on a share."""
        ...
