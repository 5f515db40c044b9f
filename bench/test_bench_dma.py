"""DMA: copies through the page tables against plain memcpy of the same bytes."""

import ctypes
import mmap
import random

import numpy as np
import pytest
from bench.conftest import Paired
from tests.fastpath.page_table_model import PAGE_2M, PAGE_4K, PAGE_64K, Space, pte

from logv._fastpath import Translator

MOST = 32 * 2**20
TABLES_BYTES = 2 * 2**20
SOURCE, TARGET = 0, 2**30
KIB, MIB = 2**10, 2**20
AT_ONCE = 8 * MIB
"""Bytes copied in one timing, at least: small copies are repeated."""

# How the pages lie: their size, whether they are shuffled, and the least speed against memcpy.
LAYOUTS = [
    pytest.param(PAGE_2M, False, size, 0.95, id=f"contiguous-{size // KIB}KiB")
    for size in (64 * KIB, MIB, 4 * MIB, 32 * MIB)
]
LAYOUTS += [
    pytest.param(PAGE_64K, True, size, 0.95, id=f"64KiB-pages-{size // KIB}KiB")
    for size in (256 * KIB, MIB, 4 * MIB, 32 * MIB)
]
LAYOUTS += [
    pytest.param(PAGE_4K, True, size, 0.75 if size <= MIB else 0.65, id=f"4KiB-pages-{size // KIB}KiB")
    for size in (64 * KIB, 256 * KIB, MIB, 4 * MIB, 32 * MIB)
]


@pytest.fixture(scope="module")
def memory() -> mmap.mmap:
    """VRAM with room for tables, sources and targets, shared as a GPU's is.

    Every page of it is touched, so that no fault is timed.
    """
    rng = np.random.default_rng(7)
    vram = mmap.mmap(-1, TABLES_BYTES + 2 * MOST)
    np.asarray(memoryview(vram))[TABLES_BYTES:] = rng.integers(0, 256, 2 * MOST, dtype=np.uint8)
    return vram


def lay_out(vram: mmap.mmap, page_size: int, scattered: bool) -> Space:
    """Map source and target side by side in pages of one size."""
    vram[:TABLES_BYTES] = bytes(TABLES_BYTES)
    rng = random.Random(11)
    space = Space(vram, bytearray(8))
    for half, va in enumerate((SOURCE, TARGET)):
        order = list(range(MOST // page_size))
        if scattered:
            rng.shuffle(order)
        for page, place in enumerate(order):
            physical = TABLES_BYTES + half * MOST + place * page_size
            space.map(va + page * page_size, page_size, pte(physical))
    assert space.next_table <= TABLES_BYTES
    return space


@pytest.mark.parametrize(("page_size", "scattered", "size", "speed"), LAYOUTS)
def test_copy(
    paired: Paired, memory: mmap.mmap, page_size: int, scattered: bool, size: int, speed: float
) -> None:
    """A copy in device memory reaches a fixed part of memcpy's speed."""
    space = lay_out(memory, page_size, scattered)
    dma = Translator(space.vram, space.system, 0)
    base = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + TABLES_BYTES
    repeat = max(1, AT_ONCE // size)

    def ours() -> None:
        for _ in range(repeat):
            dma.copy(TARGET, SOURCE, size)

    def baseline() -> None:
        for _ in range(repeat):
            ctypes.memmove(base + MOST, base, size)

    assert dma.write(SOURCE, random.Random(size).randbytes(size))
    assert dma.copy(TARGET, SOURCE, size)
    assert dma.read(TARGET, size) == dma.read(SOURCE, size)
    paired(ours, baseline, label=f"copy {size // KIB} KiB / memcpy", bar=1 / speed)
    assert dma.fault is None
