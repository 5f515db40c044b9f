"""The guest kernel driver: one per VM."""

import os
import threading
import weakref
from collections import deque
from contextlib import suppress

from logv import abi
from logv.errors import ClosedError, NotSupportedError
from logv.guest._holdings import Holdings
from logv.guest.process import Process
from logv.guest.slots import CallSlots
from logv.hw.dev_ram import USERD_PAGE_SIZE
from logv.memfd import map_memfd


class GuestDriver:
    """Drives a VM's virtual device for the VM's processes.

    Maps the device's memory once; afterwards a process's view of a buffer object or of a channel is a
    slice. Threads and processes may share it; one lock makes hypercalls take turns.

    Parameters
    ----------
    device : VirtualDevice
        Reset first: whatever drove it before is gone.

    Raises
    ------
    NotSupportedError
        It is another device, or speaks another version of the ABI.
    ClosedError
        The device was closed.

    Attributes
    ----------
    lock : Lock
        Whoever makes calls, or changes what a process holds, has it.
    doorbell_fd : int
        Eventfd that wakes the GPU.
    """

    def __init__(self, device: abi.VirtualDevice) -> None:
        found = (device.read_register(abi.Register.ID), device.read_register(abi.Register.VERSION))
        if found != (abi.DEVICE_ID, abi.ABI_VERSION):
            if not device.region(abi.RegionIndex.SLOTS).size:
                raise ClosedError("the VM was closed")
            raise NotSupportedError(
                f"the device says {found[0]:#x}, version {found[1]}; "
                f"this driver is for {abi.DEVICE_ID:#x}, version {abi.ABI_VERSION}"
            )
        device.write_register(abi.Register.RESET, abi.RESET_KEY)
        self._device = device
        self._slots = CallSlots(device)
        self._regions = {
            index: map_memfd(*device.region(index))
            for index in (abi.RegionIndex.VRAM, abi.RegionIndex.USERD, abi.RegionIndex.SYSTEM)
        }
        # Of our own, so that the number stays ours when the device is closed before us.
        self.doorbell_fd = os.dup(device.doorbell_fd)
        self.lock = threading.Lock()
        self._processes: weakref.WeakSet[Process] = weakref.WeakSet()
        # A finaliser may run anywhere, also while this thread holds the lock: it leaves what the process
        # held here, and the next call returns it.
        self._orphans: deque[Holdings] = deque()
        self._closed = False

    def open(self) -> Process:
        """Connect one process of the VM; raise ClosedError if the driver was closed."""
        with self.lock:
            self.ready()
            process = Process(self)
            self._processes.add(process)
            return process

    def close(self) -> None:
        """Close every process, and return everything. Closing twice is harmless."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
        for process in list(self._processes):
            process.close()
        with self.lock:
            self._reap()
            os.close(self.doorbell_fd)

    def ready(self) -> CallSlots:
        """Return the slots, to a holder of :attr:`lock`; raise ClosedError if the driver was closed."""
        if self._closed:
            raise ClosedError("the guest driver was closed; the VM is going down")
        self._reap()
        return self._slots

    def check_present(self) -> None:
        """Raise ClosedError if the device is gone. No hypercall."""
        if not self._device.present:
            raise ClosedError("the virtual device is gone: the VM was closed, or its daemon ended")

    def bury(self, holdings: Holdings) -> None:
        """Return what a closed process held, as far as the VM still has it."""
        with self.lock:
            self.orphan(holdings)
            self._reap()

    def orphan(self, holdings: Holdings) -> None:
        """Note what a process held that is gone. Takes no lock."""
        self._orphans.append(holdings)

    def view(self, region: int, offset: int, size: int) -> memoryview:
        """Return bytes of a region."""
        return self._regions[abi.RegionIndex(region)][offset : offset + size]

    def userd_page(self, page: int) -> memoryview:
        """Return a page of BAR3; page 0 is the doorbell page."""
        return self.view(abi.RegionIndex.USERD, page * USERD_PAGE_SIZE, USERD_PAGE_SIZE)

    def _reap(self) -> None:
        while self._orphans:
            # A VM that was closed or reset has taken everything back already.
            with suppress(ClosedError):
                self._slots.run_all(self._orphans.popleft().give_up())
