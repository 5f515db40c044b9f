"""Scans, sorts, compaction and merging: all exact."""

from collections.abc import Mapping

import numpy as np
from tests.ptx.corpus.case import Array, Case, blocks, case, launch

N = 1003


@case
def scan_blocks(rng: np.random.Generator) -> Case:
    """A scan over many blocks: of the blocks, of their totals, and both together."""
    x = rng.integers(-100, 100, 5000, np.int32)
    count = blocks(x.size, 128)
    arrays = {
        "x": x,
        "out": np.zeros_like(x),
        "totals": np.zeros(count, np.int32),
        "unused": np.zeros(1, np.int32),
    }
    launches = [
        launch("scan_blocks", count, 128, x.size, "x", "out", "totals"),
        launch("scan_blocks", 1, 128, count, "totals", "totals", "unused"),
        launch("add_block_offsets", count, 128, x.size, "out", "totals"),
    ]
    return Case(arrays, launches, {"out": np.cumsum(x, dtype=np.int32)})


@case
def scan_sweeps(rng: np.random.Generator) -> Case:
    """Each block's exclusive scan, modulo 2**32."""
    x = rng.integers(0, 2**32, (5, 256), np.uint32)
    expected = np.zeros_like(x)
    expected[:, 1:] = np.cumsum(x[:, :-1], axis=1, dtype=np.uint32)
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(arrays, [launch("scan_sweeps", 5, 128, "x", "out", 256, shared=1024)], {"out": expected})


@case
def bitonic_sort_block(rng: np.random.Generator) -> Case:
    """Different keys, so that the order of the values is determined."""
    keys = np.stack([rng.permutation(1000)[:256] for _ in range(4)]).astype(np.uint32)
    values = rng.integers(0, 2**32, keys.shape, np.uint32)
    order = keys.argsort(axis=1)
    return Case(
        {"keys": keys, "values": values},
        [launch("bitonic_sort_block", 4, 128, "keys", "values")],
        {"keys": np.sort(keys, axis=1), "values": np.take_along_axis(values, order, axis=1)},
    )


@case
def bitonic_sort_global(rng: np.random.Generator) -> Case:
    """A launch for each step."""
    n = 512
    x = rng.standard_normal(n).astype(np.float32)
    steps = [(2**k, 2**s) for k in range(1, 10) for s in range(k - 1, -1, -1)]
    launches = [launch("bitonic_step", 4, 128, "x", n, stride, size) for size, stride in steps]
    return Case({"x": x}, launches, {"x": np.sort(x)})


@case
def odd_even_sort(rng: np.random.Generator) -> Case:
    """Rows of an odd length of 16-bit integers."""
    x = rng.integers(-300, 300, (3, 75), np.int16)
    return Case({"x": x}, [launch("odd_even_sort", 3, 40, 75, "x", shared=150)], {"x": np.sort(x, axis=1)})


@case
def radix_sort(rng: np.random.Generator) -> Case:
    """Four passes of four bits; keys beyond 16 bits keep their order, since each pass is stable."""
    keys = rng.integers(0, 2**20, N, np.uint32)
    count = blocks(N, 128)
    arrays = {"a": keys, "b": np.zeros_like(keys), "counts": np.zeros(16 * count, np.int32)}
    launches = []
    for k in range(4):
        source, target = ("a", "b") if k % 2 == 0 else ("b", "a")
        launches += [
            launch("radix_count", count, 128, N, 4 * k, source, "counts"),
            launch("scan_serial", 1, 32, 16 * count, "counts"),
            launch("radix_scatter", count, 128, N, 4 * k, source, target, "counts"),
        ]
    expected = keys[np.argsort(keys & 0xFFFF, kind="stable")]
    return Case(arrays, launches, {"a": expected})


@case
def compact_by_ballot(rng: np.random.Generator) -> Case:
    """Warps append in any order: what was kept is compared sorted."""
    x = rng.integers(-1000, 1000, N, np.int32)
    kept = np.sort(x[x > 0])
    arrays = {"x": x, "out": np.full(N, -1, np.int32), "count": np.zeros(1, np.int32)}

    def observe(results: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"out": np.sort(results["out"][: kept.size]), "count": results["count"]}

    return Case(
        arrays,
        [launch("compact_by_ballot", blocks(N, 64), 64, N, "x", "out", "count")],
        {"out": kept, "count": np.array([kept.size])},
        observe=observe,
    )


@case
def merge_path(rng: np.random.Generator) -> Case:
    """Arrays of different lengths with many equal elements."""
    a = np.sort(rng.integers(0, 200, 300, np.int32))
    b = np.sort(rng.integers(-50, 250, 455, np.int32))
    merged = np.sort(np.concatenate([a, b]))
    arrays = {"a": a, "b": b, "out": np.zeros_like(merged)}
    return Case(
        arrays,
        [launch("merge_path", blocks(merged.size, 64), 64, a.size, "a", b.size, "b", "out")],
        {"out": merged},
    )
