"""The workloads, whole and for real: natively and in a VM, right results, nothing left behind."""

from collections.abc import Iterator
from importlib import resources

import numpy as np
import pytest

from logv.compare.compare import Target, machine_targets
from logv.errors import InvalidValueError, LogvError, OutOfMemoryError
from logv.machine import Machine
from logv.workloads import SHORT_WORKLOADS, WORKLOADS, Sync, Workload, create


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """Return a machine with room for every workload."""
    with Machine(vram="1GiB") as machine:
        yield machine


@pytest.fixture(scope="module")
def targets(machine: Machine) -> dict[str, Target]:
    """Return the machine's native target and that of a VM."""
    return dict(zip(("native", "logv"), machine_targets([machine], "512MiB"), strict=True))


@pytest.fixture(scope="module", params=[*WORKLOADS, *SHORT_WORKLOADS, "sync"])
def workload(request: pytest.FixtureRequest) -> Workload:
    """Return a workload whose reference is computed."""
    made = Sync(20) if request.param == "sync" else create(request.param)
    made.prepare()
    return made


@pytest.mark.parametrize("mode", ["native", "logv"])
def test_result_is_right_and_the_run_phase_makes_no_hypercall(
    workload: Workload, targets: dict[str, Target], mode: str
) -> None:
    """Twice on new devices, so that the second run meets recycled memory."""
    target = targets[mode]
    for _ in range(2):
        workload.poison()
        assert not workload.check()
        with target.open() as device:
            workload.setup(device)
            before = target.hypercalls()
            workload.run()
            assert target.hypercalls() == before
            workload.close()
        assert workload.check()


def test_one_wrong_element_is_seen(workload: Workload, targets: dict[str, Target]) -> None:
    """A result that differs in its last element only is wrong."""
    with targets["native"].open() as device:
        workload.setup(device)
        workload.run()
        workload.close()
    assert workload.check()
    for output, reference, _ in workload._expected:
        output.flat[-1] = np.asarray(reference.flat[-1]) + output.dtype.type(1)
        assert not workload.check()
        output.flat[-1] = reference.flat[-1]
    assert workload.check()


def test_setup_that_fails_leaves_nothing(machine: Machine) -> None:
    """In a VM with room for the first vector only, set-up raises, and closing returns everything."""
    saxpy = create("saxpy")
    saxpy.prepare()
    with machine.create_vm("small", memory="6MiB", system_memory="16MiB") as vm:
        with vm.device() as device, pytest.raises(OutOfMemoryError):
            saxpy.setup(device)
        assert vm.counters.memory_used == 0


def test_phases_out_of_order_are_refused(targets: dict[str, Target]) -> None:
    """No set-up without a reference, no run without set-up, no set-up twice."""
    saxpy = create("saxpy")
    with targets["native"].open() as device:
        with pytest.raises(LogvError, match="prepare"):
            saxpy.setup(device)
        saxpy.prepare()
        saxpy.setup(device)
        with pytest.raises(LogvError, match="close"):
            saxpy.setup(device)
        saxpy.close()
        saxpy.close()
        with pytest.raises(LogvError, match="setup"):
            saxpy._stream.sync()


@pytest.mark.parametrize("impossible", [{"length_us": 0}, {"length_us": 1, "launches": 0}], ids=str)
def test_sync_without_work_is_refused(impossible: dict[str, int]) -> None:
    """A kernel without rounds, or one that nobody launches, would measure nothing."""
    with pytest.raises(InvalidValueError):
        Sync(**impossible)


def test_sync_launches_for_about_as_long_whatever_the_kernel() -> None:
    """Short kernels are launched often, long ones a few times at least."""
    assert Sync(20, 10.0).rounds == 200
    assert Sync(20).launches > Sync(1000).launches > Sync(100_000).launches > 1


def test_unknown_workload_lists_those_there_are() -> None:
    """The error names every workload."""
    with pytest.raises(InvalidValueError) as caught:
        create("bitcoin")
    assert all(name in str(caught.value) for name in WORKLOADS | SHORT_WORKLOADS)


def test_every_workload_names_its_kernels() -> None:
    """Each kernel's name is an entry of the PTX beside it, and no entry is forgotten."""
    kinds: dict[str, type[Workload]] = {**WORKLOADS, **SHORT_WORKLOADS, "sync": Sync}
    for name, kind in kinds.items():
        source = resources.files("logv.workloads").joinpath(f"{kind.source or name}.ptx")
        text = source.read_text(encoding="ascii") if kind.kernels else ""
        assert sorted(kind.kernels) == sorted(
            line.split()[2].rstrip("(") for line in text.splitlines() if line.startswith(".visible .entry")
        )
