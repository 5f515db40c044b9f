"""Launches whose blocks run on several threads: results, faults, ends, isolation, and what is left.

Whether two threads run at the same time is up to the machine that the tests run on. So the kernels below
tell whether two of their blocks have met, for which a block waits about a millisecond, and are launched until
they have.
"""

import gc
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.gpu.gpu_rig import BASE, DATA, Kernels, rig

from logv.errors import ChannelError, GpuFaultError, InvalidValueError
from logv.gpu import Gpu
from logv.machine import Machine
from logv.runtime import Buffer, Device, Kernel, LaunchConfig, Program, Stream, launch
from logv.uapi import Fault
from logv.workloads import WORKLOADS, Workload, create

BLOCKS = 64
UNMAPPED = 1 << 36
SECRET, MARK = 0x5EC2E75, 0x0DDBA11
PATIENCE_S = 60.0

# Words of the buffer that each kernel gets: how many blocks wait or have met, how many found another one
# waiting, how many ran, and how many found what they looked for.
INSIDE, MET, RAN, FOUND = range(4)

_HEAD = """.version 7.0
.target sm_80
.address_size 64
.visible .entry meet(.param .u64 words, .param .u64 bad, .param .u32 mark, .param .u32 secret)
{
    .reg .pred %p<9>; .reg .b32 %r<9>; .reg .b64 %rd<9>;
    .shared .align 4 .b8 room[4];
    ld.param.u64 %rd1, [words];
    ld.param.u64 %rd2, [bad];
    ld.param.u32 %r7, [mark];
    ld.param.u32 %r8, [secret];
"""
_LOOK = """
    ld.shared.u32 %r4, [room];
    st.shared.u32 [room], %r7;
    setp.ne.u32 %p5, %r4, %r8;
    @%p5 bra LOOKED;
    atom.global.add.u32 %r6, [%rd1+12], 1;
LOOKED:
"""
_WAIT = """
    atom.global.add.u32 %r6, [%rd1+8], 1;
    atom.global.add.u32 %r2, [%rd1], 1;
    setp.ne.u32 %p1, %r2, 0;
    @%p1 bra SECOND;
    mov.u32 %r4, 0;
WAIT:
    ld.volatile.global.u32 %r3, [%rd1];
    setp.gt.u32 %p2, %r3, 1;
    @%p2 bra FIRST;
    add.u32 %r4, %r4, 1;
    setp.lt.u32 %p3, %r4, 1000000;
    @%p3 bra WAIT;
    atom.global.add.u32 %r6, [%rd1], 0xFFFFFFFF;
    ret;
"""
_RETURN = """
FIRST:
    ret;
SECOND:
    atom.global.add.u32 %r6, [%rd1+4], 1;
    ret;
}
"""
# The first block runs for ever; what the second one does follows.
_FOR_EVER = """
FIRST:
    ld.volatile.global.u32 %r3, [%rd1];
    setp.ne.u32 %p4, %r3, 0xFFFFFFFF;
    @%p4 bra FIRST;
    ret;
SECOND:
"""
MEET = _HEAD + _WAIT + _RETURN
RESIDUE = _HEAD + _LOOK + _WAIT + _RETURN
FAULT = _HEAD + _WAIT + _FOR_EVER + "st.global.u32 [%rd2], %r2; ret; }"
TRAP = _HEAD + _WAIT + _FOR_EVER + "trap; ret; }"
ENDLESS = _HEAD + _WAIT + _FOR_EVER + "bra FIRST; }"

COUNT = """.version 7.0
.target sm_80
.address_size 64
.visible .entry count(.param .u64 words)
{
    .reg .b32 %r<6>; .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [words];
    mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x;
    mad.lo.u32 %r4, %r1, %r2, %r3;
    atom.global.add.u32 %r5, [%rd1], %r4;
    and.b32 %r4, %r4, 1023;
    mul.wide.u32 %rd2, %r4, 4;
    add.u64 %rd3, %rd1, %rd2;
    atom.global.add.u32 %r5, [%rd3+4], 1;
    ret;
}
"""


class Application:
    """A device with a stream and one buffer of words, which kernels are launched on."""

    def __init__(self, device: Device, words: int = 16) -> None:
        self.device = device
        self.stream: Stream = device.create_stream()
        self.buffer: Buffer = device.allocate(4 * words)
        self._view()[:] = 0

    def _view(self) -> NDArray[np.uint32]:
        return np.asarray(memoryview(self.buffer)).view(np.uint32)

    @property
    def words(self) -> NDArray[np.uint32]:
        """What the buffer holds now; a copy, because a view would keep the device open."""
        return self._view().copy()

    def kernel(self, text: str, name: str = "meet") -> Kernel:
        """Return a kernel."""
        return Program(text, code_type="ptx").compile().get_kernel(name)

    def meet(self, text: str, mark: int = 0, secret: int = 0) -> bool:
        """Launch a kernel, wait for it, and say whether two of its blocks have met."""
        self._view()[: RAN + 1] = 0
        values = (UNMAPPED, np.uint32(mark), np.uint32(secret))
        launch(self.stream, LaunchConfig(grid=BLOCKS, block=1), self.kernel(text), self.buffer, *values)
        self.stream.sync()
        assert self.words[RAN] == BLOCKS
        return bool(self.words[MET] > 0)

    def until_met(self, text: str, mark: int = 0, secret: int = 0) -> None:
        """Launch a kernel until two of its blocks have met, or it fails."""
        deadline = time.monotonic() + PATIENCE_S
        while not self.meet(text, mark, secret):
            assert time.monotonic() < deadline, "the blocks never met"


def _works(machine: Machine) -> bool:
    """Say whether a new application gets the right result from several threads."""
    with machine.device() as device:
        application = Application(device)
        application.until_met(MEET)
        return bool(application.words[RAN] == BLOCKS)


@pytest.fixture(scope="module", params=[2, 4])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """Return a machine with several compute threads, and with a watchdog that nothing may rely on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logv.machine.Gpu", partial(Gpu, watchdog_s=3600.0))
        made = Machine(vram="1GiB", compute_threads=request.param)
    with made:
        yield made


@pytest.fixture(scope="module", params=list(WORKLOADS))
def workload(request: pytest.FixtureRequest) -> Workload:
    """Return a workload whose reference is computed."""
    made = create(request.param)
    made.prepare()
    return made


def test_workloads_compute_the_same(workload: Workload, machine: Machine) -> None:
    """Every workload's result is right, natively and in a VM."""
    with machine.create_vm("vm", memory="512MiB") as vm:
        for computer in (machine, vm):
            workload.poison()
            with computer.device() as device:
                workload.setup(device)
                workload.run()
                workload.close()
            assert workload.check()


def test_blocks_run_at_the_same_time(machine: Machine) -> None:
    """Blocks meet, in every launch that lasts, and each runs once."""
    with machine.device() as device:
        application = Application(device)
        for _ in range(3):
            application.until_met(MEET)


def test_one_thread_runs_one_block_at_a_time() -> None:
    """Without further threads no blocks meet."""
    with Machine(vram="64MiB") as machine, machine.device() as device:
        application = Application(device)
        assert not any(application.meet(MEET) for _ in range(3))


def test_global_atomics_count_every_thread(machine: Machine) -> None:
    """Sums and counts of a million threads are exact."""
    grid, block = 4096, 256
    with machine.device() as device:
        application = Application(device, 1025)
        config = LaunchConfig(grid=grid, block=block)
        for _ in range(4):
            launch(application.stream, config, application.kernel(COUNT, "count"), application.buffer)
        application.stream.sync()
        threads = grid * block
        assert application.words[0] == 4 * (threads * (threads - 1) // 2) % (1 << 32)
        assert (application.words[1:] == 4 * threads // 1024).all()


def test_many_small_launches(machine: Machine) -> None:
    """Launches that are not worth another thread, between ones that are, run in order."""
    with machine.device() as device:
        application = Application(device, 1025)
        kernel = application.kernel(COUNT, "count")
        for _ in range(20):
            for _ in range(50):
                launch(application.stream, LaunchConfig(grid=1, block=32), kernel, application.buffer)
            launch(application.stream, LaunchConfig(grid=1024, block=256), kernel, application.buffer)
        application.stream.sync()
        assert application.words[1:33].tolist() == [20 * (50 + 256)] * 32
        assert application.words[33:].tolist() == [20 * 256] * (1024 - 32)


def test_two_vms_take_turns(machine: Machine) -> None:
    """Long launches of two VMs at the same time end with the right results."""
    with machine.create_vm("one", memory="64MiB") as one, machine.create_vm("two", memory="64MiB") as two:
        applications = [Application(vm.device(), 1025) for vm in (one, two)]
        for _ in range(8):
            for application in applications:
                config = LaunchConfig(grid=2048, block=256)
                launch(application.stream, config, application.kernel(COUNT, "count"), application.buffer)
        for application in applications:
            application.stream.sync()
            assert (application.words[1:] == 8 * 512).all()


@pytest.mark.parametrize("attempt", range(5))
def test_a_fault_in_one_thread_stops_all(machine: Machine, attempt: int) -> None:
    """It is reported once and with its address, although another thread would run for ever."""
    faults = machine.counters.faults
    with machine.device() as device:
        application = Application(device)
        with pytest.raises(GpuFaultError) as caught:
            application.until_met(FAULT)
    assert (caught.value.address, caught.value.access) == (UNMAPPED, "write")
    assert caught.value.kernel == "meet"
    assert machine.counters.faults == faults + 1
    assert _works(machine), attempt


@pytest.mark.parametrize("attempt", range(5))
def test_a_trap_in_one_thread_stops_all(machine: Machine, attempt: int) -> None:
    """It is reported once, although another thread would run for ever."""
    faults = machine.counters.faults
    with machine.device() as device:
        application = Application(device)
        with pytest.raises(ChannelError, match="trap"):
            application.until_met(TRAP)
    assert machine.counters.faults == faults + 1
    assert _works(machine), attempt


def test_the_watchdog_stops_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless blocks in every thread end as one timeout."""
    monkeypatch.setattr("logv.machine.Gpu", partial(Gpu, watchdog_s=0.2))
    with Machine(vram="64MiB", compute_threads=3) as machine:
        with machine.device() as device:
            application = Application(device)
            with pytest.raises(ChannelError, match="watchdog"):
                application.until_met(ENDLESS)
        assert machine.counters.faults == 1
        assert _works(machine)


@pytest.fixture
def endless() -> Iterator[Kernels]:
    """Return a rig with endless blocks in several threads."""
    with rig(compute_threads=3) as made:
        space = made.space()
        kernels = Kernels(made, space, made.channel(space))
        parameters = struct.pack("<QQII", BASE + DATA, 0, 0, 0)
        deadline = time.monotonic() + PATIENCE_S
        value = 0
        while kernels.array(1)[INSIDE] < 2:
            assert time.monotonic() < deadline, "the blocks never met"
            if kernels.channel.value() == value:
                # Not submitted yet, or all blocks have ended.
                release, value = kernels.channel.release()
                kernels.channel.submit(
                    kernels.qmd(ENDLESS, parameters, grid=(BLOCKS, 1, 1), shared=4), release
                )
            time.sleep(0.0001)
        yield kernels


def test_stopping_a_channel_ends_all_threads(endless: Kernels) -> None:
    """stop_channel does not wait for blocks that do not end; the neighbours go on, nothing is reported."""
    neighbour = endless.rig.channel(endless.space)
    endless.channel.stop()
    neighbour.run()
    assert neighbour.fault() is Fault.NONE
    assert endless.rig.port.counters().faults == 0


def test_closing_the_gpu_ends_all_threads(endless: Kernels) -> None:
    """close() comes back whatever runs."""
    threads = _gpu_threads()
    endless.rig.gpu.close()
    assert _gpu_threads() == threads - 4


def test_machines_leave_nothing() -> None:
    """Neither threads nor address space of threads' arenas."""
    threads, size = _gpu_threads(), _address_space()
    for _ in range(3):
        with Machine(vram="64MiB", compute_threads=4) as machine:
            assert _gpu_threads() == threads + 5
            assert _works(machine)
        assert _gpu_threads() == threads
        del machine
        gc.collect()
    # One thread's arenas and their guards are 64 GiB.
    assert _address_space() - size < 32 << 30


def _gpu_threads() -> int:
    """Return how many threads of GPUs this process has."""
    return sum(thread.name.startswith("logv-") for thread in threading.enumerate())


def _address_space() -> int:
    """Return the bytes of address space in use."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def test_idle_threads_use_no_time() -> None:
    """A worker sleeps when there is nothing to do."""
    others = _workers()
    with Machine(vram="64MiB", compute_threads=4) as machine:
        assert _works(machine)
        workers = _workers() - others
        assert len(workers) == 3
        # They may be on their way to sleep.
        time.sleep(0.1)
        before = {worker: _switches(worker) for worker in workers}
        time.sleep(0.1)
        assert {worker: _switches(worker) for worker in workers} == before


def _workers() -> set[Path]:
    tasks = Path("/proc/self/task").iterdir()
    return {task for task in tasks if (task / "comm").read_text() == "logv-compute\n"}


def _switches(task: Path) -> list[str]:
    """Return how often a thread was given a CPU and gave it up; it sleeps if that stays."""
    status = (task / "status").read_text().splitlines()
    return [line for line in status if "ctxt_switches" in line]


def test_no_thread_keeps_shared_memory_for_another_address_space(machine: Machine) -> None:
    """What one VM's blocks left in the arenas of any thread, no other VM's blocks find."""
    with machine.create_vm("one", memory="64MiB") as one, machine.create_vm("two", memory="64MiB") as two:
        left, right = Application(one.device()), Application(two.device())
        for _ in range(5):
            left.until_met(RESIDUE, mark=SECRET, secret=MARK)
            right.until_met(RESIDUE, mark=MARK, secret=SECRET)
        assert (left.words[FOUND], right.words[FOUND]) == (0, 0)
        # The kernel does find what its own address space left.
        right.until_met(RESIDUE, mark=MARK, secret=MARK)
        assert right.words[FOUND] > 0


@pytest.mark.parametrize("count", [0, -1, 65, 1.5, True, "2", None])
@pytest.mark.parametrize("make", [Machine, Gpu], ids=["machine", "gpu"])
def test_impossible_numbers_of_threads(make: Callable[..., object], count: object) -> None:
    """They are refused in words."""
    with pytest.raises(InvalidValueError, match="compute_threads"):
        make(compute_threads=count)
