"""What a daemon and its VMs cost while nobody works: their CPU time, of all threads."""

import sys
import time
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.daemon_rig import cpu_seconds, processes, socket_directory
from tests.daemon import application
from tests.daemon.daemon_process import DaemonProcess

from logv.connection import Connection

BAR = 0.01
"""CPUs that the daemon may use; each VM as well."""

QUIET_S = 1.0
"""Until the engine has gone to sleep."""

ANSWER_S = 60.0


def _idle(path: Path, commands: Pipe) -> None:
    """Attach, do some work, and do nothing until told to end."""
    with Connection(path) as connection, connection.device() as device:
        commands.send(application.is_right(device, seed=1))
        commands.recv()


@click.command()
@click.option("--vms", default=8, show_default=True, type=click.IntRange(min=1))
@click.option("--seconds", default=10.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
def main(vms: int, seconds: float) -> None:
    """Let VMS connected VMs idle for SECONDS; fail if the daemon or a VM uses more than 1 % of a CPU."""
    console = Console()
    context = processes()
    names = {f"vm{number}": "16MiB" for number in range(vms)}
    guests = []
    with socket_directory() as directory, DaemonProcess(directory, names) as daemon:
        for name in names:
            ours, theirs = context.Pipe()
            process = context.Process(target=_idle, args=(daemon.socket(name), theirs), daemon=True)
            process.start()
            theirs.close()
            guests.append((process, ours))
        right = [pipe.recv() if pipe.poll(ANSWER_S) else False for _, pipe in guests]

        pids = [daemon.pid, *(process.pid for process, _ in guests if process.pid is not None)]
        with console.status(f"{vms} VMs idle for {seconds:g} s"):
            time.sleep(QUIET_S)
            began, before = time.monotonic(), [cpu_seconds(pid) for pid in pids]
            time.sleep(seconds)
            lasted = time.monotonic() - began
            load = [(cpu_seconds(pid) - used) / lasted for pid, used in zip(pids, before, strict=True)]
        for process, pipe in guests:
            pipe.send(None)
            process.join(ANSWER_S)
        status = daemon.stop()

    table = Table(show_header=False)
    table.add_row(f"daemon with {vms} VMs", f"{100 * load[0]:.3f} % of a CPU")
    table.add_row("busiest VM's process", f"{100 * max(load[1:]):.3f} % of a CPU")
    table.add_row("bar", f"{100 * BAR:.0f} %")
    console.print(table)
    if not all(right):
        console.print("A VM's result was wrong.")
    if status:
        console.print(f"The daemon ended with status {status}.")
    sys.exit(0 if max(load) <= BAR and all(right) and not status else 1)


if __name__ == "__main__":
    main()
