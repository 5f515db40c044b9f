"""Graphs, trees, sequences and clusters: whole numbers, exact unless a docstring says otherwise."""

import heapq
from collections.abc import Mapping

import numpy as np
from tests.ptx.corpus.case import Array, Case, Element, blocks, case, launch

LETTERS = np.frombuffer(b"acgt", np.uint8)


def _graph(rng: np.random.Generator, nodes: int, degree: float) -> tuple[Array, Array]:
    """Return a directed graph as starts and ends of edges; some nodes have none, some many."""
    lengths = rng.poisson(degree, nodes)
    lengths[rng.integers(0, nodes, 3)] = 40
    lengths[1::7] = 0
    lengths[0] = 5
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return starts, rng.integers(0, nodes, starts[-1], np.int32)


def _distances(starts: Array, edges: Array) -> tuple[Array, int]:
    """Return the distances from node 0, -1 where there is no path, and the number of levels."""
    distance = np.full(len(starts) - 1, -1, np.int32)
    distance[0], level, front = 0, 0, [0]
    while front:
        level += 1
        found = []
        for node in front:
            for other in edges[starts[node] : starts[node + 1]]:
                if distance[other] < 0:
                    distance[other] = level
                    found.append(int(other))
        front = found
    return distance, level


@case
def bfs_level(rng: np.random.Generator) -> Case:
    """A launch for each level; every level but the last finds something."""
    nodes = 401
    starts, edges = _graph(rng, nodes, 1.6)
    expected, levels = _distances(starts, edges)
    distance = np.full(nodes, -1, np.int32)
    distance[0] = 0
    arrays = {"starts": starts, "edges": edges, "distance": distance, "changed": np.zeros(levels, np.int32)}
    launches = [
        launch(
            *("bfs_level", blocks(nodes, 64), 64, nodes, level, "starts", "edges", "distance"),
            Element("changed", 4 * level),
        )
        for level in range(levels)
    ]
    changed = (np.arange(levels) < levels - 1).astype(np.int32)
    return Case(arrays, launches, {"distance": expected, "changed": changed})


@case
def bfs_frontier(rng: np.random.Generator) -> Case:
    """Queues that turn, more new nodes than a block keeps in shared memory; sizes of the queues by level."""
    nodes = 3001
    starts, edges = _graph(rng, nodes, 3)
    expected, levels = _distances(starts, edges)
    distance = np.full(nodes, -1, np.int32)
    distance[0] = 0
    sizes = np.zeros(levels + 1, np.int32)
    sizes[0] = 1
    arrays = {
        "starts": starts,
        "edges": edges,
        "distance": distance,
        "sizes": sizes,
        "a": np.zeros(nodes, np.int32),
        "b": np.zeros(nodes, np.int32),
    }
    launches = [
        launch(
            *("bfs_frontier", 2, 64, level, "starts", "edges", "distance", "ab"[level % 2]),
            *(Element("sizes", 4 * level), "ba"[level % 2], Element("sizes", 4 * level + 4)),
        )
        for level in range(levels)
    ]
    counts = np.bincount(expected[expected >= 0], minlength=levels + 1)
    return Case(arrays, launches, {"distance": expected, "sizes": counts})


@case
def relax_edges(rng: np.random.Generator) -> Case:
    """Bellman and Ford's rounds; weights below zero, but no cycle of them."""
    nodes, count = 60, 333
    edge = rng.integers(0, nodes, (count, 3), np.int32)
    edge[:, 2] = np.where(
        edge[:, 0] < edge[:, 1], rng.integers(-20, 100, count), rng.integers(2000, 3000, count)
    )
    far = 1 << 60
    distance = np.full(nodes, far, np.int64)
    distance[0] = 0
    expected = distance.copy()
    for _ in range(nodes):
        for a, b, weight in edge:
            if expected[a] < far:
                expected[b] = min(expected[b], expected[a] + weight)
    one = launch("relax_edges", blocks(count, 64), 64, count, "edge", "distance")
    return Case({"edge": edge, "distance": distance}, [one] * nodes, {"distance": expected})


@case
def floyd_warshall(rng: np.random.Generator) -> Case:
    """A launch for each node in between."""
    n = 37
    distance = rng.integers(1, 1000, (n, n), np.int32)
    distance[rng.random((n, n)) < 0.8] = 1 << 29
    expected = distance.copy()
    for k in range(n):
        expected = np.minimum(expected, expected[:, k : k + 1] + expected[k])
    launches = [launch("floyd_warshall", (3, 5), (16, 8), n, k, "distance") for k in range(n)]
    return Case({"distance": distance}, launches, {"distance": expected})


@case
def connected_components(rng: np.random.Generator) -> Case:
    """Each node ends with the least node of its component."""
    nodes, count = 500, 420
    edge = rng.integers(0, nodes, (count, 2), np.int32)
    label = np.arange(nodes, dtype=np.uint32)
    while True:
        least = label.copy()
        np.minimum.at(least, edge[:, 0], label[edge[:, 1]])
        np.minimum.at(least, edge[:, 1], label[edge[:, 0]])
        if (least == label).all():
            break
        label = least
    arrays = {"edge": edge, "parent": np.arange(nodes, dtype=np.uint32)}
    launches = [
        launch("hook_components", blocks(count, 64), 64, count, "edge", "parent"),
        launch("flatten_components", blocks(nodes, 64), 64, nodes, "parent"),
    ]
    return Case(arrays, launches, {"parent": label})


@case
def page_rank(rng: np.random.Generator) -> Case:
    """Sums of positive doubles, in any order."""
    nodes = 203
    starts, edges = _graph(rng, nodes, 4)
    rank = rng.random(nodes)
    degrees = np.diff(starts)
    shares = np.repeat(0.85 * rank / np.maximum(degrees, 1), degrees)
    base = np.full(nodes, 0.15 / nodes)
    expected = base + np.bincount(edges, shares, nodes)
    arrays = {"starts": starts, "edges": edges, "rank": rank, "next": base}
    one = launch("page_rank", blocks(nodes, 64), 64, nodes, 0.85, "starts", "edges", "rank", "next")
    return Case(arrays, [one], {"next": expected}, {"next": 1e-13 * expected})


@case
def needleman_wunsch(rng: np.random.Generator) -> Case:
    """Tiles of 16 along anti-diagonals."""
    n, penalty = 48, 7
    reference = rng.integers(-6, 11, (n, n), np.int32)
    score = np.zeros((n + 1, n + 1), np.int32)
    score[0], score[:, 0] = -penalty * np.arange(n + 1), -penalty * np.arange(n + 1)
    expected = score.copy()
    for y in range(n):
        for x in range(n):
            gap = max(expected[y, x + 1], expected[y + 1, x]) - penalty
            expected[y + 1, x + 1] = max(expected[y, x] + reference[y, x], gap)
    launches = [
        launch(
            "needleman_wunsch", min(d, 4 - d) + 1 if d != 2 else 3, 16, n, d, penalty, "reference", "score"
        )
        for d in range(5)
    ]
    return Case({"reference": reference, "score": score}, launches, {"score": expected})


@case
def levenshtein(rng: np.random.Generator) -> Case:
    """A word of 14 letters against a dictionary with words of up to 32."""
    words, word = 75, rng.choice(LETTERS, 14)
    dictionary, lengths = rng.choice(LETTERS, (words, 32)), rng.integers(0, 33, words, np.int32)
    lengths[:2] = 0, 32
    expected = []
    for other, length in zip(dictionary, lengths, strict=True):
        row = list(range(word.size + 1))
        for letter in other[:length]:
            last = row
            row = [last[0] + 1]
            for k in range(word.size):
                row.append(min(last[k] + int(word[k] != letter), last[k + 1] + 1, row[k] + 1))
        expected.append(row[-1])
    arrays = {"word": word, "dictionary": dictionary, "lengths": lengths, "out": np.zeros(words, np.int32)}
    one = launch("levenshtein", 3, 32, words, word.size, "word", "dictionary", "lengths", "out")
    return Case(arrays, [one], {"out": np.array(expected)})


@case
def common_subsequence(rng: np.random.Generator) -> Case:
    """Anti-diagonals longer than the block."""
    a, b = rng.choice(LETTERS, 90), rng.choice(LETTERS, 71)
    row = np.zeros(b.size + 1, np.int64)
    for letter in a:
        last = row.copy()
        for k in range(b.size):
            row[k + 1] = last[k] + 1 if b[k] == letter else max(last[k + 1], row[k])
    arrays = {"a": a, "b": b, "out": np.zeros(1, np.int32)}
    one = launch("common_subsequence", 1, 64, a.size, b.size, "a", "b", "out", shared=12 * (a.size + 1))
    return Case(arrays, [one], {"out": row[-1:]})


def _tree(rng: np.random.Generator, count: int) -> tuple[Array, int, dict[int, int]]:
    """Return a balanced search tree, its root, and what it maps."""
    keys = np.sort(rng.choice(5000, count, replace=False)).astype(np.int32)
    nodes = np.full((count, 4), -1, np.int32)
    places = rng.permutation(count)

    def grow(low: int, high: int) -> int:
        if low == high:
            return -1
        middle = (low + high) // 2
        nodes[places[middle]] = keys[middle], grow(low, middle), grow(middle + 1, high), 7 * middle
        return int(places[middle])

    return nodes, grow(0, count), {int(key): 7 * k for k, key in enumerate(keys)}


@case
def tree_search(rng: np.random.Generator) -> Case:
    """Keys of which some are missing."""
    tree, root, values = _tree(rng, 700)
    keys = np.concatenate([rng.choice(list(values), 200), rng.integers(0, 5000, 131)]).astype(np.int32)
    arrays = {"tree": tree, "keys": keys, "out": np.zeros_like(keys)}
    expected = np.array([values.get(int(key), -1) for key in keys])
    one = launch("tree_search", blocks(keys.size, 64), 64, keys.size, "tree", root, "keys", "out")
    return Case(arrays, [one], {"out": expected})


@case
def tree_range(rng: np.random.Generator) -> Case:
    """Ranges that are empty, short and long."""
    tree, root, values = _tree(rng, 700)
    ranges = rng.integers(-100, 5100, (75, 2), np.int32)
    ranges[10:] = np.sort(ranges[10:], axis=1)
    keys = np.array(list(values))
    expected = ((keys >= ranges[:, :1]) & (keys <= ranges[:, 1:])).sum(axis=1)
    arrays = {"tree": tree, "ranges": ranges, "out": np.zeros(75, np.int32)}
    return Case(arrays, [launch("tree_range", 3, 32, 75, "tree", root, "ranges", "out")], {"out": expected})


@case
def hash_count(rng: np.random.Generator) -> Case:
    """A table that is three quarters full; where a key ends up depends on the order, its count does not."""
    slots = 211
    keys = rng.choice(rng.integers(0, 2**31, 158, np.uint32), 1003)
    arrays = {
        "keys": keys,
        "table": np.full(slots, 2**32 - 1, np.uint32),
        "counts": np.zeros(slots, np.uint32),
    }
    unique, counts = np.unique(keys, return_counts=True)

    def observe(results: Mapping[str, Array]) -> Mapping[str, Array]:
        order = np.argsort(results["table"])[: unique.size]
        return {"keys": results["table"][order], "counts": results["counts"][order]}

    return Case(
        arrays,
        [launch("hash_count", blocks(keys.size, 64), 64, keys.size, slots, "keys", "table", "counts")],
        {"keys": unique, "counts": counts},
        observe=observe,
    )


@case
def kmeans(rng: np.random.Generator) -> Case:
    """Points near centres that are far apart, in steps of 1/16: sums in any order are exact."""
    points, dimensions, clusters = 501, 3, 5
    centre = np.round(rng.permuted(np.tile(np.arange(clusters) * 8.0, (dimensions, 1)), axis=1).T)
    which = rng.integers(0, clusters, points)
    point = (centre[which] + rng.integers(-16, 17, (points, dimensions)) / 16).T.astype(np.float32)
    arrays = {
        "point": point,
        "centre": centre.astype(np.float32),
        "membership": np.zeros(points, np.int32),
        "sums": np.zeros((clusters, dimensions), np.float32),
        "counts": np.zeros(clusters, np.int32),
    }
    sizes = (points, dimensions, clusters)
    launches = [
        launch("kmeans_assign", 4, 128, *sizes, "point", "centre", "membership"),
        launch(
            *("kmeans_update", 4, 128, *sizes, "point", "membership", "sums", "counts"),
            shared=4 * clusters * (dimensions + 1),
        ),
    ]
    sums = np.stack([np.bincount(which, row, clusters) for row in point], axis=1)
    counts = np.bincount(which, minlength=clusters)
    return Case(arrays, launches, {"membership": which, "sums": sums, "counts": counts})


@case
def nearest_neighbours(rng: np.random.Generator) -> Case:
    """Coordinates are whole numbers, so that distances are exact; the first of equally near ones wins."""
    k = 5
    query, reference = (rng.integers(0, 200, (count, 2)).astype(np.float32) for count in (75, 101))
    distance = ((query[:, None] - reference) ** 2).sum(axis=2)
    expected = np.array([heapq.nsmallest(k, range(101), key=row.__getitem__) for row in distance])
    arrays = {"query": query, "reference": reference, "out": np.zeros((75, k), np.int32)}
    one = launch("nearest_neighbours", 3, 32, 75, 101, k, "query", "reference", "out")
    return Case(arrays, [one], {"out": expected})


@case
def find_pattern(rng: np.random.Generator) -> Case:
    """A pattern that overlaps itself, in pieces of text that overlap."""
    text = rng.choice(np.frombuffer(b"ab", np.uint8), 1003)
    pattern = np.frombuffer(b"abaab", np.uint8)
    failure = np.array([0, 0, 1, 1, 2], np.int32)
    windows = np.lib.stride_tricks.sliding_window_view(text, pattern.size)
    expected = np.zeros(text.size, np.uint8)
    expected[: len(windows)] = (windows == pattern).all(axis=1)
    arrays = {"text": text, "pattern": pattern, "failure": failure, "found": np.zeros(text.size, np.uint8)}
    one = launch(
        *("find_pattern", blocks(text.size, 64 * 6), 64, text.size, 6, "text", pattern.size),
        *("pattern", "failure", "found"),
    )
    return Case(arrays, [one], {"found": expected})
