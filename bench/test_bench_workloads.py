"""Whole applications, natively and through LoGV, under the same benchmark ID in two groups."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from logv.compare.compare import BAR, Target, machine_targets
from logv.compare.cpus import own_cpus
from logv.compare.paired import PairedResult
from logv.machine import Machine
from logv.workloads import WORKLOADS, Workload, create

ROUNDS = 20


@pytest.fixture(scope="module")
def targets() -> Iterator[tuple[Target, Target]]:
    """Return the native target of one machine, and one of its VM."""
    with ExitStack() as stack:
        machines = [stack.enter_context(Machine(vram="1GiB", tiered_compilation=False)) for _ in range(4)]
        stack.enter_context(own_cpus())
        yield machine_targets(machines, "512MiB")


@pytest.fixture(scope="module", params=list(WORKLOADS))
def workload(request: pytest.FixtureRequest) -> Workload:
    """Return a workload whose reference is computed."""
    made = create(request.param)
    made.prepare()
    return made


def application(workload: Workload, target: Target) -> Callable[[], None]:
    """Return the whole application: open the device, set up, run, close."""

    def run() -> None:
        with target.open() as device:
            try:
                workload.setup(device)
                workload.run()
            finally:
                workload.close()

    return run


def test_native(benchmark: BenchmarkFixture, workload: Workload, targets: tuple[Target, Target]) -> None:
    """The baseline's own time, for orientation."""
    benchmark.group, benchmark.name = "native", workload.name
    workload.poison()
    # pytest-benchmark ships without types.
    benchmark.pedantic(application(workload, targets[0]), rounds=ROUNDS, warmup_rounds=1)  # type: ignore[no-untyped-call]
    assert workload.check()


def test_logv(
    benchmark: BenchmarkFixture,
    paired: Callable[..., PairedResult],
    workload: Workload,
    targets: tuple[Target, Target],
) -> None:
    """Through LoGV, at most 4 % more than natively."""
    benchmark.group, benchmark.name = "logv", workload.name
    native, virtual = (application(workload, target) for target in targets)
    for run in (native, virtual):
        workload.poison()
        run()
        assert workload.check()
    paired(virtual, native, label=f"{workload.name}: LoGV over native", bar=BAR)
    assert workload.check()
