"""One application in one mode against the same natively, in pairs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from logv.compare.application import Timing
from logv.compare.paired import PairedResult, Pairing, estimate
from logv.workloads import Workload

Runner = Callable[[Workload], Timing]
"""Runs an application once, wherever that is."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What the pairs of one application in one mode came to.

    Attributes
    ----------
    native_ms, ms : float
        Median times of the whole application natively and in this mode; for orientation only.
    whole, run : PairedResult
        This mode over native: the whole application (open to close), and its run phase alone.
    hypercalls, hypercalls_in_run : int
        The most that one application made, in all and during its run phase.
    right : bool
        Whether every run's result, in this mode and natively, was what NumPy computed.
    """

    native_ms: float
    ms: float
    whole: PairedResult
    run: PairedResult
    hypercalls: int
    hypercalls_in_run: int
    right: bool


class Contest:
    """Takes pairs of one application: in some mode, and natively.

    Parameters
    ----------
    workload : Workload
        Prepared before the first pair.
    native, mode : callable
        Run it in the one way and in the other.
    rng : numpy.random.Generator
        Source of the coins and of the bootstrap.

    Attributes
    ----------
    right : bool
        Whether every result so far was right.
    turns : int
        How many pairs it takes in a round.
    """

    def __init__(self, workload: Workload, native: Runner, mode: Runner, rng: np.random.Generator) -> None:
        self.workload = workload
        self.right = True
        self.turns = 1
        self._native = native
        self._mode = mode
        self._rng = rng
        self._pairing = Pairing(self._time_mode, self.time_native, rng)
        self._run_logs: list[float] = []
        self._places: list[tuple[int, int]] = []
        self._native_place = 0
        self._mode_place = 0
        self._native_run_ns = 0
        self._mode_run_ns = 0
        self._hypercalls = 0
        self._hypercalls_in_run = 0

    def __len__(self) -> int:
        return len(self._pairing)

    def take(self) -> None:
        """Take one pair."""
        self._pairing.take(1)
        self._run_logs.append(math.log(self._mode_run_ns / self._native_run_ns))
        self._places.append((self._mode_place, self._native_place))

    def time_native(self) -> float:
        """Run the application natively and return its time in nanoseconds."""
        timing = self._native(self.workload)
        self._native_run_ns, self._native_place = timing.run_ns, timing.place
        self.right = timing.right and self.right
        return timing.whole_ns

    def noise(self) -> float:
        """Return the deviation of the pairs' logarithms, over the square root of a pair's time."""
        logs = self._pairing.result().log_ratios
        # Robust, as the median is: 1.4826 times the median deviation is the deviation of normal noise.
        deviation = 1.4826 * float(np.median(np.abs(logs - np.median(logs))))
        return deviation / math.sqrt(sum(self._pairing.median_times()))

    def measured(self) -> Measured:
        """Return what the pairs so far come to."""
        mode_ns, native_ns = self._pairing.median_times()
        return Measured(
            native_ms=native_ns / 1e6,
            ms=mode_ns / 1e6,
            whole=self._pairing.result(self._places),
            run=estimate(self._run_logs, self._rng, self._places),
            hypercalls=self._hypercalls,
            hypercalls_in_run=self._hypercalls_in_run,
            right=self.right,
        )

    def _time_mode(self) -> float:
        timing = self._mode(self.workload)
        self._mode_run_ns, self._mode_place = timing.run_ns, timing.place
        self.right = timing.right and self.right
        self._hypercalls = max(self._hypercalls, timing.hypercalls)
        self._hypercalls_in_run = max(self._hypercalls_in_run, timing.hypercalls_in_run)
        return timing.whole_ns
