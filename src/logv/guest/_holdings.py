"""What one process of a VM holds: the guest driver keeps the VM's processes apart with these tables."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

from logv import abi
from logv.errors import InvalidHandleError
from logv.uapi import Channel, Domain, Memory

if TYPE_CHECKING:
    from logv.guest.driver import GuestDriver

T = TypeVar("T")


class OwnedObjects(Generic[T]):
    """Objects of one kind that one process holds, by the hypervisor's handles.

    Those are unique in the VM and carry a generation. So another process's handle is in no table of
    this one, and is refused without a hypercall.

    Parameters
    ----------
    what : str
        The kind in words, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._objects: dict[int, T] = {}

    def handles(self) -> list[int]:
        """Return all handles, oldest first."""
        return list(self._objects)

    def put(self, handle: int, item: T) -> None:
        """Take in, or replace, an object."""
        self._objects[handle] = item

    def get(self, handle: int) -> T:
        """Return the object; raise InvalidHandleError like :meth:`check`."""
        return self._objects[self.check(handle)]

    def check(self, handle: object) -> int:
        """Return the handle; raise InvalidHandleError if this process has no such object."""
        if not isinstance(handle, int) or handle not in self._objects:
            # An integer of any length may come here, and decimal text of a long one is an error in itself.
            shown = f"{handle:#x}" if isinstance(handle, int) else type(handle).__name__
            raise InvalidHandleError(f"{shown} is not a {self._what} handle of this process, or was freed")
        return handle

    def remove(self, handle: int) -> None:
        """Forget an object."""
        del self._objects[handle]

    def clear(self) -> None:
        """Forget all."""
        self._objects.clear()


class Holdings:
    """All that one process holds, and how the hypervisor's replies become part of it.

    Parameters
    ----------
    driver : GuestDriver
        Has the device's memory mapped.
    """

    def __init__(self, driver: "GuestDriver") -> None:
        self._driver = driver
        # A buffer object's bytes, once it was mapped.
        self.memories: OwnedObjects[memoryview | None] = OwnedObjects("buffer object")
        self.vspaces: OwnedObjects[None] = OwnedObjects("address space")
        self.channels: OwnedObjects[None] = OwnedObjects("channel")
        # Which buffer object is mapped at each address of an address space, and how often each is.
        self._mappings: dict[tuple[int, int], int] = {}
        self._times_mapped: Counter[int] = Counter()

    def take_memory(self, fields: tuple[int, ...], domain: Domain) -> Memory:
        """Take in a buffer object."""
        reply = abi.read_fields(abi.MemAllocReply, fields)
        self.memories.put(reply.memory, None)
        return Memory(reply.memory, reply.size, Domain(domain), reply.offset)

    def take_view(self, memory: int, fields: tuple[int, ...]) -> memoryview:
        """Note where a buffer object's bytes are, and return them."""
        view = self._driver.view(*abi.read_fields(abi.MemMapReply, fields))
        self.memories.put(memory, view)
        return view

    def take_vspace(self, fields: tuple[int, ...]) -> int:
        """Take in an address space."""
        reply = abi.read_fields(abi.VspaceNewReply, fields)
        self.vspaces.put(reply.vspace, None)
        return reply.vspace

    def take_channel(self, fields: tuple[int, ...]) -> Channel:
        """Take in a channel."""
        reply = abi.read_fields(abi.ChanNewReply, fields)
        self.channels.put(reply.channel, None)
        driver = self._driver
        return Channel(
            reply.channel,
            reply.page,
            driver.userd_page(reply.page),
            driver.userd_page(0),
            driver.doorbell_fd,
        )

    def take_mapping(self, vspace: int, memory: int, fields: tuple[int, ...]) -> int:
        """Take in a mapping; return its address."""
        address = abi.read_fields(abi.VspaceMapReply, fields).address
        self._mappings[vspace, address] = memory
        self._times_mapped[memory] += 1
        return address

    def drop_mapping(self, vspace: int, address: int) -> None:
        """Forget a mapping."""
        memory = self._mappings.pop((vspace, address))
        self._times_mapped[memory] -= 1

    def drop_vspace(self, vspace: int) -> None:
        """Forget an address space and its mappings."""
        self.vspaces.remove(vspace)
        for key in [key for key in self._mappings if key[0] == vspace]:
            self.drop_mapping(*key)

    def drop_memory(self, memory: int) -> None:
        """Forget a buffer object."""
        self.memories.remove(memory)
        del self._times_mapped[memory]

    def surely_succeed(self, requests: Sequence[abi.Request]) -> bool:
        """Say whether these calls, in this order, can only succeed: unmappings, and what they set free."""
        unmapped: Counter[int] = Counter()
        seen: set[abi.Request] = set()
        for request in requests:
            match request:
                case abi.VspaceUnmap(vspace=vspace, address=address) if (vspace, address) in self._mappings:
                    unmapped[self._mappings[vspace, address]] += 1
                case abi.MemFree(memory=memory) if self._times_mapped[memory] == unmapped[memory]:
                    pass
                case _:
                    return False
            if request in seen:
                return False
            seen.add(request)
        return True

    def give_up(self) -> list[abi.Request]:
        """Forget everything; return the calls that free it, from the top down."""
        frees: list[abi.Request] = [
            *(abi.ChanFree(handle) for handle in self.channels.handles()),
            *(abi.VspaceFree(handle) for handle in self.vspaces.handles()),
            *(abi.MemFree(handle) for handle in self.memories.handles()),
        ]
        self.channels.clear()
        self.vspaces.clear()
        self.memories.clear()
        self._mappings.clear()
        self._times_mapped.clear()
        return frees
