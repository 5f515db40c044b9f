"""GPFIFO: submission against a model ring, wrap-around, hostile pages, and the doorbell."""

import array
import mmap
import os
from collections.abc import Callable
from contextlib import ExitStack

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.fastpath.ring_rig import Pages, decode, pages

from logv._fastpath import GpFifo, Poller
from logv.errors import ClosedError, InvalidValueError
from logv.hw import dev_ram

addresses = st.integers(0, 2**38 - 1).map(lambda word: 4 * word)
lengths = st.integers(1, 2**21 - 1)
words = st.integers(0, 2**32 - 1)


def fifo(shared: Pages, entries: int, submitted: int = 0) -> GpFifo:
    """Return the client side of a channel whose engine has fetched everything."""
    shared.gp_put = shared.gp_get = submitted % entries
    return GpFifo(
        shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, entries, submitted=submitted
    )


class RingMachine(RuleBasedStateMachine):
    """A client, an engine that fetches as it likes, and a list that says what must be in flight."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.waiting: list[tuple[int, int]] = []

    @initialize(order=st.integers(1, 5), start=st.sampled_from([0, 5, 2**31, 2**32 - 3, 2**32 - 1]))
    def begin(self, order: int, start: int) -> None:
        """Make a ring, often one whose count is about to wrap."""
        self.entries = 1 << order
        self.shared = self.stack.enter_context(pages(self.entries))
        self.fifo = fifo(self.shared, self.entries, start)
        self.count = start
        self.engine = Poller([self.shared.userd], self.shared.doorbell, self.shared.doorbell_fd, self.entries)
        self.fetched = start
        self.engine.publish(0, start % self.entries)
        self.rung = 0

    @rule(address=addresses, dwords=lengths)
    def submit(self, address: int, dwords: int) -> None:
        """One entry is taken exactly if there is room."""
        fits = len(self.waiting) < self.entries - 1
        assert self.fifo.submit(address, dwords) is fits
        if fits:
            self.waiting.append((address, dwords))
            self.count += 1
            self._ring()

    @rule(batch=st.lists(st.tuples(addresses, lengths), max_size=40))
    def submit_batch(self, batch: list[tuple[int, int]]) -> None:
        """Of a batch, the first entries that fit are taken, with at most one wake."""
        encoded = np.array([GpFifo.encode(*entry) for entry in batch], dtype=np.uint64)
        taken = self.fifo.submit_entries(encoded)
        assert taken == min(len(batch), self.entries - 1 - len(self.waiting))
        self.waiting += batch[:taken]
        self.count += taken
        if taken:
            self._ring()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def fetch(self, data: st.DataObject) -> None:
        """The engine finds what was submitted, in order, and gives places back."""
        for _ in range(data.draw(st.integers(1, len(self.waiting)))):
            assert decode(self.shared.entry(self.fetched % self.entries)) == self.waiting.pop(0)
            self.fetched += 1
        self.engine.publish(0, self.fetched % self.entries)

    @rule(flag=st.sampled_from([0, 1]))
    def engine_sleeps(self, flag: int) -> None:
        """The engine says whether it sleeps."""
        self.shared.poke(self.shared.doorbell, dev_ram.DOORBELL_SLEEPING, flag)

    def _ring(self) -> None:
        asleep = self.shared.peek(self.shared.doorbell, dev_ram.DOORBELL_SLEEPING)
        self.rung += asleep
        assert self.shared.rings() == asleep

    @invariant()
    def agrees(self) -> None:
        """All figures match the model's after every step."""
        assert self.fifo.entries == self.entries
        assert self.fifo.pending == self.engine.pending(0) == len(self.waiting)
        assert self.fifo.free == self.entries - 1 - len(self.waiting)
        assert self.fifo.submitted == self.count % 2**32
        assert self.shared.gp_put == self.count % self.entries
        assert self.fifo.wakes == self.rung
        assert self.engine.next() == (0 if self.waiting else None)

    def teardown(self) -> None:
        """Close the eventfd."""
        self.stack.close()


TestRing = RingMachine.TestCase
TestRing.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(addresses, lengths)
def test_an_entry_is_what_the_class_header_says(address: int, dwords: int) -> None:
    """Encoding puts each field where the manual has it."""
    assert decode(GpFifo.encode(address, dwords)) == (address, dwords)


@pytest.mark.parametrize(
    ("address", "dwords"),
    [(2, 1), (2**40, 1), (-4, 1), (2**64, 1), (0, 0), (0, 2**21), (0, -1), ("0", 1), (0, None), (0.0, 1)],
)
def test_a_bad_segment_is_refused_and_nothing_is_submitted(address: object, dwords: object) -> None:
    """Misaligned, too high, empty or too long: an error of the tree, and an untouched ring."""
    with pages(4) as shared:
        ring = fifo(shared, 4)
        for call in (ring.submit, GpFifo.encode):
            with pytest.raises(InvalidValueError):
                call(address, dwords)  # type: ignore[arg-type]
        assert ring.submitted == shared.gp_put == shared.entry(0) == 0


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.lists(st.tuples(words, words, st.integers(0, 80)), min_size=1, max_size=12))
def test_a_scribbled_userd_page_harms_nobody_else(order: int, steps: list[tuple[int, int, int]]) -> None:
    """Whatever GP_GET and GP_PUT are set to: figures stay in range, writes stay in the ring."""
    entries = 1 << order
    with pages(entries) as shared:
        ring = fifo(shared, entries)
        engine = Poller([shared.userd], shared.doorbell, shared.doorbell_fd, entries)
        for get, put, count in steps:
            shared.gp_get = get
            shared.gp_put = put
            assert 0 <= engine.pending(0) < entries
            assert ring.free + ring.pending == entries - 1
            before = ring.submitted
            taken = ring.submit_entries(np.full(count, 2**64 - 1, dtype=np.uint64))
            assert taken <= min(count, entries - 1)
            taken += ring.submit(0, 1)
            assert ring.submitted == before + taken
            assert shared.gp_put == (put if taken == 0 else ring.submitted % entries)
        assert shared.ring[8 * entries :] == bytes(len(shared.ring) - 8 * entries)


@settings(max_examples=60, deadline=None)
@given(st.lists(words, min_size=1, max_size=9), st.integers(0, 12))
def test_the_poller_takes_turns(puts: list[int], start: int) -> None:
    """The first channel from the starting place on that has entries is found, whoever wrote GP_PUT."""
    entries = 8
    with pages(entries) as shared, ExitStack() as stack:
        userds = [mmap.mmap(-1, 4096) for _ in puts]
        for userd, put in zip(userds, puts, strict=True):
            stack.callback(userd.close)
            shared.poke(userd, dev_ram.NV_RAMUSERD_GP_PUT, put)
        poller = Poller(userds, shared.doorbell, shared.doorbell_fd, entries)
        assert [poller.pending(i) for i in range(len(puts))] == [put % entries for put in puts]
        first = start if start < len(puts) else 0
        turns = [*range(first, len(puts)), *range(first)]
        assert poller.next(start) == next((i for i in turns if puts[i] % entries), None)
        del poller


def test_a_poller_without_channels_finds_nothing() -> None:
    """No channels is a valid state of an engine; naming one is not."""
    with pages(2) as shared:
        poller = Poller([], shared.doorbell, shared.doorbell_fd, 2)
        assert poller.next() is None
        with pytest.raises(InvalidValueError):
            poller.pending(0)


def test_the_engine_is_woken_only_while_it_sleeps() -> None:
    """No system call is made for an engine that is awake, and one for each submission to one that is not."""
    with pages(64) as shared:
        ring = fifo(shared, 64)
        ring.submit(0, 1)
        ring.submit_entries(np.full(8, GpFifo.encode(0, 1), dtype=np.uint64))
        assert (ring.wakes, shared.rings()) == (0, 0)
        shared.poke(shared.doorbell, dev_ram.DOORBELL_SLEEPING, 1)
        ring.submit(0, 1)
        ring.submit_entries(np.full(8, GpFifo.encode(0, 1), dtype=np.uint64))
        assert (ring.wakes, shared.rings()) == (2, 2)
        shared.poke(shared.doorbell, dev_ram.DOORBELL_SLEEPING, 0xFFFFFFFF)
        ring.submit(0, 1)
        assert (ring.wakes, shared.rings()) == (2, 0)


def test_a_full_eventfd_counts_as_a_wake() -> None:
    """An eventfd that cannot count higher has wakes enough under way."""
    with pages(4) as shared:
        os.eventfd_write(shared.doorbell_fd, 2**64 - 2)
        shared.poke(shared.doorbell, dev_ram.DOORBELL_SLEEPING, 1)
        assert fifo(shared, 4).submit(0, 1)


def test_a_closed_doorbell_is_a_clear_error() -> None:
    """If a sleeping engine cannot be woken, the submission says so instead of waiting for ever."""
    with pages(4) as shared:
        gone = os.eventfd(0)
        os.close(gone)
        ring = GpFifo(shared.ring, shared.userd, shared.doorbell, gone, 4)
        assert ring.submit(0, 1)
        shared.poke(shared.doorbell, dev_ram.DOORBELL_SLEEPING, 1)
        with pytest.raises(ClosedError, match="doorbell"):
            ring.submit(0, 1)


@pytest.mark.parametrize(
    "entries",
    [np.zeros(4, np.uint32), np.zeros((2, 2), np.uint64), np.zeros(8, np.uint64)[::2], np.zeros(4), 7],
)
def test_a_batch_is_an_array_of_uint64(entries: object) -> None:
    """Other element types, shapes, strides and objects are refused, and nothing is submitted."""
    with pages(8) as shared:
        ring = fifo(shared, 8)
        with pytest.raises(InvalidValueError, match="uint64"):
            ring.submit_entries(entries)  # type: ignore[arg-type]
        assert ring.submitted == 0


def test_any_array_of_uint64_is_a_batch() -> None:
    """NumPy arrays, arrays of the standard library and read-only views will do."""
    with pages(8) as shared:
        ring = fifo(shared, 8)
        assert ring.submit_entries(array.array("Q", [4])) == 1
        assert ring.submit_entries(memoryview(bytes(16)).cast("Q")) == 2
        assert ring.submit_entries(np.zeros(0, np.uint64)) == 0
        assert ring.submitted == 3


Change = Callable[[dict[str, object]], object]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ring", bytes(64)),
        ("ring", bytearray(63)),
        ("ring", memoryview(bytearray(129))[1:]),
        ("ring", memoryview(bytearray(256))[::2]),
        ("ring", None),
        ("userd", bytearray(4095)),
        ("doorbell", bytearray(8)),
        ("doorbell", bytes(4096)),
        ("entries", 0),
        ("entries", 1),
        ("entries", 6),
        ("entries", 131072),
        ("entries", -8),
        ("entries", "8"),
        ("submitted", -1),
        ("submitted", 2**32),
    ],
)
def test_a_channel_of_impossible_parts_is_refused(name: str, value: object) -> None:
    """Buffers too small, read-only, misaligned or scattered, and impossible counts, and no pin is kept."""
    parts: dict[str, object] = {
        "ring": bytearray(64),
        "userd": bytearray(4096),
        "doorbell": bytearray(4096),
        "doorbell_fd": 0,
        "entries": 8,
        "submitted": 0,
    }
    parts[name] = value
    with pytest.raises(InvalidValueError):
        GpFifo(**parts)  # type: ignore[arg-type]
    for part in parts.values():
        if isinstance(part, bytearray):
            part.append(0)  # raises BufferError while anybody pins it


def test_a_channel_keeps_its_pages_alive_and_lets_them_go() -> None:
    """The pages cannot be unmapped under a channel, and can once it is gone."""
    with pages(8) as shared:
        ring = fifo(shared, 8)
        for page in (shared.ring, shared.userd, shared.doorbell):
            with pytest.raises(BufferError):
                page.close()
        assert ring.submit(0, 1)
        del ring
        for page in (shared.ring, shared.userd, shared.doorbell):
            page.close()
