"""The PCI configuration space of LoGV's device, as a VMM reads and writes it."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from logv.hw import pci_regs as pci

VENDOR_ID = 0x1234
"""The number that devices without a vendor of their own use: QEMU's, for its experimental ones."""

DEVICE_ID = 0x4C47
"""The letters LG."""

REVISION = 1
MSIX_VECTORS = 1

_MSIX = 0x40
"""Where the MSI-X capability stands."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A base address register.

    Attributes
    ----------
    size : int
        Bytes, a power of two of at least 4 KiB; a 32-bit BAR has at most 2 GiB.
    prefetchable : bool
        Reading has no side effects.
    wide : bool
        64 bits; takes the next register as well.
    """

    size: int
    prefetchable: bool = False
    wide: bool = False


class ConfigSpace:
    """256 bytes, of which a VMM can write some bits.

    Parameters
    ----------
    bars : mapping of int to Bar
        By number.
    msix_bar, msix_table, msix_pba : int
        The BAR of the MSI-X table and of the pending bits, and where in it they are.
    """

    def __init__(self, bars: Mapping[int, Bar], *, msix_bar: int, msix_table: int, msix_pba: int) -> None:
        self._bars = dict(bars)
        self._msix = struct.pack(
            "<BBHII",
            pci.PCI_CAP_ID_MSIX,
            0,  # the last capability
            MSIX_VECTORS - 1,
            msix_table | msix_bar,
            msix_pba | msix_bar,
        )
        self._values = bytearray(pci.PCI_CFG_SPACE_SIZE)
        self._writable = bytearray(pci.PCI_CFG_SPACE_SIZE)
        self.reset()
        command = pci.PCI_COMMAND_MEMORY | pci.PCI_COMMAND_MASTER | pci.PCI_COMMAND_INTX_DISABLE
        struct.pack_into("<H", self._writable, pci.PCI_COMMAND, command)
        for where in (pci.PCI_CACHE_LINE_SIZE, pci.PCI_LATENCY_TIMER, pci.PCI_INTERRUPT_LINE):
            self._writable[where] = 0xFF
        msix_bits = pci.PCI_MSIX_FLAGS_ENABLE | pci.PCI_MSIX_FLAGS_MASKALL
        struct.pack_into("<H", self._writable, _MSIX + pci.PCI_MSIX_FLAGS, msix_bits)
        for number, bar in self._bars.items():
            # The bits below the size stay what they are: that is how a VMM finds the size out.
            mask = -bar.size & (0xFFFFFFFFFFFFFFFF if bar.wide else 0xFFFFFFFF)
            layout = "<Q" if bar.wide else "<I"
            struct.pack_into(layout, self._writable, pci.PCI_BASE_ADDRESS_0 + 4 * number, mask)

    def reset(self) -> None:
        """Return to what it was at power-on."""
        values = self._values
        values[:] = bytes(len(values))
        struct.pack_into("<HH", values, pci.PCI_VENDOR_ID, VENDOR_ID, DEVICE_ID)
        struct.pack_into("<H", values, pci.PCI_STATUS, pci.PCI_STATUS_CAP_LIST)
        values[pci.PCI_REVISION_ID] = REVISION
        struct.pack_into("<H", values, pci.PCI_CLASS_PROG + 1, pci.PCI_CLASS_DISPLAY_3D)
        struct.pack_into("<HH", values, pci.PCI_SUBSYSTEM_VENDOR_ID, VENDOR_ID, DEVICE_ID)
        values[pci.PCI_CAPABILITY_LIST] = _MSIX
        values[_MSIX : _MSIX + len(self._msix)] = self._msix
        for number, bar in self._bars.items():
            flags = pci.PCI_BASE_ADDRESS_MEM_PREFETCH if bar.prefetchable else 0
            flags |= pci.PCI_BASE_ADDRESS_MEM_TYPE_64 if bar.wide else 0
            values[pci.PCI_BASE_ADDRESS_0 + 4 * number] = flags

    def read(self, offset: int, count: int) -> bytes:
        """Return `count` bytes at `offset`, which lie inside."""
        return bytes(self._values[offset : offset + count])

    def write(self, offset: int, data: bytes) -> None:
        """Write what can be written of `data`, which lies inside."""
        for where, byte in enumerate(data, offset):
            mask = self._writable[where]
            self._values[where] = self._values[where] & ~mask | byte & mask
