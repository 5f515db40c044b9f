"""Ratios of times on a shared, noisy machine: paired, in random order, judged by a bootstrap.

To compare A with B, a coin decides for each pair which of them goes first; both are timed, and
``log(A / B)`` is kept. Whatever slows the machine for longer than one pair then meets both alike, and
whatever favours the first or the second place meets both equally often. The median of the logs is
the estimate: unlike a mean it does not move when a few pairs were disturbed.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from logv.errors import InvalidValueError

RESAMPLES = 2000
"""Bootstrap resamples behind each bound; the bound's own jitter is then far below its width."""

MIN_PAIRS = 5
"""With fewer pairs no 95 % bound of a median exists: all of them lie on one side of it too often."""


@unique
class Verdict(StrEnum):
    """What a gate came to."""

    PASS = "pass"  # noqa: S105  (a verdict, not a password)
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return what several gates come to: pass if all passed, fail if one failed, else inconclusive."""
    found = set(verdicts)
    for verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
        if verdict in found:
            return verdict
    return Verdict.PASS


@dataclass(frozen=True, slots=True)
class PairedResult:
    """The time of A over the time of B.

    Attributes
    ----------
    ratio : float
        Median of the paired ratios.
    interval : tuple of float
        Two-sided 95 % interval of the median.
    lower95, upper95 : float
        One-sided 95 % bounds of the median: what a gate compares with its bar.
    pairs : int
        How many pairs stand behind it.
    log_ratios : ndarray
        Natural logarithm of A over B, one for each pair.
    places : ndarray or None
        In which of A's places and of B's each pair was taken, shape (pairs, 2); None if there are no
        places.
    """

    ratio: float
    interval: tuple[float, float]
    lower95: float
    upper95: float
    pairs: int
    log_ratios: NDArray[np.float64]
    places: NDArray[np.intp] | None = None

    def judge(self, bar: float) -> Verdict:
        """Compare with `bar`: passed if surely at most `bar`, failed if surely above, else open."""
        if self.pairs < MIN_PAIRS:
            return Verdict.INCONCLUSIVE
        if self.upper95 <= bar:
            return Verdict.PASS
        return Verdict.FAIL if self.lower95 > bar else Verdict.INCONCLUSIVE


def bootstrap_medians(
    log_ratios: NDArray[np.float64],
    rng: np.random.Generator,
    places: NDArray[np.intp] | None = None,
) -> NDArray[np.float64]:
    """Return the median of each of ``RESAMPLES`` resamples of `log_ratios`, drawn with replacement.

    Pairs of one place have its luck in common, so where there are several, places are drawn as well: A's,
    B's, and then pairs. Otherwise many pairs of a lucky place would look like many witnesses.
    """
    if places is None:
        picks = rng.integers(0, log_ratios.size, size=(RESAMPLES, log_ratios.size))
        medians: NDArray[np.float64] = np.median(log_ratios[picks], axis=1)
        return medians
    order = np.argsort(log_ratios)
    ordered = log_ratios[order]
    weights = rng.multinomial(ordered.size, np.full(ordered.size, 1 / ordered.size), size=RESAMPLES)
    for column in places[order].T:
        _, place = np.unique(column, return_inverse=True)
        count = int(place.max()) + 1
        weights *= rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)[:, place]
    below = weights.cumsum(axis=1)
    # Where few pairs were taken, a draw of places may hold none of them.
    below = below[below[:, -1] > 0]
    total = below[:, -1:]
    lower, upper = (2 * below >= total).argmax(axis=1), (2 * below > total).argmax(axis=1)
    halves: NDArray[np.float64] = (ordered[lower] + ordered[upper]) / 2
    return halves


def _result(
    center: float,
    resampled: NDArray[np.float64],
    logs: NDArray[np.float64],
    places: NDArray[np.intp] | None = None,
) -> PairedResult:
    low, lower, upper, high = np.exp(np.quantile(resampled, (0.025, 0.05, 0.95, 0.975)))
    return PairedResult(
        ratio=math.exp(center),
        interval=(float(low), float(high)),
        lower95=float(lower),
        upper95=float(upper),
        pairs=logs.size,
        log_ratios=logs,
        places=places,
    )


def estimate(
    log_ratios: Sequence[float] | NDArray[np.float64],
    rng: np.random.Generator,
    places: Sequence[tuple[int, int]] | None = None,
) -> PairedResult:
    """Return the median and its bootstrap bounds.

    Parameters
    ----------
    log_ratios : sequence of float
        Of A over B, one for each pair.
    rng : numpy.random.Generator
        Source of the bootstrap.
    places : sequence of tuple of int, optional
        In which of A's places and of B's each pair was taken.

    Raises
    ------
    InvalidValueError
        `log_ratios` is empty or holds something that is no number.
    """
    logs = np.asarray(log_ratios, dtype=np.float64)
    if logs.ndim != 1 or logs.size == 0 or not np.isfinite(logs).all():
        raise InvalidValueError("an estimate needs at least one pair, and both times of each above zero")
    where = None if places is None else np.asarray(places, dtype=np.intp)
    return _result(float(np.median(logs)), bootstrap_medians(logs, rng, where), logs, where)


def geometric_mean(results: Sequence[PairedResult], rng: np.random.Generator) -> PairedResult:
    """Return the geometric mean of several ratios, with bounds.

    Each bootstrap draw resamples every result's own pairs, takes each one's median and averages these
    medians, so that the bounds carry the noise of all results and not the spread between them: the
    results are all there are, not a sample of something larger. ``pairs`` and ``log_ratios`` are
    those of all results together.

    Raises
    ------
    InvalidValueError
        `results` is empty.
    """
    if not results:
        raise InvalidValueError("a geometric mean needs at least one result")
    center = sum(math.log(result.ratio) for result in results) / len(results)
    resampled = [bootstrap_medians(result.log_ratios, rng, result.places) for result in results]
    fewest = min(map(len, resampled))
    draws = np.mean([medians[:fewest] for medians in resampled], axis=0)
    return _result(center, draws, np.concatenate([result.log_ratios for result in results]))


class Pairing:
    """Takes pairs of A and B, in random order, and keeps the ratios.

    Parameters
    ----------
    time_a, time_b : callable
        Do the work once and return how long it took, in any one unit.
    rng : numpy.random.Generator, optional
        Source of the coin and of the bootstrap.
    """

    def __init__(
        self,
        time_a: Callable[[], float],
        time_b: Callable[[], float],
        rng: np.random.Generator | None = None,
    ) -> None:
        self._time_a = time_a
        self._time_b = time_b
        self._rng = rng if rng is not None else np.random.default_rng()
        self._log_ratios: list[float] = []
        self._times: tuple[list[float], list[float]] = ([], [])

    def __len__(self) -> int:
        return len(self._log_ratios)

    def take(self, pairs: int) -> None:
        """Time `pairs` more pairs.

        Raises
        ------
        InvalidValueError
            `pairs` is below 1, or a time came back that is not above zero.
        """
        if pairs < 1:
            raise InvalidValueError(f"{pairs} pairs cannot be taken; ask for at least 1")
        for a_first in self._rng.random(pairs) < 0.5:
            if a_first:
                a = self._time_a()
                b = self._time_b()
            else:
                b = self._time_b()
                a = self._time_a()
            if not (a > 0 and b > 0):
                raise InvalidValueError(
                    f"timed {a} and {b}: too short for the clock; do more work for each timing"
                )
            self._log_ratios.append(math.log(a / b))
            self._times[0].append(a)
            self._times[1].append(b)

    def result(self, places: Sequence[tuple[int, int]] | None = None) -> PairedResult:
        """Return the estimate from all pairs so far; InvalidValueError before the first."""
        return estimate(self._log_ratios, self._rng, places)

    def median_times(self) -> tuple[float, float]:
        """Return the median time of A and of B, in the callables' unit; for orientation only."""
        if not self._log_ratios:
            raise InvalidValueError("no pair was taken yet")
        return float(np.median(self._times[0])), float(np.median(self._times[1]))


def timed(
    work: Callable[[], object], *, inner: int = 1, clock: Callable[[], int] = time.perf_counter_ns
) -> Callable[[], float]:
    """Return a callable that does `work` `inner` times and returns the time it took, in `clock`'s unit."""
    if inner < 1:
        raise InvalidValueError(f"inner is {inner}; work must be done at least once for each timing")

    def once() -> float:
        times = repeat(None, inner)
        start = clock()
        for _ in times:
            work()
        return clock() - start

    return once


def paired_ratio(
    a: Callable[[], object],
    b: Callable[[], object],
    *,
    pairs: int,
    rng: np.random.Generator | None = None,
    inner: int = 1,
    clock: Callable[[], int] = time.perf_counter_ns,
) -> PairedResult:
    """Compare the time of `a` with that of `b`.

    Parameters
    ----------
    a, b : callable
        The work; what it returns is ignored.
    pairs : int
        How many pairs to take, at least 1.
    rng : numpy.random.Generator, optional
        Source of the coin and of the bootstrap.
    inner : int
        How often to do the work for each timing. The loop around it adds about 10 ns to each call of
        either side: work shorter than about 1 us should bring its own loop.
    clock : callable
        Returns the time now; nanoseconds from ``perf_counter_ns`` by default.

    Raises
    ------
    InvalidValueError
        `pairs` or `inner` is below 1, or a timing was too short for the clock.
    """
    pairing = Pairing(timed(a, inner=inner, clock=clock), timed(b, inner=inner, clock=clock), rng)
    pairing.take(pairs)
    return pairing.result()


def gate(pairing: Pairing, bar: float, *, pairs: int, cap: int) -> tuple[Verdict, PairedResult]:
    """Decide whether A over B is at most `bar`, taking more pairs while that stays open.

    Takes pairs until there are `pairs`; then, while neither bound is on its side of `bar`, half as
    many again as there are, up to `cap`.

    Returns
    -------
    tuple of Verdict and PairedResult
        ``INCONCLUSIVE`` if `cap` pairs did not decide it: not passed.

    Raises
    ------
    InvalidValueError
        `pairs` is below ``MIN_PAIRS`` or above `cap`.
    """
    if not MIN_PAIRS <= pairs <= cap:
        raise InvalidValueError(f"pairs must be {MIN_PAIRS} to {cap} (the cap), not {pairs}")
    if len(pairing) < pairs:
        pairing.take(pairs - len(pairing))
    while True:
        result = pairing.result()
        verdict = result.judge(bar)
        if verdict is not Verdict.INCONCLUSIVE or len(pairing) >= cap:
            return verdict, result
        pairing.take(min(max(len(pairing) // 2, 1), cap - len(pairing)))
