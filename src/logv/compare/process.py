"""Compares applications across processes: native ones with VMs, and with two other ways to share a GPU.

Every application runs in a process of its mode, a *place*, and is timed there. This process only says
whose turn it is, and sleeps meanwhile.
"""

import math
import time
from collections.abc import Sequence

import numpy as np

from logv.compare.contest import Contest
from logv.compare.paired import Verdict, estimate, geometric_mean
from logv.compare.places import Places
from logv.compare.process_result import LONG_BAR, SHORT_BAR, ProcessReport, ProcessRow
from logv.compare.schedule import Progress, play_rounds
from logv.errors import InvalidValueError
from logv.workloads import SHORT_WORKLOADS, WORKLOADS, Sync, Workload, create

MICRO_US = 20
MICRO = f"sync{MICRO_US}us"
"""The micro-application: kernels of so many microseconds, each waited for. It is not judged."""

MODES = ("logv", "trap", "remote")

PLACES = {"native": 4, "logv": 4, "trap": 1, "remote": 1}
"""Processes of each mode, which take turns. The baselines are far off, and need no such care."""

BASELINE_PAIRS = 5
"""Pairs that an application takes in a mode other than LoGV, to which most of the time goes."""

MICRO_PAIRS = 20
"""Pairs that the micro-application takes in each mode."""

BUDGET_S = 125.0
"""No round starts later than this, so that the command ends within two and a half minutes."""

MOST_ROUNDS = 5000
"""Rounds after which an open gate stays open."""


def compare_processes(
    workloads: Sequence[str] = (*WORKLOADS, *SHORT_WORKLOADS, MICRO),
    *,
    modes: Sequence[str] = MODES,
    pairs: int | None = None,
    minutes: float | None = None,
    progress: Progress = lambda done, what: None,
) -> ProcessReport:
    """Compare applications in processes of their own: natively, in VMs, and in other modes.

    A round takes a pair of each application, natively and in a VM, and one native-native pair, of each
    workload in turn, for the control. The first rounds take pairs of the other modes as well. Without
    `pairs`, rounds go on until every gate is decided or the time is over; applications whose gate is
    decided pause while only others' are open. A wrong result ends the comparison after its round.

    Parameters
    ----------
    workloads : sequence of str
        Names of long and short workloads, and of the micro-application, each once.
    modes : sequence of str
        Of ``MODES``; ``logv`` must be among them.
    pairs : int, optional
        Take exactly so many pairs of each application in a VM instead; of other modes fewer, if they
        need fewer.
    minutes : float, optional
        Go on for so long, instead of ``BUDGET_S``.
    progress : callable, optional
        Told what happens.

    Raises
    ------
    InvalidValueError
        An argument is impossible, or a workload unknown.
    LogvError
        An application failed, or a process did not start or ended before its time. None is left.
    """
    if not workloads or len(set(workloads)) < len(workloads):
        raise InvalidValueError("name at least one workload, and none twice")
    if "logv" not in modes or not set(modes) <= set(MODES):
        raise InvalidValueError(f"modes must be some of {', '.join(MODES)}, and logv one of them")
    if pairs is not None and pairs < 1:
        raise InvalidValueError(f"{pairs} pairs compare nothing; ask for at least 1")
    if minutes is not None and not minutes > 0:
        raise InvalidValueError(f"{minutes} minutes are no time; ask for more than 0")
    applications = {name: create(name) for name in workloads if name != MICRO}

    rng = np.random.default_rng()
    budget_s = BUDGET_S if minutes is None else minutes * 60
    deadline_ns = time.perf_counter_ns() + round(budget_s * 1e9)
    progress(0.0, "starting the processes")
    with Places({mode: PLACES[mode] for mode in ("native", *modes)}, rng) as places:
        if MICRO in workloads:
            applications[MICRO] = Sync(MICRO_US, places.rounds_per_us())
        comparison = _Comparison([applications[name] for name in workloads], modes, places, rng)
        comparison.warm_up(progress)
        play_rounds(
            comparison.judged,
            undecided=comparison.undecided,
            after_round=comparison.take_others,
            pairs=pairs,
            most_rounds=MOST_ROUNDS,
            deadline_ns=deadline_ns,
            progress=progress,
        )
    progress(1.0, "done")
    return comparison.report()


class _Comparison:
    """The contests between the places, of each workload in each mode."""

    def __init__(
        self, workloads: Sequence[Workload], modes: Sequence[str], places: Places, rng: np.random.Generator
    ) -> None:
        self._workloads = workloads
        self._modes = modes
        self._places = places
        self._rng = rng
        self._control_logs: list[float] = []
        self._contests = {
            (workload.name, mode): Contest(workload, places.runner("native"), places.runner(mode), rng)
            for workload in workloads
            for mode in modes
        }
        names = {workload.name for workload in workloads}
        self._complete = names >= {*WORKLOADS, *SHORT_WORKLOADS}

    @property
    def judged(self) -> list[Contest]:
        """The contests that have a bar."""
        return [contest for (name, mode), contest in self._contests.items() if _is_judged(name, mode)]

    def warm_up(self, progress: Progress) -> None:
        """Run each workload in each place, so that no pair pays for compiling a kernel or for cold memory."""
        for before, workload in zip([None, *self._workloads], [*self._workloads, None], strict=True):
            if workload is not None:
                progress(0.0, f"{workload.name}: reference and warm-up")
                # Meanwhile the places run the one before.
                workload.prepare()
            if before is not None:
                right = self._places.all_right()
                for mode in self._modes:
                    self._contests[before.name, mode].right = right
            if workload is not None:
                self._places.hand_over(workload)
        self._places.keep_apart()

    def take_others(self, number: int) -> None:
        """Take what belongs to a round beside the judged pairs: one for the control, and other modes'."""
        first, second = self._places.two_natively(self._workloads[number % len(self._workloads)])
        self._control_logs.append(math.log(first.whole_ns / second.whole_ns))
        for (name, mode), contest in self._contests.items():
            if not _is_judged(name, mode) and number < (MICRO_PAIRS if name == MICRO else BASELINE_PAIRS):
                contest.take()

    def undecided(self) -> list[Contest]:
        """Return the contests that need more pairs: all of them while the geometric mean does."""
        report = self.report()
        if report.mean_verdict is Verdict.INCONCLUSIVE:
            return self.judged
        return [
            self._contests[row.name, "logv"] for row in report.rows if row.verdict is Verdict.INCONCLUSIVE
        ]

    def report(self) -> ProcessReport:
        """Return what all pairs so far come to."""
        rows = tuple(
            ProcessRow(
                workload.name,
                workload.input,
                _bar(workload.name),
                {mode: self._contests[workload.name, mode].measured() for mode in self._modes},
            )
            for workload in self._workloads
        )
        judged = [row for row in rows if row.bar is not None]
        geomeans = {
            mode: geometric_mean([row.modes[mode].whole for row in judged], self._rng)
            for mode in self._modes
            if judged
        }
        return ProcessReport(rows, estimate(self._control_logs, self._rng), geomeans, self._complete)


def _bar(name: str) -> float | None:
    if name == MICRO:
        return None
    return SHORT_BAR if name in SHORT_WORKLOADS else LONG_BAR


def _is_judged(name: str, mode: str) -> bool:
    return mode == "logv" and name != MICRO
