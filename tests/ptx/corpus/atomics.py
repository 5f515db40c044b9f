"""Atomic operations and loops made of them: the results do not depend on the order of the threads."""

from collections.abc import Mapping

import numpy as np
from tests.ptx.corpus.case import Array, Case, blocks, case, launch

N = 1003
GRID = blocks(N, 128)


@case
def max_by_swap(rng: np.random.Generator) -> Case:
    """Groups that start at minus infinity."""
    x = rng.standard_normal(N).astype(np.float32)
    expected = np.full(7, -np.inf, np.float32)
    np.maximum.at(expected, np.arange(N) % 7, x)
    arrays = {"x": x, "out": np.full(7, -np.inf, np.float32)}
    return Case(arrays, [launch("max_by_swap", GRID, 128, N, 7, "x", "out")], {"out": expected})


@case
def product_by_swap(rng: np.random.Generator) -> Case:
    """Powers of two, whose products are exact in any order."""
    x = 2.0 ** rng.integers(-3, 4, N) * rng.choice([-1.0, 1.0], N)
    expected = np.ones(5)
    np.multiply.at(expected, np.arange(N) % 5, x)
    arrays = {"x": x, "out": np.ones(5)}
    return Case(arrays, [launch("product_by_swap", GRID, 128, N, 5, "x", "out")], {"out": expected})


@case
def atomic_operators(rng: np.random.Generator) -> Case:
    """All operators on 32 bits; the counters go around."""
    x = rng.integers(-(2**31), 2**31, N, np.int32)
    bits = x.view(np.uint32)
    start = np.array([10, 20, 2**31 - 1, -(2**31), -1, 0, 5], np.int32)
    expected = np.array(
        [
            (x.sum(dtype=np.int32) + np.array([10], np.int32))[0],
            (np.array([20], np.int32) - x.sum(dtype=np.int32))[0],
            x.min(),
            x.max(),
            np.bitwise_and.reduce(x),
            np.bitwise_or.reduce(x & 0x0F0F),
            np.bitwise_xor.reduce(x) ^ 5,
        ],
        np.int32,
    )
    # Up to 100, then 0: a cycle of 101. From 50 down to 0, then 1000: a cycle of 1001.
    counters = np.array([bits.min(), bits.max(), (7 + N) % 101, (50 - N) % 1001], np.uint32)
    arrays = {"x": x, "out": start, "unsigned": np.array([2**32 - 1, 0, 7, 50], np.uint32)}
    return Case(
        arrays,
        [launch("atomic_operators", GRID, 128, N, "x", "out", "unsigned")],
        {"out": expected, "unsigned": counters},
    )


@case
def atomic_operators_64(rng: np.random.Generator) -> Case:
    """The same on 64 bits."""
    x = rng.integers(-(2**63), 2**63 - 1, N, np.int64)
    bits = x.view(np.uint64)
    ones = np.uint64(2**64 - 1)
    expected = np.array(
        [
            bits.sum(dtype=np.uint64),
            np.bitwise_and.reduce(bits),
            np.bitwise_or.reduce(bits),
            np.bitwise_xor.reduce(bits),
            bits.max(),
        ],
        np.uint64,
    )
    arrays = {
        "x": x,
        "out": np.array([2**63 - 1, -(2**63)], np.int64),
        "unsigned": np.array([0, ones, 0, 0, 0], np.uint64),
    }
    return Case(
        arrays,
        [launch("atomic_operators_64", GRID, 128, N, "x", "out", "unsigned")],
        {"out": np.array([x.min(), x.max()]), "unsigned": expected},
    )


@case
def shared_atomics(rng: np.random.Generator) -> Case:
    """The tickets of a block are all the numbers from 0 on, in some order."""
    x = rng.integers(0, 2**32, N, np.uint32)
    parts = [x[k : k + 128] for k in range(0, N, 128)]
    expected = [[part.min(), part.max(), np.bitwise_xor.reduce(part), part.size] for part in parts]
    tickets = [np.sort(np.arange(part.size)) for part in parts]
    arrays = {"x": x, "out": np.zeros((GRID, 4), np.uint32), "order": np.zeros(N, np.uint32)}

    def observe(results: Mapping[str, Array]) -> Mapping[str, Array]:
        order = [np.sort(results["order"][k : k + 128]) for k in range(0, N, 128)]
        return {"out": results["out"], "order": np.concatenate(order)}

    return Case(
        arrays,
        [launch("shared_atomics", GRID, 128, N, "x", "out", "order")],
        {"out": np.array(expected), "order": np.concatenate(tickets)},
        observe=observe,
    )


@case
def float_bins(rng: np.random.Generator) -> Case:
    """Small whole numbers: exact in both precisions."""
    x = rng.integers(-50, 50, N).astype(np.float32)
    which = rng.integers(0, 9, N, np.int32)
    arrays = {"which": which, "x": x, "sums": np.zeros(9, np.float32), "wide": np.zeros(9)}
    return Case(
        arrays,
        [launch("float_bins", 3, 64, N, 9, "which", "x", "sums", "wide")],
        {"sums": np.bincount(which, x), "wide": np.bincount(which, x.astype(float) ** 2)},
    )


@case
def linked_lists(rng: np.random.Generator) -> Case:
    """Each list holds its keys' places, in some order; walking them marks every place with its list."""
    buckets = 13
    keys = rng.integers(0, 10000, N, np.int32)
    arrays = {"keys": keys, "heads": np.full(buckets, -1, np.int32), "next": np.zeros(N, np.int32)}

    def observe(results: Mapping[str, Array]) -> Mapping[str, Array]:
        found = np.full(N, -1)
        for bucket, head in enumerate(results["heads"]):
            at = head
            while at >= 0 and found[at] < 0:
                found[at] = bucket
                at = results["next"][at]
        return {"found": found}

    return Case(
        arrays,
        [launch("linked_lists", GRID, 128, N, buckets, "keys", "heads", "next")],
        {"found": keys % buckets},
        observe=observe,
    )


@case
def take_work(rng: np.random.Generator) -> Case:
    """More work than threads; the counter is a variable of the module, which outlives a launch."""
    x = rng.integers(-1000, 1000, N, np.int32)
    arrays = {"x": x, "out": np.zeros_like(x)}
    expected = x * x - np.arange(N, dtype=np.int32)
    launches = [launch("reset_work", 1, 1), launch("take_work", 2, 64, N, "x", "out")]
    return Case(arrays, launches, {"out": expected})
