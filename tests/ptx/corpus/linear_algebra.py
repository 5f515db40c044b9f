"""Dense and sparse linear algebra.

A sum of k products, in any order and with or without fused multiplications, is off by at most about
k roundings of the sum of the products' magnitudes.
"""

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch

DOUBLE = 2.0**-53


def _product(a: Array, b: Array, unit: float = SINGLE) -> tuple[Array, Array]:
    """Return a product in double precision, and what one in the precision of `unit` may be off."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return wide_a @ wide_b, (a.shape[-1] + 2) * unit * (np.abs(wide_a) @ np.abs(wide_b))


def _transpose(entry: str, rng: np.random.Generator, block: tuple[int, int]) -> Case:
    x = rng.random((45, 70), np.float32)
    arrays = {"x": x, "out": np.zeros((70, 45), np.float32)}
    grid = (blocks(70, 16), blocks(45, 16))
    return Case(arrays, [launch(entry, grid, block, 70, 45, "x", "out")], {"out": x.T})


@case
def transpose_naive(rng: np.random.Generator) -> Case:
    """Neither side is a multiple of the block."""
    return _transpose("transpose_naive", rng, (16, 16))


@case
def transpose_tiled(rng: np.random.Generator) -> Case:
    """Through a square tile."""
    return _transpose("transpose_tiled", rng, (16, 8))


@case
def transpose_padded(rng: np.random.Generator) -> Case:
    """Through a tile with a padded pitch."""
    return _transpose("transpose_padded", rng, (16, 8))


def _matmul(entry: str, rng: np.random.Generator) -> Case:
    m, n, k = 35, 50, 41
    a, b = rng.standard_normal((m, k), np.float32), rng.standard_normal((k, n), np.float32)
    expected, error = _product(a, b)
    arrays = {"a": a, "b": b, "c": np.zeros((m, n), np.float32)}
    one = launch(entry, (blocks(n, 16), blocks(m, 16)), (16, 16), m, n, k, "a", "b", "c")
    return Case(arrays, [one], {"c": expected}, {"c": error})


@case
def matmul_naive(rng: np.random.Generator) -> Case:
    """A thread for each element."""
    return _matmul("matmul_naive", rng)


@case
def matmul_tiled(rng: np.random.Generator) -> Case:
    """Through tiles in shared memory; no side is a multiple of the tile."""
    return _matmul("matmul_tiled", rng)


@case
def matmul_runtime_tile(rng: np.random.Generator) -> Case:
    """Whole numbers, which wrap; two sizes of tiles."""
    n = 30
    a, b = rng.integers(-(2**31), 2**31, (2, n, n), np.int32)
    arrays = {"a": a, "b": b, "c8": np.zeros_like(a), "c12": np.zeros_like(a)}
    launches = [
        launch(
            "matmul_runtime_tile",
            (blocks(n, size),) * 2,
            (size, size),
            *(n, "a", "b", f"c{size}"),
            shared=8 * size**2,
        )
        for size in (8, 12)
    ]
    return Case(arrays, launches, {"c8": a @ b, "c12": a @ b})


@case
def dgemm(rng: np.random.Generator) -> Case:
    """Double precision; an odd number of rows, two to a thread."""
    m, n, k = 21, 37, 30
    a, b, c = rng.standard_normal((m, k)), rng.standard_normal((k, n)), rng.standard_normal((m, n))
    alpha, beta = 1.5, -0.75
    product, error = _product(a, b, DOUBLE)
    one = launch("dgemm", (2, 3), (32, 4), m, n, k, alpha, "a", "b", beta, "c")
    return Case(
        {"a": a, "b": b, "c": c},
        [one],
        {"c": alpha * product + beta * c},
        {"c": 4 * error + 4 * DOUBLE * np.abs(c)},
    )


@case
def atax(rng: np.random.Generator) -> Case:
    """Two kernels, one after the other."""
    rows, columns = 60, 75
    a, x = rng.standard_normal((rows, columns), np.float32), rng.standard_normal(columns, np.float32)
    t, t_error = _product(a, x)
    y, y_error = _product(a.T, t)
    arrays = {"a": a, "x": x, "t": np.zeros(rows, np.float32), "y": np.zeros(columns, np.float32)}
    launches = [
        launch("atax_forward", 2, 32, rows, columns, "a", "x", "t"),
        launch("atax_backward", 3, 32, rows, columns, "a", "t", "y"),
    ]
    return Case(
        arrays, launches, {"t": t, "y": y}, {"t": t_error, "y": y_error + np.abs(a.T).astype(float) @ t_error}
    )


@case
def bicg(rng: np.random.Generator) -> Case:
    """Threads that belong to a row, to a column, to both or to none."""
    rows, columns = 50, 72
    a = rng.standard_normal((rows, columns), np.float32)
    r, p = rng.standard_normal(rows, np.float32), rng.standard_normal(columns, np.float32)
    s, s_error = _product(a.T, r)
    q, q_error = _product(a, p)
    arrays = {"a": a, "r": r, "p": p, "s": np.zeros(columns, np.float32), "q": np.zeros(rows, np.float32)}
    one = launch("bicg", 3, 32, rows, columns, "a", "r", "s", "p", "q")
    return Case(arrays, [one], {"s": s, "q": q}, {"s": s_error, "q": q_error})


@case
def mvt(rng: np.random.Generator) -> Case:
    """Sums that are kept in memory."""
    n = 45
    a, x1, x2 = rng.standard_normal((n, n)), rng.standard_normal(n), rng.standard_normal(n)
    y1, y2 = rng.standard_normal((2, n))
    p1, e1 = _product(a, y1, DOUBLE)
    p2, e2 = _product(a.T, y2, DOUBLE)
    return Case(
        {"a": a, "x1": x1, "x2": x2, "y1": y1, "y2": y2},
        [launch("mvt", 2, 32, n, "a", "x1", "x2", "y1", "y2")],
        {"x1": x1 + p1, "x2": x2 + p2},
        {"x1": e1 + n * DOUBLE * np.abs(x1), "x2": e2 + n * DOUBLE * np.abs(x2)},
    )


@case
def gemver(rng: np.random.Generator) -> Case:
    """Three kernels on one matrix."""
    n, alpha, beta = 40, 1.25, 0.5
    a = rng.standard_normal((n, n))
    u1, v1, u2, v2, y, z = rng.standard_normal((6, n))
    updated = a + np.outer(u1, v1) + np.outer(u2, v2)
    x = beta * updated.T @ y + z
    arrays = {"a": a, "u1": u1, "v1": v1, "u2": u2, "v2": v2, "y": y, "z": z}
    launches = [
        launch("gemver_update", (3, 5), (16, 8), n, "a", "u1", "v1", "u2", "v2"),
        launch("gemver_transposed", 2, 32, n, beta, "a", "x", "y", "z"),
        launch("gemver_product", 2, 32, n, alpha, "a", "x", "w"),
    ]
    return Case(
        {**arrays, "x": np.zeros(n), "w": np.zeros(n)},
        launches,
        {"a": updated, "x": x, "w": alpha * updated @ x},
        {"a": 1e-14, "x": 1e-12, "w": 1e-11},
    )


@case
def gaussian_elimination(rng: np.random.Generator) -> Case:
    """A dominant diagonal: no pivots needed, and errors that stay small."""
    n = 17
    a = (rng.random((n, n + 1)) + n * np.eye(n, n + 1)).astype(np.float32)
    expected = a.astype(np.float64)
    launches = []
    for k in range(n - 1):
        launches += [
            launch("eliminate_multipliers", 1, 32, n, k, "a", "m"),
            launch("eliminate_rows", (3, 3), (8, 8), n, k, "a", "m"),
        ]
        expected[k + 1 :] -= np.outer(expected[k + 1 :, k] / expected[k, k], expected[k])
    return Case(
        {"a": a, "m": np.zeros(n, np.float32)}, launches, {"a": expected}, {"a": 30 * SINGLE * (n + 2)}
    )


@case
def lud(rng: np.random.Generator) -> Case:
    """Three kernels for each diagonal block; the factors' product is the matrix."""
    n = 48
    a = (rng.random((n, n)) + n * np.eye(n)).astype(np.float32)
    launches = []
    for at in range(0, n, 16):
        launches.append(launch("lud_diagonal", 1, 16, n, at, "a"))
        if rest := (n - at) // 16 - 1:
            launches.append(launch("lud_perimeter", rest, 32, n, at, "a"))
            launches.append(launch("lud_internal", (rest, rest), (16, 16), n, at, "a"))
    expected = a.astype(np.float64)
    for k in range(n - 1):
        expected[k + 1 :, k] /= expected[k, k]
        expected[k + 1 :, k + 1 :] -= np.outer(expected[k + 1 :, k], expected[k, k + 1 :])
    return Case({"a": a}, launches, {"a": expected}, {"a": 30 * SINGLE * (n + 1)})


def _sparse(rng: np.random.Generator, rows: int, columns: int) -> tuple[Array, Array, Array, Array]:
    """Return a matrix with rows of very different lengths: starts, columns, values, and dense."""
    lengths = rng.integers(0, 9, rows)
    lengths[rng.integers(0, rows, 4)] = 70
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    picked = np.concatenate([rng.choice(columns, length, replace=False) for length in lengths])
    values = rng.standard_normal(picked.size, np.float32)
    dense = np.zeros((rows, columns))
    dense[np.repeat(np.arange(rows), lengths), picked] = values
    return starts, picked.astype(np.int32), values, dense


def _spmv(entry: str, rng: np.random.Generator, threads: int) -> Case:
    rows, columns = 150, 90
    starts, picked, values, dense = _sparse(rng, rows, columns)
    x = rng.standard_normal(columns, np.float32)
    expected, error = _product(dense, x)
    arrays = {"starts": starts, "columns": picked, "values": values, "x": x, "y": np.zeros(rows, np.float32)}
    one = launch(entry, blocks(rows * threads, 64), 64, rows, "starts", "columns", "values", "x", "y")
    return Case(arrays, [one], {"y": expected}, {"y": error})


@case
def spmv_scalar(rng: np.random.Generator) -> Case:
    """A thread for each row, some of which are empty."""
    return _spmv("spmv_scalar", rng, 1)


@case
def spmv_vector(rng: np.random.Generator) -> Case:
    """A warp for each row."""
    return _spmv("spmv_vector", rng, 32)


@case
def spmv_ell(rng: np.random.Generator) -> Case:
    """Rows padded with columns of -1."""
    rows, columns, width = 77, 60, 6
    lengths = rng.integers(0, width + 1, rows)
    used = np.arange(width)[:, None] < lengths
    picked = np.where(used, rng.integers(0, columns, (width, rows)), -1).astype(np.int32)
    values, x = rng.standard_normal((width, rows)), rng.standard_normal(columns)
    terms = np.where(used, values * x[picked], 0)
    arrays: dict[str, Array] = {"columns": picked, "values": values, "x": x, "y": np.zeros(rows)}
    return Case(
        arrays,
        [launch("spmv_ell", 3, 32, rows, width, "columns", "values", "x", "y")],
        {"y": terms.sum(axis=0)},
        {"y": 8 * DOUBLE * np.abs(terms).sum(axis=0)},
    )


@case
def solve_lower(rng: np.random.Generator) -> Case:
    """Four right sides; the diagonal dominates."""
    n = 40
    lower = np.tril(rng.standard_normal((n, n))) / n + 2 * np.eye(n)
    b = rng.standard_normal((4, n))
    return Case(
        {"l": lower, "b": b},
        [launch("solve_lower", 4, 32, n, "l", "b")],
        {"b": np.linalg.solve(lower, b.T).T},
        {"b": 1e-13},
    )
