"""A channel's ring whose GP_PUT moves by a message to the hypervisor, and no other way."""

import threading
from functools import partial
from typing import Protocol

from logv import abi, uapi
from logv._fastpath import GpFifo
from logv.hw.dev_ram import NV_RAMUSERD_GP_GET, NV_RAMUSERD_GP_PUT, USERD_PAGE_SIZE
from logv.runtime import Device
from logv.runtime._context import Context
from logv.runtime.channel import RING_ENTRIES

_WORD_BYTES = 4
_MASK = RING_ENTRIES - 1


class RegionWriter(Protocol):
    """What traps need of a ``transport.client.Client``."""

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        """Write to a BAR by a message; return once it was carried out."""
        ...


class Traps:
    """Writes to GP_PUT that the hypervisor carries out for the channels of one VM.

    Parameters
    ----------
    client : RegionWriter
        The connection to the VM's device.

    Attributes
    ----------
    count : int
        How many there were.
    """

    def __init__(self, client: RegionWriter) -> None:
        self.count = 0
        self._client = client
        self._lock = threading.Lock()

    def device(self, driver: uapi.Driver, name: str) -> Device:
        """Return a device on `driver`, a process of the VM, whose submissions are trapped."""
        return Device(driver, name, make_context=partial(Context, make_fifo=self._open))

    def _open(self, ring: memoryview, handles: uapi.Channel) -> "TrapFifo":
        return TrapFifo(ring, handles, self)

    def write(self, offset: int, value: int) -> None:
        """Write a word of BAR3; the hypervisor rings the doorbell if need be."""
        with self._lock:
            self.count += 1
        self._client.write_region(abi.RegionIndex.USERD, offset, value.to_bytes(_WORD_BYTES, "little"))


class TrapFifo:
    """The application's side of a channel, as ``GpFifo``, but for GP_PUT.

    Parameters
    ----------
    ring : memoryview
        ``RING_ENTRIES`` entries.
    handles : uapi.Channel
    traps : Traps
    """

    def __init__(self, ring: memoryview, handles: uapi.Channel, traps: Traps) -> None:
        self._ring = ring.cast("Q")
        self._get = handles.userd[NV_RAMUSERD_GP_GET:][:_WORD_BYTES].cast("I")
        self._put_offset = handles.page * USERD_PAGE_SIZE + NV_RAMUSERD_GP_PUT
        self._traps = traps
        self._put = 0

    def submit(self, address: int, dwords: int) -> bool:
        """Submit one pushbuffer segment; return False if the ring is full."""
        put = (self._put + 1) & _MASK
        if put == self._get[0] & _MASK:
            return False
        self._ring[self._put] = GpFifo.encode(address, dwords)
        self._put = put
        self._traps.write(self._put_offset, put)
        return True
