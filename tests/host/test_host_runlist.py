from collections.abc import Sequence

import pytest

from logv.gpu import Gpu
from logv.host import Session
from logv.host.runlist import Runlist
from logv.hw.clc56f import NVC56F_GP_ENTRY__SIZE


class _Recorder(Gpu):
    """Keeps the last runlist instead of running it."""

    def __init__(self) -> None:
        self.last: list[int] = []

    def set_runlist(self, order: Sequence[int]) -> None:
        self.last = list(order)


def test_partitions_take_turns() -> None:
    """However many channels one partition has, the first of another stands second."""
    gpu = _Recorder()
    runlist = Runlist(gpu)
    for channel in range(5):
        runlist.add("a", channel)
    runlist.add("b", 10)
    runlist.add("c", 20)
    runlist.add("c", 21)
    assert gpu.last == [0, 10, 20, 1, 21, 2, 3, 4]


def test_removing() -> None:
    """What is removed is off the list; the others keep their order."""
    gpu = _Recorder()
    runlist = Runlist(gpu)
    for channel in (1, 2, 3):
        runlist.add("a", channel)
    runlist.add("b", 10)
    runlist.remove("a", 1)
    assert gpu.last == runlist.order() == [2, 10, 3]
    runlist.remove("b", 10)
    assert gpu.last == [2, 3]


def test_removing_what_is_not_on_it() -> None:
    """A channel that was never enabled is passed over, and the GPU is not told anything."""
    gpu = _Recorder()
    runlist = Runlist(gpu)
    runlist.add("a", 1)
    published = gpu.last
    runlist.remove("a", 7)
    runlist.remove("nobody", 1)
    assert gpu.last is published


def test_channels_join_when_they_get_a_ring(
    gpu: Gpu, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A channel gets turns from fifo_init_ib until it is freed."""
    lengths: list[int] = []
    real = gpu.set_runlist

    def watch(order: Sequence[int]) -> None:
        lengths.append(len(order))
        real(order)

    monkeypatch.setattr(gpu, "set_runlist", watch)
    space = session.vspace_new()
    entries = 4
    ring = session.vspace_map(space, session.mem_alloc(entries * NVC56F_GP_ENTRY__SIZE).handle)
    channel = session.chan_new(space)
    assert lengths == []
    session.fifo_init_ib(channel.handle, ring, entries)
    session.chan_free(channel.handle)
    assert lengths == [1, 0]
