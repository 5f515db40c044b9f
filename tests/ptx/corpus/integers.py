"""Integers: hashes, random numbers, number theory, bits and narrow types; all exact."""

import hashlib
import math
import zlib

import numpy as np
from tests.ptx.corpus.case import Array, Case, blocks, case, launch

N = 301
GRID = blocks(N, 64)


@case
def sha256(rng: np.random.Generator) -> Case:
    """Messages of 43 bytes, against `hashlib`."""
    length = 43
    messages = rng.integers(0, 256, (N, length), np.uint8)
    digests = b"".join(hashlib.sha256(message.tobytes()).digest() for message in messages)
    arrays = {"messages": messages, "digests": np.zeros((N, 8), np.uint32)}
    expected = np.frombuffer(digests, ">u4").reshape(N, 8)
    return Case(arrays, [launch("sha256", GRID, 64, N, length, "messages", "digests")], {"digests": expected})


@case
def crc32(rng: np.random.Generator) -> Case:
    """Against `zlib`."""
    data = rng.integers(0, 256, (N, 37), np.uint8)
    arrays = {"data": data, "out": np.zeros(N, np.uint32)}
    expected = np.array([zlib.crc32(row.tobytes()) for row in data])
    return Case(arrays, [launch("crc32", GRID, 64, N, 37, "data", "out")], {"out": expected})


@case
def fnv1a(rng: np.random.Generator) -> Case:
    """Strings of all lengths, with letters above 127."""
    lengths = rng.integers(0, 20, N)
    starts = np.concatenate([[0], np.cumsum(lengths + 1)[:-1]]).astype(np.int32)
    text = rng.integers(1, 256, int((lengths + 1).sum()), np.uint8)
    text[starts[1:] - 1] = text[-1] = 0
    expected = []
    for start, length in zip(starts, lengths, strict=True):
        value = 0xCBF29CE484222325
        for letter in text[start : start + length]:
            value = (value ^ int(letter)) * 0x100000001B3 % 2**64
        expected.append(value)
    arrays = {"starts": starts, "text": text, "out": np.zeros(N, np.uint64)}
    return Case(
        arrays,
        [launch("fnv1a", GRID, 64, N, "starts", "text", "out")],
        {"out": np.array(expected, np.uint64)},
    )


@case
def xorshift(rng: np.random.Generator) -> Case:
    """The state is written back, so a second launch goes on."""
    rounds = 5
    state = rng.integers(1, 2**63, N, np.uint64)
    x, rows = state.copy(), []
    for _ in range(2 * rounds):
        x ^= x >> np.uint64(12)
        x ^= x << np.uint64(25)
        x ^= x >> np.uint64(27)
        rows.append(x * np.uint64(0x2545F4914F6CDD1D) >> np.uint64(32))
    expected = np.stack(rows).astype(np.uint32)
    arrays = {"state": state, "a": np.zeros((rounds, N), np.uint32), "b": np.zeros((rounds, N), np.uint32)}
    launches = [launch("xorshift", GRID, 64, N, rounds, "state", out) for out in "ab"]
    return Case(arrays, launches, {"state": x, "a": expected[:rounds], "b": expected[rounds:]})


@case
def mersenne_twister(rng: np.random.Generator) -> Case:
    """NumPy's generator, from the same states: its next 624 numbers and the state after."""
    states, after, numbers = [], [], []
    for seed in rng.integers(0, 2**32, 3):
        twister = np.random.MT19937(int(seed))
        state = twister.state["state"]["key"]
        twister.state = {"bit_generator": "MT19937", "state": {"key": state, "pos": 624}}
        states.append(state)
        numbers.append(twister.random_raw(624))
        after.append(twister.state["state"]["key"])
    arrays = {
        "in": np.stack(states).astype(np.uint32),
        "state": np.zeros((3, 624), np.uint32),
        "out": np.zeros((3, 624), np.uint32),
    }
    return Case(
        arrays,
        [launch("mersenne_twister", 3, 256, "in", "state", "out")],
        {"state": np.stack(after), "out": np.stack(numbers)},
    )


@case
def philox(rng: np.random.Generator) -> Case:
    """Ten rounds in NumPy's 64-bit integers."""
    key = rng.integers(0, 2**32, 2, np.uint32)
    zero, low = np.zeros(N, np.uint64), np.uint64(2**32 - 1)
    c, k = [np.arange(N, dtype=np.uint64), zero, zero + np.uint64(7), zero], [int(word) for word in key]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        high_p, high_q = p >> np.uint64(32), q >> np.uint64(32)
        c = [high_q ^ c[1] ^ np.uint64(k[0]), q & low, high_p ^ c[3] ^ np.uint64(k[1]), p & low]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    arrays = {"out": np.zeros((N, 4), np.uint32)}
    one = launch("philox", GRID, 64, N, key.tobytes(), "out")
    return Case(arrays, [one], {"out": np.stack(c, axis=1)})


@case
def collatz_longest(rng: np.random.Generator) -> Case:
    """Threads with paths of very different lengths."""
    n = 1200
    longest = 0
    for start in range(1, n + 1):
        value, steps = start, 0
        while value != 1:
            value, steps = 3 * value + 1 if value % 2 else value // 2, steps + 1
        longest = max(longest, steps)
    one = launch("collatz_longest", 4, 64, n, "longest")
    return Case({"longest": np.zeros(1, np.int32)}, [one], {"longest": np.array([longest])})


@case
def prime_sieve(rng: np.random.Generator) -> Case:
    """Segments of 2048 numbers, the last one in part."""
    n = 9001
    crossed = np.zeros(n, bool)
    crossed[:2] = True
    for k in range(2, math.isqrt(n) + 1):
        crossed[k * k :: k] = True
    primes = np.flatnonzero(~crossed[: math.isqrt(n) + 1]).astype(np.int32)
    one = launch("prime_sieve", blocks(n, 2048), 64, n, "primes", primes.size, "total")
    arrays = {"primes": primes, "total": np.zeros(1, np.int32)}
    return Case(arrays, [one], {"total": np.array([(~crossed).sum()])})


@case
def power_modulo(rng: np.random.Generator) -> Case:
    """A modulus of 62 bits: no product of two fits into 64."""
    n, modulus = 40, 2**61 + 9
    base, exponent = rng.integers(0, 2**63, n, np.uint64), rng.integers(0, 2**16, n, np.uint64)
    expected = [pow(int(b), int(e), modulus) for b, e in zip(base, exponent, strict=True)]
    arrays = {"base": base, "exponent": exponent, "out": np.zeros(n, np.uint64)}
    return Case(
        arrays,
        [launch("power_modulo", 2, 32, n, "base", "exponent", modulus, "out")],
        {"out": np.array(expected, np.uint64)},
    )


@case
def greatest_divisor(rng: np.random.Generator) -> Case:
    """64-bit divisions, with zeros and negative numbers."""
    a, b = rng.integers(-1000, 1000, (2, N), np.int64) * rng.integers(1, 2**50, N)
    a[::17], b[::19] = 0, 0
    arrays = {"a": a, "b": b, "out": np.zeros(N, np.int64)}
    return Case(arrays, [launch("greatest_divisor", GRID, 64, N, "a", "b", "out")], {"out": np.gcd(a, b)})


@case
def wide_add(rng: np.random.Generator) -> Case:
    """Carries through 256 bits, some of them through all words."""
    a, b = rng.integers(0, 2**32, (2, 8, N), np.uint32)
    b[:, ::5] = ~a[:, ::5]
    b[0, ::5] += 1
    values = [[sum(int(word) << 32 * k for k, word in enumerate(column)) for column in x.T] for x in (a, b)]
    sums = [x + y for x, y in zip(*values, strict=True)]
    expected = np.array([[s >> 32 * k & 0xFFFFFFFF for s in sums] for k in range(9)])
    arrays = {"a": a, "b": b, "out": np.zeros((9, N), np.uint32)}
    return Case(arrays, [launch("wide_add", GRID, 64, N, "a", "b", "out")], {"out": expected})


def _reverse(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)


def _permuted(value: int, selector: int) -> int:
    """Pick four of the eight bytes of `value` and its complement; selectors' high bits are ignored."""
    pool = (value | (value ^ 0xFFFFFFFF) << 32).to_bytes(8, "little")
    return int.from_bytes([pool[selector >> 4 * k & 7] for k in range(4)], "little")


@case
def bit_functions(rng: np.random.Generator) -> Case:
    """Counts, positions, permutations; zero and all ones among the values."""
    values, selectors = rng.integers(0, 2**32, (2, N), np.uint32)
    values[:40] >>= np.arange(40, dtype=np.uint32) % 32
    values[:3] = 0, 1, 2**32 - 1
    pairs = [(int(v), int(s)) for v, s in zip(values, selectors, strict=True)]
    expected = [
        [v.bit_count() for v, _ in pairs],
        [32 - v.bit_length() for v, _ in pairs],
        [_reverse(v, 32) for v, _ in pairs],
        [(v & -v).bit_length() for v, _ in pairs],
        [_permuted(v, s) for v, s in pairs],
        # The second argument is the high word of what is shifted.
        [((s << 32 | v) << s % 32) >> 32 & 0xFFFFFFFF for v, s in pairs],
        [(v & s) ^ (v | ~s & 0xFFFFFFFF) for v, s in pairs],
        [sum(((v >> k) + (s >> k) & 255) << k for k in range(0, 32, 8)) for v, s in pairs],
    ]
    arrays = {"values": values, "selectors": selectors, "out": np.zeros((8, N), np.uint32)}
    one = launch("bit_functions", GRID, 64, N, "values", "selectors", "out")
    return Case(arrays, [one], {"out": np.array(expected)})


@case
def bit_functions_64(rng: np.random.Generator) -> Case:
    """The same on 64 bits, and the high half of a product."""
    values = rng.integers(0, 2**64, N, np.uint64)
    values[:64] >>= np.arange(64, dtype=np.uint64)
    values[64:66] = 0, 2**64 - 1
    mask = 2**64 - 1
    numbers = [int(v) for v in values]
    expected = [
        [v.bit_count() for v in numbers],
        [64 - v.bit_length() for v in numbers],
        [_reverse(v, 64) for v in numbers],
        [(v & -v).bit_length() for v in numbers],
        [v * (v ^ 0x123456789ABCDEF) >> 64 for v in numbers],
        [(v << v % 64 | v >> (64 - v % 64) % 64) & mask for v in numbers],
    ]
    arrays = {"values": values, "out": np.zeros((6, N), np.uint64)}
    one = launch("bit_functions_64", GRID, 64, N, "values", "out")
    return Case(arrays, [one], {"out": np.array(expected, np.uint64)})


@case
def byte_products(rng: np.random.Generator) -> Case:
    """Dot products of bytes, of both signs."""
    rows, words = 70, 9
    a, b = rng.integers(0, 256, (rows, 4 * words), np.uint8), rng.integers(0, 256, 4 * words, np.uint8)
    arrays = {"a": a, "b": b, "out": np.zeros(rows, np.int32), "unsigned": np.zeros(rows, np.uint32)}
    return Case(
        arrays,
        [launch("byte_products", 2, 64, rows, words, "a", "b", "out", "unsigned")],
        {
            "out": a.view(np.int8).astype(np.int64) @ b.view(np.int8),
            "unsigned": a.astype(np.int64) @ b,
        },
    )


@case
def narrow_arithmetic(rng: np.random.Generator) -> Case:
    """Bytes that saturate, words that wrap, and a division that rounds towards zero."""
    a, b = rng.integers(0, 256, N, np.uint8), rng.integers(-(2**15), 2**15, N, np.int16)
    wide_a = a.astype(np.int64)
    low = (b.astype(np.int64) & 255).astype(np.uint8).view(np.int8)
    sums = (wide_a + low & 255).astype(np.uint8).view(np.int8)
    arrays: dict[str, Array] = {
        "a": a,
        "b": b,
        "bytes": np.zeros(N, np.uint8),
        "words": np.zeros(N, np.int16),
        "chars": np.zeros(N, np.int8),
    }
    expected = {
        "bytes": np.clip(wide_a + b, 0, 255),
        "words": (b * wide_a).astype(np.int16) >> 3,
        "chars": np.trunc(sums / 3),
    }
    return Case(arrays, [launch("narrow_arithmetic", GRID, 64, N, *arrays)], expected)


@case
def divisions(rng: np.random.Generator) -> Case:
    """Both signs; results as C defines them."""
    a, b = rng.integers(-(2**31), 2**31, (2, N), np.int32)
    b[::3] >>= 20
    b[b == 0] = 3
    x, y = a.astype(np.int64), b.astype(np.int64)
    bits, shift = a.view(np.uint32).astype(np.int64), y & 31
    shifted = x << 20

    def quotient(p: Array, q: Array) -> Array:
        towards_zero: Array = np.sign(p) * np.sign(q) * (np.abs(p) // np.abs(q))
        return towards_zero

    def wrapped(value: Array) -> Array:
        return np.asarray(value, np.int64).astype(np.int32)

    rest = x - quotient(x, np.array(16)) * 16
    out = np.stack(
        [
            wrapped(quotient(x, y)),
            wrapped(x - quotient(x, y) * y),
            wrapped(quotient(x, np.array(7)) + bits // 10 + rest),
            wrapped((x >> shift) ^ (bits >> shift) ^ (x << shift)),
            wrapped((x * y >> 32) + (x & 0xFFFF) * (y & 0xFFFF)),
        ]
    )
    wide = np.stack([quotient(shifted, y), shifted - quotient(shifted, y) * y + x * y])
    arrays = {"a": a, "b": b, "out": np.zeros_like(out), "wide": np.zeros_like(wide)}
    one = launch("divisions", GRID, 64, N, "a", "b", "out", "wide")
    return Case(arrays, [one], {"out": out, "wide": wide})
