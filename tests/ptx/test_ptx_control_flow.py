"""Barriers, divergence, memory spaces and atomics."""

import numpy as np
import pytest
from tests.ptx.ptx_harness import Bench, kernel_of, load_module

RNG = np.random.default_rng(22)


@pytest.mark.parametrize("n", [1, 40, 64, 100, 128])
def test_threads_that_returned_do_not_hold_up_a_barrier(n: int) -> None:
    """Threads leave before a barrier; the others go on through a loop of barriers."""
    values = RNG.integers(-99, 99, 128).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.full(128, 7, np.int32))
    bench.launch(kernel_of("control", "early_return", (64,)), [2], np.int32(n), source, target)
    expected = np.full(128, 7, np.int32)
    for block in range(2):
        alive = np.arange(64) + 64 * block < n
        s = np.where(alive, values[64 * block : 64 * block + 64], 0)
        other = s[::-1].copy()
        for step in range(3):
            s = np.where(alive, s + other + step, s)
            other = s[np.arange(64) ^ 1]
        expected[64 * block : 64 * block + 64][alive] = other[alive]
    np.testing.assert_array_equal(bench.download(target, 128, np.int32), expected)


def test_barrier_reached_by_two_ways() -> None:
    """Threads wait at different barrier instructions of the same number, and pass together."""
    values = RNG.integers(0, 1000, 64).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(64, np.int32))
    bench.launch(kernel_of("control", "split_barrier", (64,)), [1], source, target)
    expected = np.where(values & 1, values * 3 + 1, values + 99)[::-1]
    np.testing.assert_array_equal(bench.download(target, 64, np.int32), expected)


def test_threads_leave_a_loop_of_barriers_in_different_iterations() -> None:
    """A counter that all threads share in the loop is each thread's own after it."""
    flags = RNG.integers(0, 3, (64, 16)).astype(np.int32) // 2
    flags[:, 15] = 1
    bench = Bench()
    source, target = bench.upload(flags), bench.upload(np.zeros(64, np.int32))
    assert bench.launch(kernel_of("control", "uneven_exit", (64,)), [1], source, target) == 0
    expected = 4 + flags[:, 4:].argmax(1)
    np.testing.assert_array_equal(bench.download(target, 64, np.int32), expected)


def test_loops_of_different_lengths() -> None:
    """Each thread has its own number of iterations."""
    values = np.arange(1, 301, dtype=np.uint32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(300, np.uint32))
    bench.launch(kernel_of("control", "collatz", (64,)), [5], np.int32(300), source, target)

    def steps(number: int) -> int:
        count = 0
        while number != 1:
            number = 3 * number + 1 if number % 2 else number // 2
            count += 1
        return count

    np.testing.assert_array_equal(bench.download(target, 300, np.uint32), [steps(int(v)) for v in values])


@pytest.mark.parametrize("n", [10, 64, 333])
def test_ragged_loops_inside_a_strided_loop(n: int) -> None:
    """An inner loop of a length that memory holds, inside an outer loop in strides of the grid."""
    lengths = RNG.integers(0, 9, n).astype(np.int32)
    data = RNG.integers(-50, 50, (9, n)).astype(np.int32)
    bench = Bench()
    addresses = bench.upload(lengths), bench.upload(data), bench.upload(np.zeros(n, np.int32))
    bench.launch(kernel_of("control", "ragged", (32,)), [2], np.int32(n), *addresses)
    mask = np.arange(9)[:, None] < lengths
    np.testing.assert_array_equal(bench.download(addresses[2], n, np.int32), (data * mask).sum(0))


def test_switch_and_constant_table() -> None:
    """A branch with many targets, and a table in constant memory."""
    values = RNG.integers(-1000, 1000, 500).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(500, np.int32))
    table = bench.load(load_module("control"))
    kernel = kernel_of("control", "choose", (128,))
    bench.launch(kernel, [4], np.int32(500), source, target, variables=table)
    primes = np.array([2, 3, 5, 7, 11, 13, 17, 19])
    rest = np.fmod(values, 7)
    cases = [
        values + 1,
        values * values,
        -values,
        values >> 2,
        values ^ 0x55,
        primes[(values >> 3) & 7],
        rest,
        rest,
    ]
    expected = np.choose(values & 7, cases)
    np.testing.assert_array_equal(bench.download(target, 500, np.int32), expected)


def test_local_arrays_belong_to_one_thread() -> None:
    """Dynamically indexed arrays of each thread."""
    n = 200
    index = RNG.integers(0, 100, n).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(index), bench.upload(np.zeros(n, np.int32))
    bench.launch(kernel_of("control", "local_array", (64,)), [4], np.int32(n), source, target)
    a = np.arange(n)[:, None] * np.arange(16) + 1
    a[np.arange(n), index & 15] = -1
    total = np.zeros(n, np.int64)
    for k in range(16):
        total = total * 3 + a[np.arange(n), (k + index) & 15]
    np.testing.assert_array_equal(bench.download(target, n, np.int32), total.astype(np.int32))


def test_structure_passed_by_value() -> None:
    """Parameters as an array of bytes, indexed at run time."""
    bench = Bench()
    target = bench.upload(np.zeros(32, np.float32))
    pair = np.array((5, [1.5, 2.5, 3.5]), dtype=[("a", np.int32), ("b", np.float32, 3)])[()]
    bench.launch(kernel_of("control", "by_value", (32,)), [1], pair, np.int32(1), target)
    expected = 5 + np.array([1.5, 2.5, 3.5])[(np.arange(32) + 1) % 3]
    np.testing.assert_array_equal(bench.download(target, 32, np.float32), expected)


@pytest.mark.parametrize("block", [(4, 4, 4), (32, 2, 1), (1, 1, 64), (7, 3, 2)])
def test_three_dimensional_blocks(block: tuple[int, int, int]) -> None:
    """Every thread of every block sees its own numbers."""
    nx, ny, nz = 13, 9, 11
    bench = Bench()
    target = bench.upload(np.zeros((nz, ny, nx), np.int32))
    grid = [-(-size // extent) for size, extent in zip((nx, ny, nz), block, strict=True)]
    kernel = kernel_of("control", "iota3", block)
    bench.launch(kernel, grid, np.int32(nx), np.int32(ny), np.int32(nz), target)
    z, y, x = np.indices((nz, ny, nx))
    np.testing.assert_array_equal(bench.download(target, (nz, ny, nx), np.int32), z << 20 | y << 10 | x)


def test_vector_loads_and_stores() -> None:
    """Four floats and four bytes at a time."""
    n = 100
    floats = RNG.random((n, 4), dtype=np.float32)
    octets = RNG.integers(0, 256, (n, 4)).astype(np.uint8)
    bench = Bench()
    pf, qf = bench.upload(floats), bench.upload(np.zeros_like(floats))
    po, qo = bench.upload(octets), bench.upload(np.zeros_like(octets))
    bench.launch(kernel_of("control", "vector_copy", (32,)), [4], np.int32(n), pf, qf, po, qo)
    np.testing.assert_array_equal(bench.download(qf, (n, 4), np.float32), floats[:, ::-1])
    np.testing.assert_array_equal(bench.download(qo, (n, 4), np.uint8), octets[:, [3, 0, 1, 2]])


def test_trap_stops_at_its_block() -> None:
    """The status says so, and later blocks do not run."""
    bench = Bench()
    target = bench.upload(np.full(128, -1, np.int32))
    kernel = kernel_of("control", "stop_at", (32,))
    assert bench.launch(kernel, [4], np.int32(-1), target, blocks=(0, 1)) == 0
    assert bench.launch(kernel, [4], np.int32(40), target) == 1
    result = bench.download(target, 128, np.int32)
    np.testing.assert_array_equal(result[:32], np.arange(32))
    np.testing.assert_array_equal(result[64:], -1)


def test_atomics_on_global_and_shared_memory() -> None:
    """Every operation, in 32 and 64 bits and float, against what NumPy makes of the same numbers."""
    n, width = 100, 64
    values = RNG.integers(1, 1 << 20, n).astype(np.int32)
    words = np.zeros(16 + 16, np.uint32)
    words[[2, 4]] = 0xFFFFFFFF
    bench = Bench()
    addresses = (
        bench.upload(values), bench.upload(words), bench.upload(np.array([-5, 5], np.int32)),
        bench.upload(np.zeros(2, np.uint64)), bench.upload(np.zeros(1, np.float32)),
    )  # fmt: skip
    bench.launch(kernel_of("control", "atomics", (width,)), [2], np.int32(n), *addresses)
    result = bench.download(addresses[1], 32, np.uint32)

    def increments(count: int) -> tuple[int, int]:
        up = down = 0
        for _ in range(count):
            up = 0 if up >= 9 else up + 1
            down = 9 if down == 0 or down > 9 else down - 1
        return up, down

    def expected(part: np.ndarray[tuple[int], np.dtype[np.int32]]) -> list[int]:
        v = part.astype(np.int64)
        ones = 0xFFFFFFFF
        bits = [np.bitwise_or.reduce(v), np.bitwise_and.reduce(v) & ones, np.bitwise_xor.reduce(v)]
        return [int(word) for word in (v.sum(), v.max(), v.min(), *bits, *increments(len(v)))]

    np.testing.assert_array_equal(result[:8], expected(values))
    assert result[8] == values.sum()
    assert 1 <= result[9] <= n
    np.testing.assert_array_equal(result[16:24], expected(values[:width]))
    np.testing.assert_array_equal(result[24:32], expected(values[width:]))
    signed = bench.download(addresses[2], 2, np.int32)
    np.testing.assert_array_equal(signed, [values.max(), min(5, values.min())])
    wide = bench.download(addresses[3], 2, np.uint64)
    np.testing.assert_array_equal(wide, [values.sum(), int(values.max()) << 20])
    assert bench.download(addresses[4], 1, np.float32)[0] == n / 2
