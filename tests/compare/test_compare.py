"""The comparison, with invented applications on an invented clock."""

import json
import os
import threading
from itertools import cycle
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from logv.compare.compare import Report, Row, Target, compare
from logv.compare.cpus import ENGINE_THREAD, own_cpus
from logv.compare.paired import PairedResult, Verdict, estimate
from logv.compare.report import summary, to_json, to_table
from logv.compare.schedule import FIRST_ROUNDS
from logv.errors import GpuFaultError, InvalidValueError
from logv.machine import Machine
from logv.runtime import Device
from logv.workloads import WORKLOADS, Workload


class World:
    """A clock that only applications move, and a count of hypercalls."""

    def __init__(self) -> None:
        self.now = 0
        self.hypercalls = 0
        self.open_devices = 0
        self.opened = {"native": 0, "virtual": 0}
        self.rng = np.random.default_rng(5)

    def clock(self) -> int:
        """Return the time in nanoseconds."""
        return self.now

    def target(self, mode: str, *slowdowns: float) -> Target:
        """Return a target whose applications take `slowdowns` times as long, in turn."""
        turns = cycle(slowdowns)
        return Target(lambda: cast("Device", FakeDevice(self, mode, next(turns))), lambda: self.hypercalls)

    def targets(self, *slowdowns: float) -> tuple[Target, Target]:
        """Return the native target and a virtual one."""
        return self.target("native", 1.0), self.target("virtual", *slowdowns)


class FakeDevice:
    """Counts itself while it is open."""

    def __init__(self, world: World, mode: str, slowdown: float) -> None:
        self.world = world
        self.mode = mode
        self.slowdown = slowdown

    def __enter__(self) -> "FakeDevice":
        self.world.open_devices += 1
        self.world.opened[self.mode] += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.world.open_devices -= 1


class FakeWorkload(Workload):
    """Takes 10 ms to set up and 40 ms to run, times the device's slowdown, give or take `noise`."""

    summary: str = "nothing"
    kernels: ClassVar[tuple[str, ...]] = ()
    input: str = "nothing"

    def __init__(self, name: str = "fake", *, noise: float = 0.0, calls_in_run: int = 0) -> None:
        super().__init__()
        self.name = name
        self.noise = noise
        self.calls_in_run = calls_in_run
        self.wrong_from = 10**9
        self.fails_from = 10**9
        self.runs = 0
        self.poisoned = False
        self.closed = 0

    def poison(self) -> None:
        """Note that the output is gone."""
        self.poisoned = True

    def setup(self, device: Device) -> None:
        """Let time pass, and make three hypercalls in a VM."""
        self.on = cast("Any", device)
        self._pass(10)
        self.on.world.hypercalls += 3 if self.on.mode == "virtual" else 0

    def run(self) -> None:
        """Let time pass; fail if told so."""
        self.runs += 1
        if self.runs >= self.fails_from:
            raise GpuFaultError(
                "fault", channel=1, reason="invented", address=0, access="write", kernel="nothing"
            )
        self._pass(40)
        self.on.world.hypercalls += self.calls_in_run if self.on.mode == "virtual" else 0
        self.poisoned = False

    def check(self) -> bool:
        """Say whether the output is there, and right."""
        return not self.poisoned and self.runs < self.wrong_from

    def close(self) -> None:
        """Count."""
        self.closed += 1

    def _pass(self, ms: float) -> None:
        factor = self.on.slowdown * np.exp(self.on.world.rng.normal(0, self.noise))
        self.on.world.now += round(ms * 1e6 * factor)

    def _prepare(self) -> None: ...

    def _setup(self) -> None: ...


def run(workloads: list[FakeWorkload], *slowdowns: float, pairs: int | None = None) -> tuple[Report, World]:
    """Compare on a new world."""
    world = World()
    native, virtual = world.targets(*slowdowns)
    report = compare(workloads, native, virtual, pairs=pairs, rng=np.random.default_rng(9), clock=world.clock)
    return report, world


def test_known_overhead_is_reported() -> None:
    """A device that is 3 % slower gives a ratio of 1.03, in all and for the run phase, and passes."""
    report, world = run([FakeWorkload(noise=0.01)], 1.03, pairs=60)
    (row,) = report.rows
    assert row.whole.ratio == pytest.approx(1.03, rel=0.01)
    assert row.run.ratio == pytest.approx(1.03, rel=0.01)
    assert row.native_ms == pytest.approx(50, rel=0.02)
    assert row.logv_ms == pytest.approx(51.5, rel=0.02)
    assert report.control.ratio == pytest.approx(1.0, rel=0.01)
    assert row.verdict is report.verdict is Verdict.PASS
    assert world.open_devices == 0


def test_pairs_are_as_many_as_asked_for() -> None:
    """With `pairs`, each workload and the control take exactly so many, after one warm-up each."""
    workloads = [FakeWorkload("one"), FakeWorkload("two")]
    report, world = run(workloads, 1.0, pairs=7)
    assert [row.whole.pairs for row in report.rows] == [7, 7]
    assert report.control.pairs == 7
    assert world.opened == {"native": 2 * (1 + 7) + 2 * 7, "virtual": 2 * (1 + 7)}
    assert all(workload.closed == workload.runs for workload in workloads)


def test_hypercalls_are_counted_by_phase() -> None:
    """Those of the set-up count in all; one in the run phase fails the gate, whatever the ratio."""
    quiet, chatty = run([FakeWorkload("quiet"), FakeWorkload("chatty", calls_in_run=2)], 1.0, pairs=6)[0].rows
    assert (quiet.hypercalls, quiet.hypercalls_in_run) == (3, 0)
    assert (chatty.hypercalls, chatty.hypercalls_in_run) == (5, 2)
    assert quiet.verdict is Verdict.PASS
    assert chatty.verdict is Verdict.FAIL


def test_slow_device_fails() -> None:
    """10 % more than natively fails, as soon as the first look."""
    report, _ = run([FakeWorkload(noise=0.01)], 1.10)
    assert report.verdict is Verdict.FAIL
    assert report.rows[0].whole.pairs == FIRST_ROUNDS


def test_open_gate_takes_more_pairs_up_to_the_budget() -> None:
    """A ratio that falls on both sides of the bar is measured until the time is over, and stays open."""
    report, world = run([FakeWorkload()], 0.9, 1.2)
    assert report.verdict is Verdict.INCONCLUSIVE
    assert report.rows[0].whole.pairs > FIRST_ROUNDS
    assert world.now / 1e9 < 120


def test_decided_workloads_pause() -> None:
    """Only the workload whose gate is open goes on."""
    clear, noisy = run([FakeWorkload("clear"), FakeWorkload("noisy", noise=0.5)], 1.0)[0].rows
    assert clear.whole.pairs == FIRST_ROUNDS
    assert noisy.whole.pairs > clear.whole.pairs


def test_geometric_mean_has_its_bar_only_when_all_take_part() -> None:
    """At 3 % each passes; the mean of all workloads does not, while a part of them is not judged by it."""
    everything, _ = run([FakeWorkload(name, noise=0.001) for name in WORKLOADS], 1.03, pairs=20)
    assert everything.complete
    assert everything.geomean.ratio == pytest.approx(1.03, rel=0.01)
    assert all(row.verdict is Verdict.PASS for row in everything.rows)
    assert everything.verdict is Verdict.FAIL
    part, _ = run([FakeWorkload("saxpy", noise=0.001)], 1.03, pairs=20)
    assert part.verdict is Verdict.PASS


def test_wrong_result_is_seen_in_any_run() -> None:
    """One wrong result among many ends the comparison, and marks its workload only."""
    wrong = FakeWorkload("wrong")
    wrong.wrong_from = 9
    report, _ = run([FakeWorkload("fine"), wrong], 1.0, pairs=50)
    assert [row.right for row in report.rows] == [True, False]
    assert not report.right
    assert report.rows[0].whole.pairs < 50
    assert "wrong" in summary(report).plain.lower()


def test_output_of_the_run_before_does_not_pass() -> None:
    """The output is poisoned before each run: one that writes nothing is wrong."""

    class Lazy(FakeWorkload):
        def run(self) -> None:
            poisoned = self.poisoned
            super().run()
            self.poisoned = poisoned and self.runs > 2

    report, _ = run([Lazy()], 1.0, pairs=5)
    assert not report.right


def test_error_of_an_application_comes_through_and_closes_its_device() -> None:
    """A fault in mid-comparison is raised as it is, with nothing left open."""
    workload = FakeWorkload()
    workload.fails_from = 6
    world = World()
    with pytest.raises(GpuFaultError):
        compare([workload], *world.targets(1.0), pairs=10, clock=world.clock)
    assert world.open_devices == 0
    assert workload.closed == workload.runs


def test_progress_rises_to_one() -> None:
    """The bar never goes back, and ends full."""
    seen: list[float] = []
    world = World()
    compare(
        [FakeWorkload("a"), FakeWorkload("b")],
        *world.targets(1.0),
        pairs=5,
        progress=lambda done, what: seen.append(done),
        clock=world.clock,
    )
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize(("names", "pairs"), [([], 5), (["a", "a"], 5), (["a"], 0), (["a"], -1)], ids=str)
def test_impossible_comparisons_are_refused(names: list[str], pairs: int) -> None:
    """No workload, one twice, no pairs: refused before anything opens."""
    world = World()
    with pytest.raises(InvalidValueError):
        compare([FakeWorkload(name) for name in names], *world.targets(1.0), pairs=pairs, clock=world.clock)
    assert world.opened == {"native": 0, "virtual": 0}


def result(ratio: float) -> PairedResult:
    """Return a result without spread."""
    return estimate([float(np.log(ratio))] * 10, np.random.default_rng(0))


def report_of(*ratios: float, right: bool = True) -> Report:
    """Return a report with one row for each ratio."""
    rows = tuple(
        Row(f"w{i}", "input", right, 50.0, 50.0 * ratio, result(ratio), result(ratio), 12, 0)
        for i, ratio in enumerate(ratios)
    )
    return Report(rows, result(1.0), result(float(np.prod(ratios) ** (1 / len(ratios)))), complete=False)


def test_json_has_the_published_shape() -> None:
    """Schema 1: exactly these keys, and values that JSON can hold."""
    document = json.loads(json.dumps(to_json(report_of(1.02, 1.0)), allow_nan=False))
    assert list(document) == ["schema", "process_mode", "aa_control", "workloads", "geomean"]
    assert document["schema"] == 1
    assert document["process_mode"] is False
    assert list(document["aa_control"]) == ["ratio", "upper95"]
    first = document["workloads"][0]
    assert list(first) == ["name", "input", "checked", "native_ms", "modes"]
    assert list(first["modes"]) == ["logv"]
    logv = first["modes"]["logv"]
    assert list(logv) == ["ms", "ratio", "upper95", "hypercalls", "hypercalls_in_run"]
    assert logv["ratio"] == pytest.approx(1.02)
    assert (logv["hypercalls"], logv["hypercalls_in_run"]) == (12, 0)
    assert document["geomean"] == {"logv": pytest.approx(1.02**0.5)}


@pytest.mark.parametrize(
    ("report", "word"),
    [
        (report_of(1.0), "PASS"),
        (report_of(1.0, 1.5), "FAIL"),
        (report_of(1.0, right=False), "WRONG RESULT: w0"),
    ],
)
def test_summary_says_the_verdict(report: Report, word: str) -> None:
    """One line, beginning with the verdict."""
    assert summary(report).plain.startswith(word)


def test_table_has_a_row_for_each_workload_the_mean_and_the_control() -> None:
    """Nothing that was measured is left out of the table."""
    assert to_table(report_of(1.0, 1.1, 1.2)).row_count == 3 + 2


def test_engine_and_application_get_a_cpu_each() -> None:
    """Both keep to one CPU meanwhile, not the same one where there are two, and are free again after."""
    before = os.sched_getaffinity(0)
    with Machine(vram="64MiB") as machine:
        machine.device().close()
        # Other tests' machines may live on meanwhile; this one's engine is the youngest.
        engine = [thread for thread in threading.enumerate() if thread.name == ENGINE_THREAD][-1]
        assert engine.native_id is not None
        with own_cpus():
            mine, its = os.sched_getaffinity(0), os.sched_getaffinity(engine.native_id)
            if len(before) > 1:
                assert (len(mine), len(its)) == (1, 1)
                assert mine != its
            else:
                assert mine == its == before
        assert os.sched_getaffinity(0) == os.sched_getaffinity(engine.native_id) == before
