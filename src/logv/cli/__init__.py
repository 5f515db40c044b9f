"""The command line: ``logv ...``. One module for each command."""

from typing import Any

import click

from logv.cli.compare import compare
from logv.cli.info import info, workloads
from logv.cli.ptx import ptx
from logv.cli.ptx_run import run as ptx_run
from logv.cli.run import run
from logv.cli.serve import serve
from logv.errors import LogvError

EXIT_REFUSED = 1
"""LoGV refused something; the line before says what and why."""


class _Group(click.Group):
    """Turns an error of LoGV into one line and an exit status, instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LogvError as error:
            click.echo(f"logv: {error}", err=True)
            ctx.exit(EXIT_REFUSED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="logv", message="logv %(version)s")
def main() -> None:
    """Share one GPU among virtual machines at native speed.

    \b
    What does virtualization cost?     logv compare
    Which applications are compared?   logv workloads
    What GPU is this?                  logv info
    Will this kernel run on it?        logv ptx saxpy.ptx
    Share it among processes           logv serve --socket-dir DIR --vm dash:128MiB
    Run a program in a VM              logv run --vm DIR/dash.sock -- python app.py
    """  # noqa: D301  (click wants the backspace itself)


ptx.add_command(ptx_run)
for _command in (compare, workloads, info, serve, run, ptx):
    main.add_command(_command)
