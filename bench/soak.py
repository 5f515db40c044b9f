"""Opens, runs and closes many VMs at once, again and again; nothing may leak and no result may be wrong.

Each cycle, every VM's process attaches, runs a small application, checks the result, and detaches; a
barrier makes them start together. Afterwards the daemon has to hold exactly what it held before. Every
tenth cycle the processes are new ones that end without closing anything.
"""

import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.daemon_rig import (
    GROWTH_KIB,
    Footprint,
    Holdings,
    footprint,
    holdings,
    processes,
    settled,
    socket_directory,
)
from tests.daemon import application
from tests.daemon.daemon_process import DaemonProcess

import logv
from logv.connection import Connection

FRESH_EVERY = 10
"""Each so many cycles the processes are new ones."""

WARM_UP = 2 * FRESH_EVERY
"""Cycles before the first reading: both kinds of cycles have filled the allocators' caches then."""

GROWTH_MAPPINGS = 32
"""Of private mappings: heaps and stacks that the C library keeps."""

ANSWER_S = 60.0
"""Until all processes have ended a cycle."""


@dataclass
class Tally:
    """What the cycles came to."""

    cycles: int = 0
    runs: int = 0
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    leaks: Counter[str] = field(default_factory=Counter)
    footprints: list[Footprint] = field(default_factory=list)

    @property
    def growth(self) -> Footprint:
        """Between the medians of the first and the last quarter of the cycles."""
        quarter = max(1, len(self.footprints) // 4)
        first, last = self.footprints[:quarter], self.footprints[-quarter:]
        return Footprint(
            int(median(f.private_mappings for f in last) - median(f.private_mappings for f in first)),
            int(median(f.anonymous_kib for f in last) - median(f.anonymous_kib for f in first)),
        )

    @property
    def sound(self) -> bool:
        """Whether nothing was wrong, failed, or leaked."""
        growth = self.growth
        grew = growth.anonymous_kib > GROWTH_KIB or growth.private_mappings > GROWTH_MAPPINGS
        return not (self.wrong or self.errors or self.leaks or grew)


def _application(device: logv.Device, seed: int) -> str:
    """Run the application on a VM that holds nothing; return what is wrong, or nothing."""
    free, size = device.memory_info
    if free != size:
        return f"held: {size - free} bytes of a VM that was just opened"
    return "" if application.is_right(device, seed) else "wrong"


def _stays(path: Path, commands: Pipe, start: Barrier) -> None:
    """Take a seed for each cycle, and answer what was wrong; attach and detach each time."""
    application.load()
    while (seed := commands.recv()) is not None:
        start.wait(ANSWER_S)
        try:
            with Connection(path, timeout_s=ANSWER_S) as connection, connection.device() as device:
                outcome = _application(device, seed)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        commands.send(outcome)


def _leaves(path: Path, commands: Pipe, start: Barrier) -> None:
    """Do one cycle in a process that ends without closing anything."""
    application.load()
    seed = commands.recv()
    start.wait(ANSWER_S)
    try:
        outcome = _application(logv.connect(path), seed)
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    commands.send(outcome)


class Fleet:
    """One process for each VM.

    Parameters
    ----------
    paths : list of Path
        The VMs' sockets.
    once : bool
        The processes do one cycle, and end without closing anything.
    """

    def __init__(self, paths: list[Path], *, once: bool) -> None:
        context = processes()
        # Kept for as long as processes that have yet to open it.
        self._start = context.Barrier(len(paths))
        self._members: list[tuple[BaseProcess, Pipe]] = []
        for path in paths:
            ours, theirs = context.Pipe()
            arguments = (path, theirs, self._start)
            process = context.Process(target=_leaves if once else _stays, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._members.append((process, ours))

    def cycle(self, seed: int, tally: Tally) -> None:
        """Let all run together, and count what was wrong."""
        for number, (_, commands) in enumerate(self._members):
            commands.send(seed + number)
        for _, commands in self._members:
            try:
                outcome = commands.recv() if commands.poll(ANSWER_S) else "no answer"
            except (EOFError, ConnectionError):
                outcome = "a VM's process died"
            tally.runs += 1
            tally.wrong += outcome == "wrong"
            if outcome not in ("", "wrong"):
                tally.errors[outcome] += 1

    def end(self) -> None:
        """Wait until all processes have ended."""
        for process, commands in self._members:
            if process.is_alive():
                with suppress(BrokenPipeError):  # it has done its one cycle
                    commands.send(None)
            process.join(ANSWER_S)
            if process.is_alive():
                process.kill()
                process.join()
            commands.close()


def soak(daemon: DaemonProcess, paths: list[Path], seconds: float, progress: Progress) -> Tally:
    """Run cycles for `seconds` after the warm-up."""
    tally = Tally()
    task = progress.add_task("warming up", total=seconds)
    began = time.monotonic()
    baseline: Holdings | None = None
    fleet = Fleet(paths, once=False)
    number = 0
    try:
        while baseline is None or time.monotonic() - began < seconds:
            number += 1
            if number % FRESH_EVERY == 0:
                passing = Fleet(paths, once=True)
                passing.cycle(number * len(paths), tally)
                passing.end()
            else:
                fleet.cycle(number * len(paths), tally)
            if number < WARM_UP:
                continue
            if baseline is None:
                time.sleep(1.0)
                baseline, began = holdings(daemon.pid), time.monotonic()
                continue
            tally.cycles += 1
            now = settled(lambda: holdings(daemon.pid), baseline)
            tally.leaks.update(now.beyond(baseline).keys())
            tally.footprints.append(footprint(daemon.pid))
            progress.update(
                task,
                completed=time.monotonic() - began,
                description=f"{tally.cycles} cycles, {tally.wrong} wrong, {sum(tally.leaks.values())} leaks",
            )
            if tally.errors:
                break
    finally:
        fleet.end()
    return tally


def report(tally: Tally) -> Table:
    """Return the outcome as a short table."""
    growth = tally.growth
    table = Table(show_header=False)
    table.add_row("cycles after the warm-up", str(tally.cycles))
    table.add_row("applications run", str(tally.runs))
    table.add_row("wrong results", str(tally.wrong))
    table.add_row("errors", str(dict(tally.errors) or 0))
    table.add_row("leaks after a cycle", str(dict(tally.leaks) or 0))
    table.add_row(
        f"private memory grew by (at most {GROWTH_KIB})",
        f"{growth.anonymous_kib} KiB, to {tally.footprints[-1].anonymous_kib} KiB",
    )
    table.add_row(f"private mappings grew by (at most {GROWTH_MAPPINGS})", str(growth.private_mappings))
    return table


@click.command()
@click.option("--vms", default=32, show_default=True, type=click.IntRange(min=1))
@click.option("--minutes", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
def main(vms: int, minutes: float) -> None:
    """Open, run and close VMS VMs together for MINUTES; fail on a wrong result or a leak."""
    console = Console()
    columns = (TextColumn("{task.description:40}"), BarColumn(), TimeElapsedColumn())
    names = {f"vm{number}": "16MiB" for number in range(vms)}
    with (
        socket_directory() as directory,
        DaemonProcess(
            directory, names, vram=f"{16 * vms}MiB", arguments=("--log-level", "warning")
        ) as daemon,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        tally = soak(daemon, [daemon.socket(name) for name in names], 60 * minutes, progress)
        status = daemon.stop()
        log = daemon.log
    console.print(report(tally))
    if log:
        console.print(f"The daemon complained:\n{log}", markup=False)
    if status:
        console.print(f"The daemon ended with status {status}.")
    sys.exit(0 if tally.sound and not log and not status else 1)


if __name__ == "__main__":
    main()
