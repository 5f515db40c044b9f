from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.host.page_walker import Page, PageWalker

from logv._fastpath import Translator
from logv.errors import OutOfMemoryError
from logv.gpu import Gpu, Window
from logv.host._table_pool import TablePool, TableShare
from logv.host.page_tables import PageTables, page_size_for
from logv.uapi import Domain

SMALL, BIG, HUGE = 4 << 10, 64 << 10, 2 << 20
_WINDOW = 1 << 20
_APERTURES = {Domain.VRAM: 0, Domain.SYSTEM: 2}
_BASE = 1 << 32


@dataclass
class Tables:
    """Page tables, their window, and a walker over them."""

    window: Window
    share: TableShare
    tables: PageTables
    walker: PageWalker


@pytest.fixture
def made(gpu: Gpu) -> Tables:
    """Empty page tables in a window of their own."""
    gpu.add_window(Domain.VRAM, SMALL)
    window = gpu.add_window(Domain.VRAM, _WINDOW)
    share = TableShare(TablePool(window), _WINDOW // SMALL)
    tables = PageTables(share)
    return Tables(window, share, tables, PageWalker(window.memory, window.address, tables.pdb))


@pytest.mark.parametrize("domain", list(Domain))
@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize(
    ("physical", "size", "pages"),
    [
        (0x123000, SMALL, {SMALL: 1}),
        (0x123000, HUGE, {SMALL: HUGE // SMALL}),
        (0x130000, BIG, {BIG: 1}),
        (0x130000, BIG + 3 * SMALL, {BIG: 1, SMALL: 3}),
        (0x400000, HUGE, {HUGE: 1}),
        (0x400000, 2 * HUGE + 5 * BIG + 7 * SMALL, {HUGE: 2, BIG: 5, SMALL: 7}),
        (0x400000, BIG - SMALL, {SMALL: BIG // SMALL - 1}),
        (0x410000, HUGE - BIG, {BIG: HUGE // BIG - 1}),
    ],
)
def test_every_page_of_a_mapping(
    made: Tables, physical: int, size: int, pages: dict[int, int], domain: Domain, writable: bool
) -> None:
    """Each page leads where it should, in the largest pages that fit, and nothing around it is mapped."""
    page = page_size_for(physical, size)
    address = _BASE + 3 * HUGE
    made.tables.map(address, size, page, physical, domain, writable=writable)
    seen: dict[int, int] = {}
    for offset in range(0, size, SMALL):
        found = made.walker.walk(address + offset)
        assert found is not None
        assert found == Page(_APERTURES[domain], physical + offset, not writable, found.page_size)
        seen[found.page_size] = seen.get(found.page_size, 0) + SMALL
    assert {bytes_each: total // bytes_each for bytes_each, total in seen.items()} == pages
    assert made.walker.walk(address - 1) is None
    assert made.walker.walk(address + size) is None
    made.tables.release(made.tables.unmap(address, size, page))
    assert all(made.walker.walk(address + offset) is None for offset in range(0, size, SMALL))
    assert made.share.bytes == 3 * SMALL


_SLOT = 4 * HUGE
# Slots on both sides of a 512 MiB border, where a PDE0 table ends.
_FIRST_SLOT = _BASE + (512 << 20) - 3 * _SLOT
_mappings = st.tuples(
    st.integers(0, 5),
    st.integers(0, HUGE // SMALL - 1),
    st.one_of(st.sampled_from([1, 15, 16, 17, 511, 512, 513, 1024]), st.integers(1, 1200)),
    st.sampled_from([SMALL, BIG, HUGE]),
    st.sampled_from(list(Domain)),
    st.booleans(),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(_mappings, max_size=12, unique_by=lambda action: action[0]), order=st.randoms())
def test_mappings_come_and_go(
    made: Tables,
    actions: list[tuple[int, int, int, int, Domain, bool]],
    order: Random,
) -> None:
    """Mappings side by side do not disturb each other, and empty tables go back as they went."""
    live: list[tuple[int, int, int, int, Domain, bool]] = []
    for slot, start, pages, alignment, domain, writable in actions:
        size = pages * SMALL
        physical = (slot + 1) * 64 * HUGE + alignment
        page = page_size_for(physical, size)
        address = _FIRST_SLOT + slot * _SLOT + start * SMALL // page * page
        size = min(size, _FIRST_SLOT + (slot + 1) * _SLOT - address)
        page = min(page, page_size_for(physical, size))
        made.tables.map(address, size, page, physical, domain, writable=writable)
        live.append((address, size, page, physical, domain, writable))
    order.shuffle(live)
    while True:
        for address, size, _, physical, domain, writable in live:
            for offset in {0, size - SMALL, size // 2 // SMALL * SMALL}:
                found = made.walker.walk(address + offset)
                assert found is not None
                assert (found.aperture, found.physical, found.read_only) == (
                    _APERTURES[domain],
                    physical + offset,
                    not writable,
                )
        if not live:
            break
        address, size, page, *_ = live.pop()
        made.tables.release(made.tables.unmap(address, size, page))
        assert made.walker.walk(address) is None
        assert made.walker.walk(address + size - SMALL) is None
    assert made.share.bytes == 3 * SMALL
    assert made.share.pool.words.any(axis=1).sum() == 2, "only the two upper directories have an entry"


def test_the_mmu_agrees(gpu: Gpu) -> None:
    """What the driver writes is what the compiled MMU reads."""
    window = gpu.add_window(Domain.VRAM, _WINDOW)
    assert window.address == 0
    vram = 16 << 20
    tables = PageTables(TableShare(TablePool(window), _WINDOW // SMALL))
    memory = bytearray(vram)
    physical, size = 2 * HUGE, HUGE + 2 * BIG + 3 * SMALL
    tables.map(_BASE, size, HUGE, physical, Domain.VRAM, writable=True)
    tables.map(_BASE + 2 * HUGE, size, SMALL, 5 * SMALL, Domain.SYSTEM, writable=False)
    memory[:_WINDOW] = window.memory
    mmu = Translator(memory, bytearray(vram), tables.pdb)
    assert mmu.translate_range(_BASE, size) == [(_BASE, physical, size, False, False)]
    assert mmu.translate_range(_BASE + 2 * HUGE, size) == [(_BASE + 2 * HUGE, 5 * SMALL, size, True, True)]
    assert mmu.translate(_BASE + size) is None
    assert mmu.translate(_BASE + 2 * HUGE, write=True) is None


@pytest.mark.parametrize("limit", range(3))
def test_no_tables_for_the_root(gpu: Gpu, limit: int) -> None:
    """Page tables that cannot be made leave the share as it was."""
    share = TableShare(TablePool(gpu.add_window(Domain.VRAM, _WINDOW)), limit)
    with pytest.raises(OutOfMemoryError, match="page tables"):
        PageTables(share)
    assert share.bytes == 0


@pytest.mark.parametrize("limit", range(3, 6))
def test_a_mapping_that_fails_half_way(gpu: Gpu, limit: int) -> None:
    """After a map that ran out of tables, unmap takes away what was written, and only that."""
    window = gpu.add_window(Domain.VRAM, _WINDOW)
    share = TableShare(TablePool(window), limit)
    tables = PageTables(share)
    address, size = _BASE + SMALL, 2 * HUGE
    with pytest.raises(OutOfMemoryError, match="page tables"):
        tables.map(address, size, SMALL, SMALL, Domain.VRAM, writable=True)
    tables.release(tables.unmap(address, size, SMALL))
    assert share.bytes == 3 * SMALL
    walker = PageWalker(window.memory, window.address, tables.pdb)
    assert all(walker.walk(address + offset) is None for offset in range(0, size, SMALL))


def test_close_returns_zeroed_tables(made: Tables) -> None:
    """Closing with mappings in place gives every table back, all zero."""
    made.tables.map(_BASE, HUGE + BIG + SMALL, HUGE, HUGE, Domain.VRAM, writable=True)
    made.tables.close()
    assert made.share.bytes == 0
    assert not made.share.pool.words.any()
