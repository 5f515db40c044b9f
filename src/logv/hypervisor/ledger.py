"""The ledger of one VM: every object it holds, where it is mapped, and how much it may have."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field

from logv.errors import BusyError, InvalidValueError, QuotaExceededError
from logv.handles import HandleTable
from logv.uapi import Domain, Memory

PAGE_SIZE = 4096


@dataclass(slots=True, eq=False)
class MemoryEntry:
    """A buffer object; `host` is what the host driver calls it."""

    host: Memory
    mappings: int = 0


@dataclass(frozen=True, slots=True)
class MappingEntry:
    """`size` bytes of a buffer object from a GPU virtual address on."""

    memory: MemoryEntry
    size: int


@dataclass(slots=True, eq=False)
class VspaceEntry:
    """An address space: its mappings by address, the addresses in order, and its channels' number."""

    host: int
    mappings: dict[int, MappingEntry] = field(default_factory=dict)
    addresses: list[int] = field(default_factory=list)
    channels: int = 0

    def is_mapped(self, address: int, size: int) -> bool:
        """Say whether one mapping holds all of a range."""
        position = bisect_right(self.addresses, address)
        if not position:
            return False
        start = self.addresses[position - 1]
        return address + size <= start + self.mappings[start].size


@dataclass(slots=True, eq=False)
class ChannelEntry:
    """A channel; `host` is what the host driver calls it."""

    host: int
    vspace: VspaceEntry


class Ledger:
    """Who owns what: the objects of one VM. What is not in it does not exist for the VM.

    The handles are the VM's own. They carry a generation, so that a freed one never names a newer
    object, also after :meth:`clear`.

    Parameters
    ----------
    quotas : dict
        Bytes the VM may have of each domain.
    channels : int
        Channels the VM may have.
    """

    def __init__(self, quotas: dict[Domain, int], channels: int) -> None:
        self.quotas = quotas
        self.used = dict.fromkeys(Domain, 0)
        # The tables' limits bound the records that one VM can make the hypervisor keep.
        self.memories: HandleTable[MemoryEntry] = HandleTable(1, "buffer object")
        self.vspaces: HandleTable[VspaceEntry] = HandleTable(2, "address space")
        self.channels: HandleTable[ChannelEntry] = HandleTable(3, "channel", channels)

    def check_allocation(self, size: int, domain: Domain) -> None:
        """Raise unless `size` bytes more of `domain` are within the quota, and there is room to note them.

        Raises
        ------
        InvalidValueError
            `size` is 0.
        QuotaExceededError
            It is more than is left, as is a size that 64 bits could not round up to pages.
        ExhaustedError
            There are too many buffer objects.
        """
        if size <= 0:
            raise InvalidValueError("a buffer object needs at least 1 byte")
        pages = -(-size // PAGE_SIZE) * PAGE_SIZE
        left = self.quotas[domain] - self.used[domain]
        if pages > left:
            raise QuotaExceededError(
                f"{size} bytes are more than the {left} left of {self.quotas[domain]} of {domain.name}; "
                "free some"
            )
        self.memories.check_room()

    def add_memory(self, host: Memory) -> int:
        """Charge a buffer object; return its handle."""
        self.used[host.domain] += host.size
        return self.memories.add(MemoryEntry(host))

    def check_unmapped(self, entry: MemoryEntry) -> None:
        """Raise BusyError if the GPU can still reach the buffer object."""
        if entry.mappings:
            raise BusyError(f"the buffer object is mapped {entry.mappings} times; unmap it first")

    def remove_memory(self, handle: int) -> None:
        """Take a buffer object off the books."""
        host = self.memories.remove(handle).host
        self.used[host.domain] -= host.size

    def add_vspace(self, host: int) -> int:
        """Note an address space; return its handle."""
        return self.vspaces.add(VspaceEntry(host))

    def check_unused(self, entry: VspaceEntry) -> None:
        """Raise BusyError if channels use the address space."""
        if entry.channels:
            raise BusyError(f"{entry.channels} channels use the address space; free them first")

    def remove_vspace(self, handle: int) -> None:
        """Take an address space and its mappings off the books."""
        for mapping in self.vspaces.remove(handle).mappings.values():
            mapping.memory.mappings -= 1

    def check_mapping(self, memory: MemoryEntry, offset: int, size: int) -> None:
        """Raise InvalidValueError if a range is empty, misaligned, or ends behind the buffer object."""
        if size <= 0 or size % PAGE_SIZE or offset % PAGE_SIZE:
            raise InvalidValueError(
                f"offset {offset:#x} and size {size:#x} must be multiples of {PAGE_SIZE}, the size not 0"
            )
        # No wrap: Python integers have no top, and the sum of two 64-bit fields is compared whole.
        if offset + size > memory.host.size:
            raise InvalidValueError(
                f"{size:#x} bytes at {offset:#x} end behind the buffer object's {memory.host.size:#x}"
            )

    def add_mapping(self, vspace: VspaceEntry, address: int, memory: MemoryEntry, size: int) -> None:
        """Note a mapping."""
        vspace.mappings[address] = MappingEntry(memory, size)
        insort(vspace.addresses, address)
        memory.mappings += 1

    def check_mapped(self, vspace: VspaceEntry, address: int) -> None:
        """Raise InvalidValueError unless a mapping starts at `address`."""
        if address not in vspace.mappings:
            raise InvalidValueError(f"nothing was mapped at {address:#x} in this address space")

    def remove_mapping(self, vspace: VspaceEntry, address: int) -> None:
        """Forget a mapping."""
        vspace.mappings.pop(address).memory.mappings -= 1
        del vspace.addresses[bisect_left(vspace.addresses, address)]

    def check_ring(self, channel: ChannelEntry, ring: int, size: int) -> None:
        """Raise InvalidValueError unless a ring lies in one mapping of the channel's address space.

        The engine fetches commands from there, so it must be memory of the same VM.
        """
        if not channel.vspace.is_mapped(ring, size):
            raise InvalidValueError(
                f"a ring of {size} bytes at {ring:#x} is not within a mapping of the channel's address space"
            )

    def add_channel(self, host: int, vspace: VspaceEntry) -> int:
        """Note a channel; return its handle."""
        vspace.channels += 1
        return self.channels.add(ChannelEntry(host, vspace))

    def remove_channel(self, handle: int) -> None:
        """Take a channel off the books."""
        self.channels.remove(handle).vspace.channels -= 1

    def clear(self) -> None:
        """Forget everything, after the host driver took it back."""
        for channel in self.channels:
            self.remove_channel(channel)
        for vspace in self.vspaces:
            self.remove_vspace(vspace)
        for memory in self.memories:
            self.remove_memory(memory)
