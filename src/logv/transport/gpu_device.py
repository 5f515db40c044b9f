"""A VM's virtual device as a PCI device: BARs, configuration space, and what reaches them by message.

====  ======  ==========================================================================
BAR   bits    content
====  ======  ==========================================================================
0     32      registers, by message only; MSI-X table at 0x1000, pending bits at 0x1800
1     32      call slots
2     32      the VM's window of VRAM
3     32      the doorbell page and the USERD pages
4     64      the system memory that the GPU reaches
====  ======  ==========================================================================

A BAR's size is a power of two. What lies behind the memory that it has reads as all ones and ignores
writes, as do offsets without a register.
"""

import struct
from typing import NamedTuple, Protocol

from logv import abi
from logv.errors import InvalidValueError
from logv.hw import pci_regs as pci
from logv.hw import vfio_user as hw
from logv.hw.dev_ram import DOORBELL_IRQ_WAITERS
from logv.memfd import map_memfd
from logv.transport.config_space import MSIX_VECTORS, Bar, ConfigSpace

BAR0_SIZE = 0x2000
MSIX_TABLE = 0x1000
MSIX_PBA = 0x1800

MAX_BAR32 = 1 << 31
"""The largest 32-bit BAR."""

_MSIX_TABLE_END = MSIX_TABLE + MSIX_VECTORS * pci.PCI_MSIX_ENTRY_SIZE
_MIN_BAR = 4096
_REGISTER = struct.Struct("<I")
_WIDE = frozenset({abi.RegionIndex.SYSTEM})


class ServedDevice(abi.VirtualDevice, Protocol):
    """What a server needs of a virtual device besides what the guest sees."""

    @property
    def interrupt_fd(self) -> int:
        """Eventfd that the GPU writes at an interrupt."""
        ...

    def reset(self) -> None:
        """Take back everything that the VM holds."""
        ...

    def detach(self) -> None:
        """Take it back from a guest that is gone, with the doorbell's eventfd."""
        ...


class RegionInfo(NamedTuple):
    """A region: its size, and the file behind its first `mapped` bytes (0: messages only)."""

    size: int
    mapped: int = 0
    fd: int = -1


class GpuDevice:
    """LoGV's PCI device. Offsets and counts given to it lie inside the region named.

    Parameters
    ----------
    device : ServedDevice

    Raises
    ------
    InvalidValueError
        The VM's memory does not fit into a 32-bit BAR.
    """

    def __init__(self, device: ServedDevice) -> None:
        self._device = device
        self._regions = [RegionInfo(0) for _ in range(hw.VFIO_PCI_NUM_REGIONS)]
        self._regions[0] = RegionInfo(BAR0_SIZE)
        self._regions[hw.VFIO_PCI_CONFIG_REGION_INDEX] = RegionInfo(pci.PCI_CFG_SPACE_SIZE)
        bars = {0: Bar(BAR0_SIZE)}
        for index in abi.RegionIndex:
            fd, mapped = device.region(index)
            size = max(_MIN_BAR, 1 << (mapped - 1).bit_length())
            wide = index in _WIDE
            if not wide and size > MAX_BAR32:
                raise InvalidValueError(
                    f"BAR{index} would take {size} bytes; a VM that is a process of its own has "
                    f"at most {MAX_BAR32} bytes of GPU memory"
                )
            self._regions[index] = RegionInfo(size, mapped, fd)
            bars[index] = Bar(size, prefetchable=index is not abi.RegionIndex.USERD, wide=wide)
        self._config = ConfigSpace(bars, msix_bar=0, msix_table=MSIX_TABLE, msix_pba=MSIX_PBA)
        self._msix_table = bytearray(MSIX_VECTORS * pci.PCI_MSIX_ENTRY_SIZE)
        self._views: dict[int, memoryview] = {}
        self._userd = self._view(abi.RegionIndex.USERD)

    @property
    def interrupt_fd(self) -> int:
        """Eventfd that the GPU writes at an interrupt."""
        return self._device.interrupt_fd

    def region(self, index: int) -> RegionInfo:
        """Return what a region is."""
        return self._regions[index]

    def doorbells(self, index: int) -> list[tuple[int, int, int]]:
        """Return offset, size and eventfd of what a write to region `index` only signals."""
        return [(abi.Register.DOORBELL, _REGISTER.size, self._device.doorbell_fd)] if index == 0 else []

    def read(self, index: int, offset: int, count: int) -> bytes:
        """Read `count` bytes of a region."""
        if index == hw.VFIO_PCI_CONFIG_REGION_INDEX:
            return self._config.read(offset, count)
        if index == 0:
            return self._read_bar0(offset, count)
        data = bytes(self._view(index)[offset : offset + count])
        return data.ljust(count, b"\xff")

    def write(self, index: int, offset: int, data: bytes) -> None:
        """Write to a region; of BAR0 one register at a time."""
        if index == 0:
            self._write_bar0(offset, data)
        elif index == hw.VFIO_PCI_CONFIG_REGION_INDEX:
            self._config.write(offset, data)
        else:
            target = self._view(index)[offset : offset + len(data)]
            target[:] = data[: len(target)]
            if index == abi.RegionIndex.USERD:
                # Who writes GP_PUT by message does not look whether the GPU sleeps.
                self._device.write_register(abi.Register.DOORBELL, 0)

    def reset(self) -> None:
        """Take everything back that the VM holds, and return to the state of power-on."""
        self._device.reset()
        self._power_on()

    def detach(self) -> None:
        """Reset after a client that is gone, and leave it nothing to signal with."""
        self._device.detach()
        self._power_on()
        # Those who waited are gone as well.
        _REGISTER.pack_into(self._userd, DOORBELL_IRQ_WAITERS, 0)

    def _power_on(self) -> None:
        self._config.reset()
        self._msix_table[:] = bytes(len(self._msix_table))

    def _view(self, index: int) -> memoryview:
        if index not in self._views:
            region = self._regions[index]
            self._views[index] = map_memfd(region.fd, region.mapped)
        return self._views[index]

    def _read_bar0(self, offset: int, count: int) -> bytes:
        if offset >= MSIX_TABLE and offset + count <= _MSIX_TABLE_END:
            return bytes(self._msix_table[offset - MSIX_TABLE : offset - MSIX_TABLE + count])
        if offset >= MSIX_PBA:
            # No interrupt is ever held back here: masking is the VMM's business.
            return bytes(count)
        if count != _REGISTER.size or offset % _REGISTER.size:
            return b"\xff" * count
        return _REGISTER.pack(self._device.read_register(offset))

    def _write_bar0(self, offset: int, data: bytes) -> None:
        if len(data) == _REGISTER.size and offset % _REGISTER.size == 0 and offset < MSIX_TABLE:
            self._device.write_register(offset, *_REGISTER.unpack(data))
        elif offset >= MSIX_TABLE and offset + len(data) <= _MSIX_TABLE_END:
            start = offset - MSIX_TABLE
            self._msix_table[start : start + len(data)] = data
