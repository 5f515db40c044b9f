"""DMA: copies, pitch copies and fills against the same done a page at a time on plain bytes."""

import random
from mmap import mmap

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

SYSTEM = dev_mmu.NV_MMU_VER2_PTE_APERTURE_SYSTEM_COHERENT_MEMORY
BASE = PAGE_2M - 24 * PAGE_4K
"""The mapped area starts in one 2 MiB block and goes on in the next."""
SMALL_PAGES, SYSTEM_PAGES, BIG_PAGES = 56, 16, 3
BIG_BASE = PAGE_2M + 4 * PAGE_64K
READ_ONLY_PAGE = BIG_BASE + BIG_PAGES * PAGE_64K
END = READ_ONLY_PAGE + PAGE_4K
DATA = 2**20
"""Physical address of the first data page; the tables lie below."""

Fault = tuple[int, int, Status]


def make_space() -> Space:
    """Scattered 4 KiB pages of both memories, then 64 KiB pages, one read-only page, and a hole."""
    rng = random.Random(2013)
    space = Space(bytearray(rng.randbytes(2 * 2**20)), bytearray(rng.randbytes(2**18)))
    space.vram[: DATA // 2] = bytes(DATA // 2)
    places = list(range(SMALL_PAGES))
    rng.shuffle(places)
    for page, place in enumerate(places):
        space.map(BASE + page * PAGE_4K, PAGE_4K, pte(DATA + place * PAGE_4K))
    places = list(range(SYSTEM_PAGES))
    rng.shuffle(places)
    for page, place in enumerate(places):
        va = BASE + (SMALL_PAGES + page) * PAGE_4K
        space.map(va, PAGE_4K, pte(place * PAGE_4K, aperture=SYSTEM))
    for page, place in enumerate((0, 2, 1)):
        physical = DATA + 2**19 + place * PAGE_64K
        space.map(BIG_BASE + page * PAGE_64K, PAGE_64K, pte(physical))
    space.map(READ_ONLY_PAGE, PAGE_4K, pte(DATA + 3 * 2**18, read_only=True))
    return space


SPACE = make_space()
MAPPED = (BASE + (SMALL_PAGES + SYSTEM_PAGES) * PAGE_4K - BASE, END - BIG_BASE)


class Model:
    """The same memory, worked on page by page."""

    def __init__(self) -> None:
        self.space = Space(bytearray(SPACE.vram), bytearray(SPACE.system))

    def reach(self, va: int, size: int, access: int) -> tuple[int, Fault | None]:
        """How many bytes from `va` on allow the access, and the fault that comes next."""
        done = 0
        while done < size:
            status = self.space.translate(va + done, access).status
            if status is not Status.OK:
                return done, (va + done, access, status)
            done += min(PAGE_4K - (va + done) % PAGE_4K, size - done)
        return size, None

    def read(self, va: int, size: int) -> bytes:
        """Read what is known to be mapped."""
        data = b""
        while len(data) < size:
            memory, at = self._locate(va + len(data))
            data += memory[at : at + min(PAGE_4K - at % PAGE_4K, size - len(data))]
        return data

    def write(self, va: int, data: bytes) -> None:
        """Write what is known to be mapped."""
        done = 0
        while done < len(data):
            memory, at = self._locate(va + done)
            part = min(PAGE_4K - at % PAGE_4K, len(data) - done)
            memory[at : at + part] = data[done : done + part]
            done += part

    def _locate(self, va: int) -> tuple[bytearray | mmap, int]:
        found = self.space.translate(va, READ)
        assert found.status is Status.OK
        return (self.space.system if found.system else self.space.vram), found.physical

    def copy(self, dst: int, src: int, size: int) -> Fault | None:
        """Copy up to the first fault; where both sides fault, the source is met first."""
        readable, read_fault = self.reach(src, size, READ)
        writable, write_fault = self.reach(dst, size, WRITE)
        done = min(readable, writable)
        self.write(dst, self.read(src, done))
        if done == size:
            return None
        return read_fault if readable <= writable else write_fault

    def fill(self, dst: int, pattern: bytes, count: int) -> Fault | None:
        """Fill up to the first fault."""
        size = len(pattern) * count
        done, fault = self.reach(dst, size, WRITE)
        self.write(dst, (pattern * count)[:done])
        return fault


def fresh() -> tuple[Model, Space, Translator]:
    """Return the model, the memory that the compiled core works on, and the core."""
    space = Space(bytearray(SPACE.vram), bytearray(SPACE.system))
    return Model(), space, Translator(space.vram, space.system, 0)


def check(model: Model, space: Space, dma: Translator, ok: bool | None, fault: Fault | None) -> None:
    """Compare the result, the fault and every byte of both memories."""
    assert ok is (fault is None)
    assert dma.fault == fault
    assert space.vram == model.space.vram
    assert space.system == model.space.system


@st.composite
def places(draw: st.DrawFn, low: int = BASE - PAGE_4K, high: int = END + PAGE_4K) -> int:
    """An address in the mapped area or just outside, often close to a page's border."""
    if draw(st.booleans()):
        return draw(st.integers(low, high))
    border = PAGE_4K * draw(st.integers(low // PAGE_4K, high // PAGE_4K))
    return max(low, min(high, border + draw(st.integers(-9, 9))))


sizes = st.one_of(st.integers(0, 64), st.integers(0, 3 * PAGE_4K), st.integers(0, 40 * PAGE_4K))
halves = st.booleans()
MIDDLE = BASE + (SMALL_PAGES // 2) * PAGE_4K


@settings(max_examples=80, deadline=None)
@given(places(), places(), sizes)
def test_a_copy_moves_what_is_mapped_and_stops_at_the_fault(dst: int, src: int, size: int) -> None:
    """Any alignment and page crossing, between both memories, with faults on either side."""
    size = min(size, abs(dst - src))
    model, space, dma = fresh()
    fault = model.copy(dst, src, size)
    check(model, space, dma, dma.copy(dst, src, size), fault)


@settings(max_examples=80, deadline=None)
@given(
    st.booleans(),
    places(BASE - PAGE_4K, MIDDLE),
    places(MIDDLE + 64 * 1024, END),
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.integers(0, 3000),
    st.integers(0, 12),
)
def test_a_pitch_copy_is_its_lines(
    upwards: bool, low: int, high: int, low_pitch: int, high_pitch: int, line_bytes: int, lines: int
) -> None:
    """Lines that touch, overlap or lie apart come out as copies of one line after the other."""
    dst, src, dst_pitch, src_pitch = high, low, high_pitch, low_pitch
    if not upwards:
        dst, src, dst_pitch, src_pitch = src, dst, src_pitch, dst_pitch
    model, space, dma = fresh()
    fault = None
    for line in range(lines if line_bytes else 0):
        fault = fault or model.copy(dst + line * dst_pitch, src + line * src_pitch, line_bytes)
    check(model, space, dma, dma.copy_pitch(dst, dst_pitch, src, src_pitch, line_bytes, lines), fault)


@settings(max_examples=30, deadline=None)
@given(places(BASE, MIDDLE), places(BIG_BASE, END), st.integers(1, 3000), st.integers(1, 20))
def test_lines_without_gaps_are_one_copy(dst: int, src: int, line_bytes: int, lines: int) -> None:
    """A pitch equal to the line's length copies the same bytes as one long line."""
    model, space, dma = fresh()
    fault = model.copy(dst, src, line_bytes * lines)
    check(model, space, dma, dma.copy_pitch(dst, line_bytes, src, line_bytes, line_bytes, lines), fault)


@settings(max_examples=80, deadline=None)
@given(places(), st.binary(min_size=1, max_size=16), st.integers(0, 20000))
def test_a_fill_repeats_its_pattern(dst: int, pattern: bytes, count: int) -> None:
    """Patterns of 1 to 16 bytes keep their phase across pages and spans."""
    model, space, dma = fresh()
    fault = model.fill(dst, pattern, count)
    check(model, space, dma, dma.fill(dst, pattern, count), fault)


@settings(max_examples=60, deadline=None)
@given(places(), st.binary(max_size=3 * PAGE_4K))
def test_reads_and_writes_go_through_the_tables(va: int, data: bytes) -> None:
    """Host bytes written at an address are found there, up to a fault."""
    model, space, dma = fresh()
    done, fault = model.reach(va, len(data), WRITE)
    model.write(va, data[:done])
    check(model, space, dma, dma.write(va, data), fault)
    readable, fault = model.reach(va, len(data), READ)
    found = dma.read(va, len(data))
    assert found == (model.read(va, readable) if fault is None else None)
    assert dma.fault == fault


@pytest.mark.parametrize("distance", [1, 63, PAGE_4K, 5 * PAGE_4K])
def test_overlapping_ranges_stay_inside_themselves(distance: int) -> None:
    """What an overlapping copy gives is not promised; that it writes nothing else is."""
    size = 20 * PAGE_4K
    for dst, src in ((BASE + distance, BASE), (BASE, BASE + distance)):
        model, space, dma = fresh()
        assert dma.copy(dst, src, size)
        after = Model()
        after.space = space
        assert after.read(BASE, dst - BASE) == model.read(BASE, dst - BASE)
        beyond = BASE + size + PAGE_4K * 6
        rest = (SMALL_PAGES + SYSTEM_PAGES) * PAGE_4K - (beyond - BASE)
        assert after.read(beyond, rest) == model.read(beyond, rest)


@pytest.mark.parametrize(
    ("dst_pitch", "src_pitch", "line_bytes", "lines"),
    [
        (2**63, 1, 1, 3),
        (1, 2**63, 1, 3),
        (2**32, 2**32, 1, 2**32),
        (2**64 - 1, 0, 2, 2),
        (16, 16, 2**64 - 1, 1),
        (16, 16, VA_END, 2),
        (2, 1, 1, 2**64 - 1),
    ],
)
def test_a_pitch_copy_that_wraps_is_refused_before_it_writes(
    dst_pitch: int, src_pitch: int, line_bytes: int, lines: int
) -> None:
    """Products and sums beyond 49 bits are one error, and memory is as it was."""
    model, space, dma = fresh()
    assert not dma.copy_pitch(BASE, dst_pitch, BIG_BASE, src_pitch, line_bytes, lines)
    assert dma.fault is not None
    assert dma.fault[2] == Status.BAD_RANGE
    assert space.vram == model.space.vram


@pytest.mark.parametrize(
    ("dst", "src", "size"), [(VA_END - 8, BASE, 16), (BASE, 2**64 - 8, 16), (BASE, BASE, 2**64 - 1)]
)
def test_a_copy_that_wraps_is_refused_before_it_writes(dst: int, src: int, size: int) -> None:
    """A range that leaves the address space is refused as a whole."""
    model, space, dma = fresh()
    assert not dma.copy(dst, src, size)
    assert dma.fault is not None
    assert dma.fault[2] == Status.BAD_RANGE
    assert space.vram == model.space.vram


@pytest.mark.parametrize("count", [2**64 - 1, 2**61, VA_END])
def test_a_fill_that_wraps_is_refused_before_it_writes(count: int) -> None:
    """A count whose bytes do not fit into 49 bits is refused as a whole."""
    model, space, dma = fresh()
    assert not dma.fill(BASE, b"12345678", count)
    assert dma.fault == (BASE, WRITE, Status.BAD_RANGE)
    assert space.vram == model.space.vram


@pytest.mark.parametrize("pattern", [b"", bytes(17)])
def test_a_pattern_has_1_to_16_bytes(pattern: bytes) -> None:
    """Other patterns are an error of the tree."""
    with pytest.raises(InvalidValueError, match="1 to 16 bytes"):
        fresh()[2].fill(BASE, pattern, 1)


def test_a_large_copy_between_large_spans_is_exact() -> None:
    """Spans beyond the size where the copy loop changes arrive whole, and end where they should."""
    half = 18 * 2**20
    pages = half // PAGE_2M
    space = Space(bytearray((2 * pages + 2) * PAGE_2M), bytearray(8))
    for page in range(2 * pages):
        space.map(page * PAGE_2M, PAGE_2M, pte((page + 1) * PAGE_2M))
    source = random.Random(7).randbytes(2**20)
    data = memoryview(space.vram)[PAGE_2M:]
    for at in range(0, half, 2**20):
        data[at : at + 2**20] = source
    size = half - 3
    dma = Translator(space.vram, space.system, 0)
    assert dma.copy(half + 1, 2, size)
    assert data[half] == 0
    assert data[half + 1 : half + 1 + size] == data[2 : 2 + size]
    assert bytes(data[half + 1 + size : half + 1 + size + 64]) == bytes(64)
