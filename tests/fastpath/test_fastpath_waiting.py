"""Waiting: for room in a ring, for a semaphore, for an interrupt; and the engine's polling loop."""

import mmap
import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from tests.fastpath.ring_rig import Pages, pages

from logv._fastpath import GpFifo, Poller, Word64, irq_sequence, irq_wait
from logv.errors import InvalidValueError
from logv.hw import dev_ram

LONG_S = 30.0
"""Longer than anything here takes: a wait that needs it has failed."""


@contextmanager
def running(work: Callable[[], object]) -> Iterator[list[object]]:
    """Run `work` beside the block; its result is in the list once the block has ended."""
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    try:
        yield results
    finally:
        thread.join(LONG_S)
        assert not thread.is_alive()


@contextmanager
def engine(shared: Pages, entries: int, *, spin: bool = True) -> Iterator[Poller]:
    """Run an engine that fetches everything and does nothing."""
    poller = Poller([shared.userd], shared.doorbell, shared.doorbell_fd, entries)
    stop = bytearray(4)
    with running(lambda: poller.serve(stop, spin=spin)):
        try:
            yield poller
        finally:
            stop[0] = 1
            os.eventfd_write(shared.doorbell_fd, 1)


@pytest.mark.parametrize("spin", [True, False])
def test_every_entry_reaches_the_engine(spin: bool) -> None:
    """Polling or sleeping at each chance, the engine misses no submission and is woken as it says."""
    entries, total = 16, 3000
    with pages(entries) as shared:
        ring = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, entries)
        batch = np.full(5, GpFifo.encode(0x1000, 1), dtype=np.uint64)
        with engine(shared, entries, spin=spin):
            while ring.submitted < total:
                assert ring.wait_free(len(batch), LONG_S)
                assert ring.submit_entries(batch) == len(batch)
            assert ring.wait_free(entries - 1, LONG_S)
        assert ring.pending == 0
        assert shared.gp_get == shared.gp_put == total % entries


def test_serving_returns_how_much_was_fetched() -> None:
    """The loop's count is the number of entries submitted."""
    with pages(8) as shared:
        ring = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, 8)
        poller = Poller([shared.userd], shared.doorbell, shared.doorbell_fd, 8)
        stop = bytearray(4)
        with running(lambda: poller.serve(stop)) as results:
            ring.bench_round_trips(1000, 0, 1)
            stop[0] = 1
            os.eventfd_write(shared.doorbell_fd, 1)
        assert results == [1000]


def test_an_idle_engine_sleeps_and_says_so() -> None:
    """Without work the engine publishes that it sleeps; a submission then rings, and wakes it."""
    with pages(8) as shared:
        ring = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, 8)
        with engine(shared, 8) as poller:
            asleep = Word64(shared.doorbell, dev_ram.DOORBELL_SLEEPING)
            assert asleep.wait_at_least(1, LONG_S)
            assert ring.submit(0, 1)
            assert ring.wait_free(7, LONG_S)
            assert ring.wakes == 1
            assert asleep.wait_at_least(1, LONG_S)
            assert poller.sleeps >= 1
        assert shared.peek(shared.doorbell, dev_ram.DOORBELL_SLEEPING) == 0


def test_room_that_never_comes_is_false() -> None:
    """Without an engine the wait ends with its time; with room at once it does not begin."""
    with pages(4) as shared:
        ring = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, 4)
        assert ring.wait_free(3, 0)
        ring.submit(0, 1)
        assert not ring.wait_free(3, 0.002)
        assert ring.wait_free(2, 0)
        with pytest.raises(InvalidValueError):
            ring.wait_free(4, 0)


def test_a_word_is_read_and_written_whole() -> None:
    """All 64 bits, at its offset, and nothing beside it."""
    memory = bytearray(24)
    word = Word64(memory, 8)
    word.value = 2**64 - 1
    assert word.value == 2**64 - 1
    assert memory == bytes(8) + b"\xff" * 8 + bytes(8)


def test_a_wait_compares_unsigned() -> None:
    """A word above 2**63 is large, not negative; a word that is due needs no time."""
    word = Word64(bytearray(8), 0)
    assert word.spin(0, 0)
    assert not word.spin(1, 1000)
    assert not word.wait_at_least(1, 0)
    word.value = 2**63 + 1
    assert word.spin(5, 0)
    assert word.spin(2**63 + 1, 0)
    assert not word.wait_at_least(2**63 + 2, 0.001)


@pytest.mark.parametrize("method", ["spin", "wait_at_least"])
def test_a_wait_ends_when_the_word_comes(method: str) -> None:
    """Another thread's release ends the wait: the GIL is not held meanwhile."""
    word = Word64(bytearray(8), 0)
    ready = threading.Event()

    def wait() -> bool:
        ready.set()
        return word.spin(3, int(LONG_S * 1e9)) if method == "spin" else word.wait_at_least(3, LONG_S)

    with running(wait) as results:
        assert ready.wait(LONG_S)
        word.value = 2
        word.value = 3
    assert results == [True]


@pytest.mark.parametrize("method", ["spin", "wait_at_least"])
def test_a_stop_word_ends_the_wait(method: str) -> None:
    """A channel that failed releases nothing: its notifier ends the wait, and the answer is no."""
    stop = bytearray(16)
    word = Word64(bytearray(8), 0, stop, 12)

    def wait() -> bool:
        return word.spin(1, int(LONG_S * 1e9)) if method == "spin" else word.wait_at_least(1, LONG_S)

    with running(wait) as results:
        stop[12] = 7
    assert results == [False]
    word.value = 1
    assert word.spin(1, 0)


@pytest.mark.parametrize(
    ("size", "offset", "stop_size", "stop_offset"),
    [
        (7, 0, 4, 0),
        (16, 12, 4, 0),
        (16, 9, 4, 0),
        (16, -8, 4, 0),
        (16, 16, 4, 0),
        (16, 0, 8, 6),
        (16, 0, 3, 0),
        (16, 0, 4, 4),
    ],
)
def test_a_word_outside_or_across_its_buffer_is_refused(
    size: int, offset: int, stop_size: int, stop_offset: int
) -> None:
    """Offsets beyond the end and misaligned ones are errors of the tree."""
    with pytest.raises(InvalidValueError):
        Word64(bytearray(size), offset, bytearray(stop_size), stop_offset)


@pytest.mark.parametrize("value", [-1, 2**64, "1", None, 1.0])
def test_a_value_is_an_unsigned_64_bit_integer(value: object) -> None:
    """Others are refused by every method, and the word keeps what it had."""
    word = Word64(bytearray(8), 0)
    with pytest.raises(InvalidValueError):
        word.value = value  # type: ignore[assignment]
    with pytest.raises(InvalidValueError):
        word.spin(value, 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        word.wait_at_least(value, 0)  # type: ignore[arg-type]
    assert word.value == 0


@pytest.mark.parametrize("seconds", [float("nan"), "1", None])
def test_a_time_out_is_a_number(seconds: object) -> None:
    """NaN and objects are refused; negative is no time, infinity is long."""
    word = Word64(bytearray(8), 0)
    with pytest.raises(InvalidValueError):
        word.wait_at_least(1, seconds)  # type: ignore[arg-type]
    assert not word.wait_at_least(1, -5.0)
    assert word.wait_at_least(0, float("inf"))


def test_an_interrupt_wakes_all_who_wait() -> None:
    """Every waiter returns with the new count, and counts itself out."""
    with pages(2) as shared:
        poller = Poller([], shared.doorbell, shared.doorbell_fd, 2)
        seen = irq_sequence(shared.doorbell)
        waiters = Word64(shared.doorbell, dev_ram.DOORBELL_IRQ_WAITERS)
        with (
            running(lambda: irq_wait(shared.doorbell, seen, LONG_S)) as first,
            running(lambda: irq_wait(shared.doorbell, seen, LONG_S)) as second,
        ):
            assert waiters.wait_at_least(2, LONG_S)
            poller.interrupt()
        assert first == second == [seen + 1]
        assert waiters.value == 0


def test_an_interrupt_before_the_wait_is_not_missed() -> None:
    """The count tells: a wait for an older count returns at once, even with no time."""
    with pages(2) as shared:
        poller = Poller([], shared.doorbell, shared.doorbell_fd, 2)
        shared.poke(shared.doorbell, dev_ram.DOORBELL_IRQ_SEQUENCE, 2**32 - 1)
        seen = irq_sequence(shared.doorbell)
        poller.interrupt()
        assert irq_wait(shared.doorbell, seen, LONG_S) == 0
        assert irq_wait(shared.doorbell, seen, 0) == 0


def test_a_wait_without_interrupts_ends_with_its_time() -> None:
    """The count is the old one then, and nobody is counted as waiting."""
    with pages(2) as shared:
        assert irq_wait(shared.doorbell, 0, 0.002) == 0
        assert irq_wait(shared.doorbell, 0, -1) == 0
        assert shared.peek(shared.doorbell, dev_ram.DOORBELL_IRQ_WAITERS) == 0


def test_an_interrupt_crosses_processes() -> None:
    """The futex is shared: an engine in one process wakes a waiter in another."""
    with pages(2) as shared:
        poller = Poller([], shared.doorbell, shared.doorbell_fd, 2)
        child = os.fork()
        if child == 0:
            os._exit(irq_wait(shared.doorbell, 0, LONG_S))
        waiters = Word64(shared.doorbell, dev_ram.DOORBELL_IRQ_WAITERS)
        assert waiters.wait_at_least(1, LONG_S)
        poller.interrupt()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
        assert waiters.value == 0


class AlarmError(Exception):
    """What the signal handler below raises."""


@pytest.mark.parametrize("wait", ["interrupt", "word", "ring"])
def test_a_signal_ends_a_wait(wait: str) -> None:
    """Ctrl-C works during every wait, and leaves nothing behind."""

    def on_alarm(number: int, frame: object) -> None:
        raise AlarmError

    previous = signal.signal(signal.SIGALRM, on_alarm)
    try:
        with pages(4) as shared:
            ring = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, 4)
            ring.submit(0, 1)
            word = Word64(bytearray(8), 0)
            waits: dict[str, Callable[[], object]] = {
                "interrupt": lambda: irq_wait(shared.doorbell, 0, LONG_S),
                "word": lambda: word.wait_at_least(1, LONG_S),
                "ring": lambda: ring.wait_free(3, LONG_S),
            }
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(AlarmError):
                waits[wait]()
            assert shared.peek(shared.doorbell, dev_ram.DOORBELL_IRQ_WAITERS) == 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("doorbell", [bytes(4096), bytearray(64), None])
def test_interrupts_need_a_doorbell_page(doorbell: object) -> None:
    """What is no writable page is refused."""
    with pytest.raises(InvalidValueError):
        irq_sequence(doorbell)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        irq_wait(doorbell, 0, 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError):
        irq_wait(mmap.mmap(-1, 4096), 2**32, 0)


def test_a_scribbled_doorbell_page_costs_its_owner_only() -> None:
    """An engine raises interrupts whatever the page says: the count goes on from what it finds."""
    with pages(2) as shared:
        struct.pack_into("<1024I", shared.doorbell, 0, *([0xFFFFFFFF] * 1024))
        poller = Poller([], shared.doorbell, shared.doorbell_fd, 2)
        poller.interrupt()
        assert irq_sequence(shared.doorbell) == 0
