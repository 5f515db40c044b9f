"""What a submission costs its caller: launches and small copies, natively and through LoGV.

The ring itself has its own bench; here the whole way from the runtime's call is timed. LoGV has no
part in it once the channel is there, so that its ratio to native has to be 1 but for noise.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import numpy as np
import pytest

from logv.compare.cpus import own_cpus
from logv.compare.paired import PairedResult
from logv.machine import Machine
from logv.runtime import Buffer, Device, Kernel, LaunchConfig, Program, Stream, launch

RUN_BAR = 1.02
"""The run phase of a VM application over native."""

BATCH = 100
SMALL = np.arange(1024, dtype=np.uint32)

EMPTY = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry empty()
{
    ret;
}
"""

Compare = Callable[..., PairedResult]


class Application:
    """An application that is set up: what it does from here on is its run phase."""

    def __init__(self, device: Device, resources: ExitStack) -> None:
        self.device = resources.enter_context(device)
        self.stream: Stream = resources.enter_context(self.device.create_stream())
        self.buffer: Buffer = resources.enter_context(self.device.allocate(SMALL.nbytes))
        self.kernel: Kernel = Program(EMPTY, code_type="ptx").compile().get_kernel("empty")
        self.config = LaunchConfig(grid=1, block=1)
        self.out = np.empty_like(SMALL)

    def launch_one(self) -> None:
        """Launch, and do not wait."""
        launch(self.stream, self.config, self.kernel)

    def launch_batch(self) -> None:
        """Launch many times, then wait once."""
        for _ in range(BATCH):
            launch(self.stream, self.config, self.kernel)
        self.stream.sync()

    def launch_and_wait(self) -> None:
        """Launch many times, and wait for each."""
        for _ in range(BATCH):
            launch(self.stream, self.config, self.kernel)
            self.stream.sync()

    def copy_and_wait(self) -> None:
        """Copy 4 KiB in and out again, many times, and wait for each."""
        for _ in range(BATCH):
            self.buffer.copy_from(SMALL, stream=self.stream)
            self.buffer.copy_to(self.out, stream=self.stream)
            self.stream.sync()


@pytest.fixture(scope="module")
def applications() -> Iterator[tuple[Application, Application]]:
    """Return the same application through LoGV and natively, on one machine."""
    with Machine(vram="128MiB", tiered_compilation=False) as machine, own_cpus(), ExitStack() as resources:
        vm = machine.create_vm("bench", memory="48MiB")
        pair = Application(vm.device(), resources), Application(machine.device(), resources)
        calls = vm.counters.hypercalls
        yield pair
        assert vm.counters.hypercalls == calls


@pytest.mark.parametrize("work", ["launch_batch", "launch_and_wait", "copy_and_wait"])
def test_run_phase(paired: Compare, applications: tuple[Application, Application], work: str) -> None:
    """A batch of calls through LoGV takes no longer than natively."""
    virtual, native = (getattr(application, work) for application in applications)
    paired(virtual, native, label=f"{work} x {BATCH}, LoGV over native", bar=RUN_BAR)
    for application in applications:
        application.copy_and_wait()
        assert np.array_equal(application.out, SMALL)


def test_launch_over_a_method_call(paired: Compare, applications: tuple[Application, Application]) -> None:
    """One launch, without waiting, against an empty Python method call."""
    virtual, _ = applications

    class Nothing:
        def call(self) -> None: ...

    nothing = Nothing()
    paired(virtual.launch_one, nothing.call, label="launch over an empty method call", inner=1000)
    virtual.stream.sync()
