"""The paired fixture: every figure of a bench is a ratio taken in one run, with its A/A control."""

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from logv.compare.paired import PairedResult, Pairing, Verdict, gate, timed

BUDGET_S = 3.0
"""Time for the first pairs of one figure; its A/A control takes as long again."""

FEWEST, MOST = 20, 200
"""Pairs before the gate is asked for the first time."""

CAP_FACTOR = 5
"""An open gate may take this many times the first pairs."""


class Paired(Protocol):
    """Compare `a` (ours) with `b` (the baseline).

    ``ratio`` is the time of `a` over the time of `b`. With a `bar` the bench fails unless the one-sided
    95 % upper bound of the ratio is at most `bar`. Each timing does its work `inner` times.
    """

    def __call__(  # noqa: D102  (the class says it)
        self,
        a: Callable[[], object],
        b: Callable[[], object],
        *,
        label: str,
        bar: float | None = None,
        inner: int = 1,
    ) -> PairedResult: ...


@pytest.fixture
def paired(benchmark: BenchmarkFixture) -> Paired:
    """Return the function that compares; ratio, control and verdict go into ``extra_info``."""

    def compare(
        a: Callable[[], object],
        b: Callable[[], object],
        *,
        label: str,
        bar: float | None = None,
        inner: int = 1,
    ) -> PairedResult:
        time_a, time_b = timed(a, inner=inner), timed(b, inner=inner)
        time_a(), time_b()
        pair_s = (time_a() + time_b()) / 1e9
        pairs = int(np.clip(BUDGET_S / pair_s, FEWEST, MOST))

        # pytest-benchmark ships without types.
        benchmark.pedantic(a, rounds=FEWEST, iterations=inner, warmup_rounds=1)  # type: ignore[no-untyped-call]
        control = Pairing(time_a, time_a)
        control.take(pairs)
        aa = control.result()
        pairing = Pairing(time_a, time_b)
        if bar is None:
            pairing.take(pairs)
            verdict, result = None, pairing.result()
        else:
            verdict, result = gate(pairing, bar, pairs=pairs, cap=CAP_FACTOR * pairs)

        benchmark.extra_info.update(
            label=label,
            ratio=result.ratio,
            lower95=result.lower95,
            upper95=result.upper95,
            interval=list(result.interval),
            pairs=result.pairs,
            aa_ratio=aa.ratio,
            aa_upper95=aa.upper95,
            bar=bar,
            verdict=verdict,
        )
        if verdict is not None:
            assert verdict is Verdict.PASS, (
                f"{label}: {verdict}; ratio {result.ratio:.3f}, 95 % bounds {result.lower95:.3f} to "
                f"{result.upper95:.3f}, bar {bar}, A/A {aa.ratio:.3f}, {result.pairs} pairs"
            )
        return result

    return compare
