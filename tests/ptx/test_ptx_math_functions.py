"""What CUDA's mathematical functions compile to, against NumPy."""

import numpy as np
from tests.ptx.ptx_harness import Bench, kernel_of

RNG = np.random.default_rng(23)


def test_single_precision_functions() -> None:
    """Approximate instructions reach the accuracy that CUDA promises of the functions made from them."""
    n = 500
    x = RNG.uniform(-9, 9, n).astype(np.float32)
    bench = Bench()
    source, target = bench.upload(x), bench.upload(np.zeros((12, n), np.float32))
    bench.launch(kernel_of("math", "float_math", (64,)), [8], np.int32(n), source, target)
    result = bench.download(target, (12, n), np.float32)
    v = x.astype(np.float64)
    a = np.abs(v)
    expected = [
        np.exp(v), np.log(a + np.float64(np.float32(1e-3))), np.sqrt(a), 1 / np.sqrt(a + 1), np.sin(v),
        np.cos(v), (a + 0.5) ** 1.5, np.tanh(v), np.floor(v), np.rint(v), np.fmod(v, 3), np.arctan(v),
    ]  # fmt: skip
    for row, (found, wanted) in enumerate(zip(result, expected, strict=True)):
        np.testing.assert_allclose(found, wanted, rtol=4e-6, atol=2e-6, err_msg=f"row {row}")


def test_accurate_trigonometry_of_large_arguments() -> None:
    """The slow path of ``sinf`` reads a table of 2/pi and works in local memory."""
    x = np.concatenate([RNG.uniform(-10, 10, 100), RNG.uniform(-1e7, 1e7, 100), [0.0]]).astype(np.float32)
    n = x.size
    bench = Bench()
    source, target = bench.upload(x), bench.upload(np.zeros((2, n), np.float32))
    bench.launch(kernel_of("math", "trigonometry", (64,)), [4], np.int32(n), source, target)
    result = bench.download(target, (2, n), np.float32)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(result, [np.sin(wide), np.cos(wide)], rtol=1e-6, atol=1e-6)


def test_double_precision() -> None:
    """Correctly rounded operations are NumPy's, bit for bit."""
    n = 300
    x, y = RNG.uniform(-1000, 1000, (2, n))
    y[:3] = [np.nan, -0.0, np.inf]
    bench = Bench()
    px, py, po = bench.upload(x), bench.upload(y), bench.upload(np.zeros((6, n)))
    bench.launch(kernel_of("math", "double_math", (64,)), [5], np.int32(n), px, py, po)
    result = bench.download(po, (6, n), np.float64)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(result[0], x / y)
        np.testing.assert_allclose(result[1], x * y + 1, rtol=1e-12)
    np.testing.assert_array_equal(result[2], np.sqrt(np.abs(x)))
    np.testing.assert_array_equal(result[3], np.fmin(x, y))
    np.testing.assert_array_equal(result[4], np.trunc(x))
    np.testing.assert_allclose(result[5], np.exp(x / 64), rtol=1e-14)


def test_integer_functions() -> None:
    """Division, remainders, high products and bit functions of 32 and 64 bits."""
    special = np.array([0, 1, -1, 2**31 - 1, -(2**31)])
    pairs = np.stack(np.meshgrid(special, special)).reshape(2, -1)
    a, b = np.concatenate([pairs, RNG.integers(-(2**31), 2**31, (2, 200))], 1).astype(np.int32)
    n = a.size
    bench = Bench()
    pa, pb, po = bench.upload(a), bench.upload(b), bench.upload(np.zeros((16, n), np.int64))
    bench.launch(kernel_of("math", "integer_math", (64,)), [4], np.int32(n), pa, pb, po)
    result = bench.download(po, (16, n), np.int64)
    for i in range(n):
        expected = _integer_functions(int(a[i]), int(b[i]))
        assert [int(value) for value in result[:, i]] == expected, (a[i], b[i])


def _wrap(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _divide(a: int, b: int, bits: int) -> tuple[int, int]:
    if b == 0:
        return 0, 0
    quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return _wrap(quotient, bits), _wrap(a - quotient * b, bits)


def _integer_functions(a: int, b: int) -> list[int]:
    ua, ub = a & 0xFFFFFFFF, b & 0xFFFFFFFF
    wa, wb = _wrap((a << 31) ^ b, 64), b | 1
    pair = ua.to_bytes(4, "little") + ub.to_bytes(4, "little")
    return [
        *_divide(a, b, 32),
        *(divmod(ua, ub) if ub else (0, 0)),
        *_divide(wa, wb, 64),
        a * b >> 32,
        ua * ub >> 32,
        wa * wb >> 64,
        ua.bit_count(),
        32 - ua.bit_length(),
        int(f"{ua:032b}"[::-1], 2),
        int.from_bytes(bytes(pair[selector] for selector in (5, 1, 7, 3)), "little"),
        (ub << 32 | ua) << 11 >> 32 & 0xFFFFFFFF,
        (ua & -ua).bit_length(),
        _wrap(min(a, b) - max(a, b), 32),
    ]
