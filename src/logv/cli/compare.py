"""``logv compare``: what virtualization costs."""

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from logv.compare import compare as comparison
from logv.compare.compare import Report
from logv.compare.cpus import own_cpus
from logv.compare.paired import Verdict
from logv.compare.process import MICRO, compare_processes
from logv.compare.process_result import ProcessReport
from logv.compare.report import summary, to_json, to_table
from logv.machine import Machine
from logv.workloads import WORKLOADS, create

EXIT_WRONG = 1
"""A result was wrong."""

EXIT_GATE = 2
"""Every result was right, and a bound was exceeded."""

EXIT_OPEN = 3
"""Every result was right, no bound was exceeded for sure, and one could not be decided."""

MACHINES = 4
MACHINE_VRAM = "1GiB"
PROCESS_COLUMNS = 100
VM_MEMORY = "512MiB"
"""Room for the largest workload, natively and in the VM."""


@click.command()
@click.argument("workload", nargs=-1)
@click.option("--process", is_flag=True, help="Run each application in a process of its own, as VMs are.")
@click.option("--pairs", type=click.IntRange(min=1), help="Take exactly so many pairs of each workload.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="With --process: go on for so long, to decide bounds that noise leaves open.  [default: about 2]",
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the report to this file as well.",
)
def compare(
    workload: tuple[str, ...], process: bool, pairs: int | None, minutes: float | None, json_file: Path | None
) -> None:
    """Run GPU applications natively and inside a VM, and report what the VM costs.

    Each WORKLOAD (default: all) runs whole, from opening the device to closing it, once natively and
    once through LoGV, in random order; that is a pair. The table shows the median ratio of many pairs
    and its bounds. Every result is checked against NumPy on every run.

    Passed means: the 95 % upper bound of each ratio is at most 1.04, that of the geometric mean of all
    workloads at most 1.01, and no application made a hypercall in its run phase.

    With --process, the native application is a process that holds the GPU, and the VM is a process that
    reaches it through a daemon. Then applications of 80 ms and more have a bar of 1.01, short ones of about
    20 ms one of 1.04, every run phase one of 1.02; and two other ways to share a GPU run beside LoGV:
    "trap", where every submission is a hypercall, and "remote", where every call goes to a server.

    \b
    Exit status
      0  all results right, every bound met
      1  a result was wrong, or LoGV refused something
      2  a bound was exceeded, or a run phase made hypercalls
      3  neither passed nor failed: the machine is too noisy for the pairs that fit into the time

    \b
    Examples
      logv compare                          all workloads, within two minutes
      logv compare stereo matmul            only these two
      logv compare saxpy --pairs 100        exactly 100 pairs
      logv compare --process --minutes 20   across processes, with tight bounds
      logv compare --json report.json       for a program to read
    """  # noqa: D301  (click wants the backspace itself)
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise click.BadParameter(f"{json_file.parent} is no directory; make it first", param_hint="--json")
    if minutes is not None and not process:
        raise click.UsageError("--minutes goes with --process; otherwise give --pairs")
    names = list(dict.fromkeys(workload))
    for name in names:
        if not (process and name == MICRO):
            create(name)  # an unknown one is said before anything starts

    # The table across processes is wider than a pipe's 80 columns.
    console = Console(width=max(Console().width, PROCESS_COLUMNS) if process else None)
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def progress(done: float, what: str) -> None:
            bar.update(task, completed=done, description=what)

        report: Report | ProcessReport
        if process:
            chosen = {"workloads": names} if names else {}
            report = compare_processes(**chosen, pairs=pairs, minutes=minutes, progress=progress)
        else:
            report = _compare_here(names or [*WORKLOADS], pairs, progress)
    console.print(to_table(report))
    console.print(summary(report))
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(to_json(report), indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise click.FileError(str(json_file), error.strerror) from error
    if not report.right:
        sys.exit(EXIT_WRONG)
    if report.verdict is not Verdict.PASS:
        sys.exit(EXIT_GATE if report.verdict is Verdict.FAIL else EXIT_OPEN)


def _compare_here(names: list[str], pairs: int | None, progress: Callable[[float, str], None]) -> Report:
    """Compare in this process."""
    workloads = [create(name) for name in names]
    with ExitStack() as stack:
        machines = [
            stack.enter_context(Machine(vram=MACHINE_VRAM, tiered_compilation=False)) for _ in range(MACHINES)
        ]
        stack.enter_context(own_cpus())
        native, virtual = comparison.machine_targets(machines, VM_MEMORY)
        return comparison.compare(workloads, native, virtual, pairs=pairs, progress=progress)
