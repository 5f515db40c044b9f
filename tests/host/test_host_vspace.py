from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logv.errors import ExhaustedError, OutOfMemoryError
from logv.gpu import Gpu
from logv.host import HostDriver, Partition, Session, Usage
from logv.host.vspace import GUARD_SIZE, VA_BASE, VA_LIMIT
from logv.hw.software_gpu import MAX_CHANNELS, MAX_VSPACES
from logv.uapi import Domain

_PAGE = 4096


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.booleans(),
            st.sampled_from([0, 1, 16, 512]),
            st.sampled_from([1, 2, 15, 16, 17, 512, 530]),
            st.integers(0, 1 << 16),
        ),
        max_size=30,
    )
)
def test_address_model(
    host: HostDriver, partition: Partition, steps: list[tuple[bool, int, int, int]]
) -> None:
    """Mappings never overlap, keep a guard between them, are aligned to their pages, and all go back."""
    with closing(host.open(partition)) as session:
        space = session.vspace_new()
        buffer = session.mem_alloc(5 << 20)
        empty = partition.usage()
        live: dict[int, int] = {}
        for unmap, offset, pages, pick in steps:
            if unmap and live:
                address = sorted(live)[pick % len(live)]
                session.vspace_unmap(space, address)
                del live[address]
                continue
            size = pages * _PAGE
            address = session.vspace_map(space, buffer.handle, offset=offset * _PAGE, size=size)
            assert address >= VA_BASE
            assert address + size + GUARD_SIZE <= VA_LIMIT
            for page in (64 << 10, 2 << 20):
                if size >= page and offset * _PAGE % page == 0:
                    assert address % page == 0
            assert all(
                address + size + GUARD_SIZE <= other or other + live[other] + GUARD_SIZE <= address
                for other in live
            )
            live[address] = size
        assert partition.usage().mappings == len(live)
        for address in live:
            session.vspace_unmap(space, address)
        assert partition.usage() == empty


def test_failed_invalidate_undoes_the_mapping(
    gpu: Gpu, partition: Partition, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the GPU cannot mirror a mapping, its PTEs and its addresses are taken back."""
    space = session.vspace_new()
    buffer = session.mem_alloc(4 << 20)
    before = partition.usage()
    ranges: list[tuple[int, int]] = []

    def refuse(vspace: int, address: int, size: int) -> None:
        ranges.append((address, size))
        raise OutOfMemoryError("no mappings left")

    with monkeypatch.context() as patch:
        patch.setattr(gpu, "invalidate_tlb", refuse)
        with pytest.raises(OutOfMemoryError, match="no mappings left"):
            session.vspace_map(space, buffer.handle)
    assert len(ranges) == 2, "after the PTEs are gone, the TLB is invalidated again"
    assert ranges[0] == ranges[1]
    assert partition.usage() == before
    assert session.vspace_map(space, buffer.handle) == ranges[0][0]


def test_tables_are_reused_after_the_invalidate(
    gpu: Gpu, session: Session, partition: Partition, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that the TLB may still name is not free before the invalidate."""
    space = session.vspace_new()
    buffer = session.mem_alloc(_PAGE)
    address = session.vspace_map(space, buffer.handle)
    before = partition.usage().table_bytes
    seen: list[int] = []
    real = gpu.invalidate_tlb

    def watch(vspace: int, at: int, size: int) -> None:
        seen.append(partition.usage().table_bytes)
        real(vspace, at, size)

    monkeypatch.setattr(gpu, "invalidate_tlb", watch)
    session.vspace_unmap(space, address)
    assert seen == [before]
    assert partition.usage().table_bytes < before


def test_address_spaces_per_partition_are_bounded(host: HostDriver, session: Session) -> None:
    """One partition that takes all it can leaves the others theirs."""
    taken: list[int] = []

    def fill() -> None:
        while True:
            taken.append(session.vspace_new())

    with pytest.raises(ExhaustedError, match="address spaces"):
        fill()
    other = host.open(host.create_partition("other"))
    for _ in taken:
        other.vspace_new()


def test_mappings_per_partition_are_bounded(
    host: HostDriver, partition: Partition, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mappings of a partition count together, over its sessions."""
    monkeypatch.setattr(partition.mappings, "limit", 3)
    sessions = [session, host.open(partition)]
    prepared = [(owner, owner.vspace_new(), owner.mem_alloc(_PAGE).handle) for owner in sessions * 2]
    for owner, space, memory in prepared[:3]:
        owner.vspace_map(space, memory)
    owner, space, memory = prepared[3]
    with pytest.raises(ExhaustedError, match="mappings"):
        owner.vspace_map(space, memory)
    assert partition.usage().mappings == 3


def test_page_tables_per_partition_are_bounded(
    host: HostDriver, partition: Partition, session: Session
) -> None:
    """A partition that maps until its page tables are used up gets a clear error, and nothing leaks."""
    buffer = session.mem_alloc(host.free(Domain.VRAM))
    space = session.vspace_new()

    def fill() -> None:
        while True:
            # An odd offset costs 4 KiB pages: a table per 2 MiB.
            session.vspace_map(space, buffer.handle, offset=_PAGE)

    with pytest.raises(OutOfMemoryError, match="page tables"):
        fill()
    full = partition.usage()
    with pytest.raises(OutOfMemoryError, match="page tables"):
        session.vspace_map(space, buffer.handle, offset=_PAGE)
    assert partition.usage() == full
    session.close()
    assert partition.usage() == Usage()


def test_virtual_addresses_run_out(gpu: Gpu) -> None:
    """When no range of addresses is large enough, the mapping is refused; nothing leaks, others go on."""
    size = 60 << 30
    host = HostDriver(gpu, size, _PAGE)
    partition = host.create_partition("large")
    session = host.open(partition)
    space, memory = session.vspace_new(), session.mem_alloc(size)
    for _ in range((VA_LIMIT - VA_BASE) // (size + GUARD_SIZE)):
        session.vspace_map(space, memory.handle)
    full = partition.usage()
    with pytest.raises(OutOfMemoryError, match="virtual addresses"):
        session.vspace_map(space, memory.handle)
    assert partition.usage() == full
    session.vspace_map(space, memory.handle, size=_PAGE)
    host.close()


def test_address_spaces_of_the_gpu_run_out(host: HostDriver) -> None:
    """When the GPU itself has no address space left, page tables and quota are given back."""

    def fill(session: Session) -> None:
        while True:
            session.vspace_new()

    usage: list[Usage] = []
    while not usage or usage[-1].vspaces:
        partition = host.create_partition("greedy")
        with pytest.raises(ExhaustedError):
            fill(host.open(partition))
        usage.append(partition.usage())
    assert usage[-1] == Usage(sessions=1)
    assert sum(each.vspaces for each in usage) == MAX_VSPACES


def test_channels_of_the_gpu_run_out(host: HostDriver) -> None:
    """When the GPU itself has no channel left, the USERD page is given back."""
    greedy = host.open(host.create_partition("greedy", channels=MAX_CHANNELS))
    space = greedy.vspace_new()
    for _ in range(MAX_CHANNELS):
        greedy.chan_new(space)
    partition = host.create_partition("late", channels=1)
    late = host.open(partition)
    its_space = late.vspace_new()
    for _ in range(2):
        with pytest.raises(ExhaustedError, match="of the GPU"):
            late.chan_new(its_space)
    assert partition.usage().channels == 0
    greedy.close()
    late.chan_new(its_space)
