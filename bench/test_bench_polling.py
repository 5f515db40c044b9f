"""Polling: how soon a submission is seen by an engine that is awake or asleep, and what idling costs.

The kernel likes to put two threads that wake each other on one CPU, and may change its mind in the
middle of a figure. So each round trip is taken twice, with a CPU for each thread, and with both on one; ours
and the baseline alike. Polling pays where the engine has a CPU, and that is where its bar stands: on one
CPU both sides are bound by two context switches a round trip, whatever asks for them.
"""

import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.conftest import Paired
from pytest_benchmark.fixture import BenchmarkFixture
from tests.fastpath.ring_rig import pages

from logv._fastpath import GpFifo, Poller, Word64
from logv.hw import dev_ram

ENTRIES = 1024
ROUNDS = 1000
IDLE_S = 0.5
IDLE_BAR = 0.005


@pytest.fixture(params=["apart", "together"])
def cpu(request: pytest.FixtureRequest) -> Iterator[int]:
    """The CPU of the other thread; this one is bound to the same, or to another one if there is one."""
    available = os.sched_getaffinity(0)
    first, last = min(available), max(available)
    os.sched_setaffinity(0, {first})
    try:
        yield first if request.param == "together" else last
    finally:
        os.sched_setaffinity(0, available)


@contextmanager
def beside(work: Callable[[], object], cpu: int | None = None) -> Iterator[threading.Thread]:
    """Run `work` in a thread, on one CPU if it is given; it must end once the block has."""

    def bound() -> None:
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})
        work()

    thread = threading.Thread(target=bound)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(30)
        assert not thread.is_alive()


@contextmanager
def served(
    *, spin: bool, cpu: int | None = None
) -> Iterator[tuple[GpFifo, Poller, Word64, threading.Thread]]:
    """Yield a channel, the engine that fetches from it, its "sleeping" word and its thread."""
    with pages(ENTRIES) as shared:
        fifo = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, ENTRIES)
        poller = Poller([shared.userd], shared.doorbell, shared.doorbell_fd, ENTRIES)
        stop = bytearray(4)
        with beside(lambda: poller.serve(stop, spin=spin), cpu) as thread:
            try:
                yield fifo, poller, Word64(shared.doorbell, dev_ram.DOORBELL_SLEEPING), thread
            finally:
                stop[0] = 1
                os.eventfd_write(shared.doorbell_fd, 1)


@pytest.fixture
def ping_pong(tmp_path: Path, cpu: int) -> Iterator[Callable[[], None]]:
    """The baseline: hand a futex to another thread and back, with nothing around it."""
    library = tmp_path / "futex_ping_pong.so"
    source = Path(__file__).with_name("futex_ping_pong.c")
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    native = ctypes.CDLL(str(library))
    word = ctypes.c_uint32(0)
    with beside(lambda: native.pong(ctypes.byref(word)), cpu):
        try:
            yield lambda: native.ping(ctypes.byref(word), ROUNDS)
        finally:
            native.stop(ctypes.byref(word))


def test_round_trip_engine_awake(paired: Paired, ping_pong: Callable[[], None], cpu: int) -> None:
    """PUT to GET with a polling engine: at most 0.6 of a futex ping-pong where there are two CPUs."""
    together = os.sched_getaffinity(0) == {cpu}
    with served(spin=True, cpu=cpu) as (fifo, _, _, _):
        before = fifo.submitted
        fifo.bench_round_trips(ROUNDS, 0, 1)
        assert fifo.submitted == before + ROUNDS
        assert fifo.pending == 0
        paired(
            lambda: fifo.bench_round_trips(ROUNDS, 0, 1),
            ping_pong,
            label="PUT to GET, engine awake / futex ping-pong",
            bar=None if together else 0.6,
        )


def test_round_trip_engine_asleep(paired: Paired, ping_pong: Callable[[], None], cpu: int) -> None:
    """PUT to GET with an engine that sleeps whenever it can: at most 2 futex ping-pongs."""
    with served(spin=False, cpu=cpu) as (fifo, poller, _, _):
        paired(
            lambda: fifo.bench_round_trips(ROUNDS, 0, 1),
            ping_pong,
            label="PUT to GET, engine asleep / futex ping-pong",
            bar=2.0,
        )
        assert fifo.pending == 0
        assert 0 < fifo.wakes <= fifo.submitted
        assert poller.sleeps > 0


def test_idle_engine(benchmark: BenchmarkFixture) -> None:
    """An engine without work uses at most 0.5 % of a CPU, from its first idle moment on."""
    with served(spin=True) as (fifo, poller, sleeping, thread):
        fifo.bench_round_trips(ROUNDS, 0, 1)
        assert sleeping.wait_at_least(1, 30)
        assert thread.ident is not None
        clock = time.pthread_getcpuclockid(thread.ident)
        shares = []

        def idle() -> None:
            cpu, wall = time.clock_gettime(clock), time.perf_counter()
            time.sleep(IDLE_S)
            shares.append((time.clock_gettime(clock) - cpu) / (time.perf_counter() - wall))

        # pytest-benchmark ships without types.
        benchmark.pedantic(idle, rounds=5)  # type: ignore[no-untyped-call]
        benchmark.extra_info.update(label="CPU share of an idle engine", share=max(shares), bar=IDLE_BAR)
        assert max(shares) <= IDLE_BAR
        # And it is there as soon as it is needed.
        sleeps = poller.sleeps
        fifo.bench_round_trips(1, 0, 1)
        assert fifo.pending == 0
        assert poller.sleeps >= sleeps
