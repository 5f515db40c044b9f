"""MMU: the compiled walker, its caches and its range scan against the manual, page by page."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fastpath.page_table_model import (
    PAGE_2M,
    PAGE_4K,
    PAGE_64K,
    READ,
    VA_END,
    WRITE,
    Space,
    Status,
    pte,
)

from logv._fastpath import Translator
from logv.errors import InvalidValueError
from logv.hw import dev_mmu

VRAM_BYTES = 4 * 2**20
SYSTEM_BYTES = 2**20

# 2 MiB blocks on both sides of every level's border, and the last one there is.
GROUPS = [
    (0, 3),
    ((1 << 29) - PAGE_2M, 2),
    ((1 << 38) - PAGE_2M, 2),
    ((1 << 47) - PAGE_2M, 2),
    (VA_END - PAGE_2M, 1),
]

APERTURES = [
    dev_mmu.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY,
    dev_mmu.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY,
    dev_mmu.NV_MMU_VER2_PTE_APERTURE_VIDEO_MEMORY,
    dev_mmu.NV_MMU_VER2_PTE_APERTURE_SYSTEM_COHERENT_MEMORY,
    dev_mmu.NV_MMU_VER2_PTE_APERTURE_SYSTEM_NON_COHERENT_MEMORY,
    dev_mmu.NV_MMU_VER2_PTE_APERTURE_PEER_MEMORY,
]

seldom = st.sampled_from([False] * 6 + [True])


@st.composite
def runs(draw: st.DrawFn, page_size: int) -> list[tuple[int, int, dict[str, int]]]:
    """Runs of PTEs (first index, first physical address, attributes) that follow each other in memory."""
    entries = PAGE_2M // page_size
    found = []
    for _ in range(draw(st.integers(0, 4))):
        first = draw(st.integers(0, entries - 1))
        count = draw(st.integers(1, entries - first))
        # Up to two pages beyond the end of memory, and for larger pages not always aligned.
        physical = PAGE_4K * draw(st.integers(0, VRAM_BYTES // PAGE_4K + 2))
        attributes = {
            "aperture": draw(st.sampled_from(APERTURES)),
            "read_only": draw(st.booleans()),
            "privileged": draw(seldom),
            "valid": not draw(seldom),
        }
        found += [(first + i, physical + i * page_size, attributes) for i in range(count)]
    return found


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """An address space with every kind of page, hole and permission somewhere."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    for start, blocks in GROUPS:
        for block in range(start, start + blocks * PAGE_2M, PAGE_2M):
            kind = draw(st.sampled_from(["none", "huge", "big", "small", "both"]))
            if kind == "huge":
                for _, physical, attributes in draw(runs(PAGE_2M)):
                    space.map(block, PAGE_2M, pte(physical, **attributes))  # type: ignore[arg-type]
            for size, kinds in ((PAGE_64K, ("big", "both")), (PAGE_4K, ("small", "both"))):
                if kind in kinds:
                    for index, physical, attributes in draw(runs(size)):
                        space.map(block + index * size, size, pte(physical, **attributes))  # type: ignore[arg-type]
    return space


@st.composite
def ranges(draw: st.DrawFn) -> tuple[int, int]:
    """A range inside one group of blocks, often at a page's border."""
    start, blocks = draw(st.sampled_from(GROUPS))
    size = blocks * PAGE_2M

    def border() -> int:
        page = draw(st.sampled_from([1, PAGE_4K, PAGE_64K, PAGE_2M]))
        return draw(st.integers(0, size // page)) * page

    first, last = sorted((border(), border()))
    return start + first, last - first


def translator(space: Space) -> Translator:
    """Return the compiled MMU over the same memory."""
    return Translator(space.vram, space.system, space.pdb)


def check_range(space: Space, mmu: Translator, va: int, size: int, write: bool, capacity: int) -> None:
    """Compare a range translation with the model's, twice: the second time caches have been filled."""
    spans, stop = space.translate_range(va, size, WRITE if write else READ)
    for _ in range(2):
        assert mmu.translate_range(va, size, write, capacity=capacity) == spans
        assert mmu.fault == (None if stop is None else (stop[0], WRITE if write else READ, stop[1]))


def check_address(space: Space, mmu: Translator, va: int, write: bool) -> None:
    """Compare one translation with the model's."""
    access = WRITE if write else READ
    expected = space.translate(va, access)
    found = mmu.translate(va, write)
    if expected.status is Status.OK:
        assert found == (expected.system, expected.physical)
        assert mmu.fault is None
    else:
        assert found is None
        assert mmu.fault == (va, access, expected.status)


@settings(max_examples=60, deadline=None)
@given(spaces(), st.lists(st.tuples(ranges(), st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_an_address_leads_where_the_manual_says(
    space: Space, queries: list[tuple[tuple[int, int], bool, bool]]
) -> None:
    """Single translations, cached or not, reads and writes mixed, match the walk by the manual."""
    mmu = translator(space)
    for (va, size), write, forget in queries:
        if forget:
            mmu.invalidate()
        for address in (va, va + size // 2, va + size - 1 if size else va, va):
            check_address(space, mmu, address, write)


@settings(max_examples=40, deadline=None)
@given(spaces(), st.lists(st.tuples(ranges(), st.booleans()), min_size=1, max_size=3), st.integers(1, 40))
def test_a_range_becomes_the_fewest_spans(
    space: Space, queries: list[tuple[tuple[int, int], bool]], capacity: int
) -> None:
    """A range scan, in whatever portions, gives the pages of the manual, neighbours merged."""
    mmu = translator(space)
    for (va, size), write in queries:
        check_range(space, mmu, va, size, write, capacity)


@settings(max_examples=20, deadline=None)
@given(spaces(), st.integers(1, 40))
def test_mirroring_finds_every_page_of_the_whole_address_space(space: Space, capacity: int) -> None:
    """Without an access the scan skips holes and privileged pages, over all 49 bits."""
    expected = []
    for start, blocks in GROUPS:
        expected += space.translate_range(start, blocks * PAGE_2M, 0)[0]
    mmu = translator(space)
    for _ in range(2):
        assert mmu.translate_range(0, VA_END, mirror=True, capacity=capacity) == expected
        assert mmu.fault is None


@settings(max_examples=40, deadline=None)
@given(
    spaces(),
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 2**64 - 1)), min_size=1, max_size=30),
    ranges(),
    st.booleans(),
)
def test_nonsense_in_the_tables_is_read_like_the_manual_reads_it(
    space: Space, scribbles: list[tuple[int, int]], where: tuple[int, int], write: bool
) -> None:
    """Whatever words stand in the tables: the same translation or fault, and nothing outside memory."""
    words = space.next_table // 8
    for at, word in scribbles:
        address = at % words * 8
        # Half of them only flip bits of what is there, so that walks get deep enough to meet them.
        space.store(address, word if word & 1 else space.load(address) ^ (1 << (word >> 8) % 64))
    mmu = translator(space)
    check_range(space, mmu, *where, write, 64)
    for address in (where[0], where[0] + where[1] // 2):
        check_address(space, mmu, address, write)


def test_the_view_changes_at_an_invalidate() -> None:
    """A cached translation outlives a change of its PTE, and no invalidate."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    space.map(PAGE_4K, PAGE_4K, pte(0x200000))
    mmu = translator(space)
    assert mmu.translate(PAGE_4K + 8) == (False, 0x200008)
    space.map(PAGE_4K, PAGE_4K, pte(0x300000))
    assert mmu.translate(PAGE_4K + 8) == (False, 0x200008)
    mmu.invalidate()
    assert mmu.translate(PAGE_4K + 8) == (False, 0x300008)


@pytest.mark.parametrize("page_size", [PAGE_4K, PAGE_64K, PAGE_2M])
def test_a_range_is_seen_anew_after_an_invalidate(page_size: int) -> None:
    """A block that was one run is remembered as such, and forgotten by an invalidate."""
    space = Space(bytearray(4 * PAGE_2M), bytearray(SYSTEM_BYTES))
    for va in range(0, 2 * PAGE_2M, page_size):
        space.map(va, page_size, pte(PAGE_2M + va))
    mmu = translator(space)
    for _ in range(2):
        assert mmu.translate_range(0, 2 * PAGE_2M) == [(0, PAGE_2M, 2 * PAGE_2M, False, False)]
        assert mmu.translate_range(0, 2 * PAGE_2M, write=True) == [(0, PAGE_2M, 2 * PAGE_2M, False, False)]
    for va in range(PAGE_2M, 2 * PAGE_2M, page_size):
        space.map(va, page_size, pte(va, read_only=True))
    mmu.invalidate()
    for _ in range(2):
        assert mmu.translate_range(0, 2 * PAGE_2M) == [
            (0, PAGE_2M, PAGE_2M, False, False),
            (PAGE_2M, PAGE_2M, PAGE_2M, False, True),
        ]
        assert mmu.translate_range(0, 2 * PAGE_2M, write=True) == [(0, PAGE_2M, PAGE_2M, False, False)]
        assert mmu.fault == (PAGE_2M, WRITE, Status.READ_ONLY)


def test_a_page_becomes_valid_without_an_invalidate() -> None:
    """No fault is remembered: the next access after a map finds the page."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    mmu = translator(space)
    for va, size in ((0, PAGE_4K), (PAGE_2M, PAGE_64K), (2 * PAGE_2M, PAGE_2M), (PAGE_4K, PAGE_4K)):
        assert mmu.translate(va) is None
        space.map(va, size, pte(0x200000))
        assert mmu.translate(va) == (False, 0x200000)


def test_one_walk_serves_two_mebibytes() -> None:
    """Pages of one PDE0 entry share a walk, and a known page needs none."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    for page in range(512):
        space.map(page * PAGE_4K, PAGE_4K, pte(0x200000 + page * PAGE_4K))
    mmu = translator(space)
    for page in (0, 1, 511, 0, 128):
        assert mmu.translate(page * PAGE_4K) == (False, 0x200000 + page * PAGE_4K)
    assert mmu.walks == 1
    mmu.invalidate()
    mmu.translate(0)
    assert mmu.walks == 2


def test_a_read_only_page_in_the_cache_stays_read_only() -> None:
    """A read does not open a page for writes."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    space.map(0, PAGE_4K, pte(0x200000, read_only=True))
    mmu = translator(space)
    assert mmu.translate(16) == (False, 0x200010)
    assert mmu.translate(16, write=True) is None
    assert mmu.fault == (16, WRITE, Status.READ_ONLY)


@pytest.mark.parametrize("pdb", [VRAM_BYTES - 24, VRAM_BYTES, 2**64 - 8])
def test_a_page_directory_outside_vram_maps_nothing(pdb: int) -> None:
    """A root beyond the end is a space without pages."""
    mmu = Translator(bytearray(VRAM_BYTES), bytearray(8), pdb)
    assert mmu.translate(0) is None
    assert mmu.translate_range(0, VA_END, mirror=True) == []


@pytest.mark.parametrize(
    ("va", "size"), [(VA_END, 1), (0, VA_END + 1), (2**64 - 4096, 8192), (1, 2**64 - 1), (VA_END - 1, 2)]
)
def test_a_range_beyond_49_bits_is_refused_as_a_whole(va: int, size: int) -> None:
    """Wrap-around and the end of the address space are one error, before anything is translated."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    space.map(0, PAGE_2M, pte(0))
    mmu = translator(space)
    assert mmu.translate_range(va, size) == []
    assert mmu.fault == (va, READ, Status.BAD_RANGE)
    assert not mmu.fill(va, b"x", size)
    assert mmu.fault == (va, WRITE, Status.BAD_RANGE)


def test_an_empty_range_is_no_span() -> None:
    """Size 0 asks nothing, wherever it is."""
    mmu = Translator(bytearray(VRAM_BYTES), bytearray(8), 0)
    for va in (0, 4096, VA_END):
        assert mmu.translate_range(va, 0) == []
        assert mmu.fault is None


@pytest.mark.parametrize("arguments", [(-1,), (2**64,), ("4096",), (1.5,), (None,)])
def test_a_wrong_address_is_an_error_of_the_tree(arguments: tuple[object]) -> None:
    """What is no address raises InvalidValueError, and names the argument."""
    mmu = Translator(bytearray(VRAM_BYTES), bytearray(8), 0)
    with pytest.raises(InvalidValueError, match="virtual address"):
        mmu.translate(*arguments)  # type: ignore[arg-type]


def test_compiled_loops_agree_with_single_translations() -> None:
    """What the benchmarks time gives the same addresses, with and without the caches."""
    space = Space(bytearray(VRAM_BYTES), bytearray(SYSTEM_BYTES))
    for page in range(64):
        space.map(page * PAGE_4K, PAGE_4K, pte(0x200000 + (63 - page) * PAGE_4K))
    mmu = translator(space)
    addresses = [page * PAGE_4K + page for page in range(64)]
    expected = 3 * sum(space.translate(va, READ).physical for va in addresses)
    packed = memoryview(b"".join(va.to_bytes(8, "little") for va in addresses)).cast("Q")
    assert mmu.bench_translate(packed, 3) == expected
    assert mmu.bench_translate(packed, 3, walk=True) == expected
    assert mmu.bench_range(0, 64 * PAGE_4K, 2) == 64
