"""The command line: what it prints, writes and exits with."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from logv import cli
from logv.compare import compare as comparison
from logv.compare.compare import Report, Row
from logv.compare.paired import estimate
from logv.errors import GpuFaultError
from logv.workloads import WORKLOADS


def invented(ratio: float, *, right: bool = True, hypercalls_in_run: int = 0) -> Report:
    """Return a report of one workload without spread."""
    result = estimate([float(np.log(ratio))] * 10, np.random.default_rng(0))
    row = Row("saxpy", "input", right, 20.0, 20.0, result, result, 9, hypercalls_in_run)
    return Report((row,), result, result, complete=False)


@pytest.mark.parametrize(
    ("report", "status", "says"),
    [
        (invented(1.0), 0, "PASS"),
        (invented(1.2), 2, "FAIL"),
        (invented(1.0, hypercalls_in_run=1), 2, "FAIL"),
        (invented(1.0, right=False), 1, "WRONG"),
        (invented(1.2, right=False), 1, "WRONG"),
    ],
)
def test_exit_status(monkeypatch: pytest.MonkeyPatch, report: Report, status: int, says: str) -> None:
    """0 when all is well, 1 for a wrong result even if slow as well, 2 for a gate that failed."""
    monkeypatch.setattr(comparison, "compare", lambda *_, **__: report)
    outcome = CliRunner().invoke(cli.main, ["compare", "saxpy"])
    assert outcome.exit_code == status
    assert says in outcome.output


def test_report_is_written_whatever_the_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The JSON of a failed comparison is there to be read."""
    monkeypatch.setattr(comparison, "compare", lambda *_, **__: invented(1.2))
    target = tmp_path / "report.json"
    CliRunner().invoke(cli.main, ["compare", "saxpy", "--json", str(target)])
    document = json.loads(target.read_text())
    assert document["workloads"][0]["modes"]["logv"]["ratio"] == pytest.approx(1.2)


def test_report_that_cannot_be_written_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The disk's refusal is told, and is not taken for a passed comparison."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(comparison, "compare", lambda *_, **__: invented(1.0))
    monkeypatch.setattr(Path, "write_text", refuse)
    outcome = CliRunner().invoke(cli.main, ["compare", "saxpy", "--json", str(tmp_path / "report.json")])
    assert outcome.exit_code == 1
    assert "No space left on device" in outcome.output.splitlines()[-1]


def test_compare_end_to_end(tmp_path: Path) -> None:
    """The real thing, on the smallest number of pairs: right, and without hypercalls in the run phase."""
    target = tmp_path / "report.json"
    outcome = CliRunner().invoke(cli.main, ["compare", "saxpy", "--pairs", "2", "--json", str(target)])
    assert outcome.exit_code == 3, outcome.output
    assert "INCONCLUSIVE" in outcome.output
    (saxpy,) = json.loads(target.read_text())["workloads"]
    assert saxpy["checked"] is True
    assert saxpy["modes"]["logv"]["hypercalls_in_run"] == 0
    assert saxpy["modes"]["logv"]["hypercalls"] > 0


def test_workload_named_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeating a name is harmless."""
    seen: list[str] = []

    def record(workloads: list[Any], *_: object, **__: object) -> Report:
        seen.extend(workload.name for workload in workloads)
        return invented(1.0)

    monkeypatch.setattr(comparison, "compare", record)
    CliRunner().invoke(cli.main, ["compare", "saxpy", "copy", "saxpy"])
    assert seen == ["saxpy", "copy"]


def test_unknown_workload_lists_the_known() -> None:
    """One line, with every name that would have done."""
    outcome = CliRunner().invoke(cli.main, ["compare", "sterio"])
    assert outcome.exit_code == 1
    (line,) = outcome.output.splitlines()
    assert "sterio" in line
    assert all(name in line for name in WORKLOADS)


def test_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What LoGV raises on purpose is told without a traceback."""

    def fail(*_: object, **__: object) -> Report:
        raise GpuFaultError(
            "kernel k wrote outside", channel=3, reason="fault", address=16, access="write", kernel="k"
        )

    monkeypatch.setattr(comparison, "compare", fail)
    outcome = CliRunner().invoke(cli.main, ["compare", "saxpy"])
    assert outcome.exit_code == 1
    assert outcome.output.strip() == "logv: kernel k wrote outside"


@pytest.mark.parametrize(
    "arguments",
    [
        ["compare", "--pairs", "0"],
        ["compare", "--pairs", "many"],
        ["compare", "--json", "/nowhere/at/all.json"],
        ["compare", "--nonsense"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_refused_at_once(arguments: list[str]) -> None:
    """Nothing is measured when the command line makes no sense."""
    outcome = CliRunner().invoke(cli.main, arguments)
    assert outcome.exit_code == 2
    assert "Error" in outcome.output


def test_help_teaches() -> None:
    """Help names the commands, the exit statuses and shows examples."""
    top = CliRunner().invoke(cli.main, ["--help"])
    assert top.exit_code == 0
    assert all(command in top.output for command in ("compare", "workloads", "info"))
    detail = CliRunner().invoke(cli.main, ["compare", "-h"]).output
    assert "Exit status" in detail
    assert "logv compare stereo matmul" in detail


def test_workloads_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every workload is there, with its kernels."""
    monkeypatch.setenv("COLUMNS", "200")
    output = CliRunner().invoke(cli.main, ["workloads"]).output
    for kind in WORKLOADS.values():
        assert kind.name in output
        assert all(kernel in output for kernel in kind.kernels)


def test_info_shows_the_gpu() -> None:
    """Compute capability and memory."""
    output = CliRunner().invoke(cli.main, ["info"]).output
    assert all(word in output for word in ("compute capability", "MiB"))
