"""``logv run``: a program in a VM."""

import os
from pathlib import Path

import click

from logv.connection import VM_VARIABLE
from logv.errors import ClosedError, InvalidValueError


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "--vm", "socket", required=True, type=click.Path(path_type=Path), help="The VM's socket, DIR/NAME.sock."
)
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def run(socket: Path, program: tuple[str, ...]) -> None:
    """Run a program whose logv.connect() finds its VM.

    The program takes this command's place: its output, its exit status and the signals it gets are its
    own.

    \b
    Example
      logv run --vm /tmp/logv/dash.sock -- python app.py
    """  # noqa: D301  (click wants the backspace itself)
    if not socket.is_socket():
        raise ClosedError(f"nobody serves a VM at {socket}; start `logv serve`, or check the path")
    try:
        environment = {**os.environ, VM_VARIABLE: str(socket.absolute())}
        os.execvpe(program[0], program, environment)  # noqa: S606  (no shell is what is wanted)
    except OSError as error:
        raise InvalidValueError(f"cannot run {program[0]}: {error.strerror}") from None
