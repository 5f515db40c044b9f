"""Runs applications natively and through LoGV in pairs, until it is clear what virtualization costs."""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from logv.compare.application import run_application
from logv.compare.contest import Contest, Runner
from logv.compare.paired import PairedResult, Pairing, Verdict, geometric_mean, worst
from logv.compare.schedule import Clock, Progress, play_rounds
from logv.errors import InvalidValueError
from logv.machine import Machine
from logv.runtime import Device
from logv.workloads import WORKLOADS, Workload

BAR = 1.04
"""The most that the upper bound of one application's ratio may be."""

GEOMEAN_BAR = 1.01
"""The same for the geometric mean of all applications."""

BUDGET_S = 105.0
"""No round starts later than this, so that the command ends within two minutes."""

MOST_ROUNDS = 400
"""Rounds after which an open gate stays open."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where applications run.

    Attributes
    ----------
    open : callable
        Return a new device, as an application that starts does.
    hypercalls : callable
        Return the number of hypercalls so far.
    places : int
        After so many devices, all memory that they use was used before.
    """

    open: Callable[[], Device]
    hypercalls: Callable[[], int]
    places: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """What the comparison of one workload came to.

    Attributes
    ----------
    name, input : str
        As the workload says.
    right : bool
        Whether every run's result, in either mode, was what NumPy computed.
    native_ms, logv_ms : float
        Median times of the whole application, in milliseconds; for orientation only.
    whole, run : PairedResult
        LoGV over native: the whole application (open to close), and its run phase alone.
    hypercalls, hypercalls_in_run : int
        The most that one application made, in all and during its run phase.
    """

    name: str
    input: str
    right: bool
    native_ms: float
    logv_ms: float
    whole: PairedResult
    run: PairedResult
    hypercalls: int
    hypercalls_in_run: int

    @classmethod
    def of(cls, contest: Contest) -> Self:
        """Return what the contest's pairs so far come to."""
        measured = contest.measured()
        return cls(
            name=contest.workload.name,
            input=contest.workload.input,
            right=measured.right,
            native_ms=measured.native_ms,
            logv_ms=measured.ms,
            whole=measured.whole,
            run=measured.run,
            hypercalls=measured.hypercalls,
            hypercalls_in_run=measured.hypercalls_in_run,
        )

    @property
    def verdict(self) -> Verdict:
        """Whether the application costs at most ``BAR`` and runs without hypercalls."""
        return Verdict.FAIL if self.hypercalls_in_run else self.whole.judge(BAR)


@dataclass(frozen=True, slots=True)
class Report:
    """What a comparison came to.

    Attributes
    ----------
    rows : tuple of Row
        One for each workload, in the order asked for.
    control : PairedResult
        Native over native: what the method itself makes of no difference.
    geomean : PairedResult
        Geometric mean of the rows' ratios (:func:`logv.compare.paired.geometric_mean`).
    complete : bool
        Whether all workloads took part; only then does the geometric mean's bar apply.
    """

    rows: tuple[Row, ...]
    control: PairedResult
    geomean: PairedResult
    complete: bool

    @property
    def right(self) -> bool:
        """Whether every result was right."""
        return all(row.right for row in self.rows)

    @property
    def verdict(self) -> Verdict:
        """Pass if every gate passed, fail if one failed, else inconclusive."""
        verdicts = [row.verdict for row in self.rows]
        if self.complete:
            verdicts.append(self.geomean.judge(GEOMEAN_BAR))
        return worst(verdicts)


def compare(
    workloads: Sequence[Workload],
    native: Target,
    virtual: Target,
    *,
    pairs: int | None = None,
    progress: Progress = lambda done, what: None,
    rng: np.random.Generator | None = None,
    clock: Clock = time.perf_counter_ns,
) -> Report:
    """Compare applications on two targets.

    A round takes a pair of each workload, more of those whose ratio is noisier for the time they take,
    and one native-native pair, of each workload in turn, for the control. Without `pairs`, rounds go on
    until every gate is decided, ``MOST_ROUNDS`` are over or ``BUDGET_S`` has passed; workloads whose
    gate is decided pause while only others' are open.
    A wrong result ends the comparison after its round.

    Parameters
    ----------
    workloads : sequence of Workload
        Each name once.
    native, virtual : Target
        The baseline, and what is compared with it.
    pairs : int, optional
        Take exactly so many pairs of each workload instead.
    progress : callable, optional
        Told what happens.
    rng : numpy.random.Generator, optional
        Source of the coins and of the bootstrap.
    clock : callable, optional
        Returns the time now in nanoseconds.

    Raises
    ------
    InvalidValueError
        No workloads, one of them twice, or `pairs` below 1.
    LogvError
        Whatever an application raises; nothing of it is left on its device.
    """
    names = [workload.name for workload in workloads]
    if not names or len(set(names)) < len(names):
        raise InvalidValueError("name at least one workload, and none twice")
    if pairs is not None and pairs < 1:
        raise InvalidValueError(f"{pairs} pairs compare nothing; ask for at least 1")

    rng = rng if rng is not None else np.random.default_rng()
    complete = set(names) >= set(WORKLOADS)
    deadline_ns = clock() + round(BUDGET_S * 1e9)
    run_native, run_virtual = _runner(native, clock), _runner(virtual, clock)
    contests = [Contest(workload, run_native, run_virtual, rng) for workload in workloads]
    for contest in contests:
        progress(0.0, f"{contest.workload.name}: reference and warm-up")
        contest.workload.prepare()
        # In each place, so that no pair pays for compiling a kernel or for cold memory.
        for target, run in ((native, run_native), (virtual, run_virtual)):
            for _ in range(target.places):
                run(contest.workload)

    controlled = contests[0]

    def time_controlled() -> float:
        return controlled.time_native()

    control = Pairing(time_controlled, time_controlled, rng)

    def take_control(number: int) -> None:
        nonlocal controlled
        controlled = contests[number % len(contests)]
        control.take(1)

    play_rounds(
        contests,
        undecided=lambda: _undecided(contests, complete, rng),
        after_round=take_control,
        pairs=pairs,
        most_rounds=MOST_ROUNDS,
        deadline_ns=deadline_ns,
        progress=progress,
        clock=clock,
    )
    progress(1.0, "done")

    rows = tuple(Row.of(contest) for contest in contests)
    return Report(rows, control.result(), geometric_mean([row.whole for row in rows], rng), complete)


def _runner(target: Target, clock: Clock) -> Runner:
    return lambda workload: run_application(workload, target.open, target.hypercalls, clock)


def _undecided(contests: list[Contest], complete: bool, rng: np.random.Generator) -> list[Contest]:
    """Return the contests that need more pairs: all of them while the geometric mean does."""
    rows = [Row.of(contest) for contest in contests]
    mean = geometric_mean([row.whole for row in rows], rng)
    if complete and mean.judge(GEOMEAN_BAR) is Verdict.INCONCLUSIVE:
        return contests
    return [
        contest for contest, row in zip(contests, rows, strict=True) if row.verdict is Verdict.INCONCLUSIVE
    ]


def machine_targets(machines: Sequence[Machine], memory: str) -> tuple[Target, Target]:
    """Return the native and the virtual target of machines that take turns, each with a new VM.

    Where a window's pages lie in the host's memory makes the same work some per cent faster or slower for
    as long as the window lives. Several machines make that part of the noise that the pairs show.
    """
    vms = [machine.create_vm("compare", memory=memory) for machine in machines]
    return (
        Target(_in_turn([machine.device for machine in machines]), lambda: 0, len(machines)),
        Target(
            _in_turn([vm.device for vm in vms]),
            lambda: sum(vm.counters.hypercalls for vm in vms),
            len(machines),
        ),
    )


def _in_turn(openers: list[Callable[[], Device]]) -> Callable[[], Device]:
    turns = itertools.cycle(openers)

    def open_next() -> Device:
        return next(turns)()

    return open_next
