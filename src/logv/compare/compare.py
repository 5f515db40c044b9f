"""Runs applications natively and through LoGV in pairs, until it is clear what virtualization costs."""

import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from logv.compare.paired import MIN_PAIRS, PairedResult, Pairing, Verdict, estimate, geometric_mean
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

FIRST_ROUNDS = 20
"""Rounds before the gates are looked at for the first time."""

MOST_ROUNDS = 400
"""Rounds after which an open gate stays open."""

MOST_TURNS = 4
"""The most pairs that one workload takes in a round."""

ROUNDS_BETWEEN_LOOKS = 1.25
"""Each look at the gates waits for so many times the rounds of the last: looking after every round
would give a lucky bound more chances than its 5 %."""

Progress = Callable[[float, str], None]
"""Told how much is done, 0 to 1, and what is next."""


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
        for worst in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            if worst in verdicts:
                return worst
        return Verdict.PASS


class _Contest:
    """One workload, natively against LoGV."""

    def __init__(
        self,
        workload: Workload,
        native: Target,
        virtual: Target,
        rng: np.random.Generator,
        clock: Callable[[], int],
    ) -> None:
        self.workload = workload
        self.right = True
        self.turns = 1
        self._native = native
        self._virtual = virtual
        self._rng = rng
        self._clock = clock
        self._pairing = Pairing(self._time_virtual, self.time_native, rng)
        self._run_logs: list[float] = []
        self._run_ns: dict[int, int] = {}
        self._hypercalls = 0
        self._hypercalls_in_run = 0

    def warm_up(self) -> None:
        """Run in each mode and place, so that no pair pays for compiling a kernel or for cold memory."""
        self.workload.prepare()
        for _ in range(self._native.places):
            self.time_native()
        for _ in range(self._virtual.places):
            self._time_virtual()

    def take(self) -> None:
        """Take one pair."""
        self._pairing.take(1)
        self._run_logs.append(math.log(self._run_ns[id(self._virtual)] / self._run_ns[id(self._native)]))

    def time_native(self) -> float:
        """Run the application natively and return its time in nanoseconds."""
        return self._time(self._native)[0]

    def noise(self) -> float:
        """Return the deviation of the pairs' logarithms, over the square root of a pair's time."""
        logs = self._pairing.result().log_ratios
        # Robust, as the median is: 1.4826 times the median deviation is the deviation of normal noise.
        deviation = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        return deviation / math.sqrt(sum(self._pairing.median_times()))

    def row(self) -> Row:
        """Return what the pairs so far come to."""
        logv_ns, native_ns = self._pairing.median_times()
        return Row(
            name=self.workload.name,
            input=self.workload.input,
            right=self.right,
            native_ms=native_ns / 1e6,
            logv_ms=logv_ns / 1e6,
            whole=self._pairing.result(),
            run=estimate(self._run_logs, self._rng),
            hypercalls=self._hypercalls,
            hypercalls_in_run=self._hypercalls_in_run,
        )

    def _time_virtual(self) -> float:
        whole_ns, hypercalls, hypercalls_in_run = self._time(self._virtual)
        self._hypercalls = max(self._hypercalls, hypercalls)
        self._hypercalls_in_run = max(self._hypercalls_in_run, hypercalls_in_run)
        return whole_ns

    def _time(self, target: Target) -> tuple[float, int, int]:
        """Run the application; return its nanoseconds and hypercalls, in all and in the run phase."""
        workload, clock, hypercalls = self.workload, self._clock, target.hypercalls
        workload.poison()
        calls_before = hypercalls()
        start = clock()
        with target.open() as device:
            try:
                workload.setup(device)
                calls_at_run = hypercalls()
                run_start = clock()
                workload.run()
                run_end = clock()
                calls_in_run = hypercalls() - calls_at_run
            finally:
                workload.close()
        end = clock()
        self._run_ns[id(target)] = run_end - run_start
        self.right = workload.check() and self.right
        return end - start, hypercalls() - calls_before, calls_in_run


def compare(
    workloads: Sequence[Workload],
    native: Target,
    virtual: Target,
    *,
    pairs: int | None = None,
    progress: Progress = lambda done, what: None,
    rng: np.random.Generator | None = None,
    clock: Callable[[], int] = time.perf_counter_ns,
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
    start = clock()
    contests = [_Contest(workload, native, virtual, rng, clock) for workload in workloads]
    for contest in contests:
        progress(0.0, f"{contest.workload.name}: reference and warm-up")
        contest.warm_up()

    controlled = contests[0]

    def time_controlled() -> float:
        return controlled.time_native()

    control = Pairing(time_controlled, time_controlled, rng)
    most = pairs if pairs is not None else MOST_ROUNDS
    next_look = FIRST_ROUNDS
    active = contests
    for rounds in range(most):
        elapsed_s = (clock() - start) / 1e9
        if pairs is None and elapsed_s > BUDGET_S and rounds >= MIN_PAIRS:
            break
        for index, contest in enumerate(active):
            done = rounds + index / len(active)
            fraction = done / most if pairs is not None else max(elapsed_s / BUDGET_S, done / most)
            progress(min(fraction, 1.0), contest.workload.name)
            for _ in range(contest.turns if pairs is None else 1):
                contest.take()
        controlled = contests[rounds % len(contests)]
        control.take(1)
        if not all(contest.right for contest in contests):
            break
        if pairs is None and rounds + 1 >= next_look:
            next_look = math.ceil((rounds + 1) * ROUNDS_BETWEEN_LOOKS)
            _share_time(contests)
            active = _undecided(contests, complete, rng)
            if not active:
                break
    progress(1.0, "done")

    rows = tuple(contest.row() for contest in contests)
    return Report(rows, control.result(), geometric_mean([row.whole for row in rows], rng), complete)


def _share_time(contests: list[_Contest]) -> None:
    """Give noisy contests more pairs a round.

    A mean of several is known best, for a given time, if each gets pairs in proportion to its deviation
    over the square root of what a pair costs (Neyman, 1934). Only the noise counts, never the ratio, so
    the estimate stays unbiased.
    """
    weights = np.array([contest.noise() for contest in contests])
    shares = np.clip(np.round(weights / max(np.median(weights), np.finfo(float).tiny)), 1, MOST_TURNS)
    for contest, share in zip(contests, shares, strict=True):
        contest.turns = int(share)


def _undecided(contests: list[_Contest], complete: bool, rng: np.random.Generator) -> list[_Contest]:
    """Return the contests that need more pairs: all of them while the geometric mean does."""
    rows = [contest.row() for contest in contests]
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
