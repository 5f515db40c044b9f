"""LoGV's kernels beside numba's functions: what is timed against what, on which data, and the results."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from bench import numba_functions as functions
from bench.aperture_rig import Job
from numpy.typing import NDArray

THREADS = 256
MATMUL_TILE = 16
EPS = float(np.finfo(np.float32).eps)

Array = NDArray[Any]
Size = int | tuple[int, ...]

_OWN = Path(__file__).parent / "kernels" / "numba_pairs.ptx"


@dataclass(frozen=True)
class Result:
    """What one output has to be.

    Attributes
    ----------
    argument : int
        Which of the kernel's arguments holds it.
    numba : ndarray
        Where numba's function leaves it.
    reference : ndarray
        What NumPy computes.
    tolerance : ndarray or float
        The largest absolute difference allowed.
    """

    argument: int
    numba: Array
    reference: Array
    tolerance: Array | float = 0.0

    def check(self, output: Array) -> bool:
        """Say whether `output` is right."""
        return bool(np.all(np.abs(output.astype(np.float64) - self.reference) <= self.tolerance))


@dataclass(frozen=True)
class Pair:
    """One launch of a kernel, and the same work by numba."""

    job: Job
    numba: Callable[[], object]
    results: tuple[Result, ...]


@cache
def _text(workload: str | None) -> str:
    if workload is None:
        return _OWN.read_text(encoding="ascii")
    return resources.files("logv.workloads").joinpath(f"{workload}.ptx").read_text(encoding="ascii")


def _job(kernel: str, grid: Size, block: Size, *arguments: Any, workload: str | None = None) -> Job:
    as_tuple = (size if isinstance(size, tuple) else (size,) for size in (grid, block))
    return Job(_text(workload), kernel, *as_tuple, *arguments)


def _blocks(elements: int, per_block: int = THREADS) -> int:
    return -(-elements // per_block)


def _floats(*shape: int) -> NDArray[np.float32]:
    """Return numbers in [0.5, 1.5): they can be divided by."""
    return np.random.default_rng(1).random(shape, dtype=np.float32) + np.float32(0.5)


def _rounding(*terms: Array | float) -> Array:
    """Return what a few roundings may make of a sum of these terms."""
    total: Array = np.asarray(sum(np.abs(np.asarray(term, np.float64)) for term in terms))
    return 4 * EPS * total


def vector_add(n: int) -> Pair:
    """Streaming: two loads, a store."""
    a, b, c = _floats(n), _floats(n) * np.float32(3), np.zeros(n, np.float32)
    return Pair(
        _job("vector_add", _blocks(n), THREADS, np.int32(n), a, b, np.zeros_like(c)),
        lambda: functions.vector_add(a, b, c),
        (Result(3, c, a + b),),
    )


def scale(n: int) -> Pair:
    """Streaming: a load, a store."""
    a, b, factor = _floats(n), np.zeros(n, np.float32), np.float32(3)
    return Pair(
        _job("scale", _blocks(n), THREADS, np.int32(n), factor, a, np.zeros_like(b)),
        lambda: functions.scale(factor, a, b),
        (Result(3, b, factor * a),),
    )


def triad(n: int) -> Pair:
    """Streaming, in strides of a grid of 64 blocks."""
    a, b, c, factor = _floats(n), _floats(n) * np.float32(3), np.zeros(n, np.float32), np.float32(3)
    return Pair(
        _job("triad", 64, THREADS, np.int32(n), factor, a, b, np.zeros_like(c)),
        lambda: functions.triad(factor, a, b, c),
        (Result(4, c, a + factor * b, _rounding(a, factor * b)),),
    )


def saxpy(n: int) -> Pair:
    """Streaming in place: the workload's kernel."""
    x, y, factor = _floats(n), _floats(n), np.float32(0.25)
    own = y.copy()
    return Pair(
        _job("saxpy", _blocks(n), THREADS, np.int32(n), factor, x, y, workload="saxpy"),
        lambda: functions.saxpy(factor, x, own),
        (Result(3, own, factor * x + y, _rounding(factor * x, y)),),
    )


def fill(n: int) -> Pair:
    """Streaming: a store of integers; the workload's kernel."""
    out, seed = np.zeros(n, np.uint32), np.uint32(12345)
    expected = np.arange(n, dtype=np.uint32) * np.uint32(2654435761) ^ seed
    return Pair(
        _job("fill", _blocks(n), THREADS, np.int32(n), seed, np.zeros_like(out), workload="allocate"),
        lambda: functions.fill(seed, out),
        (Result(2, out, expected),),
    )


def _hotspot(kernel: str, block: tuple[int, int], side: int) -> Pair:
    heat, power, out, rate = (
        _floats(side, side),
        _floats(side, side),
        np.zeros((side, side), np.float32),
        0.125,
    )
    padded = np.pad(heat.astype(np.float64), 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    grid = (_blocks(side, block[0]), _blocks(side, block[1]))
    size, factor = np.int32(side), np.float32(rate)
    return Pair(
        _job(kernel, grid, block, size, size, factor, heat, power, np.zeros_like(out)),
        lambda: functions.hotspot(factor, heat, power, out),
        (
            Result(
                5, out, heat + rate * (around - 4.0 * heat + power), _rounding(heat, around, 4 * heat, power)
            ),
        ),
    )


def hotspot(side: int) -> Pair:
    """Five-point stencil from global memory."""
    return _hotspot("hotspot", (32, 8), side)


def hotspot_tiled(side: int) -> Pair:
    """Five-point stencil by tiles in shared memory."""
    return _hotspot("hotspot_tiled", (16, 16), side)


def laplace_3d(side: int) -> Pair:
    """Seven-point stencil in three dimensions."""
    field, centre, factor = _floats(side, side, side), np.float32(0.5), np.float32(0.125)
    out = np.zeros_like(field)
    f = field.astype(np.float64)
    around = f[1:-1, 1:-1, :-2] + f[1:-1, 1:-1, 2:] + f[1:-1, :-2, 1:-1] + f[1:-1, 2:, 1:-1]
    around = around + f[:-2, 1:-1, 1:-1] + f[2:, 1:-1, 1:-1]
    expected = np.zeros_like(f)
    expected[1:-1, 1:-1, 1:-1] = 0.5 * f[1:-1, 1:-1, 1:-1] + 0.125 * around
    grid = (_blocks(side, 32), _blocks(side, 4), _blocks(side, 2))
    size = np.int32(side)
    arguments = (size, size, size, centre, factor, field, np.zeros_like(out))
    return Pair(
        _job("laplace_3d", grid, (32, 4, 2), *arguments),
        lambda: functions.laplace_3d(centre, factor, field, out),
        (Result(6, out, expected, _rounding(4 * expected)),),
    )


_GAUSS = np.exp(-0.5 * (np.arange(-4, 5) / 2.0) ** 2)
_WEIGHTS = (_GAUSS / _GAUSS.sum()).astype(np.float32)


def gauss_rows(side: int) -> Pair:
    """Convolution with nine weights along rows, in shared memory."""
    image, out = _floats(side, side), np.zeros((side, side), np.float32)
    padded = np.pad(image.astype(np.float64), ((0, 0), (4, 4)), mode="edge")
    expected = sum(float(_WEIGHTS[k]) * padded[:, k : k + side] for k in range(9))
    size = np.int32(side)
    return Pair(
        _job("gauss_rows", (_blocks(side), side), THREADS, size, size, _WEIGHTS, image, np.zeros_like(out)),
        lambda: functions.gauss_rows(_WEIGHTS, image, out),
        (Result(4, out, np.asarray(expected), _rounding(2.0)),),
    )


def gauss_columns(side: int) -> Pair:
    """Convolution with nine weights along columns, from global memory."""
    image, out = _floats(side, side), np.zeros((side, side), np.float32)
    padded = np.pad(image.astype(np.float64), ((4, 4), (0, 0)), mode="edge")
    expected = sum(float(_WEIGHTS[k]) * padded[k : k + side] for k in range(9))
    size, grid = np.int32(side), (_blocks(side, 32), _blocks(side, 8))
    return Pair(
        _job("gauss_columns", grid, (32, 8), size, size, _WEIGHTS, image, np.zeros_like(out)),
        lambda: functions.gauss_columns(_WEIGHTS, image, out),
        (Result(4, out, np.asarray(expected), _rounding(2.0)),),
    )


def downsample(side: int) -> Pair:
    """Means of 2 x 2 pixels; `side` is the result's."""
    image, out = _floats(2 * side, 2 * side), np.zeros((side, side), np.float32)
    expected = image.astype(np.float64).reshape(side, 2, side, 2).mean(axis=(1, 3))
    size, grid = np.int32(side), (_blocks(side, 32), _blocks(side, 8))
    return Pair(
        _job("downsample", grid, (32, 8), size, size, np.int32(2 * side), image, np.zeros_like(out)),
        lambda: functions.downsample(image, out),
        (Result(4, out, expected, _rounding(expected)),),
    )


def coefficients(side: int) -> Pair:
    """Five-point stencil with divisions: the workload's kernel."""
    image, out, scale = _floats(side + 2, side + 2), np.zeros((side + 2, side + 2), np.float32), _floats(1)
    f, q0 = image.astype(np.float64), float(scale[0])
    here = f[1:-1, 1:-1]
    north, south, west, east = (
        neighbour - here for neighbour in (f[:-2, 1:-1], f[2:, 1:-1], f[1:-1, :-2], f[1:-1, 2:])
    )
    gradient = (north**2 + south**2 + west**2 + east**2) / here**2
    laplacian = (north + south + west + east) / here
    q = (0.5 * gradient - 0.0625 * laplacian**2) / (1 + 0.25 * laplacian) ** 2
    expected = np.zeros_like(f)
    expected[1:-1, 1:-1] = np.clip(1 / (1 + (q - q0) / (q0 * (1 + q0))), 0, 1)
    arguments = (image, np.zeros_like(out), np.int32(side + 2), scale)
    return Pair(
        _job("coefficients", (side // THREADS, side), THREADS, *arguments, workload="srad"),
        lambda: functions.coefficients(image, out, scale),
        # The quotients magnify what rounding did before.
        (Result(1, out, expected, 1e-4),),
    )


def diffuse(side: int) -> Pair:
    """Five-point stencil of two fields: the workload's kernel."""
    shape, rate = (side + 2, side + 2), np.float32(0.5)
    image, coefficient, out = _floats(*shape), _floats(*shape) - np.float32(0.5), np.zeros(shape, np.float32)
    f, c = image.astype(np.float64), coefficient.astype(np.float64)
    here, own = f[1:-1, 1:-1], c[1:-1, 1:-1]
    divergence = own * (f[:-2, 1:-1] - here) + c[2:, 1:-1] * (f[2:, 1:-1] - here)
    divergence += own * (f[1:-1, :-2] - here) + c[1:-1, 2:] * (f[1:-1, 2:] - here)
    expected = np.zeros_like(f)
    expected[1:-1, 1:-1] = here + 0.25 * 0.5 * divergence
    arguments = (image, coefficient, np.zeros_like(out), np.int32(side + 2), rate)
    return Pair(
        _job("diffuse", (side // THREADS, side), THREADS, *arguments, workload="srad"),
        lambda: functions.diffuse(image, coefficient, out, rate),
        (Result(2, out, expected, _rounding(4.0)),),
    )


def blur_columns(side: int) -> Pair:
    """Binomial filter of three 8-bit planes along columns: the workload's kernel."""
    planes = np.random.default_rng(2).integers(0, 256, (3, side, side), dtype=np.uint8)
    out = np.zeros_like(planes)
    padded = np.pad(planes.astype(np.int32), ((0, 0), (2, 2), (0, 0)), mode="edge")
    total = sum(weight * padded[:, k : k + side] for k, weight in enumerate((1, 4, 6, 4, 1)))
    arguments = (planes, np.zeros_like(out), np.int32(side), np.int32(side))
    return Pair(
        _job("blur_columns", (_blocks(side, 64), side, 3), 64, *arguments, workload="pyramid"),
        lambda: functions.blur_columns(planes, out),
        (Result(1, out, (np.asarray(total) + 8) >> 4),),
    )


def halve(side: int) -> Pair:
    """Every second pixel of three 8-bit planes: the workload's kernel; `side` is the result's."""
    planes = np.random.default_rng(2).integers(0, 256, (3, 2 * side, 2 * side), dtype=np.uint8)
    out = np.zeros((3, side, side), np.uint8)
    sizes = (np.int32(side), np.int32(side), np.int32(2 * side), np.int32(2 * side))
    return Pair(
        _job(
            "halve", (_blocks(side, 64), side, 3), 64, planes, np.zeros_like(out), *sizes, workload="pyramid"
        ),
        lambda: functions.halve(planes, out),
        (Result(1, out, planes[:, ::2, ::2]),),
    )


def add_up(n: int) -> Pair:
    """Sum by trees in shared memory and one atomic addition a block."""
    a, total = _floats(n) - np.float32(1), np.zeros(1, np.float32)
    expected = a.sum(dtype=np.float64, keepdims=True)
    tolerance = np.sqrt(n) * EPS * float(np.abs(a).sum(dtype=np.float64))
    return Pair(
        _job("sum", _blocks(n), THREADS, np.int32(n), a, np.zeros_like(total)),
        lambda: functions.add_up(a, total),
        (Result(2, total, expected, tolerance),),
    )


def dot(n: int) -> Pair:
    """Scalar product: strides of a grid of 64 blocks, then trees."""
    a, total = _floats(n) - np.float32(1), np.zeros(1, np.float32)
    b = np.roll(a, 1)
    products = a.astype(np.float64) * b
    tolerance = np.sqrt(n) * EPS * float(np.abs(products).sum())
    return Pair(
        _job("dot", 64, THREADS, np.int32(n), a, b, np.zeros_like(total)),
        lambda: functions.dot(a, b, total),
        (Result(3, total, products.sum(keepdims=True), tolerance),),
    )


def _graph(vertices: int, degree: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return a graph's row starts and neighbours, with about `degree` of them each."""
    rng = np.random.default_rng(3)
    starts = np.zeros(vertices + 1, np.int32)
    starts[1:] = np.cumsum(rng.integers(0, 2 * degree + 1, vertices))
    return starts, rng.integers(0, vertices, int(starts[-1]), dtype=np.int32)


def bfs_level(vertices: int) -> Pair:
    """One level of a breadth-first search: half of the vertices look at their neighbours."""
    starts, neighbours = _graph(vertices, 8)
    levels = np.random.default_rng(4).choice(np.array([-1, 2, 3, 3], np.int32), vertices)
    out, found = np.full(vertices, -1, np.int32), np.zeros(1, np.int32)
    reached = neighbours[np.repeat(levels == 3, np.diff(starts))]
    expected = np.full(vertices, -1, np.int32)
    expected[reached[levels[reached] < 0]] = 4
    arguments = (starts, neighbours, levels, out.copy(), found.copy())
    return Pair(
        _job("bfs_level", _blocks(vertices), THREADS, np.int32(vertices), np.int32(3), *arguments),
        lambda: functions.bfs_level(3, starts, neighbours, levels, out, found),
        (Result(5, out, expected), Result(6, found, np.ones(1))),
    )


def spmv(rows: int) -> Pair:
    """Sparse matrix times vector, compressed rows."""
    starts, columns = _graph(rows, 16)
    values, x, y = _floats(columns.size), _floats(rows), np.zeros(rows, np.float32)
    sums = np.concatenate([[0.0], np.cumsum(values.astype(np.float64) * x[columns])])
    expected = sums[starts[1:]] - sums[starts[:-1]]
    arguments = (starts, columns, values, x, np.zeros_like(y))
    return Pair(
        _job("spmv", _blocks(rows), THREADS, np.int32(rows), *arguments),
        lambda: functions.spmv(starts, columns, values, x, y),
        (Result(5, y, expected, 1e-4),),
    )


def _product(
    kernel: Callable[..., Job], baseline: Callable[..., None], m: int, n: int, k: int, argument: int
) -> Pair:
    a, b = _floats(m, k) - np.float32(1), _floats(k, n) - np.float32(1)
    c = np.zeros((m, n), np.float32)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    tolerance = np.sqrt(k) * EPS * (np.abs(wide_a) @ np.abs(wide_b))
    job = kernel(a, b, np.zeros_like(c))
    return Pair(job, lambda: baseline(a, b, c), (Result(argument, c, wide_a @ wide_b, tolerance),))


def _tiled(baseline: Callable[..., None], size: tuple[int, int, int]) -> Pair:
    m, n, k = size
    grid, block = (_blocks(n, MATMUL_TILE), _blocks(m, MATMUL_TILE)), (MATMUL_TILE, MATMUL_TILE)
    sizes = (np.int32(m), np.int32(n), np.int32(k))
    return _product(
        lambda *arrays: _job("matmul_tiled", grid, block, *sizes, *arrays), baseline, m, n, k, argument=5
    )


def matmul_tiled(size: tuple[int, int, int]) -> Pair:
    """Product by tiles of 16 x 16, against numba's by the same tiles."""
    return _tiled(functions.matmul_tiled(MATMUL_TILE), size)


def matmul_over_loops(size: tuple[int, int, int]) -> Pair:
    """The same kernel, against numba's three loops."""
    return _tiled(functions.matmul, size)


def matmul_workload(side: int) -> Pair:
    """Product by tiles of 32 x 32, the workload's kernel, against numba's by the same tiles."""
    grid, block = (side // 32, side // 32), (32, 32)
    return _product(
        lambda *arrays: _job("matmul", grid, block, np.int32(side), *arrays, workload="matmul"),
        functions.matmul_tiled(32),
        *(side, side, side),
        argument=3,
    )


def _histogram(job: Callable[..., Job], n: int) -> Pair:
    data = np.random.default_rng(5).integers(0, 256, n, dtype=np.uint8)
    counts = np.zeros(256, np.uint32)
    return Pair(
        job(np.int32(n), data, np.zeros_like(counts)),
        lambda: functions.histogram(data, counts),
        (Result(2, counts, np.bincount(data, minlength=256)),),
    )


def histogram_strided(n: int) -> Pair:
    """Byte values counted in shared memory, in strides of a grid of 64 blocks."""
    return _histogram(lambda *arguments: _job("histogram_strided", 64, THREADS, *arguments), n)


def histogram_workload(n: int) -> Pair:
    """Byte values counted by chunks: the workload's kernel."""
    grid = _blocks(n, 32768)
    return _histogram(lambda *arguments: _job("histogram", grid, 256, *arguments, workload="histogram"), n)
