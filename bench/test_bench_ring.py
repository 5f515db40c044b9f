"""Submitting: what one GP entry costs from Python, and what an entry of a batch costs."""

import time
from collections.abc import Iterator

import numpy as np
import pytest
from bench.conftest import Paired
from tests.fastpath.ring_rig import Pages, pages

from logv._fastpath import GpFifo

ENTRIES = 65536
SINGLE = 2000
"""Submissions timed at once; the ring has room for them."""
BATCH_ENTRIES = 4000
BATCHES = 100
BATCH_BAR_NS = 2.0
ADDRESS, DWORDS = 0x12_3456_7890, 100


class Empty:
    """The least that a call of a Python method with two arguments can be."""

    def submit(self, address: int, dwords: int) -> None:
        """Do nothing."""


@pytest.fixture
def shared() -> Iterator[Pages]:
    """The pages of a channel whose engine is awake and fetches at once, as if."""
    with pages(ENTRIES) as made:
        yield made


def fetch_all(shared: Pages) -> None:
    """Do the engine's part."""
    shared.gp_get = shared.gp_put


def test_submit_one_entry(paired: Paired, shared: Pages) -> None:
    """One GP entry from Python: at most 1.5 empty method calls."""
    fifo = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, ENTRIES)
    empty = Empty()

    def ours() -> None:
        submit = fifo.submit
        for _ in range(SINGLE):
            submit(ADDRESS, DWORDS)
        fetch_all(shared)

    def baseline() -> None:
        submit = empty.submit
        for _ in range(SINGLE):
            submit(ADDRESS, DWORDS)

    before = fifo.submitted
    ours()
    assert fifo.submitted == before + SINGLE
    paired(ours, baseline, label="submit one GP entry / empty method call", bar=1.5)
    assert fifo.wakes == 0


def test_submit_a_batch(paired: Paired, shared: Pages) -> None:
    """A batch from an array: at most 2 ns an entry, and no wake while the engine is awake."""
    fifo = GpFifo(shared.ring, shared.userd, shared.doorbell, shared.doorbell_fd, ENTRIES)
    entries = np.full(BATCH_ENTRIES, GpFifo.encode(ADDRESS, DWORDS), dtype=np.uint64)
    budget_ns = int(BATCHES * BATCH_ENTRIES * BATCH_BAR_NS)

    def ours() -> None:
        for _ in range(BATCHES):
            assert fifo.submit_entries(entries) == BATCH_ENTRIES
            fetch_all(shared)

    def budget() -> None:
        end = time.perf_counter_ns() + budget_ns
        while time.perf_counter_ns() < end:
            pass

    paired(ours, budget, label="submit a batch / 2 ns an entry", bar=1.0)
    assert fifo.wakes == 0
    assert shared.rings() == 0
