"""The guest driver: who may do what, and how many crossings it takes."""

import gc
import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.guest.guest_world import held

from logv import abi
from logv.errors import (
    BusyError,
    ClosedError,
    InvalidHandleError,
    InvalidValueError,
    LogvError,
    NotSupportedError,
    QuotaExceededError,
)
from logv.guest import GuestDriver, Process
from logv.guest.slots import CallSlots
from logv.hw.clc7b5 import AMPERE_DMA_COPY_B
from logv.hypervisor import Vm
from logv.uapi import Domain, Param, Pending

PAGE = 4096


def crossings(vm: Vm, call: Callable[[], object]) -> int:
    """Return how many hypercalls `call` takes."""
    before = vm.counters.hypercalls
    call()
    return vm.counters.hypercalls - before


def test_another_process(vm: Vm, guest: GuestDriver, process: Process) -> None:
    """Another process's handles are refused without a hypercall, whatever this process holds itself."""
    other = guest.open()
    space, memory = other.vspace_new(), other.mem_alloc(PAGE)
    address = other.vspace_map(space, memory.handle)
    channel = other.chan_new(space).handle
    mine, my_memory = process.vspace_new(), process.mem_alloc(PAGE).handle
    attempts: list[Callable[[], object]] = [
        lambda: process.mem_free(memory.handle),
        lambda: process.mem_map(memory.handle),
        lambda: process.vspace_free(space),
        lambda: process.vspace_map(space, my_memory),
        lambda: process.vspace_map(mine, memory.handle),
        lambda: process.vspace_unmap(space, address),
        lambda: process.chan_new(space),
        lambda: process.chan_free(channel),
        lambda: process.fifo_init_ib(channel, address, 2),
        lambda: process.obj_eng_new(channel, AMPERE_DMA_COPY_B),
    ]
    before = vm.counters
    for attempt in attempts:
        with pytest.raises(InvalidHandleError):
            attempt()
    assert vm.counters == before


def test_mapping_twice_is_one_hypercall(vm: Vm, process: Process) -> None:
    """Where a buffer object's bytes are is asked once; every view shows the same memory."""
    memory = process.mem_alloc(PAGE, Domain.SYSTEM).handle
    assert crossings(vm, lambda: process.mem_map(memory)) == 1
    assert crossings(vm, lambda: process.mem_map(memory)) == 0
    process.mem_map(memory)[7] = 42
    assert process.mem_map(memory)[7] == 42


def test_views_are_the_window(vm: Vm, process: Process) -> None:
    """A view is a slice of the VM's own window, at the object's offset."""
    process.mem_alloc(3 * PAGE)
    memory = process.mem_alloc(PAGE)
    process.mem_map(memory.handle)[:5] = b"hello"
    region = vm.device.region(abi.RegionIndex.VRAM)
    assert os.pread(region.fd, 5, memory.offset) == b"hello"


def test_no_hypercalls_for_interrupts(vm: Vm, process: Process) -> None:
    """Interrupts are counted and waited for in the doorbell page."""
    assert crossings(vm, lambda: process.wait_irq(process.irq_sequence(), 0.0)) == 0


def test_an_application_starts_with_one_crossing(vm: Vm, process: Process) -> None:
    """A batch of everything an application needs is one hypercall of many calls."""
    calls = vm.counters.calls

    def start() -> None:
        with process.batch() as batch:
            space = batch.vspace_new()
            for domain in Domain:
                memory = batch.mem_alloc(PAGE, domain)
                address = batch.vspace_map(space, memory)
                batch.mem_map(memory)
            channel = batch.chan_new(space)
            batch.fifo_init_ib(channel, address, 16)
            batch.obj_eng_new(channel, AMPERE_DMA_COPY_B)

    assert crossings(vm, start) == 1
    assert vm.counters.calls - calls == 10


@pytest.mark.parametrize("count", [1, 31, 32, 33, 64, 65, 100])
def test_batches_longer_than_the_slots(vm: Vm, process: Process, count: int) -> None:
    """A batch is cut into runs; results of earlier runs are arguments in later ones."""
    results: list[Pending[Any]] = []

    def run() -> None:
        with process.batch() as batch:
            space, memory = batch.vspace_new(), batch.mem_alloc(PAGE)
            results.extend(batch.vspace_map(space, memory) for _ in range(count))

    assert crossings(vm, run) == -(-(count + 2) // abi.SLOT_COUNT)
    assert len({result.value for result in results}) == count


@pytest.mark.parametrize("count", [1, 30, 31, 32, 70])
def test_undo_of_many_runs(vm: Vm, process: Process, count: int) -> None:
    """A batch that fails late is undone from its first run on, also with rings already asked for."""
    space, memory = process.vspace_new(), process.mem_alloc(PAGE).handle
    before = held(vm)

    def run() -> None:
        with process.batch() as batch:
            channel = batch.chan_new(space)
            own = batch.vspace_new()
            batch.mem_map(batch.mem_alloc(PAGE))
            for _ in range(count):
                batch.vspace_map(own, memory)
            batch.fifo_init_ib(channel, batch.vspace_map(space, memory), 2)
            batch.chan_new(own)
            batch.mem_alloc(64 << 20)

    with pytest.raises(QuotaExceededError):
        run()
    assert held(vm) == before
    process.vspace_free(space)
    process.mem_free(memory)


def test_rings_come_last(process: Process) -> None:
    """A call that cannot be undone waits for all that can fail: the channel can still get its ring."""
    space, memory = process.vspace_new(), process.mem_alloc(PAGE).handle
    address = process.vspace_map(space, memory)
    channel = process.chan_new(space).handle

    def run() -> None:
        with process.batch() as batch:
            batch.fifo_init_ib(channel, address, 4)
            batch.mem_alloc(0)

    with pytest.raises(InvalidValueError):
        run()
    process.fifo_init_ib(channel, address, 4)


def test_a_handle_freed_while_the_batch_is_recorded(vm: Vm, process: Process) -> None:
    """A handle that was good when it was recorded and is not any more fails the batch."""
    memory = process.mem_alloc(PAGE).handle
    before = held(vm)

    def run() -> None:
        with process.batch() as batch:
            batch.vspace_new()
            batch.mem_map(memory)
            process.mem_free(memory)
            process.mem_alloc(PAGE)

    with pytest.raises(InvalidHandleError):
        run()
    assert held(vm) == before


@pytest.mark.parametrize("ring", [2**63, 2**63 | 1, 2**64 - 1])
def test_addresses_are_no_references(process: Process, ring: int) -> None:
    """An address that would read as a reference to another call is refused as an address."""
    space, memory = process.vspace_new(), process.mem_alloc(PAGE).handle

    def run() -> None:
        with process.batch() as batch:
            channel = batch.chan_new(space)
            batch.vspace_map(space, memory)
            batch.fifo_init_ib(channel, ring, 2)

    with pytest.raises(InvalidValueError):
        run()


@pytest.mark.parametrize("kind", ["memory", "vspace", "channel", "ring"])
def test_results_of_another_kind(vm: Vm, process: Process, kind: str) -> None:
    """A result stands only for what it is."""

    def run() -> None:
        with process.batch() as batch:
            made: dict[str, Any] = {"vspace": batch.vspace_new(), "memory": batch.mem_alloc(PAGE)}
            made["ring"] = batch.vspace_map(made["vspace"], made["memory"])
            made["channel"] = batch.chan_new(made["vspace"])
            wrong = {"memory": "vspace", "vspace": "memory", "channel": "ring", "ring": "channel"}
            made[kind] = made[wrong[kind]]
            batch.mem_map(made["memory"])
            batch.vspace_map(made["vspace"], made["memory"])
            batch.fifo_init_ib(made["channel"], made["ring"], 2)

    before = held(vm)
    with pytest.raises(InvalidHandleError):
        run()
    assert held(vm) == before


def test_a_process_that_is_dropped(vm: Vm, guest: GuestDriver) -> None:
    """What a process held that was never closed comes back at the next call of the VM."""
    before = held(vm)
    process: Process | None = guest.open()
    assert process is not None
    space = process.vspace_new()
    process.vspace_map(space, process.mem_alloc(PAGE).handle)
    process.chan_new(space)
    assert held(vm) != before
    del process
    gc.collect()
    guest.open()
    assert held(vm) == before


def test_closing_processes(vm: Vm, guest: GuestDriver) -> None:
    """Closing one process returns its objects and leaves the others theirs; closing all, everything."""
    processes = [guest.open() for _ in range(3)]
    memories = [process.mem_alloc(PAGE).handle for process in processes]
    for process in processes:
        process.chan_new(process.vspace_new())
    processes[1].close()
    processes[1].close()
    assert vm.counters.buffers == 2
    processes[0].mem_map(memories[0])
    guest.close()
    guest.close()
    assert vm.counters.buffers == 0
    for call in (guest.open, processes[0].irq_sequence, lambda: processes[2].mem_free(memories[2])):
        with pytest.raises(ClosedError):
            call()


def test_many_objects_close_in_few_crossings(vm: Vm, guest: GuestDriver) -> None:
    """Closing a process takes a crossing for every 32 of its objects."""
    process = guest.open()
    for _ in range(100):
        process.mem_alloc(PAGE)
    assert crossings(vm, process.close) == -(-100 // abi.SLOT_COUNT)


def test_closing_after_a_reset(vm: Vm, process: Process) -> None:
    """A process whose VM was reset under it gets errors, and can still be closed."""
    memory = process.mem_alloc(PAGE).handle
    vm.reset()
    with pytest.raises(InvalidHandleError):
        process.mem_free(memory)
    process.mem_alloc(PAGE)
    process.close()
    assert vm.counters.buffers == 0


def test_the_vm_goes_first(vm: Vm) -> None:
    """With the VM closed under it, the guest driver says so, and closes without complaint."""
    guest = GuestDriver(vm.device)
    process, dropped = guest.open(), guest.open()
    view = process.mem_map(process.mem_alloc(PAGE).handle)
    channel = process.chan_new(process.vspace_new())
    dropped.mem_alloc(PAGE)
    vm.close()
    for call in (
        process.vspace_new,
        lambda: process.get_param(Param.VRAM_FREE),
        lambda: process.chan_free(channel.handle),
    ):
        with pytest.raises(ClosedError):
            call()
    view[0] = channel.userd[0] = 1
    os.eventfd_write(channel.doorbell_fd, 1)
    guest.close()
    with pytest.raises(ClosedError):
        GuestDriver(vm.device)


def test_a_new_driver_resets_the_device(vm: Vm) -> None:
    """A guest that starts again finds nothing of the one before, which held objects."""
    old = GuestDriver(vm.device)
    memory = old.open().mem_alloc(PAGE).handle
    new = GuestDriver(vm.device)
    assert vm.counters.buffers == 0
    with pytest.raises(InvalidHandleError):
        new.open().mem_free(memory)
    old.close()
    new.close()


class _OtherDevice:
    """A device that differs in one register."""

    def __init__(self, device: abi.VirtualDevice, register: abi.Register) -> None:
        self._device = device
        self._register = register
        self.doorbell_fd = device.doorbell_fd
        self.present = device.present
        self.region = device.region
        self.write_register = device.write_register
        self.post_register = device.post_register
        self.finish_posted = device.finish_posted

    def read_register(self, offset: int) -> int:
        """Read."""
        return self._device.read_register(offset) + (offset == self._register)


@pytest.mark.parametrize("register", [abi.Register.ID, abi.Register.VERSION])
def test_another_device(vm: Vm, register: abi.Register) -> None:
    """Another device, or another version of the ABI, is not driven."""
    with pytest.raises(NotSupportedError, match="version"):
        GuestDriver(_OtherDevice(vm.device, register))


def test_threads(vm: Vm, guest: GuestDriver) -> None:
    """Threads of several processes take turns at the slots; each gets its own replies."""
    errors: list[BaseException] = []

    def work(process: Process, size: int) -> None:
        try:
            space = process.vspace_new()
            for _ in range(30):
                memory = process.mem_alloc(size)
                assert memory.size == size
                address = process.vspace_map(space, memory.handle)
                with pytest.raises(BusyError):
                    process.mem_free(memory.handle)
                process.vspace_unmap(space, address)
                process.mem_free(memory.handle)
        except BaseException as error:
            errors.append(error)

    processes = [guest.open(), guest.open()]
    threads = [
        threading.Thread(target=work, args=(processes[number % 2], (number + 1) * PAGE))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for process in processes:
        process.close()
    assert vm.counters.buffers == 0


def test_unknown_status() -> None:
    """A status that this driver does not know is an error all the same."""

    class Device:
        doorbell_fd = -1
        present = True

        def post_register(self, offset: int, value: int) -> None: ...

        def finish_posted(self) -> None: ...

        def __init__(self) -> None:
            self.fd = os.memfd_create("slots")
            os.ftruncate(self.fd, abi.SLOTS_SIZE)

        def region(self, index: abi.RegionIndex) -> abi.Region:
            return abi.Region(self.fd, abi.SLOTS_SIZE)

        def read_register(self, offset: int) -> int:
            return 0

        def write_register(self, offset: int, value: int) -> None:
            memory = bytearray(abi.SLOTS_SIZE)
            abi.pack_failure(memory, 0, 999, "from the future")
            os.pwrite(self.fd, memory, 0)

    device = Device()
    with pytest.raises(LogvError, match=r"from the future.*999"):
        CallSlots(device).call(abi.VspaceNew())
    os.close(device.fd)
