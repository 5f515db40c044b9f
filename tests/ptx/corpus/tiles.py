"""Tiles of warps, by cooperative groups."""

from collections.abc import Mapping

import numpy as np
from tests.ptx.corpus.case import Array, Case, blocks, case, launch

N = 1003
# Of a kernel that wants whole warps.
WHOLE = 32 * 20


@case
def tile_sum(rng: np.random.Generator) -> Case:
    """Groups of eight."""
    x = rng.integers(-1000, 1000, N, np.int32)
    arrays = {"x": x, "out": np.zeros(blocks(N, 8), np.int32)}
    sums = np.add.reduceat(x, np.arange(0, N, 8))
    return Case(arrays, [launch("tile_sum", blocks(N, 64), 64, N, "x", "out")], {"out": sums})


@case
def tile_votes(rng: np.random.Generator) -> Case:
    """Differences of doubles are exact copies of NumPy's."""
    x = rng.uniform(-0.6, 1, WHOLE)
    x[:16] = np.abs(x[:16])
    tiles = x.reshape(-1, 16)
    ballots = ((tiles > 0) << np.arange(16)).sum(axis=1)
    votes = ballots | (tiles > -0.5).all(axis=1) << 16 | (tiles > 0.9).any(axis=1) << 17
    swapped = tiles[:, np.arange(16) ^ 5] - tiles[:, :1]
    arrays: dict[str, Array] = {"x": x, "out": np.zeros(WHOLE), "votes": np.zeros(WHOLE // 16, np.uint32)}
    return Case(
        arrays,
        [launch("tile_votes", WHOLE // 128, 128, WHOLE, "x", "out", "votes")],
        {"out": swapped.reshape(-1), "votes": votes.astype(np.uint32)},
    )


@case
def coalesced_append(rng: np.random.Generator) -> Case:
    """The order is not fixed: what was kept is compared sorted."""
    x = rng.integers(0, 1000, N, np.int32)
    kept = np.sort(x[x % 3 == 0])
    arrays = {"x": x, "out": np.full(N, -1, np.int32), "count": np.zeros(1, np.int32)}

    def observe(results: Mapping[str, Array]) -> Mapping[str, Array]:
        return {"out": np.sort(results["out"][: kept.size]), "count": results["count"]}

    return Case(
        arrays,
        [launch("coalesced_append", blocks(N, 96), 96, N, "x", "out", "count")],
        {"out": kept, "count": np.array([kept.size])},
        observe=observe,
    )
