"""What each call checks: handles, sizes, quotas, and the three ways to memory."""

import pytest
from tests.hypervisor.conftest import CHANNELS, SYSTEM_QUOTA, VRAM_QUOTA
from tests.hypervisor.raw_guest import PAGE, RawGuest, held

from logv import abi
from logv.errors import Status
from logv.hw.clc7b5 import AMPERE_DMA_COPY_B
from logv.hw.software_gpu import APERTURE_VA_BITS
from logv.uapi import Domain, Param

QUOTAS = {Domain.VRAM: VRAM_QUOTA, Domain.SYSTEM: SYSTEM_QUOTA}
WRITABLE = abi.VSPACE_MAP_WRITABLE


def uses(handle: int, kind: str) -> list[abi.Request]:
    """Return every call that takes a handle of a kind, with `handle` there."""
    calls: dict[str, list[abi.Request]] = {
        "memory": [abi.MemFree(handle), abi.MemMap(handle)],
        "vspace": [
            abi.VspaceFree(handle),
            abi.VspaceMap(handle, 0, 0, PAGE, 0),
            abi.VspaceUnmap(handle, 0),
            abi.ChanNew(handle),
        ],
        "channel": [abi.ChanFree(handle), abi.FifoInitIb(handle, 0, 2), abi.ObjEngNew(handle, 0)],
    }
    return calls[kind]


class Objects:
    """One object of each kind, and a mapping, in a guest's VM."""

    def __init__(self, guest: RawGuest, size: int = 4 * PAGE, domain: Domain = Domain.VRAM) -> None:
        self.memory = guest.make(abi.MemAlloc(size, domain))
        self.vspace = guest.make(abi.VspaceNew())
        self.address = guest.make(abi.VspaceMap(self.vspace, self.memory, 0, size, WRITABLE))
        self.channel = guest.make(abi.ChanNew(self.vspace))


def refuse(guest: RawGuest, status: Status, *requests: abi.Request) -> None:
    """Check that each request gets `status` and a message, and changes nothing that is counted."""
    for request in requests:
        before = held(guest.vm)
        (reply,) = guest.run(request)
        assert reply.status == status, (request, reply)
        assert reply.message
        assert held(guest.vm) == before


@pytest.mark.parametrize("kind", ["memory", "vspace", "channel"])
@pytest.mark.parametrize("handle", [0, 1, 2**32, 2**56, 2**63 - 1])
def test_handles_never_given_out(guest: RawGuest, kind: str, handle: int) -> None:
    """A number that is no handle is refused by every call that takes one."""
    Objects(guest)
    refuse(guest, Status.INVALID_HANDLE, *uses(handle, kind))


@pytest.mark.parametrize("kind", ["memory", "vspace", "channel"])
def test_handles_of_another_kind(guest: RawGuest, kind: str) -> None:
    """A handle of another kind is refused."""
    made = Objects(guest)
    for other in {"memory", "vspace", "channel"} - {kind}:
        refuse(guest, Status.INVALID_HANDLE, *uses(getattr(made, other), kind))
    refuse(guest, Status.INVALID_HANDLE, *uses(made.address, kind))


def test_freed_handles(guest: RawGuest) -> None:
    """A freed handle is refused, also freed again, also when its place is taken by a newer object."""
    for _ in range(3):
        made = Objects(guest)
        for request in (
            abi.ChanFree(made.channel),
            abi.VspaceUnmap(made.vspace, made.address),
            abi.VspaceFree(made.vspace),
            abi.MemFree(made.memory),
        ):
            assert guest.status(request) == Status.OK
        Objects(guest)
        for kind in ("memory", "vspace", "channel"):
            refuse(guest, Status.INVALID_HANDLE, *uses(getattr(made, kind), kind))
        guest.vm.reset()


def test_handles_of_another_vm(guest: RawGuest, neighbour: RawGuest) -> None:
    """Another VM's handles name nothing here, or at most what this VM has itself."""
    theirs = [Objects(neighbour) for _ in range(3)][-1]
    before = held(neighbour.vm)
    Objects(guest)
    for kind in ("memory", "vspace", "channel"):
        refuse(guest, Status.INVALID_HANDLE, *uses(getattr(theirs, kind), kind))
    assert held(neighbour.vm) == before


def test_both_ends_of_a_mapping_are_checked(guest: RawGuest, neighbour: RawGuest) -> None:
    """Neither a foreign buffer object in an own address space is mapped, nor the other way round."""
    theirs = [Objects(neighbour, domain=Domain.SYSTEM) for _ in range(3)][-1]
    mine = Objects(guest)
    refuse(
        guest,
        Status.INVALID_HANDLE,
        abi.VspaceMap(mine.vspace, theirs.memory, 0, PAGE, WRITABLE),
        abi.VspaceMap(theirs.vspace, mine.memory, 0, PAGE, WRITABLE),
        abi.ChanNew(theirs.vspace),
    )


@pytest.mark.parametrize("domain", list(Domain))
@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, PAGE + 1])
def test_allocation_sizes(guest: RawGuest, domain: Domain, size: int) -> None:
    """Sizes are rounded up to pages, and charged as such."""
    (reply,) = guest.run(abi.MemAlloc(size, domain))
    memory, charged, offset = reply.fields
    assert charged == -(-size // PAGE) * PAGE
    counters = guest.vm.counters
    used = {Domain.VRAM: counters.memory_used, Domain.SYSTEM: counters.system_memory_used}
    assert used == dict.fromkeys(Domain, 0) | {domain: charged}
    region = {Domain.VRAM: abi.RegionIndex.VRAM, Domain.SYSTEM: abi.RegionIndex.SYSTEM}[domain]
    assert guest.run(abi.MemMap(memory))[0].fields == (region, offset, charged)
    assert guest.status(abi.MemFree(memory)) == Status.OK


@pytest.mark.parametrize("domain", list(Domain))
def test_impossible_allocations(guest: RawGuest, domain: Domain) -> None:
    """0 is no size, and no size wraps into one that fits."""
    refuse(guest, Status.INVALID_VALUE, abi.MemAlloc(0, domain))
    for size in (
        QUOTAS[domain] + 1,
        2**32 - 1,
        2**32,
        2**32 + 1,
        2**63,
        2**64 - PAGE,
        2**64 - PAGE + 1,
        2**64 - 1,
    ):
        refuse(guest, Status.QUOTA_EXCEEDED, abi.MemAlloc(size, domain))


@pytest.mark.parametrize("number", [len(Param), 2**32, 2**63, 2**64 - 1])
def test_unknown_domains_and_params(guest: RawGuest, number: int) -> None:
    """Memory is of two kinds, and figures of those that are listed."""
    refuse(guest, Status.INVALID_VALUE, abi.MemAlloc(PAGE, number), abi.GetParam(number))


@pytest.mark.parametrize("domain", list(Domain))
def test_quota(guest: RawGuest, neighbour: RawGuest, domain: Domain) -> None:
    """The quota can be used up, not exceeded, costs the neighbour nothing, and comes back."""
    pieces = [guest.make(abi.MemAlloc(QUOTAS[domain] // 4, domain)) for _ in range(4)]
    refuse(guest, Status.QUOTA_EXCEEDED, abi.MemAlloc(1, domain))
    neighbour.make(abi.MemAlloc(QUOTAS[domain], domain))
    assert guest.status(abi.MemFree(pieces[1])) == Status.OK
    guest.make(abi.MemAlloc(QUOTAS[domain] // 4, domain))
    refuse(guest, Status.QUOTA_EXCEEDED, abi.MemAlloc(1, domain))


def test_params(guest: RawGuest) -> None:
    """Memory figures are the VM's, not the machine's."""
    guest.make(abi.MemAlloc(PAGE, Domain.VRAM))
    guest.make(abi.MemAlloc(2 * PAGE, Domain.SYSTEM))
    assert {
        param: guest.make(abi.GetParam(param)) for param in Param if param is not Param.COMPUTE_CAPABILITY
    } == {
        Param.VRAM_SIZE: VRAM_QUOTA,
        Param.VRAM_FREE: VRAM_QUOTA - PAGE,
        Param.SYSTEM_SIZE: SYSTEM_QUOTA,
        Param.SYSTEM_FREE: SYSTEM_QUOTA - 2 * PAGE,
        Param.VA_BITS: APERTURE_VA_BITS,
        Param.MAX_CHANNELS: CHANNELS,
        Param.PAGE_SIZE: PAGE,
    }


@pytest.mark.parametrize(
    ("offset", "size"),
    [
        (0, 0),
        (0, 1),
        (0, PAGE - 1),
        (0, PAGE + 1),
        (0, 5 * PAGE),
        (1, PAGE),
        (PAGE, 4 * PAGE),
        (4 * PAGE, PAGE),
        (0, 2**32),
        (2**32, PAGE),
        (2**63, PAGE),
        (PAGE, 2**64 - PAGE),
        (2**64 - PAGE, PAGE),
        (2**64 - PAGE, 2 * PAGE),
        (2**64 - PAGE, 2**64 - PAGE),
    ],
)
def test_mapping_ranges(guest: RawGuest, offset: int, size: int) -> None:
    """Only whole pages of the object are mapped; sums that wrap in 64 bits are not inside."""
    made = Objects(guest)
    refuse(guest, Status.INVALID_VALUE, abi.VspaceMap(made.vspace, made.memory, offset, size, WRITABLE))


def test_mapping_flags(guest: RawGuest) -> None:
    """Unknown flags are refused, and a size beside TO_END; TO_END maps the rest, if there is one."""
    made = Objects(guest)
    to_end = abi.VSPACE_MAP_TO_END
    refuse(
        guest,
        Status.INVALID_VALUE,
        abi.VspaceMap(made.vspace, made.memory, 0, PAGE, 4),
        abi.VspaceMap(made.vspace, made.memory, 0, PAGE, 2**63),
        abi.VspaceMap(made.vspace, made.memory, 0, PAGE, to_end),
        abi.VspaceMap(made.vspace, made.memory, 4 * PAGE, 0, to_end),
        abi.VspaceMap(made.vspace, made.memory, 2**64 - PAGE, 0, to_end),
    )
    address = guest.make(abi.VspaceMap(made.vspace, made.memory, PAGE, 0, to_end))
    ring = abi.FifoInitIb(made.channel, address + 3 * PAGE - 16, 2)
    assert guest.status(ring) == Status.OK


def test_busy_objects(guest: RawGuest) -> None:
    """What is mapped, or has channels, is not freed."""
    made = Objects(guest)
    refuse(guest, Status.BUSY, abi.MemFree(made.memory), abi.VspaceFree(made.vspace))
    assert guest.status(abi.ChanFree(made.channel)) == Status.OK
    refuse(guest, Status.BUSY, abi.MemFree(made.memory))
    assert guest.status(abi.VspaceFree(made.vspace)) == Status.OK
    assert guest.status(abi.MemFree(made.memory)) == Status.OK


def test_unmapping(guest: RawGuest) -> None:
    """Only the exact address that VSPACE_MAP replied unmaps, once, in its own address space."""
    made, other = Objects(guest), Objects(guest)
    inside = guest.make(abi.VspaceMap(made.vspace, made.memory, 0, PAGE, WRITABLE))
    for address in (0, made.address + PAGE, inside + 1, inside + PAGE, 2**49, 2**63, 2**64 - 1):
        refuse(guest, Status.INVALID_VALUE, abi.VspaceUnmap(made.vspace, address))
    refuse(guest, Status.INVALID_VALUE, abi.VspaceUnmap(other.vspace, inside))
    assert guest.status(abi.VspaceUnmap(made.vspace, inside)) == Status.OK
    refuse(guest, Status.INVALID_VALUE, abi.VspaceUnmap(made.vspace, inside))


@pytest.mark.parametrize(
    ("shift", "entries"),
    [
        (0, 0),
        (0, 1),
        (0, 3),
        (0, 4 * PAGE // 8 * 2),
        (0, 2**32),
        (0, 2**61),
        (0, 2**64 - 1),
        (4, 2),
        (-8, 2),
        (4 * PAGE - 8, 2),
        (4 * PAGE, 2),
        (2**40, 2),
        (2**62, 2),
    ],
)
def test_rings(guest: RawGuest, shift: int, entries: int) -> None:
    """A ring lies wholly in a mapping of its channel's address space."""
    made = Objects(guest)
    refuse(guest, Status.INVALID_VALUE, abi.FifoInitIb(made.channel, made.address + shift, entries))
    assert guest.status(abi.FifoInitIb(made.channel, made.address, 4 * PAGE // 8)) == Status.OK
    refuse(guest, Status.BUSY, abi.FifoInitIb(made.channel, made.address, 2))


def test_rings_in_another_address_space(guest: RawGuest, neighbour: RawGuest) -> None:
    """A ring elsewhere is refused: in another address space of this VM, in another VM, across mappings."""
    made, large = Objects(guest), Objects(guest, 1 << 20)
    theirs = Objects(neighbour, 1 << 20)
    for address in (large.address, theirs.address):
        refuse(guest, Status.INVALID_VALUE, abi.FifoInitIb(made.channel, address + (512 << 10), 2))


def test_channels_run_out(guest: RawGuest, neighbour: RawGuest) -> None:
    """The last channel is given out, one more is refused to this VM alone, and freeing helps."""
    made = Objects(guest)
    more = [guest.make(abi.ChanNew(made.vspace)) for _ in range(CHANNELS - 1)]
    refuse(guest, Status.EXHAUSTED, abi.ChanNew(made.vspace))
    Objects(neighbour)
    assert guest.status(abi.ChanFree(more[0])) == Status.OK
    guest.make(abi.ChanNew(made.vspace))


def test_address_spaces_run_out(guest: RawGuest, neighbour: RawGuest) -> None:
    """A VM that takes all address spaces it can get leaves the others theirs."""
    vspaces: list[int] = []
    while (reply := guest.run(abi.VspaceNew())[0]).status == Status.OK:
        vspaces.append(reply.fields[0])
    assert reply.status == Status.EXHAUSTED
    refuse(guest, Status.EXHAUSTED, abi.VspaceNew())
    Objects(neighbour)
    assert guest.status(abi.VspaceFree(vspaces[0])) == Status.OK
    guest.make(abi.VspaceNew())


def test_engine_classes(guest: RawGuest) -> None:
    """A class that the GPU has is allowed, another is not supported."""
    made = Objects(guest)
    assert guest.status(abi.ObjEngNew(made.channel, AMPERE_DMA_COPY_B)) == Status.OK
    refuse(guest, Status.NOT_SUPPORTED, abi.ObjEngNew(made.channel, 0))
    before = held(guest.vm)
    assert guest.status(abi.ObjEngNew(made.channel, 2**64 - 1)) != Status.OK
    assert held(guest.vm) == before
