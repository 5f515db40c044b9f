"""The open devices of one owner."""

import weakref

from logv.runtime.device import Device
from logv.uapi import Driver


class DeviceSet:
    """Devices that are closed with what they belong to: a machine, or a VM."""

    def __init__(self) -> None:
        self._open: weakref.WeakSet[Device] = weakref.WeakSet()

    def open(self, driver: Driver, name: str) -> Device:
        """Return a new device on `driver`, which is closed if that fails."""
        try:
            device = Device(driver, name)
        except BaseException:
            driver.close()
            raise
        self._open.add(device)
        return device

    def close(self) -> None:
        """Close all. Memory that views still show is the owner's, and nobody gets it after the owner."""
        for device in list(self._open):
            device.context.close(force=True)
