"""Compiled kernels against numba's machine code for the same algorithm, each on one thread.

LoGV's side is a kernel on the aperture, its addresses masked, as the engine calls it; numba's works on NumPy
arrays. Both sides' results are compared with NumPy's first.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bench import numba_pairs as pairs
from bench.aperture_rig import Place, aperture

from logv.compare.paired import PairedResult

pytest.importorskip("numba")

MEMORY_BYTES = 256 << 20

BARS = {"streaming": 0.9, "stencil": 0.9, "reduction": 0.9, "graph": 0.9, "matmul": 1.0, "histogram": 0.7}
"""The time of numba over the time of LoGV is at least this, by family."""

LENGTHS = (1 << 23, 8_000_037)
SIDES = (2048, 1999)
PAIRS: dict[str, tuple[tuple[Callable[..., pairs.Pair], tuple[Any, ...]], ...]] = {
    "streaming": (
        (pairs.vector_add, LENGTHS),
        (pairs.scale, LENGTHS),
        (pairs.triad, LENGTHS),
        (pairs.saxpy, LENGTHS),
        (pairs.fill, LENGTHS),
    ),
    "stencil": (
        (pairs.hotspot, SIDES),
        (pairs.hotspot_tiled, SIDES),
        (pairs.laplace_3d, (192, 201)),
        (pairs.gauss_rows, SIDES),
        (pairs.gauss_columns, SIDES),
        (pairs.downsample, SIDES),
        (pairs.coefficients, (2048,)),
        (pairs.diffuse, (2048,)),
        (pairs.blur_columns, SIDES),
        (pairs.halve, SIDES),
    ),
    "reduction": ((pairs.add_up, LENGTHS), (pairs.dot, LENGTHS)),
    "graph": ((pairs.bfs_level, (1 << 20, 1_000_003)), (pairs.spmv, (1 << 19, 500_009))),
    "matmul": (
        (pairs.matmul_tiled, ((512, 512, 512), (500, 517, 431))),
        (pairs.matmul_workload, (512,)),
    ),
    "histogram": (
        (pairs.histogram_strided, (1 << 24, 16_000_057)),
        (pairs.histogram_workload, (1 << 24, 16_000_057)),
    ),
    # Another algorithm, for orientation: no bar.
    "loops": ((pairs.matmul_over_loops, ((512, 512, 512), (500, 517, 431))),),
}
CASES = [
    pytest.param(family, make, size, id=f"{make.__name__}-{str(size).strip('()').replace(', ', 'x')}")
    for family, made in PAIRS.items()
    for make, sizes in made
    for size in sizes
]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Return GPU memory in an aperture."""
    with aperture(MEMORY_BYTES) as made:
        yield made


@pytest.mark.parametrize(("family", "make", "size"), CASES)
def test_numba(
    request: pytest.FixtureRequest,
    paired: Callable[..., PairedResult],
    place: Place,
    family: str,
    make: Callable[[Any], pairs.Pair],
    size: Any,
) -> None:
    """Both sides compute what NumPy does, and LoGV is not slower than its family's bar."""
    pair = make(size)
    kernel = pair.job.on(place)
    kernel()
    pair.numba()
    for result in pair.results:
        assert result.check(pair.job.result(place, result.argument))
        assert result.check(result.numba)
    bar = 1 / BARS[family] if family in BARS else None
    paired(kernel, pair.numba, label=f"{request.node.callspec.id}: LoGV over numba", bar=bar)
