"""``logv serve``: one GPU for VMs that are processes of their own."""

import signal
import sys
import threading
from pathlib import Path

import click

from logv.daemon import Daemon, DaemonConfig, VmConfig, load_config
from logv.daemon.log import log_to_stderr
from logv.errors import InvalidValueError
from logv.machine import parse_size

GIL_SWITCH_S = 5e-4
LEVELS = ("debug", "info", "warning", "error")


@click.command()
@click.option("--vram", metavar="SIZE", help="GPU memory, such as 1GiB.  [default: what the VMs have]")
@click.option(
    "--compute-threads",
    type=int,
    metavar="N",
    help="Host threads that run the blocks of one launch, where CPUs are idle.  [default: 1]",
)
@click.option(
    "--tiered-compilation/--no-tiered-compilation",
    default=None,
    help="Start new kernels with code that is compiled quickly, and optimise it once it has run a moment; or "
    "wait for optimised code.  [default: tiered]",
)
@click.option(
    "--socket-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the sockets go; made if it is missing, and nobody else may enter it.",
)
@click.option("--vm", "vms", multiple=True, metavar="NAME:SIZE", help="A VM and its GPU memory; repeatable.")
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="TOML file with the same; options override it, and --vm adds to it.",
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", show_default=True)
def serve(
    vram: str | None,
    compute_threads: int | None,
    tiered_compilation: bool | None,
    socket_dir: Path | None,
    vms: tuple[str, ...],
    config_file: Path | None,
    log_level: str,
) -> None:
    """Share one GPU among VMs, each a process of its own.

    Holds the software GPU, the host driver and the hypervisor, and offers each VM a vfio-user socket,
    SOCKET-DIR/NAME.sock. Prints one line once it is ready, logs to the standard error, and ends on SIGTERM
    or SIGINT. A VM's process attaches with logv.connect("SOCKET-DIR/NAME.sock"); when it ends, however it
    ends, whatever it held is taken back.

    \b
    The file
      vram = "1GiB"
      compute-threads = 2         # that run the blocks of one launch; 1, if left out
      tiered-compilation = false  # wait for optimised code; true, if left out
      socket-dir = "/run/user/1000/logv"
      [vm.dash]
      memory = "128MiB"
      system-memory = "64MiB"     # that the GPU may reach; as much as memory, if left out
      channels = 16               # at one time; 128, if left out

    \b
    Examples
      logv serve --socket-dir /tmp/logv --vm dash:128MiB --vm ivi:256MiB
      logv serve --config car.toml --log-level warning
    """  # noqa: D301  (click wants the backspace itself)
    found = load_config(config_file) if config_file is not None else {}
    directory = socket_dir if socket_dir is not None else found.get("socket_dir")
    if directory is None:
        raise InvalidValueError("where do the sockets go? Name a directory: --socket-dir DIR")
    config = DaemonConfig(
        socket_dir=directory,
        vms=(*found.get("vms", ()), *map(VmConfig.parse, vms)),
        vram=parse_size(vram, "vram") if vram is not None else found.get("vram"),
        compute_threads=compute_threads if compute_threads is not None else found.get("compute_threads", 1),
        tiered_compilation=(
            tiered_compilation if tiered_compilation is not None else found.get("tiered_compilation", True)
        ),
    )
    log_to_stderr(log_level)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    # One VM's hypercalls wait at most this long for a flood of another's.
    sys.setswitchinterval(GIL_SWITCH_S)
    with Daemon(config):
        names = " ".join(vm.name for vm in config.vms)
        click.echo(f"logv: ready, serving {names} in {directory}")
        stop.wait()
