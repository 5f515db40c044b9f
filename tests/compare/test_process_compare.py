"""The comparison across processes: for real with one pair, and its judgements with invented figures."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from logv.compare import process
from logv.compare.contest import Measured
from logv.compare.paired import PairedResult, Verdict, estimate
from logv.compare.places import Places
from logv.compare.process import MICRO, compare_processes
from logv.compare.process_result import LONG_BAR, SHORT_BAR, ProcessReport, ProcessRow
from logv.compare.report import summary, to_json, to_table
from logv.errors import InvalidValueError, LogvError
from logv.workloads import Sync

GONE_S = 20.0
"""How long processes may take to be gone; they need a fraction of it."""


def gone(pid: int) -> bool:
    """Say whether a process has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def await_gone(pids: list[int]) -> list[int]:
    """Wait until all have ended; return those that have not."""
    end = time.monotonic() + GONE_S
    while time.monotonic() < end and not all(map(gone, pids)):
        time.sleep(0.05)
    return [pid for pid in pids if not gone(pid)]


class Refused(Sync):
    """Does not get past its set-up."""

    def _setup(self) -> None:
        raise InvalidValueError("not today")


class Wrong(Sync):
    """Finds its result wrong."""

    def check(self) -> bool:
        """Say no."""
        return False


@pytest.fixture(scope="module")
def report() -> Iterator[ProcessReport]:
    """Return what one pair of a short application, and of the micro-application, came to in every mode."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "PLACES", {"native": 2, "logv": 1, "trap": 1, "remote": 1})
        yield compare_processes(["saxpy-short", MICRO], pairs=1)


def test_every_mode_is_right(report: ProcessReport) -> None:
    """All modes give what NumPy computes, for as many pairs as were asked for."""
    assert [row.name for row in report.rows] == ["saxpy-short", MICRO]
    for row in report.rows:
        assert list(row.modes) == ["logv", "trap", "remote"]
        assert row.right
        assert {measured.whole.pairs for measured in row.modes.values()} == {1}
    assert report.control.pairs == 1


def test_run_phase_calls_nobody_but_in_other_modes(report: ProcessReport) -> None:
    """LoGV's run phase makes no hypercall; each submission is one when trapped, each call when remote."""
    for row in report.rows:
        assert row.modes["logv"].hypercalls_in_run == 0
        assert row.modes["logv"].hypercalls > 0
        assert row.modes["trap"].hypercalls_in_run > 100
        assert row.modes["remote"].hypercalls_in_run > 100


def test_json_and_table_hold_everything(report: ProcessReport) -> None:
    """A real report becomes JSON with numbers for each mode, and a table that names every workload."""
    document = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert document["process_mode"] is True
    assert set(document["geomean"]) == {"logv", "trap", "remote"}
    saxpy, micro = document["workloads"]
    assert (saxpy["bar"], micro["bar"]) == (SHORT_BAR, None)
    assert {"ms", "ratio", "upper95", "run_ratio", "run_upper95", "hypercalls", "hypercalls_in_run"} <= set(
        saxpy["modes"]["logv"]
    )
    assert [(found["workload"], found["mode"]) for found in document["findings"]] == [
        (MICRO, "trap"),
        (MICRO, "remote"),
    ]
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(to_table(report))
    console.file.close()
    text = console.export_text()
    assert all(word in text for word in ("saxpy-short", MICRO, "remote", "A/A control"))
    assert "…" not in text


def test_nothing_is_left_and_errors_name_the_place() -> None:
    """What fails in a place is raised here; outside of the context its processes and files are gone."""
    pids: list[int] = []
    refused = Refused(20)
    refused.prepare()
    with places_of(pids, native=2, logv=1) as places:
        directory = places.directory
        assert directory.exists()
        places.hand_over(refused)
        with pytest.raises(LogvError, match=r"native 1: .*not today"):
            places.all_right()
    assert len(pids) == 4
    assert await_gone(pids) == []
    assert not directory.exists()


def test_wrong_result_is_told_from_the_place() -> None:
    """The place checks; this process only hears of it."""
    wrong = Wrong(20, launches=1)
    wrong.prepare()
    with Places({"native": 1}, np.random.default_rng(1)) as places:
        places.hand_over(wrong)
        assert not places.all_right()


@pytest.mark.parametrize("victim", [0, 1], ids=["application", "daemon"])
def test_process_that_dies_is_reported_by_name(victim: int) -> None:
    """Killed while idle: the next run raises, and says where."""
    pids: list[int] = []
    workload = Sync(20, launches=1)
    workload.prepare()
    with places_of(pids, logv=1) as places:
        places.hand_over(workload)
        assert places.all_right()
        os.kill(pids[victim], signal.SIGKILL)
        assert await_gone([pids[victim]]) == []
        with pytest.raises(LogvError, match="logv"):
            places.runner("logv")(workload)
    assert await_gone(pids) == []


def test_places_do_not_outlive_a_coordinator_that_is_killed(tmp_path: Path) -> None:
    """Even SIGKILL, which nobody can handle, leaves no process, no socket and no directory."""
    script = tmp_path / "coordinator.py"
    script.write_text(
        "import sys\n"
        "import numpy as np\n"
        "from logv.compare.places import Places\n"
        "if __name__ == '__main__':\n"
        "    with Places({'native': 1, 'logv': 1, 'remote': 1}, np.random.default_rng(1)) as places:\n"
        "        print(*(pid for place in places.all for pid in place.pids), flush=True)\n"
        "        sys.stdin.read()\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as coordinator:
        assert coordinator.stdout is not None
        pids = [int(pid) for pid in coordinator.stdout.readline().split()]
        assert len(pids) == 5
        coordinator.kill()
    assert await_gone(pids) == []
    assert sorted(tmp_path.iterdir()) == [script]


def places_of(pids: list[int], **counts: int) -> "RecordedPlaces":
    """Return places that note their processes' ids."""
    return RecordedPlaces(counts, pids)


class RecordedPlaces(Places):
    """Notes its processes' ids on entry, for when they are gone."""

    def __init__(self, counts: dict[str, int], pids: list[int]) -> None:
        super().__init__(counts, np.random.default_rng(1))
        self._noted = pids

    def __enter__(self) -> "RecordedPlaces":
        super().__enter__()
        self._noted += [pid for place in self.all for pid in place.pids]
        return self


@pytest.mark.parametrize(
    "arguments",
    [
        {"workloads": []},
        {"workloads": ["saxpy", "saxpy"]},
        {"workloads": ["bitcoin"]},
        {"workloads": ["saxpy"], "modes": ["trap"]},
        {"workloads": ["saxpy"], "modes": ["logv", "telepathy"]},
        {"workloads": ["saxpy"], "pairs": 0},
        {"workloads": ["saxpy"], "minutes": 0},
        {"workloads": ["saxpy"], "minutes": float("nan")},
    ],
    ids=str,
)
def test_impossible_comparisons_are_refused(
    arguments: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any process is started."""
    monkeypatch.setattr(process, "Places", None)
    with pytest.raises(InvalidValueError):
        compare_processes(**arguments)  # type: ignore[arg-type]


def result(ratio: float) -> PairedResult:
    """Return a result without spread."""
    return estimate([float(np.log(ratio))] * 10, np.random.default_rng(0))


def measured(whole: float, run: float = 1.0, calls_in_run: int = 0) -> Measured:
    """Return what an application without noise came to."""
    return Measured(100.0, 100.0 * whole, result(whole), result(run), 9, calls_in_run, True)


def report_of(*rows: ProcessRow, mean: float | None = None) -> ProcessReport:
    """Return a report; of all applications if a geometric mean is given."""
    geomeans = {"logv": result(mean or 1.0)}
    return ProcessReport(rows, result(1.0), geomeans, complete=mean is not None)


@pytest.mark.parametrize(
    ("bar", "logv", "verdict"),
    [
        (LONG_BAR, measured(1.009), Verdict.PASS),
        (LONG_BAR, measured(1.011), Verdict.FAIL),
        (SHORT_BAR, measured(1.039), Verdict.PASS),
        (SHORT_BAR, measured(1.041), Verdict.FAIL),
        (LONG_BAR, measured(1.0, run=1.021), Verdict.FAIL),
        (LONG_BAR, measured(1.0, calls_in_run=1), Verdict.FAIL),
        (None, measured(3.0, calls_in_run=1), None),
    ],
)
def test_bars(bar: float | None, logv: Measured, verdict: Verdict | None) -> None:
    """Each application has the bar of its length, and the run phase one of its own."""
    row = ProcessRow("any", "input", bar, {"logv": logv})
    assert row.verdict is verdict
    assert report_of(row).verdict is (verdict or Verdict.PASS)


def test_geometric_mean_has_its_bar_only_when_all_take_part() -> None:
    """2 % is too much for the mean of all, and says nothing of a part of them."""
    row = ProcessRow("any", "input", SHORT_BAR, {"logv": measured(1.02)})
    assert report_of(row).verdict is Verdict.PASS
    assert report_of(row, mean=1.02).verdict is Verdict.FAIL


@pytest.mark.parametrize(("cost", "confirmed"), [(1.3, True), (1.1, False)])
def test_findings_are_told_and_not_judged(cost: float, confirmed: bool) -> None:
    """What trapping costs the micro-application stands beside LoGV's verdict, and does not change it."""
    row = ProcessRow(MICRO, "input", None, {"logv": measured(1.0), "trap": measured(cost, calls_in_run=9)})
    report = report_of(row)
    (finding,) = report.findings
    assert (finding.mode, finding.confirmed) == ("trap", confirmed)
    assert report.verdict is Verdict.PASS
    assert to_json(report)["findings"][0]["confirmed"] is confirmed
    assert summary(report).plain.startswith("PASS")
