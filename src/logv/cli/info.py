"""``logv workloads`` and ``logv info``: what there is."""

import click
from rich.console import Console
from rich.table import Table

from logv.cli.compare import MACHINE_VRAM
from logv.machine import Machine
from logv.workloads import WORKLOADS


@click.command()
def workloads() -> None:
    """List the applications that ``logv compare`` knows."""
    table = Table()
    table.add_column("workload", no_wrap=True)
    for heading in ("what it computes", "input", "kernels"):
        table.add_column(heading)
    for kind in WORKLOADS.values():
        table.add_row(kind.name, kind.summary, kind.input, ", ".join(kind.kernels) or "none")
    Console().print(table)


@click.command()
def info() -> None:
    """Show the figures of the GPU that ``logv compare`` uses."""
    table = Table(show_header=False)
    with Machine(vram=MACHINE_VRAM) as machine, machine.device() as device:
        major, minor = device.compute_capability
        _, memory = device.memory_info
        table.add_row("compute capability", f"{major}.{minor}")
        table.add_row("GPU memory of this machine", f"{memory >> 20} MiB")
    Console().print(table)
