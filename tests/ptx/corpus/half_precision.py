"""Half precision, alone and in pairs, and bfloat16."""

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch, ulp

N = 301
GRID = blocks(N, 64)


def _halves(rng: np.random.Generator, *shape: int) -> Array:
    return (rng.standard_normal(shape) * 4).astype(np.float16)


def _fused(a: Array, b: Array, c: Array) -> Array:
    """Return ``a * b + c`` in half precision, rounded once."""
    return (a.astype(np.float64) * b + c).astype(np.float16)


@case
def half_axpy(rng: np.random.Generator) -> Case:
    """A number of half precision as an argument."""
    x, y = _halves(rng, 2, N)
    a = np.array(1.3, np.float16)
    one = launch("half_axpy", GRID, 64, N, a.tobytes(), "x", "y")
    return Case({"x": x, "y": y}, [one], {"y": _fused(a, x, y)})


@case
def half_arithmetic(rng: np.random.Generator) -> Case:
    """All but the division are exact, with results beyond the largest number and denormal ones."""
    x, y = _halves(rng, 2, N)
    x[:5], y[:5] = 60000, 50000
    x[5:20] *= np.float16(1e-4)
    y[10:20] *= np.float16(1e-3)
    with np.errstate(over="ignore"):
        expected = np.stack([x + y, x - y, x * y, -x, np.abs(x), np.minimum(x, y), np.maximum(x, y), x / y])
    error = np.zeros(expected.shape)
    error[7] = ulp(expected[7], np.float16)
    arrays = {"x": x, "y": y, "out": np.zeros_like(expected)}
    return Case(
        arrays,
        [launch("half_arithmetic", GRID, 64, N, "x", "y", "out")],
        {"out": expected},
        {"out": error},
    )


@case
def half2_dot(rng: np.random.Generator) -> Case:
    """Small whole numbers: exact."""
    x, y = rng.integers(-20, 20, (2, N, 2)).astype(np.float16)
    products = (x.astype(np.float64) * y).sum(axis=1)
    expected = np.bincount(np.arange(N) // 64 % 3, products, 3)
    arrays = {"x": x, "y": y, "out": np.zeros(3, np.float32)}
    return Case(arrays, [launch("half2_dot", 3, 64, N, "x", "y", "out")], {"out": expected})


@case
def half2_polynomial(rng: np.random.Generator) -> Case:
    """Two fused operations on pairs, and an exchange of their halves."""
    x = _halves(rng, N, 2)
    inner = _fused(np.full_like(x, 0.25), x, np.array([-0.5, 1.5], np.float16))
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays, [launch("half2_polynomial", GRID, 64, N, "x", "out")], {"out": _fused(inner, x, x[:, ::-1])}
    )


@case
def half_conversions(rng: np.random.Generator) -> Case:
    """From and to other types; large integers become infinite."""
    x = (rng.standard_normal(N) * 1000).astype(np.float32)
    x[:20] *= np.float32(1e-9)
    x[20:60] = rng.integers(-99, 99, 40) / 2
    integers = rng.integers(-70000, 70000, N, np.int32)
    half = x.astype(np.float16)
    with np.errstate(over="ignore"):
        halves = np.stack(
            [half, integers.astype(np.float64).astype(np.float16), (x * 1.0001).astype(np.float16)]
        )
        halves[2] = (x.astype(np.float64) * 1.0001).astype(np.float16)
    rounded = np.stack([np.trunc(half.astype(np.float32)), np.rint(half.astype(np.float32))])
    arrays = {
        **{"x": x, "integers": integers, "halves": np.zeros_like(halves)},
        **{"floats": np.zeros(N, np.float32), "rounded": np.zeros((2, N), np.int32)},
    }
    return Case(
        arrays,
        [launch("half_conversions", GRID, 64, N, "x", "integers", "halves", "floats", "rounded")],
        {"halves": halves, "floats": half.astype(np.float32), "rounded": rounded.astype(np.int32)},
    )


@case
def half_matmul(rng: np.random.Generator) -> Case:
    """Sums in single precision."""
    m, n, k = 35, 50, 41
    a, b = _halves(rng, m, k), _halves(rng, k, n)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    arrays = {"a": a, "b": b, "c": np.zeros((m, n), np.float32)}
    one = launch("half_matmul", (blocks(n, 16), blocks(m, 16)), (16, 16), m, n, k, "a", "b", "c")
    error = (k + 2) * SINGLE * (np.abs(wide_a) @ np.abs(wide_b))
    return Case(arrays, [one], {"c": wide_a @ wide_b}, {"c": error})


@case
def half_functions(rng: np.random.Generator) -> Case:
    """Within a unit of the last place."""
    x = _halves(rng, N)
    wide = x.astype(np.float64)
    rows = [np.exp(wide), np.sqrt(np.abs(wide)), 1 / wide, np.floor(wide), np.log(np.abs(wide))]
    expected = np.stack(rows).astype(np.float16)
    error = ulp(expected, np.float16)
    error[3] = 0
    arrays = {"x": x, "out": np.zeros_like(expected)}
    one = launch("half_functions", GRID, 64, N, "x", "out")
    return Case(arrays, [one], {"out": expected}, {"out": error})


def _to_bfloat16(values: Array) -> Array:
    """Round to nearest and return the bits."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    rounded = np.ldexp(np.rint(np.ldexp(mantissa, 8)), exponent - 8).astype(np.float32)
    bits: Array = rounded.view(np.uint32) >> 16
    return bits.astype(np.uint16)


@case
def bfloat16_scale(rng: np.random.Generator) -> Case:
    """A scaling by way of single precision, and one fused operation; bits are compared."""
    bits = _to_bfloat16(rng.standard_normal(N) * 100)
    x = (bits.astype(np.uint32) << 16).view(np.float32)
    factor = np.float32(0.37)
    scaled = x * factor
    fused = _to_bfloat16(x.astype(np.float64) * x + x)
    arrays = {"x": bits, "out": np.zeros((2, N), np.uint16), "wide": np.zeros(N, np.float32)}
    return Case(
        arrays,
        [launch("bfloat16_scale", GRID, 64, N, float(factor), "x", "out", "wide")],
        {"out": np.stack([_to_bfloat16(scaled), fused]), "wide": scaled},
    )
