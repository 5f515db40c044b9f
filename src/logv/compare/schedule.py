"""Which contest takes how many pairs, and when to stop."""

import math
import time
from collections.abc import Callable, Sequence

import numpy as np

from logv.compare.contest import Contest
from logv.compare.paired import MIN_PAIRS

FIRST_ROUNDS = 20
"""Rounds before the gates are looked at for the first time."""

MOST_TURNS = 4
"""The most pairs that one workload takes in a round."""

ROUNDS_BETWEEN_LOOKS = 1.25
"""Each look at the gates waits for so many times the rounds of the last: looking after every round
would give a lucky bound more chances than its 5 %."""

Progress = Callable[[float, str], None]
"""Told how much is done, 0 to 1, and what is next."""

Clock = Callable[[], int]


def play_rounds(
    contests: Sequence[Contest],
    *,
    undecided: Callable[[], Sequence[Contest]],
    after_round: Callable[[int], None],
    pairs: int | None,
    most_rounds: int,
    deadline_ns: int,
    progress: Progress,
    clock: Clock = time.perf_counter_ns,
) -> None:
    """Take pairs of every contest, round by round, until all is decided.

    Parameters
    ----------
    contests : sequence of Contest
        Those that are judged; in a round each takes as many pairs as it has turns.
    undecided : callable
        Return the contests that need more pairs; the others pause.
    after_round : callable
        Do what else belongs to a round, of which it is told the number.
    pairs : int or None
        Take exactly so many rounds of one pair each instead, without looking at the gates.
    most_rounds : int
        Rounds after which an open gate stays open.
    deadline_ns : int
        No round starts later, once there are ``MIN_PAIRS``.
    progress : callable
        Told what happens.
    clock : callable, optional
        Returns the time now in nanoseconds.
    """
    start = clock()
    most = pairs if pairs is not None else most_rounds
    next_look = FIRST_ROUNDS
    active = contests
    for number in range(most):
        now = clock()
        if pairs is None and now > deadline_ns and number >= MIN_PAIRS:
            return
        for index, contest in enumerate(active):
            done = (number + index / len(active)) / most
            if pairs is None:
                done = max(done, (now - start) / max(deadline_ns - start, 1))
            progress(min(done, 1.0), contest.workload.name)
            for _ in range(contest.turns if pairs is None else 1):
                contest.take()
        after_round(number)
        if not all(contest.right for contest in contests):
            return
        if pairs is None and number + 1 >= next_look:
            next_look = math.ceil((number + 1) * ROUNDS_BETWEEN_LOOKS)
            active = undecided()
            if not active:
                return
            _share_time(contests)


def _share_time(contests: Sequence[Contest]) -> None:
    """Give noisy contests more pairs a round.

    A mean of several is known best, for a given time, if each gets pairs in proportion to its deviation
    over the square root of what a pair costs (Neyman, 1934). Only the noise counts, never the ratio, so
    the estimate stays unbiased.
    """
    weights = np.array([contest.noise() for contest in contests])
    shares = np.clip(np.round(weights / max(np.median(weights), np.finfo(float).tiny)), 1, MOST_TURNS)
    for contest, share in zip(contests, shares, strict=True):
        contest.turns = int(share)
