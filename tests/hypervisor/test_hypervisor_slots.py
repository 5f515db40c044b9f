"""Registers and slots under a hostile guest."""

import os
import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.hypervisor.raw_guest import NUMBERS, PAGE, RawGuest, held, holds_nothing

from logv import abi
from logv.errors import Status
from logv.hw.clc7b5 import AMPERE_DMA_COPY_B
from logv.hypervisor import Hypervisor, virtual_device
from logv.hypervisor.slot_memory import SlotMemory
from logv.uapi import Domain

ALLOC = abi.MemAlloc(PAGE, Domain.VRAM)
ALL_ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("first", "count"),
    [(0, 0), (5, 0), (32, 1), (31, 2), (0, 33), (1, 32), (33, 0), (0xFFFF, 1), (0, 0xFFFF), (0xFFFF, 0xFFFF)],
)
def test_runs_outside_the_slots(guest: RawGuest, first: int, count: int) -> None:
    """A run that is empty, or leaves the slots, is refused and no slot is touched."""
    for slot in range(abi.SLOT_COUNT):
        guest.write(slot, abi.Call.MEM_ALLOC, *ALLOC)
    before, memory = held(guest.vm), bytes(guest.slots)
    assert guest.execute(first, count) == Status.INVALID_VALUE
    assert held(guest.vm) == before
    assert bytes(guest.slots) == memory


def test_the_last_slot_and_all_slots(guest: RawGuest) -> None:
    """The longest run and the last slot are within bounds; one crossing carries them."""
    assert guest.run(ALLOC, first=abi.SLOT_COUNT - 1)[0].status == Status.OK
    before = guest.vm.counters
    replies = guest.run(*[ALLOC] * abi.SLOT_COUNT)
    assert {reply.status for reply in replies} == {Status.OK}
    after = guest.vm.counters
    assert (after.hypercalls - before.hypercalls, after.calls - before.calls) == (1, abi.SLOT_COUNT)


def test_registers(guest: RawGuest) -> None:
    """The registers say what the device is and what it did."""
    read = guest.device.read_register
    guest.run(ALLOC, ALLOC)
    guest.execute(0, 0)
    assert {register: read(register) for register in abi.Register} == {
        abi.Register.ID: abi.DEVICE_ID,
        abi.Register.VERSION: abi.ABI_VERSION,
        abi.Register.SLOTS: abi.SLOT_COUNT,
        abi.Register.CHANNELS: guest.device.region(abi.RegionIndex.USERD).size // PAGE - 1,
        abi.Register.EXECUTE: 0,
        abi.Register.STATUS: Status.INVALID_VALUE,
        abi.Register.RESET: 0,
        abi.Register.DOORBELL: 0,
        abi.Register.HYPERCALLS: guest.vm.counters.hypercalls,
        abi.Register.CALLS: guest.vm.counters.calls,
    }


@pytest.mark.parametrize("offset", [1, 2, 0x11, 0x12, 0x1C, 0x2C, abi.BAR0_SIZE, -4, 2**32, 2**64])
def test_no_register_there(guest: RawGuest, offset: int) -> None:
    """Between, behind and before the registers there is nothing to read or write."""
    guest.write(0, abi.Call.MEM_ALLOC, *ALLOC)
    before = guest.vm.counters
    assert guest.device.read_register(offset) == ALL_ONES
    guest.device.write_register(offset, abi.encode_execute(0, 1))
    guest.device.write_register(offset, abi.RESET_KEY)
    assert guest.vm.counters == before


@pytest.mark.parametrize("register", [each for each in abi.Register if each is not abi.Register.EXECUTE])
@pytest.mark.parametrize("value", [0, 1, 1 << 16, ALL_ONES, -1, 2**64])
def test_writes_that_do_nothing(guest: RawGuest, register: abi.Register, value: int) -> None:
    """Registers for reading ignore writes; so does RESET without its key."""
    guest.make(ALLOC)
    before = (guest.vm.counters, [guest.device.read_register(each) for each in abi.Register])
    guest.device.write_register(register, value)
    assert (guest.vm.counters, [guest.device.read_register(each) for each in abi.Register]) == before


@pytest.mark.parametrize("value", [-1, 2**32 + (1 << 16), 2**64 - 1, 2**80])
def test_execute_has_32_bits(guest: RawGuest, value: int) -> None:
    """A wider value is cut like on a bus, and the rest is checked as ever."""
    guest.write(0, abi.Call.VSPACE_NEW)
    guest.device.write_register(abi.Register.EXECUTE, value)
    expected = Status.OK if value & ALL_ONES == 1 << 16 else Status.INVALID_VALUE
    assert guest.device.read_register(abi.Register.STATUS) == expected


@pytest.mark.parametrize("number", [0, len(abi.Call) + 1, 0x8000_0000, ALL_ONES])
def test_unknown_calls(guest: RawGuest, number: int) -> None:
    """A call number that is none is refused."""
    before = held(guest.vm)
    guest.write(3, number, 1, 2, 3)
    assert guest.execute(3, 1) == Status.INVALID_VALUE
    assert guest.reply(3).status == Status.INVALID_VALUE
    assert str(number) in guest.reply(3).message
    assert held(guest.vm) == before


@pytest.mark.parametrize("call", list(abi.Call))
def test_fields_that_a_call_lacks(guest: RawGuest, call: abi.Call) -> None:
    """Fields behind a request's own must be 0, so that a later version can give them a meaning."""
    own = len(abi.REQUESTS[call]._fields)
    before = held(guest.vm)
    for position in range(own, 7):
        fields = [0] * 7
        fields[position] = 1
        guest.write(0, call, *fields)
        assert guest.execute(0, 1) == Status.INVALID_VALUE
        assert "must be 0" in guest.reply(0).message
    assert held(guest.vm) == before


def test_a_run_stops_where_it_fails(guest: RawGuest) -> None:
    """The calls before the one that fails stay, those behind it are not tried."""
    replies = guest.run(ALLOC, abi.MemAlloc(0, Domain.VRAM), ALLOC, ALLOC)
    assert [reply.status for reply in replies] == [
        Status.OK,
        Status.INVALID_VALUE,
        Status.ABORTED,
        Status.ABORTED,
    ]
    assert guest.device.read_register(abi.Register.STATUS) == Status.INVALID_VALUE
    assert guest.vm.counters.buffers == 1


def test_references(guest: RawGuest) -> None:
    """A field can name the result of an earlier slot of the run, wherever the run starts."""
    first = 7
    replies = guest.run(
        abi.VspaceNew(),
        ALLOC,
        abi.VspaceMap(abi.REFERENCE | first, abi.REFERENCE | first + 1, 0, PAGE, 0),
        abi.MemMap(abi.REFERENCE | first + 1),
        abi.ChanNew(abi.REFERENCE | first),
        abi.FifoInitIb(abi.REFERENCE | first + 4, abi.REFERENCE | first + 2, 16),
        first=first,
    )
    assert {reply.status for reply in replies} == {Status.OK}
    assert replies[3].fields[:3] == (abi.RegionIndex.VRAM, replies[1].fields[2], PAGE)


@pytest.mark.parametrize("named", [0, 1, 2, 3, 31, 32, 2**32, 2**62, 2**63 - 1])
def test_references_to_nothing(guest: RawGuest, named: int) -> None:
    """A reference to itself, to a later slot, to a slot outside the run or outside BAR1 is refused."""
    guest.run(ALLOC)  # its reply lies in slot 0, which is not part of the run below
    before = held(guest.vm)
    for slot in range(abi.SLOT_COUNT):
        guest.write(slot, abi.Call.MEM_ALLOC, *ALLOC)
    guest.write(1, abi.Call.MEM_MAP, abi.REFERENCE | named)
    assert guest.execute(1, 4) == Status.INVALID_VALUE
    assert held(guest.vm) == before


def test_references_are_not_read_from_the_slots(guest: RawGuest) -> None:
    """A slot whose reply looks right, but which the run did not carry out, is no result."""
    memory = guest.make(ALLOC)
    abi.pack_success(guest.slots, 4, (memory, PAGE, 0))
    guest.write(5, abi.Call.MEM_MAP, abi.REFERENCE | 4)
    assert guest.execute(5, 1) == Status.INVALID_VALUE


_SETUP: list[abi.Request] = [
    abi.VspaceNew(),
    ALLOC,
    abi.ChanNew(abi.REFERENCE | 0),
    abi.VspaceMap(abi.REFERENCE | 0, abi.REFERENCE | 1, 0, PAGE, abi.VSPACE_MAP_WRITABLE),
    abi.GetParam(0),
    abi.ObjEngNew(abi.REFERENCE | 2, AMPERE_DMA_COPY_B),
]


@pytest.mark.parametrize("call", list(abi.Call))
@pytest.mark.parametrize("named", range(len(_SETUP)))
def test_references_of_the_wrong_kind(guest: RawGuest, call: abi.Call, named: int) -> None:
    """Each field takes results of one kind only; fields for numbers take none."""
    names = abi.REQUESTS[call]._fields
    refused = {Status.INVALID_VALUE, Status.INVALID_HANDLE, Status.QUOTA_EXCEEDED}
    for position, name in enumerate(names):
        if abi.REFERABLE.get(name) is NUMBERS[type(_SETUP[named])]:
            continue
        guest.vm.reset()
        for slot, request in enumerate(_SETUP):
            guest.write(slot, NUMBERS[type(request)], *request)
        fields = [0] * len(names)
        fields[position] = abi.REFERENCE | named
        guest.write(len(_SETUP), call, *fields)
        assert guest.execute(0, len(_SETUP) + 1) in refused
        assert guest.reply(len(_SETUP) - 1).status == Status.OK
        assert guest.reply(len(_SETUP)).status in refused


class _Adversary(SlotMemory):
    """Slots that change completely as soon as the hypervisor has read them."""

    reads: list[tuple[int, int]]

    def __init__(self) -> None:
        super().__init__()
        self.reads = []

    def copy(self, first: int, count: int) -> bytes:
        """Copy, then let the guest rewrite everything."""
        self.reads.append((first, count))
        copied = super().copy(first, count)
        self._memory[:] = b"\xff" * abi.SLOTS_SIZE
        return copied


def test_slots_are_read_once(hypervisor: Hypervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call is carried out as it was when it was copied; nothing is fetched a second time."""
    made: list[_Adversary] = []

    def make() -> _Adversary:
        made.append(_Adversary())
        return made[-1]

    monkeypatch.setattr(virtual_device, "SlotMemory", make)
    guest = RawGuest(hypervisor.create_vm("vm", 1 << 20, 1 << 20, 2))
    run: list[abi.Request] = [
        abi.VspaceNew(),
        ALLOC,
        abi.VspaceMap(abi.REFERENCE | 0, abi.REFERENCE | 1, 0, PAGE, abi.VSPACE_MAP_WRITABLE),
        abi.MemMap(abi.REFERENCE | 1),
        abi.ChanNew(abi.REFERENCE | 0),
        abi.FifoInitIb(abi.REFERENCE | 4, abi.REFERENCE | 2, 16),
        abi.ObjEngNew(abi.REFERENCE | 4, AMPERE_DMA_COPY_B),
        abi.GetParam(0),
    ]
    replies = guest.run(*run)
    assert [reply.status for reply in replies] == [Status.OK] * len(run)
    vspace, memory, address, channel = (replies[slot].fields[0] for slot in (0, 1, 2, 4))
    back: list[abi.Request] = [
        abi.ChanFree(channel),
        abi.VspaceUnmap(vspace, address),
        abi.VspaceFree(vspace),
        abi.MemFree(memory),
    ]
    assert [reply.status for reply in guest.run(*back)] == [Status.OK] * len(back)
    assert set(abi.REQUESTS.values()) == {type(request) for request in run + back}
    assert made[0].reads == [(0, len(run)), (0, len(back))]
    assert holds_nothing(guest.vm)


def test_a_thread_that_rewrites_the_slot(guest: RawGuest) -> None:
    """Whichever of two sizes a call sees, it checks, charges and replies that one."""
    small, large = PAGE, 16 * PAGE
    stop = threading.Event()
    size_at = 8

    def rewrite() -> None:
        while not stop.is_set():
            guest.slots[size_at : size_at + 8] = large.to_bytes(8, "little")
            guest.slots[size_at : size_at + 8] = small.to_bytes(8, "little")

    thread = threading.Thread(target=rewrite)
    thread.start()
    try:
        for _ in range(200):
            guest.write(0, abi.Call.MEM_ALLOC, *ALLOC)
            assert guest.execute(0, 1) == Status.OK
            memory, size, _ = guest.reply(0).fields
            assert size in (small, large)
            assert guest.vm.counters.memory_used == size
            guest.write(1, abi.Call.MEM_FREE, memory)
            assert guest.execute(1, 1) == Status.OK
    finally:
        stop.set()
        thread.join()
    assert holds_nothing(guest.vm)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_garbage(guest: RawGuest, data: st.DataObject) -> None:
    """Whatever stands in the slots: the device goes on, replies a status, and a reset returns all."""
    first = data.draw(st.integers(0, abi.SLOT_COUNT - 1))
    count = data.draw(st.integers(1, 8))
    words = st.one_of(
        st.integers(0, 2**64 - 1),
        st.sampled_from([0, 1, PAGE, 2 * PAGE, 2**32, 2**63, 2**64 - 1]),
        st.integers(0, abi.SLOT_COUNT).map(lambda slot: abi.REFERENCE | slot),
    )
    for slot in range(first, min(first + count, abi.SLOT_COUNT)):
        call = data.draw(st.sampled_from(list(abi.Call)))
        number = data.draw(st.one_of(st.just(int(call)), st.integers(0, 2**32 - 1)))
        length = len(abi.REQUESTS[call]._fields)
        guest.write(slot, number, *data.draw(st.lists(words, min_size=length, max_size=length)))
    status = guest.execute(first, count)
    assert status in list(Status)
    assert status != Status.INTERNAL
    guest.vm.reset()
    assert holds_nothing(guest.vm)


def test_long_messages_are_cut_between_characters() -> None:
    """What does not fit into a slot's message is left out, and the rest stays text."""
    memory = bytearray(abi.SLOTS_SIZE)
    for text in ("x" * 200, "\u20ac" * 100, "a" + "\u20ac" * 100, "short", ""):
        abi.pack_failure(memory, 31, Status.BUSY, text)
        reply = abi.unpack_reply(memory, 31)
        assert reply.status == Status.BUSY
        assert text.startswith(reply.message)
        assert len(text) - len(reply.message) == 0 or len(reply.message.encode()) > 124


@pytest.mark.parametrize("size", [0, PAGE, 2 * abi.SLOTS_SIZE])
def test_slots_cannot_be_resized(guest: RawGuest, size: int) -> None:
    """The file of the slots is sealed: shrinking it would end the hypervisor with SIGBUS."""
    with pytest.raises(OSError, match="not permitted"):
        os.ftruncate(guest.device.region(abi.RegionIndex.SLOTS).fd, size)


def test_slots_survive_the_device(hypervisor: Hypervisor) -> None:
    """After the VM's end the guest's mapping still exists; nobody answers, and nothing happens."""
    vm = hypervisor.create_vm("vm", 1 << 20)
    guest = RawGuest(vm)
    vm.close()
    guest.write(0, abi.Call.MEM_ALLOC, *ALLOC)
    assert guest.execute(0, 1) == ALL_ONES
    assert guest.reply(0).status == abi.STATUS_PENDING
    for index in abi.RegionIndex:
        assert guest.device.region(index).size == 0
    guest.device.write_register(abi.Register.RESET, abi.RESET_KEY)
    vm.reset()
    assert holds_nothing(vm)


def test_regions(guest: RawGuest) -> None:
    """Each region has its size, and a number that is none has none."""
    sizes = {index: guest.device.region(index).size for index in abi.RegionIndex}
    counters = guest.vm.counters
    assert sizes[abi.RegionIndex.SLOTS] == abi.SLOTS_SIZE
    assert sizes[abi.RegionIndex.VRAM] == counters.memory_quota
    assert all(os.fstat(guest.device.region(index).fd).st_size == size for index, size in sizes.items())
    unknown: Any = 9
    assert guest.device.region(unknown).size == 0


def test_a_run_that_goes_on(guest: RawGuest) -> None:
    """With GO_ON every call is tried; the status is that of the first failure."""
    alloc = (abi.Call.MEM_ALLOC, *ALLOC)
    calls = [(abi.Call.MEM_FREE, 0xDEAD), alloc, (0x7777,), alloc]
    for slot, (number, *fields) in enumerate(calls):
        guest.write(slot, number, *fields)
    before = guest.vm.counters
    guest.device.write_register(abi.Register.EXECUTE, abi.encode_execute(0, len(calls), go_on=True))
    statuses = [abi.unpack_reply(guest.slots, slot).status for slot in range(len(calls))]
    assert statuses == [Status.INVALID_HANDLE, Status.OK, Status.INVALID_VALUE, Status.OK]
    assert guest.device.read_register(abi.Register.STATUS) == Status.INVALID_HANDLE
    after = guest.vm.counters
    assert (after.hypercalls - before.hypercalls, after.calls - before.calls) == (1, 2)
    assert after.buffers - before.buffers == 2
