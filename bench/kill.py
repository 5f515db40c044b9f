"""Kills a VM's process at random moments, and looks whether anybody else notices.

Two bystander VMs run applications all the time and check every result. A third VM's process opens, runs
and closes in a loop until SIGKILL ends it, in some rounds while a kernel runs that does not end by itself.
Each time the VM has to be there again within a second, all its memory free, and the daemon has to hold
exactly what it held before.
"""

import random
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import NoReturn

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.daemon_rig import (
    GROWTH_KIB,
    Holdings,
    footprint,
    holdings,
    processes,
    settled,
    socket_directory,
)
from tests.daemon import application
from tests.daemon.daemon_process import DaemonProcess

from logv.connection import Connection
from logv.errors import LogvError

BACK_WITHIN_S = 1.0
"""Until the VM of a process that was killed can be opened again, with all memory free."""

ENDLESS_EVERY = 5
"""Each so many kills hit a process whose kernel does not end by itself."""

LOOPS = 3
"""A kill comes at a moment that is uniform over the victim's first so many loops."""

ENDLESS_S = 0.05
"""How long an endless kernel runs before the kill, at most: it holds the GPU's only engine."""

WARM_UP = 10
ANSWER_S = 60.0

PHASES = ("attaching", "opening a device", "application", "endless kernel", "closing")


@dataclass
class Tally:
    """What the kills came to."""

    phases: Counter[str] = field(default_factory=Counter)
    back_s: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    leaks: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    wrong: int = 0
    first_kib: int = 0
    last_kib: int = 0

    @property
    def grew_kib(self) -> int:
        """What the daemon's private memory grew by since the warm-up."""
        return self.last_kib - self.first_kib

    @property
    def sound(self) -> bool:
        """Whether nobody noticed the kills."""
        unnoticed = not (self.errors or self.leaks or self.wrong)
        return unnoticed and max(self.back_s) <= BACK_WITHIN_S and self.grew_kib <= GROWTH_KIB


def _victim(path: Path, ready: Pipe, phase: "Synchronized[int]", endless: bool) -> NoReturn:
    """Attach, run and detach until killed; `phase` tells how far it is."""
    application.load()
    ready.send(None)
    seed = 0
    while True:
        seed += 1
        phase.value = PHASES.index("attaching")
        with Connection(path) as connection:
            phase.value = PHASES.index("opening a device")
            with connection.device() as device:
                if endless:
                    stream = application.launch_endless(device)
                    phase.value = PHASES.index("endless kernel")
                    ready.send(None)
                    stream.sync()
                phase.value = PHASES.index("application")
                if not application.is_right(device, seed):
                    raise SystemExit("the victim got a wrong result")
                phase.value = PHASES.index("closing")


def _bystander(path: Path, commands: Pipe, seed: int) -> None:
    """Run applications; at each command tell what came of them, and wait for the next command to go on."""
    application.load()
    runs = wrong = 0
    outcome = ""
    with Connection(path) as connection:
        while True:
            if commands.poll():
                commands.recv()
                commands.send((runs, wrong, outcome))
                if not commands.recv():
                    return
            try:
                with connection.device() as device:
                    wrong += not application.is_right(device, seed + runs)
                runs += 1
            except Exception as error:
                outcome = f"bystander: {type(error).__name__}: {error}"
                time.sleep(0.1)


class Bystander:
    """A VM that only wants to work."""

    def __init__(self, path: Path, seed: int) -> None:
        context = processes()
        self._commands, theirs = context.Pipe()
        self._process = context.Process(target=_bystander, args=(path, theirs, seed), daemon=True)
        self._process.start()
        theirs.close()

    def pause(self) -> tuple[int, int, str]:
        """Let it finish what it runs; return its runs, its wrong results, and its last error."""
        try:
            self._commands.send(None)
            if self._commands.poll(ANSWER_S):
                told: tuple[int, int, str] = self._commands.recv()
                return told
        except (EOFError, ConnectionError):
            return 0, 0, "bystander: its process died"
        return 0, 0, f"bystander: no run ended within {ANSWER_S:.0f} s"

    def proceed(self) -> None:
        """Let it go on after :meth:`pause`."""
        self._commands.send(True)

    def end(self) -> None:
        """End its process."""
        self._process.kill()
        self._process.join()
        self._commands.close()


def _kill_once(path: Path, loop_s: float, endless: bool) -> tuple[float, str]:
    """Start a victim and kill it; return when, and the phase it was in."""
    context = processes()
    phase = context.Value("i", 0)
    ready, theirs = context.Pipe()
    victim = context.Process(target=_victim, args=(path, theirs, phase, endless), daemon=True)
    victim.start()
    theirs.close()
    try:
        for _ in range(2 if endless else 1):
            if not ready.poll(ANSWER_S):
                raise TimeoutError("the victim does not start")
            ready.recv()
        time.sleep(random.uniform(0, ENDLESS_S if endless else LOOPS * loop_s))
        if victim.exitcode is not None:
            raise RuntimeError(f"the victim ended by itself with status {victim.exitcode}")
    finally:
        killed = time.monotonic()
        victim.kill()
        victim.join()
        ready.close()
    return killed, PHASES[phase.value]


def _reopen(path: Path, killed: float, seed: int) -> tuple[float, str]:
    """Open the VM again; return the seconds since the kill, and what is wrong with it."""
    try:
        with Connection(path, timeout_s=ANSWER_S) as connection, connection.device() as device:
            free, size = device.memory_info
            took = time.monotonic() - killed
            if free != size:
                return took, f"{size - free} bytes are not free"
            return took, "" if application.is_right(device, seed) else "wrong result after a kill"
    except LogvError as error:
        return time.monotonic() - killed, f"reopening: {type(error).__name__}: {error}"


def _loop_seconds(path: Path) -> float:
    """Return how long one loop of a victim takes while the others work."""
    began = time.monotonic()
    for seed in range(WARM_UP):
        with Connection(path) as connection, connection.device() as device:
            application.is_right(device, seed)
    return (time.monotonic() - began) / WARM_UP


def kill(daemon: DaemonProcess, paths: list[Path], kills: int, progress: Progress) -> Tally:
    """Kill the first VM's process `kills` times while the others work."""
    tally = Tally()
    victim, *others = paths
    task = progress.add_task("warming up", total=kills)
    baseline: Holdings | None = None
    with ExitStack() as stack:
        bystanders = [Bystander(path, seed) for seed, path in enumerate(others)]
        for bystander in bystanders:
            stack.callback(bystander.end)
        loop_s = _loop_seconds(victim)
        for number in range(WARM_UP + kills):
            killed, phase = _kill_once(victim, loop_s, endless=number % ENDLESS_EVERY == 0)
            took, outcome = _reopen(victim, killed, number)
            if daemon.process.poll() is not None:
                raise click.ClickException(f"the daemon died after kill {number}:\n{daemon.log}")
            told = [bystander.pause() for bystander in bystanders]
            if number < WARM_UP:
                time.sleep(0.1)
                baseline, tally.first_kib = holdings(daemon.pid), footprint(daemon.pid).anonymous_kib
            elif baseline is not None:
                now = settled(lambda: holdings(daemon.pid), baseline)
                tally.leaks.update(now.beyond(baseline).keys())
                tally.phases[phase] += 1
                tally.back_s.append(took)
                tally.last_kib = footprint(daemon.pid).anonymous_kib
            tally.errors.update(filter(None, [outcome, *(error for _, _, error in told)]))
            tally.runs, tally.wrong = sum(runs for runs, _, _ in told), sum(wrong for _, wrong, _ in told)
            progress.update(task, completed=number - WARM_UP, description=f"{tally.runs} runs beside it")
            if tally.errors:
                break
            for bystander in bystanders:
                bystander.proceed()
    return tally


def report(tally: Tally) -> Table:
    """Return the outcome as a short table."""
    table = Table(show_header=False)
    for phase in PHASES:
        table.add_row(f"kills: {phase}", str(tally.phases[phase]))
    milliseconds = 1e3 * np.asarray(tally.back_s)
    spread = f"median {np.median(milliseconds):.1f} ms, at most {milliseconds.max():.1f} ms"
    table.add_row(f"VM back (bar {1e3 * BACK_WITHIN_S:.0f} ms)", spread)
    table.add_row("bystanders' applications", str(tally.runs))
    table.add_row("bystanders' wrong results", str(tally.wrong))
    table.add_row("errors", str(dict(tally.errors) or 0))
    table.add_row("leaks after a kill", str(dict(tally.leaks) or 0))
    table.add_row(f"private memory grew by (at most {GROWTH_KIB})", f"{tally.grew_kib} KiB")
    return table


@click.command()
@click.option("--kills", default=200, show_default=True, type=click.IntRange(min=1))
@click.option("--seed", type=int, help="Of the moments of the kills.")
def main(kills: int, seed: int | None) -> None:
    """Kill a VM's process KILLS times; fail if another VM, or the VM's next process, notices."""
    random.seed(seed)
    console = Console()
    columns = (TextColumn("{task.description:32}"), BarColumn(), TimeElapsedColumn())
    names = ("victim", "left", "right")
    with (
        socket_directory() as directory,
        DaemonProcess(
            directory, dict.fromkeys(names, "16MiB"), arguments=("--log-level", "warning")
        ) as daemon,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        tally = kill(daemon, [daemon.socket(name) for name in names], kills, progress)
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
