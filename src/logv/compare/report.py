"""A comparison's report: a table for people, JSON for programs."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from logv.compare.compare import BAR, GEOMEAN_BAR, Report
from logv.compare.paired import PairedResult, Verdict

SCHEMA = 1
"""Version of the JSON; grows when a reader of the old one would misread the new."""

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}


def to_json(report: Report) -> dict[str, Any]:
    """Return the report as JSON's own types.

    Times are medians in milliseconds; ratios are LoGV over native; ``upper95`` is the one-sided 95 %
    upper bound of the ratio; ``geomean`` is the geometric mean of the workloads' ratios.
    """
    return {
        "schema": SCHEMA,
        "process_mode": False,
        "aa_control": {"ratio": report.control.ratio, "upper95": report.control.upper95},
        "workloads": [
            {
                "name": row.name,
                "input": row.input,
                "checked": row.right,
                "native_ms": row.native_ms,
                "modes": {
                    "logv": {
                        "ms": row.logv_ms,
                        "ratio": row.whole.ratio,
                        "upper95": row.whole.upper95,
                        "hypercalls": row.hypercalls,
                        "hypercalls_in_run": row.hypercalls_in_run,
                    }
                },
            }
            for row in report.rows
        ],
        "geomean": {"logv": report.geomean.ratio},
    }


def to_table(report: Report) -> Table:
    """Return the report as a table of at most 80 columns."""
    table = Table(
        title="Whole applications: LoGV over native",
        caption=_caption(report),
        box=box.SIMPLE_HEAD,
        padding=0,
        pad_edge=False,
    )
    table.add_column("workload", no_wrap=True)
    for heading in ("native\nms", "LoGV\nms", "ratio", "95 %\ninterval", "upper\nbound", "run\nphase"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("hypercalls\nall / run", justify="right", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("gate", no_wrap=True)

    for row in report.rows:
        table.add_row(
            row.name,
            f"{row.native_ms:.1f}",
            f"{row.logv_ms:.1f}",
            *_ratio_cells(row.whole),
            f"{row.run.ratio:.3f}",
            f"{row.hypercalls} / {row.hypercalls_in_run}",
            Text("right", "green") if row.right else Text("WRONG", "bold red"),
            _gate(row.verdict),
        )
    table.add_section()
    mean_verdict = report.geomean.judge(GEOMEAN_BAR) if report.complete else None
    table.add_row("geomean", "", "", *_ratio_cells(report.geomean), "", "", "", _gate(mean_verdict))
    table.add_row("A/A control", "", "", *_ratio_cells(report.control))
    return table


def summary(report: Report) -> Text:
    """Return the verdict in one line."""
    if not report.right:
        wrong = ", ".join(row.name for row in report.rows if not row.right)
        return Text(f"WRONG RESULT: {wrong}", "bold red")
    says = {
        Verdict.PASS: f"PASS: every application costs at most {BAR - 1:.0%} more than natively",
        Verdict.FAIL: "FAIL: a bound is exceeded, or a run phase made hypercalls",
        Verdict.INCONCLUSIVE: "INCONCLUSIVE, hence not passed: the machine is too noisy for these pairs; "
        "run again, or with a larger --pairs",
    }
    return Text(says[report.verdict], _STYLES[report.verdict])


def _ratio_cells(result: PairedResult) -> tuple[str, str, str]:
    low, high = result.interval
    return f"{result.ratio:.3f}", f"{low:.3f}-{high:.3f}", f"{result.upper95:.3f}"


def _gate(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text("")
    return Text("open" if verdict is Verdict.INCONCLUSIVE else verdict, _STYLES[verdict])


def _caption(report: Report) -> str:
    pairs = sorted({row.whole.pairs for row in report.rows})
    count = f"{pairs[0]} to {pairs[-1]}" if len(pairs) > 1 else f"{pairs[0]}"
    bars = f"at most {BAR}" + (f", geomean at most {GEOMEAN_BAR}" if report.complete else "")
    return (
        f"Medians of {count} pairs in random order. Gate: upper bound {bars}; no hypercalls in the "
        "run phase. Every result was checked against NumPy."
    )
