"""Pairs of kernel and numba's function: streaming, reductions, graphs, products, histograms."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from bench import numba_functions as functions
from bench.aperture_rig import Job
from bench.numba_pair import EPS, THREADS, Pair, Result, blocks, floats, job_of, rounding
from numpy.typing import NDArray

TILE = 16
STRIDED_GRID = 64


def vector_add(n: int) -> Pair:
    """Two loads, a store."""
    a, b = floats(n), floats(n) * np.float32(3)
    return Pair(
        job_of("vector_add", blocks(n), THREADS, np.int32(n), a, b, np.zeros_like(a)),
        functions.vector_add,
        (Result(-1, a + b),),
    )


def scale(n: int) -> Pair:
    """A load, a store."""
    a, factor = floats(n), np.float32(3)
    return Pair(
        job_of("scale", blocks(n), THREADS, np.int32(n), factor, a, np.zeros_like(a)),
        partial(functions.scale, factor),
        (Result(-1, factor * a),),
    )


def triad(n: int) -> Pair:
    """Two loads, a store, in strides of the grid."""
    a, b, factor = floats(n), floats(n) * np.float32(3), np.float32(3)
    return Pair(
        job_of("triad", STRIDED_GRID, THREADS, np.int32(n), factor, a, b, np.zeros_like(a)),
        partial(functions.triad, factor),
        (Result(-1, a + factor * b, rounding(a, factor * b)),),
    )


def saxpy(n: int) -> Pair:
    """Two loads, a store in place: the workload's kernel."""
    x, y, factor = floats(n), floats(n), np.float32(0.25)
    return Pair(
        job_of("saxpy", blocks(n), THREADS, np.int32(n), factor, x, y, workload="saxpy"),
        partial(functions.saxpy, factor),
        (Result(-1, factor * x + y, rounding(factor * x, y)),),
    )


def fill(n: int) -> Pair:
    """A store of integers: the workload's kernel."""
    out, seed = np.zeros(n, np.uint32), np.uint32(12345)
    return Pair(
        job_of("fill", blocks(n), THREADS, np.int32(n), seed, out, workload="allocate"),
        partial(functions.fill, seed),
        (Result(-1, np.arange(n, dtype=np.uint32) * np.uint32(2654435761) ^ seed),),
    )


def add_up(n: int) -> Pair:
    """Sum by trees in shared memory, and one atomic addition a block."""
    a = floats(n) - np.float32(1)
    tolerance = np.sqrt(n) * EPS * float(np.abs(a).sum(dtype=np.float64))
    return Pair(
        job_of("sum", blocks(n), THREADS, np.int32(n), a, np.zeros(1, np.float32)),
        functions.add_up,
        (Result(-1, a.sum(dtype=np.float64, keepdims=True), tolerance),),
    )


def dot(n: int) -> Pair:
    """Scalar product: each thread in strides of the grid, then trees."""
    a = floats(n) - np.float32(1)
    b = np.roll(a, 1)
    products = a.astype(np.float64) * b
    tolerance = np.sqrt(n) * EPS * float(np.abs(products).sum())
    return Pair(
        job_of("dot", STRIDED_GRID, THREADS, np.int32(n), a, b, np.zeros(1, np.float32)),
        functions.dot,
        (Result(-1, products.sum(keepdims=True), tolerance),),
    )


def partial_sums(side: int) -> Pair:
    """Sums and sums of squares of 8 rows by 256 columns: the workload's kernel."""
    image = floats(side + 2, side + 2)
    inner = image[1:-1, 1:-1].astype(np.float64).reshape(side // 8, 8, side // THREADS, THREADS)
    sums, squares = inner.sum(axis=(1, 3)), (inner**2).sum(axis=(1, 3))
    grid = (side // THREADS, side // 8)
    outs = (np.zeros(sums.size, np.float32), np.zeros(sums.size, np.float32))
    tolerance = 8 * THREADS * EPS * float(squares.max())
    return Pair(
        job_of("partial_sums", grid, THREADS, image, np.int32(side + 2), *outs, workload="srad"),
        functions.partial_sums,
        (Result(-2, sums.reshape(-1), tolerance), Result(-1, squares.reshape(-1), tolerance)),
    )


def _graph(vertices: int, degree: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return a graph's row starts and neighbours, about `degree` for each vertex."""
    rng = np.random.default_rng(3)
    starts = np.zeros(vertices + 1, np.int32)
    starts[1:] = np.cumsum(rng.integers(0, 2 * degree + 1, vertices))
    return starts, rng.integers(0, vertices, int(starts[-1]), dtype=np.int32)


def bfs_level(vertices: int) -> Pair:
    """One level of a breadth-first search: half of the vertices look at their neighbours."""
    level = 3
    starts, neighbours = _graph(vertices, 8)
    levels = np.random.default_rng(4).choice(np.array([-1, 2, level, level], np.int32), vertices)
    out = np.full(vertices, -1, np.int32)
    reached = neighbours[np.repeat(levels == level, np.diff(starts))]
    expected = out.copy()
    expected[reached[levels[reached] < 0]] = level + 1
    arrays = (starts, neighbours, levels, out, np.zeros(1, np.int32))
    return Pair(
        job_of("bfs_level", blocks(vertices), THREADS, np.int32(vertices), np.int32(level), *arrays),
        partial(functions.bfs_level, level),
        (Result(-2, expected), Result(-1, np.ones(1))),
    )


def spmv(rows: int) -> Pair:
    """Sparse matrix times vector, compressed rows."""
    starts, columns = _graph(rows, 16)
    values, x = floats(columns.size), floats(rows)
    sums = np.concatenate([[0.0], np.cumsum(values.astype(np.float64) * x[columns])])
    arrays = (starts, columns, values, x, np.zeros(rows, np.float32))
    return Pair(
        job_of("spmv", blocks(rows), THREADS, np.int32(rows), *arrays),
        functions.spmv,
        (Result(-1, sums[starts[1:]] - sums[starts[:-1]], 32 * EPS * 72),),
    )


def _product(job: Callable[..., Job], baseline: Callable[..., object], m: int, n: int, k: int) -> Pair:
    a, b = floats(m, k) - np.float32(1), floats(k, n) - np.float32(1)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    tolerance = np.sqrt(k) * EPS * (np.abs(wide_a) @ np.abs(wide_b))
    return Pair(job(a, b, np.zeros((m, n), np.float32)), baseline, (Result(-1, wide_a @ wide_b, tolerance),))


def _tiled(baseline: Callable[..., object], m: int, n: int, k: int) -> Pair:
    grid, sizes = (blocks(n, TILE), blocks(m, TILE)), (np.int32(m), np.int32(n), np.int32(k))
    return _product(partial(job_of, "matmul_tiled", grid, (TILE, TILE), *sizes), baseline, m, n, k)


def matmul_tiled(m: int, n: int, k: int) -> Pair:
    """Product by tiles of 16 x 16, against numba's by the same tiles."""
    return _tiled(functions.matmul_tiled(TILE), m, n, k)


def matmul_over_loops(m: int, n: int, k: int) -> Pair:
    """The same kernel, against numba's three loops."""
    return _tiled(functions.matmul, m, n, k)


def matmul_workload(side: int) -> Pair:
    """Product by tiles of 32 x 32: the workload's kernel, against numba's by the same tiles."""
    job = partial(job_of, "matmul", (side // 32, side // 32), (32, 32), np.int32(side), workload="matmul")
    return _product(job, functions.matmul_tiled(32), side, side, side)


def _histogram(job: Callable[..., Job], n: int) -> Pair:
    data = np.random.default_rng(5).integers(0, 256, n, dtype=np.uint8)
    arguments: tuple[Any, ...] = (np.int32(n), data, np.zeros(256, np.uint32))
    return Pair(job(*arguments), functions.histogram, (Result(-1, np.bincount(data, minlength=256)),))


def histogram_strided(n: int) -> Pair:
    """Byte values counted in shared memory, in strides of the grid."""
    return _histogram(partial(job_of, "histogram_strided", STRIDED_GRID, THREADS), n)


def histogram_workload(n: int) -> Pair:
    """Byte values counted in shared memory, by chunks: the workload's kernel."""
    return _histogram(partial(job_of, "histogram", blocks(n, 32768), 256, workload="histogram"), n)
