"""The hypercalls: their numbers, and the fields of each request and reply, all 64-bit, in slot order."""

from enum import IntEnum, unique
from typing import NamedTuple, TypeVar

REFERENCE = 1 << 63
"""A field of ``REFERABLE`` with this bit set names, in its other bits, an earlier slot of the same run:
the first field of that slot's reply stands in its place. Handles and addresses never have the bit."""

VSPACE_MAP_WRITABLE = 1 << 0
VSPACE_MAP_TO_END = 1 << 1
"""Map up to the end of the buffer object; `size` must be 0 then."""


@unique
class Call(IntEnum):
    """Call numbers. 0 is none, so that a zeroed slot does nothing."""

    # An enum hashes its name in Python code; these are keys on the way of every call.
    __hash__ = int.__hash__

    GET_PARAM = 1
    MEM_ALLOC = 2
    MEM_FREE = 3
    MEM_MAP = 4
    VSPACE_NEW = 5
    VSPACE_FREE = 6
    VSPACE_MAP = 7
    VSPACE_UNMAP = 8
    CHAN_NEW = 9
    CHAN_FREE = 10
    FIFO_INIT_IB = 11
    OBJ_ENG_NEW = 12


class GetParam(NamedTuple):
    """Ask for one figure; `param` is a ``uapi.Param``."""

    param: int


class GetParamReply(NamedTuple):
    """The figure."""

    value: int


class MemAlloc(NamedTuple):
    """Allocate a zeroed buffer object of at least `size` bytes; `domain` is a ``uapi.Domain``."""

    size: int
    domain: int


class MemAllocReply(NamedTuple):
    """The buffer object, its size rounded up to pages, and where it lies in its domain's region."""

    memory: int
    size: int
    offset: int


class MemFree(NamedTuple):
    """Free a buffer object that is mapped into no address space."""

    memory: int


class MemMap(NamedTuple):
    """Ask where the CPU reaches a buffer object."""

    memory: int


class MemMapReply(NamedTuple):
    """Bytes ``offset`` to ``offset + size`` of ``region`` (a :class:`RegionIndex`)."""

    region: int
    offset: int
    size: int


class VspaceNew(NamedTuple):
    """Make a GPU address space."""


class VspaceNewReply(NamedTuple):
    """The address space."""

    vspace: int


class VspaceFree(NamedTuple):
    """Free an address space that no channel uses, and its mappings."""

    vspace: int


class VspaceMap(NamedTuple):
    """Map `size` bytes of a buffer object, from `offset` on; `flags` are ``VSPACE_MAP_*``."""

    vspace: int
    memory: int
    offset: int
    size: int
    flags: int


class VspaceMapReply(NamedTuple):
    """The GPU virtual address."""

    address: int


class VspaceUnmap(NamedTuple):
    """Undo the VSPACE_MAP that replied `address`."""

    vspace: int
    address: int


class ChanNew(NamedTuple):
    """Make a channel in an address space."""

    vspace: int


class ChanNewReply(NamedTuple):
    """The channel, and the index of its USERD page in BAR3 (at least 1)."""

    channel: int
    page: int


class ChanFree(NamedTuple):
    """Stop and free a channel."""

    channel: int


class FifoInitIb(NamedTuple):
    """Give a channel its GPFIFO ring of `entries` entries at GPU virtual address `ring`; enable it."""

    channel: int
    ring: int
    entries: int


class ObjEngNew(NamedTuple):
    """Allow a channel to bind an engine class (a class number of ``hw``)."""

    channel: int
    engine_class: int


Request = (
    GetParam
    | MemAlloc
    | MemFree
    | MemMap
    | VspaceNew
    | VspaceFree
    | VspaceMap
    | VspaceUnmap
    | ChanNew
    | ChanFree
    | FifoInitIb
    | ObjEngNew
)

REQUESTS: dict[Call, type[Request]] = {
    Call.GET_PARAM: GetParam,
    Call.MEM_ALLOC: MemAlloc,
    Call.MEM_FREE: MemFree,
    Call.MEM_MAP: MemMap,
    Call.VSPACE_NEW: VspaceNew,
    Call.VSPACE_FREE: VspaceFree,
    Call.VSPACE_MAP: VspaceMap,
    Call.VSPACE_UNMAP: VspaceUnmap,
    Call.CHAN_NEW: ChanNew,
    Call.CHAN_FREE: ChanFree,
    Call.FIFO_INIT_IB: FifoInitIb,
    Call.OBJ_ENG_NEW: ObjEngNew,
}

REFERABLE: dict[str, Call] = {
    "memory": Call.MEM_ALLOC,
    "vspace": Call.VSPACE_NEW,
    "channel": Call.CHAN_NEW,
    "ring": Call.VSPACE_MAP,
}
"""Fields that may be references, in whichever call, and the call whose reply each then names."""

_Reply = TypeVar(
    "_Reply", GetParamReply, MemAllocReply, MemMapReply, VspaceNewReply, VspaceMapReply, ChanNewReply
)


def read_fields(kind: type[_Reply], fields: tuple[int, ...]) -> _Reply:
    """Return a slot's reply fields as one kind of reply, without the padding behind it."""
    return kind._make(fields[: len(kind._fields)])
