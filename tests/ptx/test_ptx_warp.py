"""Warp operations, in threads that stay together and threads that part, against NumPy."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.ptx.ptx_harness import Bench, kernel_of

from logv.errors import PtxError
from logv.ptx import compile_entry, parse

RNG = np.random.default_rng(32)
BLOCKS = [(32,), (96,), (40,), (7,), (8, 8), (5, 3, 7), (16, 4, 2)]
_HEAD = ".version 8.0\n.target sm_90\n.address_size 64\n"

Words = NDArray[np.int32]


def _run(entry: str, block: tuple[int, ...], values: Words, rows: int, *numbers: int) -> Words:
    """Run a kernel ``(in, numbers..., out, n)`` with one block; its results, one row after the other."""
    n = int(np.prod(block))
    bench = Bench()
    source = bench.upload(values)
    target = bench.upload(np.full(rows * n, -7, np.int32))
    kernel = kernel_of("warp", entry, block)
    assert bench.launch(kernel, [1], source, *map(np.int32, numbers), target, np.int32(n)) == 0
    return bench.download(target, (rows, n), np.int32)


def _groups(n: int) -> list[NDArray[np.int_]]:
    """Return the threads of each warp of a block."""
    return [np.arange(first, min(first + 32, n)) for first in range(0, n, 32)]


def _shuffled(values: Words, mode: str, distance: Words | int, width: int = 32) -> Words:
    """Return what ``__shfl`` does; a lane that is not there gives a lane its own value."""
    n = values.size
    t = np.arange(n)
    lane = t % 32
    first = lane // width * width
    other = {
        "up": lane - distance,
        "down": lane + distance,
        "xor": lane ^ distance,
        "idx": first + distance % width,
    }[mode]
    inside = (other >= first) & ((other < first + width) | (mode == "up"))
    # xor may read from segments before its own.
    inside |= (mode == "xor") & (other < first)
    source = t - lane + np.where(inside, other, lane)
    return values[np.where(source < n, source, t)]


@pytest.mark.parametrize("width", [32, 8])
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_shuffles(block: tuple[int, ...], width: int) -> None:
    """All modes, with constant and variable distances, in whole warps and segments."""
    n = int(np.prod(block))
    values = RNG.integers(-99, 99, n).astype(np.int32)
    distance = 6
    rows = _run("shuffles", block, values, 10, distance, width)
    np.testing.assert_array_equal(rows[0], _shuffled(values, "up", 3))
    np.testing.assert_array_equal(rows[1], _shuffled(values, "down", 5, 8))
    np.testing.assert_array_equal(rows[2], _shuffled(values, "xor", 9))
    np.testing.assert_array_equal(rows[3], _shuffled(values, "idx", 7, 16))
    np.testing.assert_array_equal(rows[4], _shuffled(values, "up", distance, width))
    np.testing.assert_array_equal(rows[5], _shuffled(values, "down", distance, width))
    np.testing.assert_array_equal(rows[6], _shuffled(values, "xor", distance, width))
    np.testing.assert_array_equal(rows[7], _shuffled(values, "idx", values, width))
    lane = np.arange(n) % 32
    np.testing.assert_array_equal(rows[8], _shuffled(values, "up", 2) * 2 + (lane >= 2))
    np.testing.assert_array_equal(rows[9], _shuffled(values, "down", distance) * 2 + (lane + distance < 32))


def test_shuffled_doubles() -> None:
    """64-bit values travel as two words."""
    values = RNG.random(64)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(64))
    bench.launch(kernel_of("warp", "shuffle_doubles", (64,)), [1], source, target)
    expected = values + 2 * values[np.arange(64) ^ 16]
    np.testing.assert_array_equal(bench.download(target, 64, np.float64), expected)


@pytest.mark.parametrize("pattern", ["mixed", "even", "odd", "equal"])
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_votes_and_matches(block: tuple[int, ...], pattern: str) -> None:
    """Every vote, the active mask, and matches of 32 and 64 bits."""
    n = int(np.prod(block))
    values = RNG.integers(0, 6, n).astype(np.int32)
    values = {"mixed": values, "even": values * 2, "odd": values * 2 + 1, "equal": values * 0 + 4}[pattern]
    rows = _run("votes", block, values, 10).view(np.uint32)
    for group in _groups(n):
        bits = np.uint32(1) << np.arange(group.size, dtype=np.uint32)
        odd = values[group] & 1
        members = bits.sum()
        same = ((values[group][:, None] == values[group]) * bits).sum(1)
        together = members if (values[group] == values[group[0]]).all() else 0
        expected = [
            odd.all(),
            odd.any(),
            (odd * bits).sum(),
            odd.all() or not odd.any(),
            members,
            same,
            together,
            together != 0,
            same,
            together,
        ]
        for row, wanted in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(row[group], wanted)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_reductions(block: tuple[int, ...]) -> None:
    """``redux.sync`` of signed and unsigned integers and of bits."""
    n = int(np.prod(block))
    values = RNG.integers(-(1 << 31), 1 << 31, n).astype(np.int32)
    rows = _run("reductions", block, values, 8)
    for group in _groups(n):
        v = values[group]
        u = v.view(np.uint32)
        expected = [
            v.sum(dtype=np.int32), v.min(), v.max(), u.min().view(np.int32), u.max().view(np.int32),
            np.bitwise_and.reduce(v), np.bitwise_or.reduce(v), np.bitwise_xor.reduce(v),
        ]  # fmt: skip
        for row, wanted in zip(rows, expected, strict=True):
            np.testing.assert_array_equal(row[group], wanted)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_lane_registers(block: tuple[int, ...]) -> None:
    """Lanes are numbered along x, then y, then z."""
    n = int(np.prod(block))
    bench = Bench()
    target = bench.upload(np.zeros(7 * n, np.uint32))
    bench.launch(kernel_of("warp", "lane_registers", block), [1], target, np.int32(n))
    t = np.arange(n, dtype=np.uint64)
    one = np.uint64(1) << t % 32
    expected = [t % 32, t // 32, one, one - 1, 2 * one - 1, 2**32 - 2 * one, 2**32 - one]
    rows = bench.download(target, (7, n), np.uint32)
    np.testing.assert_array_equal(rows, np.array(expected, np.uint64).astype(np.uint32))


@pytest.mark.parametrize("n", [0, 31, 1000, 5000])
@pytest.mark.parametrize("width", [32, 256])
def test_sum_of_each_warp(n: int, width: int) -> None:
    """A chain of shuffles after a loop in strides of the grid, also where threads have nothing to add."""
    values = RNG.integers(-99, 99, max(n, 1)).astype(np.int32)
    warps = 3 * width // 32
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(warps, np.int32))
    bench.launch(kernel_of("warp", "warp_sums", (width,)), [3], np.int32(n), source, target)
    padded = np.zeros(-(-max(n, 1) // (3 * width)) * 3 * width, np.int32)
    padded[:n] = values[:n]
    expected = padded.reshape(-1, warps, 32).sum((0, 2))
    np.testing.assert_array_equal(bench.download(target, warps, np.int32), expected)


@pytest.mark.parametrize("n", [1, 77, 600])
@pytest.mark.parametrize("width", [32, 128, 256])
def test_sum_of_a_block_for_all_its_threads(n: int, width: int) -> None:
    """One warp adds up what the warps have found while the others wait; loops and counters around it."""
    rounds = 3
    values = RNG.integers(-9, 9, (rounds, n)).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros((2, rounds, n), np.int32))
    kernel = kernel_of("warp", "block_sums", (width,))
    assert bench.launch(kernel, [2], np.int32(n), np.int32(rounds), source, target) == 0
    expected = values * 1000 + values.sum(1, keepdims=True)
    result = bench.download(target, (2, rounds, n), np.int32)
    np.testing.assert_array_equal(result, [expected, expected])


@pytest.mark.parametrize("n", [5, 256, 1000])
def test_scan_of_a_block(n: int) -> None:
    """Inclusive sums by shuffles in warps, then over the warps."""
    values = RNG.integers(-99, 99, n).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(n, np.int32))
    assert bench.launch(kernel_of("warp", "block_scan", (256,)), [4], np.int32(n), source, target) == 0
    expected = np.concatenate([values[i : i + 256].cumsum() for i in range(0, n, 256)])
    np.testing.assert_array_equal(bench.download(target, n, np.int32), expected)


@pytest.mark.parametrize("n", [0, 33, 999])
def test_compaction_by_ballot(n: int) -> None:
    """Each warp takes its places with one atomic, and hands out where they begin."""
    values = RNG.integers(-99, 99, max(n, 1)).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(1000, np.int32))
    count = bench.upload(np.zeros(1, np.int32))
    kernel = kernel_of("warp", "compact", (64,))
    assert bench.launch(kernel, [16], np.int32(n), source, np.int32(10), target, count) == 0
    kept = values[:n][values[:n] > 10]
    assert bench.download(count, 1, np.int32)[0] == kept.size
    np.testing.assert_array_equal(np.sort(bench.download(target, kept.size, np.int32)), np.sort(kept))


@pytest.mark.parametrize("n", [1, 45, 512])
def test_histogram_by_match(n: int) -> None:
    """The lanes that are left after an early return, grouped by what they hold."""
    values = RNG.integers(0, 8, n).astype(np.int32)
    bench = Bench()
    source, bins = bench.upload(values), bench.upload(np.zeros(8, np.int32))
    assert bench.launch(kernel_of("warp", "histogram_by_match", (128,)), [4], np.int32(n), source, bins) == 0
    np.testing.assert_array_equal(bench.download(bins, 8, np.int32), np.bincount(values, minlength=8))


def test_transpose_in_registers() -> None:
    """A butterfly of 80 shuffles."""
    values = RNG.integers(-99, 99, (4, 32, 32)).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros_like(values))
    bench.launch(kernel_of("warp", "transpose_in_registers", (64,)), [2], source, target)
    np.testing.assert_array_equal(bench.download(target, (4, 32, 32), np.int32), values.transpose(0, 2, 1))


@pytest.mark.parametrize("rows", [1, 8, 37])
def test_a_warp_for_each_row(rows: int) -> None:
    """Loops that whole warps go round differently often, with a loop of lanes inside."""
    lengths = RNG.integers(0, 100, rows)
    start = np.concatenate([[0], lengths.cumsum()]).astype(np.int32)
    values = RNG.integers(-99, 99, max(1, start[-1])).astype(np.int32)
    bench = Bench()
    addresses = bench.upload(start), bench.upload(values), bench.upload(np.zeros(rows, np.int32))
    assert bench.launch(kernel_of("warp", "row_sums", (128,)), [2], np.int32(rows), *addresses) == 0
    expected = [values[a:b].sum() for a, b in pairwise(start)]
    np.testing.assert_array_equal(bench.download(addresses[2], rows, np.int32), expected)


@pytest.mark.parametrize("rounds", [[0, 1], [5, 2, 9], [3, 3, 3, 3], [40, 0, 1]], ids=str)
def test_each_warp_goes_round_another_number_of_times(rounds: list[int]) -> None:
    """A counter and a shuffle by it in a loop; no warp sees another's counter."""
    n = 32 * len(rounds)
    bench = Bench()
    source, target = bench.upload(np.array(rounds, np.int32)), bench.upload(np.zeros(n, np.int32))
    assert bench.launch(kernel_of("warp", "uneven_loops", (n,)), [1], source, target) == 0
    expected = []
    for warp, count in enumerate(rounds):
        v = np.arange(32 * warp, 32 * warp + 32)
        for k in range(count):
            v = v[np.arange(32) ^ (1 + k % 31)] + k
        expected.append(v * 100 + count)
    np.testing.assert_array_equal(bench.download(target, n, np.int32), np.concatenate(expected))


@pytest.mark.parametrize("n", [32, 50, 96])
def test_each_lane_goes_round_another_number_of_times(n: int) -> None:
    """Lanes leave a loop one by one; masks from ballots name those that are left."""
    rounds = RNG.integers(0, 9, n).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(rounds), bench.upload(np.zeros(n, np.int32))
    assert bench.launch(kernel_of("warp", "uneven_lanes", (n,)), [1], source, target) == 0
    expected = np.zeros(n, np.int32)
    for group in _groups(n):
        for k in range(rounds[group].max()):
            left = group[rounds[group] > k]
            expected[left] += (left % 2 == k % 2).sum() * (k + 1)
    np.testing.assert_array_equal(bench.download(target, n, np.int32), expected)


@pytest.mark.parametrize("n", [64, 41])
def test_both_sides_of_a_branch_have_warp_operations(n: int) -> None:
    """Odd and even lanes reduce among themselves, then shuffle together."""
    values = RNG.integers(1, 99, n).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(n, np.int32))
    assert bench.launch(kernel_of("warp", "two_sides", (n,)), [1], source, target) == 0
    v = np.zeros(n, np.int32)
    for group in _groups(n):
        odd, even = group[values[group] % 2 == 1], group[values[group] % 2 == 0]
        v[odd] = values[odd].sum() + odd.size
        v[even] = values[even].max(initial=0)
    expected = v + _shuffled(v, "xor", 1) * 7
    np.testing.assert_array_equal(bench.download(target, n, np.int32), expected)


@pytest.mark.parametrize("n", [1, 20, 64, 100, 128])
def test_lanes_that_returned_are_not_waited_for(n: int) -> None:
    """A full mask after an early return: who reads from a lane that has left gets its own value."""
    values = RNG.integers(-2, 3, 128).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.full(128, -7, np.int32))
    assert bench.launch(kernel_of("warp", "leave_before", (64,)), [2], np.int32(n), source, target) == 0
    expected = np.full(128, -7, np.int32)
    v = values[:n].copy()
    for distance in (16, 8, 4, 2, 1):
        v = v + _shuffled(v, "xor", distance)
    for group in _groups(n):
        expected[group] = v[group] + ((v[group] != 0).all().astype(np.int32) << 20)
    np.testing.assert_array_equal(bench.download(target, 128, np.int32), expected)


@pytest.mark.parametrize("block", [(64,), (40,), (4, 4, 4)], ids=str)
def test_tiles_of_cooperative_groups(block: tuple[int, ...]) -> None:
    """Tiles of eight lanes name masks of their own; a coalesced group is who came."""
    n = int(np.prod(block))
    values = RNG.integers(0, 4, n).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.full(4 * n, -7, np.int32))
    assert bench.launch(kernel_of("warp", "tiles", block), [1], source, target, np.int32(n)) == 0
    rows = bench.download(target, (4, n), np.int32)
    tiles = values.reshape(-1, 8)
    rank = np.arange(8)
    np.testing.assert_array_equal(rows[0], np.repeat(tiles.sum(1), 8))
    ballots = ((tiles & 1) << rank).sum(1, keepdims=True)
    np.testing.assert_array_equal(rows[1].reshape(-1, 8), ballots * 100 + rank)
    for group in _groups(n):
        some = group[values[group] & 2 != 0]
        np.testing.assert_array_equal(rows[2][some], some.size * 100 + np.arange(some.size))
    np.testing.assert_array_equal(rows[2][values & 2 == 0], -1)
    np.testing.assert_array_equal(rows[3], np.repeat((tiles == 3).any(1), 8))


def test_one_lane_hands_over_to_the_others() -> None:
    """``bar.warp.sync`` in different places of a branch: memory written before it is seen after it."""
    rounds = np.array([4, 1, 9], np.int32)
    bench = Bench()
    source, target = bench.upload(rounds), bench.upload(np.full(96, -7, np.int32))
    assert bench.launch(kernel_of("warp", "hand_over", (96,)), [1], source, target) == 0
    lane = np.arange(96) % 32
    expected = np.where(lane == 0, -7, np.repeat((rounds - 1) * 3, 32) + lane)
    np.testing.assert_array_equal(bench.download(target, 96, np.int32), expected)


@pytest.mark.parametrize("n", [64, 90, 256])
def test_two_chains_of_shuffles(n: int) -> None:
    """Largest value and sum of each warp, with lanes beyond the data."""
    values = RNG.integers(-99, 99, n).astype(np.float32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(n, np.float32))
    assert bench.launch(kernel_of("warp", "spread", (128,)), [2], np.int32(n), source, target) == 0
    expected = np.zeros(n, np.float32)
    for group in _groups(n):
        e = values[group] - values[group].max()
        expected[group] = e - e.sum()
    np.testing.assert_array_equal(bench.download(target, n, np.float32), expected)


def _compile(body: str, block: tuple[int, int, int] = (64, 1, 1)) -> None:
    registers = ".reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>;"
    module = parse(f"{_HEAD}.visible .entry k() {{\n{registers}\nmov.u32 %r1, %tid.x;\n{body}\nret; }}")
    compile_entry(module, "k", block)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("shfl.down.b32 %r2, %r1, 1, 31;", "without .sync left PTX with sm_70"),
        ("vote.ballot.b32 %r2, %p1;", "without .sync"),
        ("shfl.sync.left.b32 %r2, %r1, 1, 31, -1;", "shfl.sync.left.b32 is not supported"),
        ("shfl.sync.up.b64 %rd1, %rd2, 1, 31, -1;", "shfl.sync.up.b64 is not supported"),
        ("shfl.sync.up.b32 %r2, %r1, 1, 31;", "5 operands expected"),
        ("vote.sync.any.b32 %r2, %p1, -1;", "vote.sync.any.b32 is not supported"),
        ("vote.sync.any.pred %p1, %r1, -1;", "is .b32 where .pred is expected"),
        ("match.any.sync.b32 %r1|%p1, %r2, -1;", "match.any has one destination"),
        ("redux.sync.add.b32 %r1, %r2, -1;", "redux.sync.add.b32 is not supported"),
        ("redux.sync.and.u32 %r1, %r2, -1;", "redux.sync.and.u32 is not supported"),
        ("elect.sync.any %r1|%p1, -1;", "elect.sync is expected"),
        ("bar.warp.sync;", "1 operands expected"),
        ("mov.u32 %r2, %lanemask_ne;", "%lanemask_ne is not"),
    ],
)
def test_warp_operations_that_are_refused(body: str, reason: str) -> None:
    """What is not supported is found when it is compiled, with line and reason."""
    with pytest.raises(PtxError, match=reason) as caught:
        _compile(body)
    assert caught.value.line == 7


def test_elected_lane() -> None:
    """The lowest lane of the mask leads."""
    module = parse(
        f"""{_HEAD}.visible .entry k(.param .u64 out) {{ .reg .pred %p<3>; .reg .b32 %r<5>; .reg .b64 %rd<4>;
        mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; setp.lt.u32 %p1, %r2, 5; @%p1 bra END;
        elect.sync %r3|%p2, 0xffffffe0; selp.b32 %r4, 100, 0, %p2; add.u32 %r3, %r3, %r4;
        ld.param.u64 %rd1, [out]; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd1, %rd1, %rd2;
        st.global.u32 [%rd1], %r3; END: ret; }}"""
    )
    bench = Bench()
    target = bench.upload(np.zeros(64, np.int32))
    assert bench.launch(compile_entry(module, "k", (64, 1, 1)), [1], target) == 0
    lane = np.arange(64) % 32
    expected = np.where(lane < 5, 0, 5 + 100 * (lane == 5))
    np.testing.assert_array_equal(bench.download(target, 64, np.int32), expected)


@pytest.mark.parametrize("mask", ["-1", "%r1"])
def test_too_many_warp_operations(mask: str) -> None:
    """Each begins a region: thousands are refused, not compiled for minutes."""
    body = "\n".join(f"shfl.sync.bfly.b32 %r2, %r2, {k % 32}, 31, {mask};" for k in range(5000))
    with pytest.raises(PtxError, match="more than 512 barriers, warp operations and loops"):
        _compile(body)
