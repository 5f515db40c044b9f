"""Compiled kernels on the aperture, against the same machine code on private memory.

The aperture is where kernels see an address space: shared mappings of a window, cut at pages. Private
memory is the best that a CPU offers. What differs is the base that one and the same code adds to
its addresses.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import numpy as np
import pytest
from bench.aperture_rig import Job, Place, aperture

from logv.compare.paired import PairedResult

BAR = 1 / 0.97
"""The aperture reaches at least 0.97 of private memory's speed."""

MEMORY_BYTES = 64 << 20


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[Place, Place]]:
    """Return the aperture of an address space, and private memory at the same virtual address."""
    private = mmap.mmap(-1, MEMORY_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(private))
    with aperture(MEMORY_BYTES) as place:
        yield place, Place(memoryview(private), place.va, address - place.va)


def job_of(workload: str, kernel: str, grid: tuple[int, int], block: tuple[int, int], *arguments: Any) -> Job:
    """Return a launch of a workload's kernel."""
    text = resources.files("logv.workloads").joinpath(f"{workload}.ptx").read_text(encoding="ascii")
    return Job(text, kernel, grid, block, *arguments)


def saxpy() -> Job:
    """Return a job that streams: two loads and a store for one multiply-add."""
    n = 1 << 20
    x = np.ones(n, dtype=np.float32)
    return job_of("saxpy", "saxpy", (n // 256, 1), (256, 1), np.int32(n), np.float32(0.5), x, x)


def matmul() -> Job:
    """Return a job that computes in shared memory."""
    side = 256
    a = np.ones((side, side), dtype=np.float32)
    return job_of(
        "matmul", "matmul", (side // 32, side // 32), (32, 32), np.int32(side), a, a, np.zeros_like(a)
    )


def stencil() -> Job:
    """Return a job that reads neighbours and divides."""
    side = 512
    image = np.ones((side + 2, side + 2), dtype=np.float32)
    scale = np.ones(1, dtype=np.float32)
    pitch = np.int32(side + 2)
    return job_of(
        "srad", "coefficients", (side // 256, side), (256, 1), image, np.zeros_like(image), pitch, scale
    )


def histogram() -> Job:
    """Return a job of atomics."""
    data = np.random.default_rng(0).integers(0, 256, 1 << 21, dtype=np.uint8)
    counts = np.zeros(256, dtype=np.uint32)
    grid = (data.size // 32768, 1)
    return job_of("histogram", "histogram", grid, (256, 1), np.int32(data.size), data, counts)


@pytest.mark.parametrize("make", [saxpy, matmul, stencil, histogram], ids=lambda make: make.__name__)
def test_aperture(
    paired: Callable[..., PairedResult], places: tuple[Place, Place], make: Callable[[], Job]
) -> None:
    """The same launches leave the same bytes in both places, in nearly the same time."""
    job = make()
    for place in places:
        job.put(place)
    mirrored, private = (job.launch(place) for place in places)
    mirrored()
    private()
    assert np.array_equal(places[0].bytes, places[1].bytes)
    assert places[0].bytes.any()
    paired(mirrored, private, label=f"aperture over private memory: {make.__name__}", bar=BAR)
