"""One virtual machine as the hypervisor sees it: its share of the GPU, its device, its ledger."""

import threading
from collections.abc import Callable
from typing import Any

from logv import abi
from logv.hw.dev_ram import USERD_PAGE_SIZE
from logv.hypervisor._host import Host, HostPartition
from logv.hypervisor.calls import Calls
from logv.hypervisor.counters import VmCounters
from logv.hypervisor.ledger import Ledger
from logv.hypervisor.virtual_device import VirtualDevice
from logv.uapi import Domain, Driver


class Vm:
    """A virtual machine; made by :meth:`Hypervisor.create_vm`.

    Parameters
    ----------
    name : str
    host : Host
    partition : HostPartition
        The VM's share, closed with it.
    channels : int
        Channels it may have.
    forget : callable
        Called once the VM was closed.

    Attributes
    ----------
    device : VirtualDevice
        What its guest driver talks to.
    """

    def __init__(
        self,
        name: str,
        host: Host[Any],
        partition: HostPartition,
        channels: int,
        forget: Callable[["Vm"], None],
    ) -> None:
        self.name = name
        self._host = host
        self._partition = partition
        self._forget = forget
        self._lock = threading.Lock()
        self._last: VmCounters | None = None
        windows = {domain: partition.placements[domain].window for domain in Domain}
        vram, system, port = windows[Domain.VRAM], windows[Domain.SYSTEM], partition.port
        self._ledger = Ledger({domain: window.size for domain, window in windows.items()}, channels)
        self._session: Driver | None = None
        self.device = VirtualDevice(
            name,
            regions={
                abi.RegionIndex.VRAM: abi.Region(vram.fd, vram.size),
                abi.RegionIndex.USERD: abi.Region(port.fd, port.pages * USERD_PAGE_SIZE),
                abi.RegionIndex.SYSTEM: abi.Region(system.fd, system.size),
            },
            channels=channels,
            port=port,
            start=self._start,
        )

    def __repr__(self) -> str:
        return f"<Vm {self.name}{' closed' if self._last else ''}>"

    @property
    def counters(self) -> VmCounters:
        """What the VM did, and holds now; after :meth:`close`, what it had done by then."""
        with self._lock:
            return self._last or self._read()

    def reset(self) -> None:
        """Take back everything that the VM holds, as its guest's write to RESET does. Counters go on."""
        self.device.reset()

    def close(self) -> None:
        """Return everything that the VM held, and its share of the GPU. Closing twice is harmless."""
        with self._lock:
            if self._last is not None:
                return
            self.device.close()
            # The channels stop here, so that nothing counts on after the last reading.
            self._release()
            self._last = self._read()
            self._partition.close()
        self._forget(self)

    def _start(self) -> Calls:
        self._release()
        self._session = self._host.open(self._partition)
        return Calls(self._session, self._ledger)

    def _release(self) -> None:
        if self._session is not None:
            self._session.close()
        self._ledger.clear()

    def _read(self) -> VmCounters:
        done, ledger = self._partition.port.counters(), self._ledger
        return VmCounters(
            hypercalls=self.device.hypercalls,
            calls=self.device.calls,
            submissions=done.submissions,
            launches=done.launches,
            bytes_copied=done.bytes_copied,
            faults=done.faults,
            interrupts=done.interrupts,
            memory_used=ledger.used[Domain.VRAM],
            memory_quota=ledger.quotas[Domain.VRAM],
            system_memory_used=ledger.used[Domain.SYSTEM],
            buffers=len(ledger.memories),
            vspaces=len(ledger.vspaces),
            channels=len(ledger.channels),
        )
