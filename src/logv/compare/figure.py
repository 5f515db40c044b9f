"""The figure: what sharing a GPU costs where every launch is waited for, over the length of the kernel.

``python -m logv.compare.figure`` measures, and writes ``docs/figures/overhead.svg`` with the numbers beside
it. It needs matplotlib: ``pip install 'logv[figures]'``.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np

from logv.compare.contest import Contest
from logv.compare.paired import estimate
from logv.compare.places import Places
from logv.compare.process import MODES
from logv.compare.process_result import SHORT_BAR
from logv.compare.report import measured_json
from logv.errors import LogvError, NotSupportedError
from logv.workloads import Sync

LENGTHS_US = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
PAIRS = 25
"""Of each length in each mode."""

PLACES = {"native": 2, "logv": 2, "trap": 1, "remote": 1}

NAME = "overhead"
"""Of the figure and of its numbers, without the ending."""

_TITLES = {"remote": "API remoting", "trap": "trapped submissions", "logv": "LoGV"}
_COLOURS = {"remote": "#b2182b", "trap": "#ef8a62", "logv": "#2166ac"}
_MARKERS = {"remote": "s", "trap": "^", "logv": "o"}


def measure() -> dict[str, Any]:
    """Run :class:`~logv.workloads.sync.Sync` of each length in each mode; return the numbers.

    Returns
    -------
    dict
        JSON's own types: the bar, and for each length its modes as ``logv compare --process`` gives them
        (each with the 95 % interval of its ratio), and native over native as ``aa_control``.

    Raises
    ------
    LogvError
        A process did not start or ended, or a result was wrong.
    """
    rng = np.random.default_rng()
    control_logs: dict[int, list[float]] = {length: [] for length in LENGTHS_US}
    with Places(PLACES, rng) as places:
        rounds_per_us = places.rounds_per_us()
        contests: dict[tuple[int, str], Contest] = {}
        for length in LENGTHS_US:
            workload = Sync(length, rounds_per_us)
            workload.prepare()
            places.hand_over(workload)
            right = places.all_right()
            for mode in MODES:
                contest = Contest(workload, places.runner("native"), places.runner(mode), rng)
                contest.right = right
                contests[length, mode] = contest
        places.keep_apart()
        with click.progressbar(range(PAIRS), label="pairs of every length and mode") as rounds:
            for _ in rounds:
                for (length, mode), contest in contests.items():
                    contest.take()
                    if mode == "logv":
                        first, second = places.two_natively(contest.workload)
                        control_logs[length].append(math.log(first.whole_ns / second.whole_ns))
    if not all(contest.right for contest in contests.values()):
        raise LogvError("a result was wrong; `logv compare --process sync20us` may tell more")

    points = []
    for length in LENGTHS_US:
        modes = {mode: contests[length, mode].measured() for mode in MODES}
        control = estimate(control_logs[length], rng)
        points.append(
            {
                "us": length,
                "native_ms": modes["logv"].native_ms,
                "modes": {
                    mode: {**measured_json(measured), "interval": measured.whole.interval}
                    for mode, measured in modes.items()
                },
                "aa_control": {"ratio": control.ratio, "upper95": control.upper95},
            }
        )
    return {"bar": SHORT_BAR, "lengths": points}


def draw(numbers: Mapping[str, Any], path: Path) -> None:
    """Draw the figure, as SVG that depends on nothing but the numbers.

    Raises
    ------
    NotSupportedError
        matplotlib is not installed.
    """
    matplotlib = _matplotlib()
    lengths = [point["us"] for point in numbers["lengths"]]
    with matplotlib.rc_context({"svg.hashsalt": NAME, "font.size": 10}):
        figure = matplotlib.figure.Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_yscale("log")
        for mode, title in _TITLES.items():
            results = [point["modes"][mode] for point in numbers["lengths"]]
            ratios = np.array([result["ratio"] for result in results])
            low, high = np.array([result["interval"] for result in results]).T
            # A resampled median can miss the median itself by a rounding error.
            bars = np.maximum([ratios - low, high - ratios], 0.0)
            style = {"color": _COLOURS[mode], "marker": _MARKERS[mode], "markersize": 5, "capsize": 3}
            axes.errorbar(lengths, ratios, yerr=bars, label=title, **style)
        axes.axhline(1.0, color="black", linewidth=0.8)
        axes.axhline(
            numbers["bar"], color="black", linewidth=0.8, linestyle="--", label=f"bar, {numbers['bar']}"
        )
        axes.set_xlabel("length of the kernel, each launch waited for (µs)")
        axes.set_ylabel("time of the application over native")
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.set_xticks([], minor=True)
        top = max(result["interval"][1] for point in numbers["lengths"] for result in point["modes"].values())
        ticks = [tick for tick in (1, 1.1, 1.25, 1.5, 2, 3, 4, 6, 8, 12, 16) if tick <= top * 1.1]
        axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_yticks([], minor=True)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _matplotlib() -> Any:
    try:
        import matplotlib  # noqa: PLC0415  (an extra: only the figure needs it)
        import matplotlib.figure  # noqa: PLC0415
    except ImportError:
        raise NotSupportedError(
            "the figure is drawn with matplotlib, which is not installed; run: pip install 'logv[figures]'"
        ) from None
    return matplotlib


@click.command()
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("docs/figures"),
    show_default=True,
    help="Where the figure and its numbers go.",
)
def main(directory: Path) -> None:
    """Measure and draw what sharing a GPU costs, over the length of the kernel. Takes a few minutes."""
    try:
        _matplotlib()
        numbers = measure()
        path = directory / f"{NAME}.svg"
        draw(numbers, path)
    except LogvError as error:
        raise click.ClickException(str(error)) from error
    path.with_suffix(".json").write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
    for point in numbers["lengths"]:
        ratios = ", ".join(f"{mode} {result['ratio']:.3f}" for mode, result in point["modes"].items())
        click.echo(f"{point['us']:6} us: {ratios}")
    click.echo(f"written: {path} and its .json")


if __name__ == "__main__":
    main()
