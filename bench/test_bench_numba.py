"""Compiled kernels against numba's machine code for the same algorithm, each on one thread.

LoGV's side is a kernel in an aperture, its addresses masked, called as the engine calls it. numba's function
works on the same buffers, which it reaches as an application's CPU does: which physical pages somebody got
is worth more than what the bars leave open. Both sides' results are compared with NumPy's first.
``python bench/numba_table.py`` prints the table.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

pytest.importorskip("numba")

from bench import numba_pairs as pairs
from bench import numba_stencils as stencils
from bench.aperture_rig import Place, aperture
from bench.numba_pair import Pair

from logv.compare.paired import PairedResult

MEMORY_BYTES = 256 << 20

BARS = {"streaming": 0.9, "stencil": 0.9, "reduction": 0.9, "graph": 0.9, "matmul": 1.0, "histogram": 0.7}
"""The time of numba over that of LoGV is at least this, by family."""

# Whole blocks, and a last block with threads left over.
LENGTHS = (1 << 24, 16_000_037)
BYTES = (1 << 24, 16_000_057)
SIDES = (3072, 2999)
HALVES = (2048, 1999)
PRODUCTS = ((512, 512, 512), (500, 517, 431))

FAMILIES: dict[str, dict[Callable[..., Pair], tuple[Any, ...]]] = {
    "streaming": {
        pairs.vector_add: LENGTHS,
        pairs.scale: LENGTHS,
        pairs.triad: LENGTHS,
        pairs.saxpy: LENGTHS,
        pairs.fill: LENGTHS,
    },
    "stencil": {
        stencils.hotspot: SIDES,
        stencils.hotspot_tiled: SIDES,
        stencils.laplace_3d: (288, 283),
        stencils.gauss_rows: SIDES,
        stencils.gauss_columns: SIDES,
        stencils.downsample: HALVES,
        stencils.coefficients: (3072,),
        stencils.diffuse: (3072,),
        stencils.blur_rows: SIDES,
        stencils.blur_columns: SIDES,
        stencils.sobel: SIDES,
        stencils.halve: HALVES,
    },
    "reduction": {pairs.add_up: LENGTHS, pairs.dot: LENGTHS, pairs.partial_sums: (3072,)},
    "graph": {pairs.bfs_level: (1 << 20, 1_000_003), pairs.spmv: (1 << 19, 500_009)},
    "matmul": {pairs.matmul_tiled: PRODUCTS, pairs.matmul_workload: (512,)},
    "histogram": {pairs.histogram_strided: BYTES, pairs.histogram_workload: BYTES},
    # Against another algorithm, for orientation: no bar.
    "loops": {pairs.matmul_over_loops: PRODUCTS},
}


def text_of(size: int | tuple[int, ...]) -> str:
    """Return a size as an identifier's part."""
    return "x".join(map(str, size)) if isinstance(size, tuple) else str(size)


CASES = [
    pytest.param(family, make, size, id=f"{make.__name__}-{text_of(size)}")
    for family, made in FAMILIES.items()
    for make, sizes in made.items()
    for size in sizes
]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Return GPU memory in an aperture."""
    with aperture(MEMORY_BYTES) as made:
        yield made


def made_from(make: Callable[..., Pair], size: int | tuple[int, ...]) -> Pair:
    """Return the pair of a size."""
    return make(*size) if isinstance(size, tuple) else make(size)


@pytest.mark.parametrize(("family", "make", "size"), CASES)
def test_numba(
    benchmark: BenchmarkFixture,
    paired: Callable[..., PairedResult],
    place: Place,
    family: str,
    make: Callable[..., Pair],
    size: int | tuple[int, ...],
) -> None:
    """Both sides compute what NumPy does, and LoGV takes no longer than its family's bar allows."""
    pair = made_from(make, size)
    arrays = pair.job.put(place)
    kernel, numba = pair.job.launch(place), partial(pair.numba, *arrays)
    kernel()
    assert pair.check(arrays)
    pair.job.put(place)
    numba()
    assert pair.check(arrays)
    label = f"{make.__name__} {text_of(size)}: LoGV over numba"
    benchmark.extra_info.update(family=family, kernel=make.__name__, size=text_of(size))
    paired(kernel, numba, label=label, bar=1 / BARS[family] if family in BARS else None)


@pytest.mark.parametrize("make", [pairs.vector_add, stencils.hotspot], ids=lambda make: make.__name__)
def test_numba_in_huge_pages(
    benchmark: BenchmarkFixture,
    paired: Callable[..., PairedResult],
    place: Place,
    make: Callable[..., Pair],
) -> None:
    """For orientation: numba on NumPy's own arrays, which Linux may back with pages of 2 MiB."""
    size = {pairs.vector_add: LENGTHS, stencils.hotspot: SIDES}[make][0]
    pair = made_from(make, size)
    numba = partial(pair.numba, *(array.copy() for array in pair.job.put(place)))
    kernel = pair.job.launch(place)
    label = f"{make.__name__} {text_of(size)}: LoGV over numba in huge pages"
    benchmark.extra_info.update(family="huge pages", kernel=make.__name__, size=text_of(size))
    paired(kernel, numba, label=label)
