"""Reductions, histograms, and what is made of them."""

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch

N = 1003


@case
def warp_sum(rng: np.random.Generator) -> Case:
    """Groups of 32; the last warp is filled up with zeros."""
    x = rng.integers(-1000, 1000, N, np.int32)
    sums = np.add.reduceat(x, np.arange(0, N, 32))
    arrays = {"x": x, "out": np.full(32, -1, np.int32)}
    return Case(arrays, [launch("warp_sum", 8, 128, N, "x", "out")], {"out": sums})


@case
def warp_scan(rng: np.random.Generator) -> Case:
    """Running sums that begin anew every 32 elements."""
    x = rng.integers(-1000, 1000, 1024, np.int32)
    arrays = {"x": x[:N], "out": np.zeros(N, np.int32)}
    expected = np.cumsum(x.reshape(-1, 32), axis=1, dtype=np.int32).reshape(-1)[:N]
    return Case(arrays, [launch("warp_scan", 16, 64, N, "x", "out")], {"out": expected})


@case
def block_sum(rng: np.random.Generator) -> Case:
    """Small integers, so that sums in any order are exact."""
    x = rng.integers(-100, 100, N).astype(np.float32)
    block = np.arange(N) // 160 % 3
    expected = np.bincount(block, x, 3).astype(np.float32)
    arrays = {"x": x, "out": np.zeros(3, np.float32)}
    return Case(arrays, [launch("block_sum", 3, 160, N, "x", "out")], {"out": expected})


@case
def block_sum_tree(rng: np.random.Generator) -> Case:
    """The same additions as the tree's: equal to the last bit."""
    x = rng.random(N)
    tree: Array = np.zeros((4, 256))
    tree.flat[:N] = x
    while tree.shape[1] > 1:
        half = tree.shape[1] // 2
        tree = tree[:, :half] + tree[:, half:]
    arrays = {"x": x, "out": np.zeros(4)}
    return Case(
        arrays, [launch("block_sum_tree", 4, 128, N, "x", "out", shared=8 * 128)], {"out": tree[:, 0]}
    )


@case
def dot_product(rng: np.random.Generator) -> Case:
    """The bound of a sum of n terms in any order."""
    x, y = rng.standard_normal((2, N), np.float32)
    products = x.astype(np.float64) * y
    arrays = {"x": x, "y": y, "out": np.zeros(1, np.float32)}
    return Case(
        arrays,
        [launch("dot_product", 3, 128, N, "x", "y", "out")],
        {"out": products.sum(keepdims=True)},
        {"out": 20 * SINGLE * np.abs(products).sum()},
    )


@case
def sum_by_last_block(rng: np.random.Generator) -> Case:
    """Launched twice: the counter of blocks must be back at zero."""
    x = rng.integers(0, 2**32, N, np.uint32)
    arrays = {"x": x, "partial": np.zeros(5, np.uint32), "out": np.zeros(1, np.uint32)}
    one = launch("sum_by_last_block", 5, 64, N, "x", "partial", "out")
    return Case(arrays, [one, one], {"out": x.sum(keepdims=True, dtype=np.uint32)})


@case
def softmax_rows(rng: np.random.Generator) -> Case:
    """Eight roundings or so, and exp(): relative to each element."""
    x = (rng.standard_normal((13, 77)) * 4).astype(np.float32)
    powers = np.exp(x.astype(np.float64) - x.max(axis=1, keepdims=True))
    expected = powers / powers.sum(axis=1, keepdims=True)
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("softmax_rows", 4, (32, 4), 13, 77, "x", "out")],
        {"out": expected},
        {"out": 40 * SINGLE * expected},
    )


@case
def layer_norm(rng: np.random.Generator) -> Case:
    """Columns that 64 threads do not divide; the error is that of a difference of large sums."""
    rows, columns = 7, 150
    x = (rng.standard_normal((rows, columns)) * 2 + 1).astype(np.float32)
    gain, shift = rng.standard_normal((2, columns), np.float32)
    wide = x.astype(np.float64)
    normal = (wide - wide.mean(axis=1, keepdims=True)) / np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5)
    arrays = {"x": x, "gain": gain, "shift": shift, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("layer_norm", rows, 64, columns, "x", "gain", "shift", "out")],
        {"out": normal * gain + shift},
        {"out": 64 * SINGLE * (np.abs(normal * gain) + np.abs(gain) + np.abs(shift))},
    )


@case
def arg_max(rng: np.random.Generator) -> Case:
    """Few different values, so that the first of equals matters."""
    x = rng.integers(0, 30, N).astype(np.float32)
    padded = np.full(96 * blocks(N, 96), -np.inf, np.float32)
    padded[:N] = x
    rows = padded.reshape(-1, 96)
    places = rows.argmax(axis=1) + 96 * np.arange(len(rows))
    arrays = {"x": x, "values": np.zeros(len(rows), np.float32), "places": np.zeros(len(rows), np.int32)}
    return Case(
        arrays,
        [launch("arg_max", len(rows), 96, N, "x", "values", "places")],
        {"values": rows.max(axis=1), "places": places.astype(np.int32)},
    )


@case
def histogram_global(rng: np.random.Generator) -> Case:
    """Counts are exact."""
    x = rng.integers(0, 256, N, np.uint8)
    arrays = {"x": x, "bins": np.zeros(256, np.uint32)}
    return Case(
        arrays,
        [launch("histogram_global", blocks(N, 128), 128, N, "x", "bins")],
        {"bins": np.bincount(x, minlength=256).astype(np.uint32)},
    )


@case
def histogram_shared(rng: np.random.Generator) -> Case:
    """A number of bins that is known when the kernel is launched."""
    x = rng.integers(0, 10000, 3001, np.int32)
    arrays = {"x": x, "bins": np.zeros(100, np.uint32)}
    return Case(
        arrays,
        [launch("histogram_shared", 4, 96, x.size, 100, "x", "bins", shared=400)],
        {"bins": np.bincount(x % 100, minlength=100).astype(np.uint32)},
    )


@case
def histogram_ballot(rng: np.random.Generator) -> Case:
    """The lowest eight values, whatever the higher bits."""
    x = rng.integers(0, 256, N, np.uint8)
    arrays = {"x": x, "bins": np.zeros(8, np.uint32)}
    return Case(
        arrays,
        [launch("histogram_ballot", blocks(N, 128), 128, N, "x", "bins")],
        {"bins": np.bincount(x & 7, minlength=8).astype(np.uint32)},
    )


@case
def moments(rng: np.random.Generator) -> Case:
    """Mean and variance of each block's elements, in double precision."""
    x = (rng.standard_normal(N) + 10).astype(np.float32)
    block = np.arange(N) // 64 % 4
    parts = [x[block == b].astype(np.float64) for b in range(4)]
    expected = np.array([[p.size, p.mean(), ((p - p.mean()) ** 2).sum()] for p in parts])
    arrays: dict[str, Array] = {"x": x, "out": np.zeros((4, 3))}
    return Case(
        arrays, [launch("moments", 4, 64, N, "x", "out")], {"out": expected}, {"out": 1e-12 * expected}
    )
