"""A comparison's report: a table for people, JSON for programs."""

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from logv.compare.compare import BAR, GEOMEAN_BAR, Report
from logv.compare.contest import Measured
from logv.compare.paired import PairedResult, Verdict
from logv.compare.process_result import (
    FINDING_BAR,
    LONG_BAR,
    RUN_BAR,
    SHORT_BAR,
    Finding,
    ProcessReport,
    ProcessRow,
)

SCHEMA = 1
"""Version of the JSON; grows when a reader of the old one would misread the new."""

_STYLES = {Verdict.PASS: "green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "yellow"}


def to_json(report: Report | ProcessReport) -> dict[str, Any]:
    """Return the report as JSON's own types.

    Times are medians in milliseconds; ratios are the mode's over native; ``upper95`` and ``lower95`` are
    one-sided 95 % bounds of the ratio; ``geomean`` is the geometric mean of the workloads' ratios.
    Across processes there are more modes, the run phase's ratio, each workload's ``bar`` (null for the
    micro-application, which is in no geometric mean), and ``findings``: what the other modes cost the
    micro-application, where ``confirmed`` is null if the pairs cannot tell.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "process_mode": isinstance(report, ProcessReport),
        "aa_control": {"ratio": report.control.ratio, "upper95": report.control.upper95},
    }
    if isinstance(report, ProcessReport):
        return document | {
            "workloads": [_process_row_json(row) for row in report.rows],
            "geomean": {mode: mean.ratio for mode, mean in report.geomeans.items()},
            "geomean_upper95": {mode: mean.upper95 for mode, mean in report.geomeans.items()},
            "findings": [
                {
                    "workload": finding.workload,
                    "mode": finding.mode,
                    "at_least": FINDING_BAR,
                    "lower95": finding.result.lower95,
                    "confirmed": finding.confirmed,
                }
                for finding in report.findings
            ],
            "verdict": str(report.verdict),
        }
    return document | {
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


def to_table(report: Report | ProcessReport) -> Table:
    """Return the report as a table of at most 80 columns; of at most 100 across processes."""
    if isinstance(report, ProcessReport):
        return _process_table(report)
    table = _empty_table("Whole applications: LoGV over native", _caption(report))
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


def summary(report: Report | ProcessReport) -> Text:
    """Return the verdict in one line."""
    if not report.right:
        wrong = ", ".join(row.name for row in report.rows if not row.right)
        return Text(f"WRONG RESULT: {wrong}", "bold red")
    more = "--minutes" if isinstance(report, ProcessReport) else "--pairs"
    cost = (
        f"{LONG_BAR - 1:.0%} more than natively, a short one {SHORT_BAR - 1:.0%}"
        if isinstance(report, ProcessReport)
        else f"{BAR - 1:.0%} more than natively"
    )
    says = {
        Verdict.PASS: f"PASS: every application costs at most {cost}",
        Verdict.FAIL: "FAIL: a bound is exceeded, or a run phase made hypercalls",
        Verdict.INCONCLUSIVE: "INCONCLUSIVE, hence not passed: the machine is too noisy for these pairs; "
        f"run again, or with a larger {more}",
    }
    return Text(says[report.verdict], _STYLES[report.verdict])


def _empty_table(title: str, caption: str) -> Table:
    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
    table.add_column("workload", no_wrap=True)
    return table


def _ratio_cells(result: PairedResult) -> tuple[str, str, str]:
    low, high = result.interval
    return f"{result.ratio:.3f}", f"{low:.3f}-{high:.3f}", f"{result.upper95:.3f}"


def _gate(verdict: Verdict | None) -> Text:
    if verdict is None:
        return Text("")
    return Text("open" if verdict is Verdict.INCONCLUSIVE else verdict, _STYLES[verdict])


def _pair_counts(results: list[PairedResult]) -> str:
    counts = sorted({result.pairs for result in results})
    return f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else f"{counts[0]}"


def _caption(report: Report) -> str:
    bars = f"at most {BAR}" + (f", geomean at most {GEOMEAN_BAR}" if report.complete else "")
    return (
        f"Medians of {_pair_counts([row.whole for row in report.rows])} pairs in random order. Gate: upper "
        f"bound {bars}; no hypercalls in the run phase. Every result was checked against NumPy."
    )


def _process_row_json(row: ProcessRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "input": row.input,
        "checked": row.right,
        "native_ms": row.native_ms,
        "bar": row.bar,
        "modes": {mode: measured_json(measured) for mode, measured in row.modes.items()},
    }


def measured_json(measured: Measured) -> dict[str, float]:
    """Return what one application's pairs came to in one mode, as JSON's own types."""
    return {
        "ms": measured.ms,
        "ratio": measured.whole.ratio,
        "lower95": measured.whole.lower95,
        "upper95": measured.whole.upper95,
        "run_ratio": measured.run.ratio,
        "run_upper95": measured.run.upper95,
        "hypercalls": measured.hypercalls,
        "hypercalls_in_run": measured.hypercalls_in_run,
        "pairs": measured.whole.pairs,
    }


def _process_table(report: ProcessReport) -> Table:
    table = _empty_table(
        "Whole applications in processes of their own, over native", _process_caption(report)
    )
    for heading in (
        "native\nms",
        "LoGV\nratio",
        "95 %\ninterval",
        "upper\nbound",
        "run\nphase",
        "calls\nall / run",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    others = [mode for mode in report.rows[0].modes if mode != "logv"]
    for mode in others:
        table.add_column(f"{mode}\nratio", justify="right", no_wrap=True)
        table.add_column("\ncalls", justify="right", no_wrap=True)

    for row in report.rows:
        logv = row.modes["logv"]
        cells = [
            cell
            for mode in others
            for cell in (f"{row.modes[mode].whole.ratio:.2f}", f"{row.modes[mode].hypercalls}")
        ]
        table.add_row(
            row.name,
            f"{row.native_ms:.1f}",
            *_ratio_cells(logv.whole),
            f"{logv.run.ratio:.3f}",
            f"{logv.hypercalls} / {logv.hypercalls_in_run}",
            _gate(row.verdict) if row.right else Text("WRONG", "bold red"),
            *cells,
        )
    table.add_section()
    if report.geomeans:
        cells = [cell for mode in others for cell in (f"{report.geomeans[mode].ratio:.2f}", "")]
        mean = _ratio_cells(report.geomeans["logv"])
        table.add_row("geomean", "", *mean, "", "", _gate(report.mean_verdict), *cells)
    table.add_row("A/A control", "", *_ratio_cells(report.control))
    return table


def _process_caption(report: ProcessReport) -> str:
    mean = f", of the geomean {GEOMEAN_BAR}" if report.complete else ""
    pairs = _pair_counts([row.modes["logv"].whole for row in report.rows])
    gates = (
        f"Medians of {pairs} pairs in random order. Gates of LoGV: upper bound of long applications "
        f"{LONG_BAR}, of short ones {SHORT_BAR}{mean}, of run phases {RUN_BAR}; no hypercalls (calls) in the "
        "run phase. Every result was checked against NumPy."
    )
    return "\n".join([gates, *map(_finding_sentence, report.findings)])


def _finding_sentence(finding: Finding) -> str:
    says = {True: "as much", False: "less", None: "open"}
    return (
        f"{finding.workload} through {finding.mode}: {finding.result.ratio:.2f}, lower bound "
        f"{finding.result.lower95:.2f}; {FINDING_BAR} expected: {says[finding.confirmed]}."
    )
