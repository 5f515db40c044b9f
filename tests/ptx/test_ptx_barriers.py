"""Barriers that count, barriers for some of the threads, and threads that can never meet."""

import numpy as np
import pytest
from tests.ptx.ptx_harness import Bench, kernel_of

from logv.errors import PtxError
from logv.ptx import compile_entry, parse

RNG = np.random.default_rng(16)
_HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"


def _parse(body: str) -> None:
    registers = ".reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>;"
    module = parse(f"{_HEAD}.visible .entry k() {{\n{registers}\nmov.u32 %r1, %tid.x;\n{body}\nret; }}")
    compile_entry(module, "k", (64, 1, 1))


@pytest.mark.parametrize("pattern", ["mixed", "all", "none"])
@pytest.mark.parametrize("block", [(64,), (50,), (8, 4, 3), (1,)], ids=str)
def test_barriers_that_count(block: tuple[int, ...], pattern: str) -> None:
    """How many threads bring a true predicate, and whether all or any do."""
    n = int(np.prod(block))
    everywhere = np.full(n, int(pattern == "all"))
    values = (RNG.integers(-5, 6, n) if pattern == "mixed" else everywhere).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros((3, n), np.int32))
    assert bench.launch(kernel_of("barriers", "counts", block), [1], source, target, np.int32(n)) == 0
    positive = values > 0
    expected = np.repeat([[positive.sum()], [positive.all()], [positive.any()]], n, 1)
    np.testing.assert_array_equal(bench.download(target, (3, n), np.int32), expected)


@pytest.mark.parametrize("n", [1, 100, 256])
def test_loop_until_no_thread_changes_anything(n: int) -> None:
    """The result of a barrier decides for all threads whether they go round again."""
    links = RNG.integers(0, n, n).astype(np.int32)
    bench = Bench()
    addresses = (
        bench.upload(links),
        bench.upload(np.zeros(256, np.int32)),
        bench.upload(np.zeros(256, np.int32)),
    )
    assert bench.launch(kernel_of("barriers", "settle", (256,)), [1], np.int32(n), *addresses) == 0
    labels = np.arange(256)
    rounds = 0
    while True:
        other = np.concatenate([labels[links], labels[n:]])
        rounds += 1
        if (other >= labels).all():
            break
        labels = np.minimum(labels, other)
    np.testing.assert_array_equal(bench.download(addresses[1], 256, np.int32), labels)
    np.testing.assert_array_equal(bench.download(addresses[2], 256, np.int32), rounds)


@pytest.mark.parametrize("n", [1, 40, 64])
def test_threads_that_have_left_are_not_counted(n: int) -> None:
    """An early return before a barrier that counts."""
    values = RNG.integers(-5, 6, 64).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.full(64, -7, np.int32))
    kernel = kernel_of("barriers", "count_after_leaving", (64,))
    assert bench.launch(kernel, [1], np.int32(n), source, target) == 0
    expected = np.where(np.arange(64) < n, (values[:n] > 0).sum(), -7)
    np.testing.assert_array_equal(bench.download(target, 64, np.int32), expected)


@pytest.mark.parametrize("rounds", [0, 1, 2, 3, 9])
def test_producers_and_consumers(rounds: int) -> None:
    """Warps that arrive without waiting, and warps that wait for them, round and round."""
    values = RNG.integers(-99, 99, (max(1, rounds), 64)).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros_like(values))
    assert bench.launch(kernel_of("barriers", "pipeline", (128,)), [1], np.int32(rounds), source, target) == 0
    expected = values[:, ::-1] * 2 if rounds else values * 0
    np.testing.assert_array_equal(bench.download(target, values.shape, np.int32), expected)


@pytest.mark.parametrize("rounds", [(0, 3), (2, 2), (7, 1)], ids=str)
def test_each_half_of_the_block_has_its_own_barrier(rounds: tuple[int, int]) -> None:
    """The number of the barrier is not a constant; the halves wait for each other only at the end."""
    values = RNG.integers(-99, 99, (2, 64)).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(128, np.int32))
    numbers = bench.upload(np.array(rounds, np.int32))
    assert bench.launch(kernel_of("barriers", "halves", (128,)), [1], numbers, source, target) == 0
    for half in range(2):
        for k in range(rounds[half]):
            values[half] = np.roll(values[half], -1) + k
    np.testing.assert_array_equal(bench.download(target, 128, np.int32), values.reshape(-1)[::-1])


def test_barriers_of_other_numbers_and_spellings() -> None:
    """``barrier.sync``, ``barrier.cta.sync`` and ``bar.cta.sync``; a count that is the whole block."""
    values = RNG.integers(-99, 99, 96).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(96, np.int32))
    assert bench.launch(kernel_of("barriers", "whole_block", (96,)), [1], source, target) == 0
    expected = (values[::-1] + 1)[np.arange(96) ^ 1]
    np.testing.assert_array_equal(bench.download(target, 96, np.int32), expected)


@pytest.mark.parametrize("entry", ["never_meet", "warp_never_meets", "too_few"])
def test_threads_that_wait_for_ever_end_the_kernel(entry: str) -> None:
    """A deadlock is an error, like ``trap``."""
    bench = Bench()
    target = bench.upload(np.zeros(64, np.int32))
    assert bench.launch(kernel_of("barriers", entry, (64,)), [1], target) == 1


def test_no_deadlock_where_all_threads_take_one_side() -> None:
    """Where only one side of the branch has threads, nobody waits in vain."""
    bench = Bench()
    target = bench.upload(np.zeros(32, np.int32))
    kernel = kernel_of("barriers", "never_meet", (32,))
    assert bench.launch(kernel, [3], target) == 0
    np.testing.assert_array_equal(bench.download(target, 32, np.int32), 1)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("bar.sync 16;", "there is no barrier 16"),
        ("bar.sync 0, 33;", "not a multiple of 32"),
        ("bar.sync 0, 0;", "not a multiple of 32"),
        ("bar.sync 0, 32, 1;", "a barrier, and perhaps a number of threads"),
        ("bar.arrive 1;", "2 operands expected"),
        ("bar.red.popc.u32 %r2, %r1, %p1;", "must be a constant"),
        ("bar.red.xor.pred %p1, 0, %p2;", "bar.red.xor.pred is not supported"),
        ("bar.red.popc.u32 %r2, %p1;", "3 or 4 operands"),
        ("bar.gl 0;", "bar.gl is not supported"),
        ("barrier.cluster.arrive;", "not supported"),
    ],
)
def test_barriers_that_are_refused(body: str, reason: str) -> None:
    """What is not a barrier of a block is found when it is compiled, with line and reason."""
    with pytest.raises(PtxError, match=reason) as caught:
        _parse(body)
    assert caught.value.line == 7
