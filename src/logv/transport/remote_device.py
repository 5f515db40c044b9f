"""The virtual device of a VM that is a process of its own (``abi.VirtualDevice``)."""

import os
import struct
from contextlib import suppress

from logv import abi
from logv.errors import ClosedError
from logv.transport.client import Client

_REGISTER = struct.Struct("<I")
_GONE = abi.Region(-1, 0)
_ALL_ONES = 0xFFFFFFFF


class RemoteDevice:
    """A virtual device behind a vfio-user socket.

    The descriptors of its regions and of its doorbell are asked for once; after that only registers
    cross the socket. A device whose daemon is gone reads as all ones, as hardware does that was pulled.

    Parameters
    ----------
    client : Client
        Used, not owned.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._regions: dict[abi.RegionIndex, abi.Region] = {}
        self.doorbell_fd = client.io_eventfd(0, abi.Register.DOORBELL)

    @property
    def present(self) -> bool:
        """Whether the daemon is there."""
        return self._client.connected

    def region(self, index: abi.RegionIndex) -> abi.Region:
        """Return a region; its size is 0 if the daemon is gone."""
        if index not in self._regions:
            try:
                _, mapped, fd = self._client.region(index)
            except ClosedError:
                return _GONE
            self._regions[index] = abi.Region(fd, mapped)
        return self._regions[index]

    def read_register(self, offset: int) -> int:
        """Read a BAR0 register; all ones where there is none, and without a daemon."""
        try:
            value: int = _REGISTER.unpack(self._client.read_region(0, offset, _REGISTER.size))[0]
        except ClosedError:
            return _ALL_ONES
        return value

    def write_register(self, offset: int, value: int) -> None:
        """Write a BAR0 register; ignored without a daemon."""
        with suppress(ClosedError):
            self._client.write_region(0, offset, _REGISTER.pack(value))

    def post_register(self, offset: int, value: int) -> None:
        """Write a register without waiting for the daemon; ignored without one."""
        with suppress(ClosedError):
            self._client.post_region(0, offset, _REGISTER.pack(value))

    def finish_posted(self) -> None:
        """Wait until the daemon has acted on what was posted."""
        with suppress(ClosedError):
            self._client.finish_posted()

    def close(self) -> None:
        """Give up the descriptors; mappings of the regions stay."""
        for region in self._regions.values():
            if region.fd >= 0:
                os.close(region.fd)
        self._regions.clear()
        os.close(self.doorbell_fd)
