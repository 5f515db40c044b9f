"""The paired estimator, with invented clocks: no test here depends on how fast the machine is."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logv.compare.paired import (
    MIN_PAIRS,
    Pairing,
    Verdict,
    estimate,
    gate,
    geometric_mean,
    paired_ratio,
    timed,
)
from logv.errors import InvalidValueError


class Clock:
    """Time that passes only when work says so; `drift` makes each unit of work slower than the last."""

    def __init__(self, drift: float = 0.0, noise: float = 0.0) -> None:
        self.now = 0.0
        self.calls = 0
        self._drift = drift
        self._noise = noise
        self._rng = np.random.default_rng(7)

    def read(self) -> int:
        """Return the time, as ``perf_counter_ns`` would."""
        return round(self.now)

    def work(self, cost: float) -> Callable[[], None]:
        """Return work that takes `cost`, scaled by drift and noise."""

        def do() -> None:
            self.calls += 1
            self.now += cost * (1 + self._drift * self.calls) * math.exp(self._rng.normal(0, self._noise))

        return do


def noisy(center: float, spread: float, seed: int) -> Pairing:
    """Return a pairing whose log ratios are normal around ``log(center)``."""
    rng = np.random.default_rng(seed)
    return Pairing(lambda: center * math.exp(rng.normal(0, spread)), lambda: 1.0, np.random.default_rng(seed))


@settings(max_examples=30, deadline=None)
@given(ratio=st.floats(0.2, 5.0), seed=st.integers(0, 2**32 - 1))
def test_known_ratio_is_recovered(ratio: float, seed: int) -> None:
    """Without noise the ratio is exact to the clock's resolution, and so are its bounds."""
    clock = Clock()
    result = paired_ratio(
        clock.work(1e6 * ratio), clock.work(1e6), pairs=9, rng=np.random.default_rng(seed), clock=clock.read
    )
    assert result.ratio == pytest.approx(ratio, rel=1e-4)
    assert result.lower95 == pytest.approx(ratio, rel=1e-4)
    assert result.upper95 == pytest.approx(ratio, rel=1e-4)
    assert result.pairs == len(result.log_ratios) == 9


def test_drift_cancels() -> None:
    """A machine that gets 100 times slower in mid-run does not move the ratio."""
    clock = Clock(drift=0.5)
    result = paired_ratio(
        clock.work(2e6), clock.work(1e6), pairs=100, rng=np.random.default_rng(1), clock=clock.read
    )
    assert result.ratio == pytest.approx(2.0, rel=0.03)
    assert result.lower95 <= 2.0 <= result.upper95


def test_order_is_random() -> None:
    """Both orders occur, about equally often, and both sides are called once in each pair."""
    order: list[str] = []

    def a() -> float:
        order.append("a")
        return 1.0

    def b() -> float:
        order.append("b")
        return 1.0

    Pairing(a, b, np.random.default_rng(3)).take(400)
    firsts = order[::2]
    assert order.count("a") == order.count("b") == 400
    assert 150 < firsts.count("a") < 250


def test_a_few_disturbed_pairs_do_not_move_the_median() -> None:
    """One pair in ten that took a hundred times as long leaves the estimate where it was."""
    result = estimate([0.0] * 90 + [math.log(100)] * 10, np.random.default_rng(0))
    assert result.ratio == 1.0
    assert result.upper95 == 1.0


def test_bounds_are_ordered_and_shrink_with_pairs() -> None:
    """The two-sided interval encloses the one-sided bounds; more pairs make all of them narrower."""
    widths = []
    for pairs in (20, 320):
        pairing = noisy(1.0, 0.1, seed=5)
        pairing.take(pairs)
        result = pairing.result()
        assert result.interval[0] <= result.lower95 <= result.ratio <= result.upper95 <= result.interval[1]
        widths.append(result.upper95 - result.lower95)
    assert widths[1] < widths[0] / 2


def test_upper_bound_covers_as_often_as_it_says() -> None:
    """In 95 of 100 experiments, give or take chance, the true ratio lies below ``upper95``."""
    rng = np.random.default_rng(11)
    covered = sum(estimate(rng.normal(0, 0.05, 40), rng).upper95 >= 1.0 for _ in range(300))
    assert 0.90 * 300 <= covered <= 0.99 * 300


@pytest.mark.parametrize(
    ("center", "spread", "verdict"),
    [
        (1.00, 0.02, Verdict.PASS),
        (1.10, 0.02, Verdict.FAIL),
        (1.04, 0.5, Verdict.INCONCLUSIVE),
    ],
)
def test_gate_has_three_outcomes(center: float, spread: float, verdict: Verdict) -> None:
    """Clearly below the bar passes, clearly above fails, too noisy to tell stays open at the cap."""
    pairing = noisy(center, spread, seed=2)
    got, result = gate(pairing, 1.04, pairs=20, cap=60)
    assert got is verdict
    assert result.pairs == (60 if verdict is Verdict.INCONCLUSIVE else 20)


def test_gate_takes_more_pairs_until_decided() -> None:
    """An open gate goes on past its first pairs, and stops short of the cap once the bound is clear."""
    pairing = noisy(1.0, 0.2, seed=4)
    verdict, result = gate(pairing, 1.04, pairs=10, cap=5000)
    assert verdict is Verdict.PASS
    assert 10 < result.pairs < 5000


def test_gate_counts_pairs_taken_before() -> None:
    """Pairs that are already there are not taken again."""
    pairing = noisy(1.0, 0.001, seed=4)
    pairing.take(20)
    assert gate(pairing, 1.04, pairs=20, cap=20)[1].pairs == 20


def test_too_few_pairs_decide_nothing() -> None:
    """Below the number of pairs from which a 95 % bound exists, no verdict is given."""
    result = estimate([0.0] * (MIN_PAIRS - 1), np.random.default_rng(0))
    assert result.judge(2.0) is Verdict.INCONCLUSIVE
    assert estimate([0.0] * MIN_PAIRS, np.random.default_rng(0)).judge(2.0) is Verdict.PASS


def test_geometric_mean_of_known_ratios() -> None:
    """The mean of 2 and 0.5 is 1; its bounds are narrower than either result's own."""
    parts = []
    for seed, center in ((1, 2.0), (2, 0.5)):
        pairing = noisy(center, 0.05, seed)
        pairing.take(200)
        parts.append(pairing.result())
    mean = geometric_mean(parts, np.random.default_rng(0))
    assert mean.ratio == pytest.approx(math.sqrt(parts[0].ratio * parts[1].ratio))
    assert mean.lower95 < 1.0 < mean.upper95
    assert math.log(mean.upper95 / mean.lower95) < max(math.log(p.upper95 / p.lower95) for p in parts)
    assert mean.pairs == 400


def test_inner_repeats_the_work() -> None:
    """Each timing does the work `inner` times and reports the whole time."""
    clock = Clock()
    assert timed(clock.work(10), inner=7, clock=clock.read)() == 70
    assert clock.calls == 7


def test_median_times() -> None:
    """The absolute times beside a ratio are medians of each side's own."""
    pairing = Pairing(lambda: 3.0, lambda: 2.0)
    pairing.take(3)
    assert pairing.median_times() == (3.0, 2.0)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: Pairing(lambda: 1.0, lambda: 1.0).take(0),
        lambda: Pairing(lambda: 1.0, lambda: 1.0).result(),
        lambda: Pairing(lambda: 1.0, lambda: 1.0).median_times(),
        lambda: Pairing(lambda: 0.0, lambda: 1.0).take(1),
        lambda: Pairing(lambda: float("nan"), lambda: 1.0).take(1),
        lambda: timed(lambda: None, inner=0),
        lambda: estimate([float("inf")], np.random.default_rng(0)),
        lambda: geometric_mean([], np.random.default_rng(0)),
        lambda: gate(Pairing(lambda: 1.0, lambda: 1.0), 1.0, pairs=MIN_PAIRS - 1, cap=100),
        lambda: gate(Pairing(lambda: 1.0, lambda: 1.0), 1.0, pairs=50, cap=49),
    ],
)
def test_misuse_is_refused(misuse: Callable[[], object]) -> None:
    """No pairs, no time, no work: each is a clear error at once."""
    with pytest.raises(InvalidValueError):
        misuse()


def test_pairs_of_one_place_are_no_independent_witnesses() -> None:
    """Where the places differ, the bounds carry that; where they do not, they are as without places."""
    rng = np.random.default_rng(5)
    places = [(a, b) for a in range(4) for b in range(4)] * 10
    luck = {place: rng.normal(0, 0.05) for place in range(4)}
    noise = rng.normal(0, 0.002, len(places))
    alike = estimate(noise, rng, places)
    assert alike.upper95 - alike.lower95 < 3 * (estimate(noise, rng).upper95 - estimate(noise, rng).lower95)
    unlike = noise + np.array([luck[a] for a, _ in places])
    narrow, wide = estimate(unlike, rng), estimate(unlike, rng, places)
    assert narrow.ratio == wide.ratio
    assert wide.upper95 - wide.lower95 > 1.5 * (narrow.upper95 - narrow.lower95)


def test_one_place_is_no_place() -> None:
    """With a single place on each side the bounds are those of pairs alone, but for the draw."""
    logs = np.random.default_rng(6).normal(0, 0.05, 60)
    plain = estimate(logs, np.random.default_rng(0))
    placed = estimate(logs, np.random.default_rng(0), [(0, 0)] * 60)
    assert placed.upper95 == pytest.approx(plain.upper95, abs=0.005)
    assert placed.lower95 == pytest.approx(plain.lower95, abs=0.005)
