"""What the language offers: control flow, functions, structures, memory spaces; exact but for one case."""

from collections.abc import Callable

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch

N = 203
GRID = blocks(N, 64)


def _each(function: Callable[..., int], *columns: Array) -> Array:
    return np.array([function(i, *map(int, row)) for i, row in enumerate(zip(*columns, strict=True))])


@case
def switch_dense(rng: np.random.Generator) -> Case:
    """Codes with and without a label; one case falls through, one leaves the output alone."""
    code, x = rng.integers(-2, 14, N, np.int32), rng.integers(-1000, 1000, N, np.int32)

    def result(i: int, c: int, v: int) -> int:
        tripled = v
        for k in range(i & 7):
            tripled = tripled * 3 + k
        table = [v + 3, v * v, -v ^ 0x1234, v ^ 0x1234, v >> 2, tripled, v % 11 if v >= 0 else 0, -7]
        table += [v << (i & 3), ~v, int(v / 5)]
        return table[c] if 0 <= c < len(table) else -1

    arrays = {"code": code, "x": x, "out": np.full(N, -7, np.int32)}
    one = launch("switch_dense", GRID, 64, N, "code", "x", "out")
    return Case(arrays, [one], {"out": _each(result, code, x)})


@case
def interpreter(rng: np.random.Generator) -> Case:
    """What the program in constant memory computes, written out."""
    x = rng.integers(-60, 60, N, np.int32)

    def result(_: int, v: int) -> int:
        first = v * (v + 7)
        half = first >> 1
        # Odd numbers skip the addition.
        second = (half if half & 1 else half + 7) ^ first
        return (first * second >> 1) + 100

    arrays = {"x": x, "out": np.zeros(N, np.int32)}
    return Case(arrays, [launch("interpreter", GRID, 64, N, "x", "out")], {"out": _each(result, x)})


@case
def called_functions(rng: np.random.Generator) -> Case:
    """Structures to and from functions; what is nearly parallel has a cross product with large errors."""
    a, b = rng.standard_normal((2, N, 3), np.float32)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    normal = np.cross(wide_a, wide_b)
    size = np.linalg.norm(normal, axis=1, keepdims=True)
    length = np.linalg.norm(wide_a, axis=1, keepdims=True)
    condition = 1 + length * np.linalg.norm(wide_b, axis=1, keepdims=True) / size
    arrays = {"a": a, "b": b, "out": np.zeros_like(a)}
    return Case(
        arrays,
        [launch("called_functions", GRID, 64, N, "a", "b", "out")],
        {"out": np.cross(normal / size, wide_a)},
        {"out": 12 * SINGLE * length * condition},
    )


@case
def called_with_values(rng: np.random.Generator) -> Case:
    """Arguments of 1 to 8 bytes, calls inside of calls' arguments, under a condition."""
    x = rng.integers(-300, 300, N, np.int32)

    def clipped(i: int, v: int) -> int:
        v = min(max(v, -100), 100)
        return max(-50, min(v * 3, i, 70)) if v & 1 else v

    def mixed(i: int, v: int) -> int:
        value = clipped(i, v)
        result = value * 1000 + (v >> 3) + (v << 8)
        return -result if value > 0 else result

    arrays = {"x": x, "out": np.zeros(N, np.int32), "wide": np.zeros(N, np.int64)}
    one = launch("called_with_values", GRID, 64, N, "x", "out", "wide")
    return Case(arrays, [one], {"out": _each(clipped, x), "wide": _each(mixed, x)})


@case
def generic_pointers(rng: np.random.Generator) -> Case:
    """One function reads from shared, global, local and constant memory."""
    x = rng.integers(-100, 100, N, np.int32)
    shared = np.zeros(64 * GRID, np.int64)
    shared[:N] = x
    constants = [3, 1, 4, 1, 5, 9, 2, 6]

    def result(i: int, v: int) -> int:
        block, t = shared[i // 64 * 64 :], i % 64
        a = block[: 8 * (1 + t % 8) : 1 + t % 8].sum()
        local = sum(i * k + v for k in range(5))
        return int(a) + 10 * int(x[: i % 10].sum()) + 100 * local + 1000 * sum(constants[: 1 + i % 8])

    arrays = {"x": x, "out": np.zeros(N, np.int32)}
    return Case(arrays, [launch("generic_pointers", GRID, 64, N, "x", "out")], {"out": _each(result, x)})


@case
def chosen_pointer(rng: np.random.Generator) -> Case:
    """Odd elements read from shared memory, even ones from global memory."""
    x = rng.integers(-100, 100, N, np.int32)

    def result(i: int, v: int) -> int:
        at = i % 64 ^ 1
        at = at if at < N - i // 64 * 64 else 0
        return -int(x[i // 64 * 64 + at]) if v & 1 else int(x[at])

    arrays = {"x": x, "out": np.zeros(N, np.int32)}
    return Case(arrays, [launch("chosen_pointer", GRID, 64, N, "x", "out")], {"out": _each(result, x)})


@case
def struct_by_value(rng: np.random.Generator) -> Case:
    """Members with gaps between them, and a pointer among them."""
    inner = np.dtype([("a", "i2"), ("b", "i1")], align=True)
    members = [("flag", "i1"), ("gain", "f8"), ("table", "i4", 5), ("inner", inner), ("data", "u8")]
    layout = np.dtype(members, align=True)
    x, table = rng.integers(-100, 100, N, np.int32), rng.integers(-9, 9, 5, np.int32)
    arrays = {"x": x, "plain": np.zeros(N), "negated": np.zeros(N)}
    launches = [
        launch(
            *("struct_by_value", GRID, 64, N),
            lambda at, f=flag: np.array((f, 2.5, table, (-300, 7), at["x"]), layout).tobytes(),
            name,
        )
        for flag, name in ((1, "plain"), (0, "negated"))
    ]
    expected = x * 2.5 + table[np.arange(N) % 5] - 307
    return Case(arrays, launches, {"plain": expected, "negated": -expected})


@case
def packed_records(rng: np.random.Generator) -> Case:
    """Bit fields of both signs, and bytes of a float changed through a union."""
    kind, count, delta = rng.integers(0, 8, N), rng.integers(0, 512, N), rng.integers(-64, 64, N)
    packed = (kind | count << 3 | (delta & 127) << 12).astype(np.uint32)
    out = np.select([kind == 1, kind == 2, kind == 3], [count + delta, count - delta, count * delta], delta)
    words = (count * np.float32(0.5)).astype(np.float32).view(np.uint8).reshape(N, 4)[:, [3, 1, 2, 0]]
    arrays: dict[str, Array] = {
        "packed": packed,
        "out": np.zeros(N, np.int32),
        "words": np.zeros((N, 4), np.uint8),
    }
    one = launch("packed_records", GRID, 64, N, "packed", "out", "words")
    return Case(arrays, [one], {"out": out, "words": words})


@case
def templates(rng: np.random.Generator) -> Case:
    """Three instances, with mangled names and objects without members as arguments."""
    a = rng.integers(-(2**31), 2**31, (N, 4), np.int32)
    b, c = rng.standard_normal((N, 3)), rng.integers(0, 2**16, (N, 7), np.uint16)
    arrays: dict[str, Array] = {
        **{"a": a, "b": b, "c": c},
        **{"a_out": np.zeros(N, np.int32), "b_out": np.zeros(N), "c_out": np.zeros(N, np.uint16)},
    }
    names = {
        "a": "_Z4foldIiLi4E4PlusIiEEviPKT_PS2_T1_",
        "b": "_Z4foldIdLi3E6LargerIdEEviPKT_PS2_T1_",
        "c": "_Z4foldItLi7E4PlusItEEviPKT_PS2_T1_",
    }
    launches = [launch(name, GRID, 64, N, key, f"{key}_out", 0) for key, name in names.items()]
    expected = {
        "a_out": a.sum(axis=1, dtype=np.int32),
        "b_out": b.max(axis=1),
        "c_out": c.sum(axis=1, dtype=np.uint16),
    }
    return Case(arrays, launches, expected)


@case
def module_variables(rng: np.random.Generator) -> Case:
    """One kernel writes variables of the module, the next reads them; once more with other values."""
    index = rng.integers(0, 1000, N, np.int32)
    pairs = np.array([[1, 2], [3, 4], [5, 6]])[np.arange(N) % 3]
    arrays = {"index": index, "a": np.zeros(N, np.float32), "b": np.zeros(N, np.float32)}
    launches, expected = [], {}
    for name, start in (("a", 4), ("b", -6)):
        launches += [launch("fill_table", 1, 64, start), launch("read_table", GRID, 64, N, "index", name)]
        expected[name] = (start + (index & 63) ** 2) * 2.5 * start + pairs[:, 0] - 10 * pairs[:, 1]
    return Case(arrays, launches, expected)


@case
def dynamic_shared(rng: np.random.Generator) -> Case:
    """Three arrays in one piece of shared memory, for two sizes of blocks."""
    x = rng.random(N)
    arrays = {"x": x, **{f"out{size}": np.zeros(N) for size in (48, 64)}}
    launches, expected = [], {}
    for size in (48, 64):
        grid = blocks(N, size)
        launches.append(launch("dynamic_shared", grid, size, N, "x", f"out{size}", shared=13 * size))
        values = np.zeros((grid, size))
        values.flat[:N] = x
        picked = values[:, (np.arange(size) * 7 + 3) % size]
        expected[f"out{size}"] = np.where(picked > 0.5, picked, -values).reshape(-1)[:N]
    return Case(arrays, launches, expected)


@case
def leaving_threads(rng: np.random.Generator) -> Case:
    """How many were alive in each round up to a thread's last one."""
    lives = rng.integers(0, 10, (3, 64), np.int32)
    alive = (lives[:, :, None] >= np.arange(10)).sum(axis=1)
    expected = np.take_along_axis(alive.cumsum(axis=1), lives, axis=1)
    arrays = {"lives": lives, "out": np.zeros_like(lives)}
    return Case(arrays, [launch("leaving_threads", 3, 64, "lives", "out")], {"out": expected})


@case
def tangled_loops(rng: np.random.Generator) -> Case:
    """The same control flow in Python."""
    x = rng.integers(0, 5000, N, np.int32)

    def result(_: int, v: int) -> int:
        total = k = 0
        while k < 40:
            if (v + k) % 7 != 0:
                if (v ^ k) % 13 == 5:
                    break
                j = k
                while True:
                    total += j
                    if total > 5000:
                        return -total
                    j -= 1
                    if not (j + 1 > 0 and total & 3):
                        break
                if total % 31 == 0:
                    k += 1
                    if k - 1 < 20:
                        continue
            k += 1
        while k > 0:
            total = total * 2 - k
            if total >= 3000:
                break
            k -= 1
            if k == 0:
                break
            total += k & v
        return total

    arrays = {"x": x, "out": np.zeros(N, np.int32)}
    return Case(arrays, [launch("tangled_loops", GRID, 64, N, "x", "out")], {"out": _each(result, x)})


@case
def barrier_nest(rng: np.random.Generator) -> Case:
    """Blocks that go around 0 to 3 times."""
    rounds = np.array([3, 0, 1, 2, 3], np.int32)
    x = rng.integers(-50, 50, (5, 48), np.int32)
    expected, takes = x.copy(), np.arange(48) % 3 != 1
    for a in range(3):
        now = expected.copy()
        for stride in (1, 3, 9, 27):
            now = np.where(takes, now * 2 + np.roll(now, -stride, axis=1), now)
        if a % 2 == 0:
            now ^= now[:, ::-1]
        expected = np.where(rounds[:, None] > a, now, expected)
    arrays = {"rounds": rounds, "x": x, "out": np.zeros_like(x)}
    return Case(arrays, [launch("barrier_nest", 5, 48, 240, "rounds", "x", "out")], {"out": expected})


@case
def modern_style(rng: np.random.Generator) -> Case:
    """Twice the largest of three, in an order that differs by thread."""
    a, b, c = rng.integers(-1000, 1000, (3, N), np.int32)
    i = np.arange(N)
    rows = np.stack([a, b, c])
    best = np.maximum(a, np.maximum(rows[(i + 1) % 3, i], rows[(i + 2) % 3, i]))
    arrays = {"a": a, "b": b, "c": c, "out": np.zeros(N, np.int32)}
    return Case(arrays, [launch("modern_style", GRID, 64, N, *arrays)], {"out": 2 * best})


@case
def strided_volume(rng: np.random.Generator) -> Case:
    """Fewer threads than elements in each of three dimensions."""
    nx, ny, nz = 19, 13, 9
    x = rng.integers(-1000, 1000, (nz, ny, nx), np.int16)
    z, y, column = np.ogrid[:nz, :ny, :nx]
    expected = (x.astype(np.int64) * (z + 1) - y * column).transpose(2, 1, 0)
    arrays = {"x": x, "out": np.zeros((nx, ny, nz), np.int32)}
    one = launch("strided_volume", (2, 3, 2), (4, 2, 2), nx, ny, nz, "x", "out")
    return Case(arrays, [one], {"out": expected})


@case
def block_votes(rng: np.random.Generator) -> Case:
    """Blocks where all, some, and none of the threads hold the conditions."""
    x = rng.integers(-1, 9, N, np.int32)
    x[:64] = 5
    x[70], x[64:69] = 9, -1
    padded = np.zeros(64 * GRID, np.int32)
    padded[:N] = x
    rows = padded.reshape(GRID, 64)
    expected = np.stack([(rows > 3).sum(axis=1), (rows == 9).any(axis=1), (rows >= 0).all(axis=1)], axis=1)
    arrays = {"x": x, "out": np.zeros((GRID, 3), np.int32)}
    return Case(arrays, [launch("block_votes", GRID, 64, N, "x", "out")], {"out": expected})
