"""What the threads of a warp do together: votes, matches, shuffles."""

import numpy as np
from tests.ptx.corpus.case import Case, blocks, case, launch

N = 1003
# Of kernels that want whole warps.
WHOLE = 32 * 20


@case
def histogram_match(rng: np.random.Generator) -> Case:
    """Few values, so that many lanes match."""
    x = rng.integers(0, 12, N, np.int32)
    arrays = {"x": x, "bins": np.zeros(12, np.int32)}
    return Case(
        arrays,
        [launch("histogram_match", blocks(N, 128), 128, N, "x", "bins")],
        {"bins": np.bincount(x, minlength=12)},
    )


@case
def histogram_shuffle(rng: np.random.Generator) -> Case:
    """A count for each lane."""
    x = rng.integers(0, 256, N, np.uint8)
    arrays = {"x": x, "bins": np.zeros(32, np.uint32)}
    return Case(
        arrays,
        [launch("histogram_shuffle", 3, 64, N, "x", "bins")],
        {"bins": np.bincount(x & 31, minlength=32)},
    )


@case
def warp_votes(rng: np.random.Generator) -> Case:
    """Both sides of a branch vote; then the whole warp matches."""
    x = rng.integers(0, 100, (WHOLE // 32, 32), np.int32)
    x[3:6] += 100  # quotients of both kinds in a warp, or not
    x[4:7] += 200
    lane = np.arange(32)
    low = ((x[:, :12] & 1) << lane[:12]).sum(axis=1) | (x[:, :12] > 90).any(axis=1) << 30
    high = ((x[:, 12:] & 2 != 0) << lane[12:]).sum(axis=1) | (x[:, 12:] > 2).all(axis=1)
    agreed = (x // 200 == x[:, :1] // 200).all(axis=1)
    out = np.empty((WHOLE // 32, 32, 2), np.uint32)
    out[:, :, 0] = np.where(lane < 12, low[:, None], high[:, None])
    out[:, :, 1] = np.where(agreed, 0xFFFFFFFE, 0)[:, None]
    return Case(
        {"x": x, "out": np.zeros_like(out)},
        [launch("warp_votes", WHOLE // 64, 64, WHOLE, "x", "out")],
        {"out": out},
    )


@case
def segment_shuffles(rng: np.random.Generator) -> Case:
    """Lanes whose source lies outside their segment keep their own value."""
    x = rng.integers(-1000, 1000, WHOLE, np.int32)
    lane, at = np.arange(WHOLE) % 32, np.arange(WHOLE)
    down = np.where(lane % 8 + 3 < 8, at + 3, at)
    up = np.where(lane % 16 >= 5, at - 5, at)
    picked = at // 4 * 4 + (x & 31) % 4
    wide = x.astype(np.int64) * 10_000_000_000 + at
    arrays = {
        "x": x,
        "out": np.zeros((4, WHOLE), np.int32),
        "wide": np.zeros(WHOLE, np.int64),
        "floats": np.zeros(WHOLE, np.float32),
    }
    expected = {
        "out": np.stack([x[down], x[up], x[picked], x[at ^ 9]]),
        "wide": wide[at // 32 * 32 + (at * 7 & 31)],
        "floats": (x[at ^ 1] * 0.5).astype(np.float32),
    }
    return Case(
        arrays,
        [launch("segment_shuffles", WHOLE // 32, 32, WHOLE, "x", "out", "wide", "floats")],
        expected,
    )


@case
def warp_reduce(rng: np.random.Generator) -> Case:
    """Six reductions of signed and unsigned numbers."""
    x = rng.integers(-(2**31), 2**31, 1024, np.int32)
    x[N:] = 0
    rows = x.reshape(-1, 32)
    bits = rows.view(np.uint32)
    expected = np.stack(
        [
            rows.sum(axis=1, dtype=np.int32),
            rows.min(axis=1),
            bits.max(axis=1).view(np.int32),
            np.bitwise_and.reduce(rows | 7, axis=1),
            np.bitwise_or.reduce(rows & 0xFF00, axis=1),
            np.bitwise_xor.reduce(rows, axis=1),
        ],
        axis=1,
    )
    arrays = {"x": x[:N], "out": np.zeros((32, 6), np.int32)}
    return Case(arrays, [launch("warp_reduce", 8, 128, N, "x", "out")], {"out": expected})


@case
def warp_bitonic(rng: np.random.Generator) -> Case:
    """Runs of 32, the last one shorter."""
    x = rng.standard_normal(N).astype(np.float32)
    ordered = np.concatenate([np.sort(x[k : k + 32]) for k in range(0, N, 32)])
    return Case({"x": x}, [launch("warp_bitonic", blocks(N, 64), 64, N, "x")], {"x": ordered})


@case
def warp_transpose(rng: np.random.Generator) -> Case:
    """Two tiles for each block, one for each warp."""
    x = rng.integers(0, 2**31, (6, 32, 32), np.int32)
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(arrays, [launch("warp_transpose", 3, 64, "x", "out")], {"out": x.transpose(0, 2, 1)})


@case
def segmented_sum(rng: np.random.Generator) -> Case:
    """Runs are cut where a warp ends; small integers in floats, so that the sums are exact."""
    keys = np.sort(rng.integers(0, 90, N, np.int32))
    values = rng.integers(0, 50, N).astype(np.float32)
    at = np.arange(N)
    heads = np.flatnonzero((at % 32 == 0) | (keys != np.roll(keys, 1)))
    expected = np.zeros(N, np.float32)
    expected[heads] = np.add.reduceat(values, heads)
    arrays = {"keys": keys, "values": values, "out": np.zeros(N, np.float32)}
    return Case(
        arrays,
        [launch("segmented_sum", blocks(N, 128), 128, N, "keys", "values", "out")],
        {"out": expected},
    )
