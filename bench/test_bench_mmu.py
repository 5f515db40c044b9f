"""MMU: what a translation costs with and without the TLB, and what a range costs per page."""

import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from bench.conftest import Paired
from tests.fastpath.page_table_model import PAGE_2M, PAGE_4K, PAGE_64K, READ, Space, pte

from logv._fastpath import Translator

RANGE_BYTES = 64 * 2**20
FIRST_VA = 0x7F_4000_0000
TABLES_BYTES = 2 * 2**20
HOT_PAGES = 16


def space(page_size: int, *, scattered: bool) -> Space:
    """64 MiB of virtual memory in pages of one size, in order or shuffled."""
    pages = RANGE_BYTES // page_size
    order = list(range(pages))
    if scattered:
        random.Random(49).shuffle(order)
    made = Space(bytearray(TABLES_BYTES + RANGE_BYTES), bytearray(8))
    for page, place in enumerate(order):
        made.map(FIRST_VA + page * page_size, page_size, pte(TABLES_BYTES + place * page_size))
    assert made.next_table <= TABLES_BYTES
    return made


def budget(duration_ns: float) -> Callable[[], None]:
    """A bar given in nanoseconds, as something that takes so long."""

    def wait() -> None:
        end = time.perf_counter_ns() + duration_ns
        while time.perf_counter_ns() < end:
            pass

    return wait


def addresses(made: Space) -> tuple[np.ndarray[tuple[int], np.dtype[np.uint64]], int]:
    """Addresses on a few pages, and the sum of what they translate to."""
    rng = random.Random(7)
    found = [FIRST_VA + rng.randrange(HOT_PAGES) * PAGE_4K + rng.randrange(PAGE_4K) for _ in range(1024)]
    return np.array(found, dtype=np.uint64), sum(made.translate(va, READ).physical for va in found)


def test_translate_tlb_hit(paired: Paired) -> None:
    """A TLB hit: at most 1/60 of looking the page up in a Python dict, in a loop that does the same."""
    made = space(PAGE_4K, scattered=True)
    mmu = Translator(made.vram, made.system, 0)
    vas, total = addresses(made)
    rounds = 60
    assert mmu.bench_translate(vas, rounds) == rounds * total
    table = {va >> 12: made.translate(va, READ).physical & -PAGE_4K for va in vas.tolist()}
    plain = vas.tolist()

    def baseline() -> int:
        found = 0
        for va in plain:
            found += table[va >> 12]
        return found

    assert baseline() == sum(
        physical & -PAGE_4K for physical in (made.translate(va, READ).physical for va in plain)
    )
    # 60 times the work in at most the same time is a bar of 1.
    paired(lambda: mmu.bench_translate(vas, rounds), baseline, label="60 TLB hits / one dict lookup", bar=1.0)


def test_translate_walk(paired: Paired) -> None:
    """The first access to a page, past the TLB: at most 5 TLB hits."""
    made = space(PAGE_4K, scattered=True)
    mmu = Translator(made.vram, made.system, 0)
    vas, total = addresses(made)
    assert mmu.bench_translate(vas, 1, walk=True) == total
    rounds = 200
    paired(
        lambda: mmu.bench_translate(vas, rounds, walk=True),
        lambda: mmu.bench_translate(vas, 5 * rounds),
        label="a walk / 5 TLB hits",
        bar=1.0,
    )


@pytest.mark.parametrize(
    ("page_size", "scattered", "bar_ns"),
    [
        pytest.param(PAGE_4K, False, 2.5, id="4KiB"),
        pytest.param(PAGE_64K, False, 0.2, id="64KiB"),
        pytest.param(PAGE_4K, True, None, id="4KiB-scattered"),
        pytest.param(PAGE_64K, True, None, id="64KiB-scattered"),
        pytest.param(PAGE_2M, False, None, id="2MiB"),
    ],
)
def test_translate_range(paired: Paired, page_size: int, scattered: bool, bar_ns: float | None) -> None:
    """Translating 64 MiB into merged spans, per page."""
    made = space(page_size, scattered=scattered)
    mmu = Translator(made.vram, made.system, 0)
    spans, stop = made.translate_range(FIRST_VA, RANGE_BYTES, READ)
    assert stop is None
    assert mmu.translate_range(FIRST_VA, RANGE_BYTES) == spans
    pages = RANGE_BYTES // page_size
    rounds = max(1, 2**20 // pages)
    assert mmu.bench_range(FIRST_VA, RANGE_BYTES, 1) == len(spans)
    paired(
        lambda: mmu.bench_range(FIRST_VA, RANGE_BYTES, rounds),
        budget(rounds * pages * (bar_ns or 1.0)),
        label=f"translate a range / {bar_ns or 1.0} ns a page",
        bar=None if bar_ns is None else 1.0,
    )
