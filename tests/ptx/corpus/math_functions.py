"""The mathematical functions of CUDA, within the errors that its programming guide documents.

Errors are in units of the last place of the correctly rounded result. Single precision is compared with
double precision, double precision with NumPy's `longdouble` where there is a function for it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from tests.ptx.corpus.case import Array, Case, blocks, case, launch, ulp

N = 301
GRID = blocks(N, 64)

# A row of a kernel's output: what it should be, and how many units of the last place it may be off.
Row = tuple[Array, float]


def _each(function: Callable[..., float], *columns: Array) -> Array:
    return np.array([function(*map(float, row)) for row in zip(*columns, strict=True)])


def _rows(
    entry: str,
    x: Array,
    y: Array,
    functions: Callable[[Array, Array], Sequence[Row]],
    absolute: Mapping[int, float] | None = None,
) -> Case:
    """Build a case from the references of each row; `absolute` has errors of rows that are not relative."""
    kind = x.dtype.type
    wide = np.longdouble if kind is np.float64 else np.float64
    rows = functions(x.astype(wide), y.astype(wide))
    # Rounded first: that is what the documented errors are relative to.
    expected = np.stack([row.astype(kind) for row, _ in rows])
    limits = np.array([limit for _, limit in rows])[:, None]
    error = ulp(expected, kind) * limits
    for row, bound in (absolute or {}).items():
        error[row] = np.maximum(error[row], bound)
    arrays = {"x": x, "y": y, "out": np.zeros(expected.shape, kind)}
    return Case(arrays, [launch(entry, GRID, 64, N, "x", "y", "out")], {"out": expected}, {"out": error})


def _single(rng: np.random.Generator, low: float, high: float) -> Array:
    return rng.uniform(low, high, N).astype(np.float32)


def _positive(rng: np.random.Generator, low: float, high: float, kind: Any = np.float32) -> Array:
    """Return numbers of magnitudes from exp(low) to exp(high)."""
    return np.exp(rng.uniform(low, high, N)).astype(kind)


@case
def float_exponentials(rng: np.random.Generator) -> Case:
    """Exponentials and logarithms."""
    return _rows(
        "float_exponentials",
        _single(rng, -16, 16),
        _positive(rng, -20, 20),
        lambda x, y: [
            (np.exp(x), 1),
            (np.exp2(x), 2),
            (10 ** (x / 4), 2),
            (np.expm1(x), 1),
            (np.log(y), 1),
            (np.log2(y), 1),
            (np.log10(y), 2),
            (np.log1p(y), 1),
        ],
    )


@case
def float_trigonometry(rng: np.random.Generator) -> Case:
    """Arguments of a few turns."""
    return _rows(
        "float_trigonometry",
        _single(rng, -20, 20),
        _single(rng, -1, 1),
        lambda x, y: [
            (np.sin(x), 2),
            (np.cos(x), 2),
            (np.tan(x), 4),
            (np.arcsin(y), 2),
            (np.arccos(y), 2),
            (np.arctan(x), 2),
            (np.arctan2(y, x), 3),
            (np.sin(np.pi * np.fmod(x, 2)), 1),
            (np.cos(np.pi * np.fmod(x, 2)), 1),
        ],
        # The reference's own error where the result is near zero.
        {7: 1e-15, 8: 1e-15},
    )


@case
def float_large_arguments(rng: np.random.Generator) -> Case:
    """Arguments up to 1e30, which the slow path reduces."""
    x = (_positive(rng, 8, 70) * rng.choice([-1, 1], N)).astype(np.float32)
    return _rows(
        "float_large_arguments",
        x,
        x,
        lambda x, y: [(np.sin(x), 2), (np.cos(x), 2), (np.tan(y), 4)],
    )


@case
def float_hyperbolic(rng: np.random.Generator) -> Case:
    """Hyperbolic functions and their inverses."""
    return _rows(
        "float_hyperbolic",
        _single(rng, -15, 15),
        _positive(rng, -3, 10),
        lambda x, y: [
            (np.sinh(x), 3),
            (np.cosh(x), 2),
            (np.tanh(x), 2),
            (np.arcsinh(x), 3),
            (np.arccosh((1 + y).astype(np.float32).astype(np.float64)), 4),
            (np.arctanh(x / 16), 3),
        ],
    )


@case
def float_powers(rng: np.random.Generator) -> Case:
    """Powers and roots; square roots and divisions are exact."""
    return _rows(
        "float_powers",
        _single(rng, -8, 8),
        _positive(rng, -5, 3),
        lambda x, y: [
            (y**x, 4),
            (y**-0.5, 2),
            (np.sqrt(y), 0),
            (np.cbrt(x), 1),
            (1 / np.cbrt(y), 1),
            (np.hypot(x, y), 3),
            (1 / y, 0),
            (x / y, 0),
        ],
    )


@case
def float_special(rng: np.random.Generator) -> Case:
    """Error functions, gamma functions and the normal distribution."""
    normal = NormalDist()
    return _rows(
        "float_special",
        _single(rng, -5, 5),
        _positive(rng, -3, 3),
        lambda x, y: [
            (_each(math.erf, x), 2),
            (_each(math.erfc, x), 4),
            (_each(lambda v: normal.inv_cdf((v + 1) / 2) / math.sqrt(2), x / 16), 2),
            (_each(math.lgamma, y), 6),
            (_each(math.gamma, y), 5),
            (_each(lambda v: math.erfc(-v / math.sqrt(2)) / 2, x), 5),
        ],
    )


@case
def float_rounding(rng: np.random.Generator) -> Case:
    """Exact functions, among them halves, and results below the normal numbers."""
    x = (rng.integers(-40, 40, N) / 4).astype(np.float32)
    y = _positive(rng, -3, 3)

    def rows(x: Array, y: Array) -> list[Row]:
        single_x, single_y = x.astype(np.float32), y.astype(np.float32)
        return [
            (row, 0)
            for row in (
                np.floor(x),
                np.ceil(x),
                np.trunc(x),
                np.rint(x),
                np.copysign(np.floor(np.abs(x) + 0.5), x),
                np.fmod(x, y),
                _each(math.remainder, x, y),
                np.maximum(x - y, 0),
                np.minimum(x, y),
                np.maximum(x, y),
                np.copysign(y, x),
                np.nextafter(single_x, single_y),
                np.ldexp(x, 5),
                np.ldexp(y, -130),
                x * y + x,
                np.frexp(y)[1] - 1,
            )
        ]

    return _rows("float_rounding", x, y, rows)


@case
def float_intrinsics(rng: np.random.Generator) -> Case:
    """The fast ones within their errors on their intervals, the others exact."""
    return _rows(
        "float_intrinsics",
        _single(rng, -12, 12),
        _positive(rng, -5, 5),
        lambda x, y: [
            (np.exp(x), 2 + math.floor(1.173 * 12)),
            (np.log(y), 3),
            (np.sin(x / 4), 0),
            (np.cos(x / 4), 0),
            (y**1.5, 32),
            (x / y, 2),
            (y**-0.5, 0),
            (np.clip(x, 0, 1), 0),
            (np.sqrt(y), 0),
            (1 / y, 0),
            (x / y, 0),
        ],
        {1: 2**-21.41, 2: 2**-21.41, 3: 2**-21.19},
    )


@case
def double_exponentials(rng: np.random.Generator) -> Case:
    """Exponentials and logarithms."""
    return _rows(
        "double_exponentials",
        rng.uniform(-50, 50, N),
        _positive(rng, -50, 50, np.float64),
        lambda x, y: [
            (np.exp(x), 1),
            (np.exp2(x), 1),
            (np.expm1(x), 1),
            (np.log(y), 1),
            (np.log2(y), 1),
            (np.log10(y), 1),
            (np.log1p(y), 1),
        ],
    )


@case
def double_trigonometry(rng: np.random.Generator) -> Case:
    """Small arguments, and some that take the slow reduction."""
    x = rng.uniform(-30, 30, N)
    x[:20] *= 1e12
    return _rows(
        "double_trigonometry",
        x,
        rng.uniform(-1, 1, N),
        lambda x, y: [
            (np.sin(x), 2),
            (np.cos(x), 2),
            (np.tan(x), 2),
            (np.arcsin(y), 2),
            (np.arccos(y), 2),
            (np.arctan(x), 2),
            (np.arctan2(y, x), 2),
        ],
    )


@case
def double_powers(rng: np.random.Generator) -> Case:
    """Powers, roots, and hyperbolic functions."""
    return _rows(
        "double_powers",
        rng.uniform(-20, 20, N),
        _positive(rng, -10, 10, np.float64),
        lambda x, y: [
            (y**x, 2),
            (np.sqrt(y), 0),
            (np.cbrt(x), 1),
            (np.hypot(x, y), 2),
            (1 / np.sqrt(y), 1),
            (np.sinh(x), 2),
            (np.cosh(x), 1),
            (np.tanh(x), 2),
            (np.arcsinh(x), 3),
        ],
    )


@case
def double_special(rng: np.random.Generator) -> Case:
    """One unit more than documented, for the error of Python's functions."""
    return _rows(
        "double_special",
        rng.uniform(-5, 5, N),
        _positive(rng, -3, 3, np.float64),
        lambda x, y: [
            (_each(math.erf, x), 2 + 1),
            (_each(math.erfc, x), 5 + 1),
            (_each(math.lgamma, y), 4 + 1),
            (_each(math.gamma, y), 10 + 1),
        ],
        # Python's lgamma() is less sure where the result is near zero.
        {2: 1e-15},
    )


@case
def double_rounding(rng: np.random.Generator) -> Case:
    """Exact functions."""
    return _rows(
        "double_rounding",
        rng.integers(-400, 400, N) / 8,
        _positive(rng, -3, 3, np.float64),
        lambda x, y: [
            (row, 0)
            for row in (
                np.floor(x),
                np.ceil(x),
                np.trunc(x),
                np.rint(x),
                np.copysign(np.floor(np.abs(x) + 0.5), x),
                np.fmod(x, y),
                np.minimum(x, y),
                np.maximum(x, y),
                np.copysign(y, x),
                x * y + x,
                np.ldexp(x, -7),
                1 / y,
                x / y,
            )
        ],
    )


@case
def conversions(rng: np.random.Generator) -> Case:
    """In all directions and all roundings; what does not fit becomes the nearest number that does."""
    x = rng.uniform(-1e5, 1e5, N).astype(np.float32)
    x[:60] = rng.integers(-99, 99, 60) / 2
    x[60:64] = 3e9, -3e9, 1e20, -1e20
    y = rng.uniform(-1e6, 1e6, N)
    y[:60] = rng.integers(-99, 99, 60) / 2
    y[60:64] = 3e9, -3e9, 123456789012.75, -123456789012.25
    wide = x.astype(np.float64)

    def signed(value: Array, bits: int = 32) -> Array:
        return np.clip(value, -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1).astype(np.int64)

    out = np.stack(
        [
            signed(np.trunc(wide)),
            np.clip(np.trunc(np.abs(wide)), 0, 2**32 - 1).astype(np.int64),
            signed(np.rint(wide)),
            signed(np.ceil(wide)),
            signed(np.floor(wide)),
            signed(np.trunc(y)),
            signed(np.rint(y)),
            signed(np.trunc(wide)).astype(np.int16),
            signed(np.trunc(np.abs(y))).astype(np.uint8),
        ]
    ).astype(np.int32)
    scaled = (x * np.float32(1e9)).astype(np.float64)
    outside = np.abs(scaled) >= 2.0**63
    first = np.where(outside, 0, scaled).astype(np.int64)
    first[outside] = np.where(scaled[outside] > 0, 2**63 - 1, -(2**63))
    rounded = np.rint(y * 1e6).astype(np.int64)
    wides = np.stack([first, y.astype(np.int64), rounded, np.abs(y).astype(np.int64)])
    near, near_wide = y.astype(np.float32), rounded.astype(np.float32)
    toward_zero = np.where(
        np.abs(near.astype(np.float64)) > np.abs(y), np.nextafter(near, np.float32(0)), near
    )
    below = np.array([int(a) < int(b) for a, b in zip(near_wide, rounded, strict=True)])
    up = np.where(below, np.nextafter(near_wide, np.float32(np.inf)), near_wide)
    floats = np.stack(
        [near, y.astype(np.int64).astype(np.int32).astype(np.float32), near_wide, toward_zero, up]
    )
    arrays: dict[str, Array] = {
        **{"x": x, "y": y, "out": np.zeros_like(out), "wide": np.zeros_like(wides)},
        "floats": np.zeros(floats.shape, np.float32),
    }
    one = launch("conversions", GRID, 64, N, "x", "y", "out", "wide", "floats")
    return Case(arrays, [one], {"out": out, "wide": wides, "floats": floats})


@case
def classification(rng: np.random.Generator) -> Case:
    """What is infinite, not a number, negative, or denormal; an addition of zero keeps denormals."""
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1.0, 2.0, -2.0]
    x, y = np.resize(special, N).astype(np.float32), np.resize([*special, 1e-310], N)

    def flags(v: Array) -> Array:
        tests = [
            np.isnan(v),
            np.isinf(v),
            np.isfinite(v),
            np.signbit(v),
            v < 0,
            v == 0,
            np.isnan(v),
            ~(v > 1),
        ]
        # The sign of what is not a number is not compared.
        return np.where(np.isnan(v), 0, sum(test.astype(int) << k for k, test in enumerate(tests)))

    def observe(results: Mapping[str, Array]) -> Mapping[str, Array]:
        out = results["out"].copy()
        nan = np.stack([np.isnan(x), np.isnan(y)])
        np.testing.assert_array_equal(out[:2][nan] & ~8, 1 | 64 | 128)
        out[:2][nan] = 0
        out[2][np.isnan(x)] = 0
        return {"out": out}

    bits = (x + np.float32(0)).view(np.int32)
    expected = np.stack([flags(x), flags(y), np.where(np.isnan(x), 0, bits)])
    arrays = {"x": x, "y": y, "out": np.zeros((3, N), np.int32)}
    one = launch("classification", GRID, 64, N, "x", "y", "out")
    return Case(arrays, [one], {"out": expected}, observe=observe)
