"""``logv ptx``: what a PTX file holds, and whether it runs here."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from logv.ptx import Entry, Survey, survey
from logv.ptx.survey import count_instructions

EXIT_UNSUPPORTED = 1
"""The file does not run: something in it is not supported, or it is no PTX."""


class _PtxGroup(click.Group):
    """Takes ``logv ptx FILE`` for ``logv ptx show FILE``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["show", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_PtxGroup)
def ptx() -> None:
    """Look at PTX files.

    `logv ptx FILE` is short for `logv ptx show FILE`. A file that is called like a command is written
    with its directory: `logv ptx ./show`.
    """


@ptx.command()
@click.argument("file", type=click.File("rb"))
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program to read.")
def show(file: Any, as_json: bool) -> None:
    """Show what a PTX file holds, and everything in it that is not supported.

    For each entry its parameters, shared and local memory, and its instructions with how often they stand
    there. FILE may be - for the standard input.

    \b
    Exit status
      0  everything is supported
      1  something is not, or the file is no PTX

    \b
    Examples
      logv ptx saxpy.ptx
      logv ptx show --json saxpy.ptx | jq .problems
    """  # noqa: D301  (click wants the backspace itself)
    found = survey(file.read())
    if as_json:
        click.echo(json.dumps(_to_json(found), indent=2))
    else:
        console = Console(markup=False, highlight=False)  # "[x]" is an address, not a style
        for part in _to_tables(found):
            console.print(part)
    if not found.supported:
        sys.exit(EXIT_UNSUPPORTED)


def _to_json(found: Survey) -> dict[str, Any]:
    module = found.module
    return {
        "supported": found.supported,
        "complete": found.complete,
        "version": module.version if module else None,
        "target": module.target if module else None,
        "entries": [_describe(entry) for entry in module.entries.values()] if module else [],
        "problems": [
            {"line": error.line, "instruction": error.instruction, "reason": error.reason}
            for error in found.problems
        ],
    }


def _describe(entry: Entry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "parameters": [
            {"name": each.name, "type": each.type, "offset": each.offset, "size": each.size}
            for each in entry.parameters
        ],
        "parameter_bytes": entry.parameter_bytes,
        "shared_bytes": entry.shared_bytes,
        "local_bytes": entry.local_bytes,
        "max_threads": entry.max_threads,
        "required_block": entry.required_block,
        "instructions": dict(count_instructions(entry).most_common()),
    }


def _to_tables(found: Survey) -> Iterator[Table | str]:
    module = found.module
    if module is not None:
        yield f"PTX {module.version} for {module.target}"
        for entry in module.entries.values():
            yield _entry_table(entry)
    if found.problems:
        table = Table(title="Not supported", title_justify="left")
        table.add_column("line", justify="right")
        table.add_column("instruction")
        table.add_column("reason")
        for error in found.problems:
            table.add_row(str(error.line or ""), _printable(error.instruction), _printable(error.reason))
        yield table
    if not found.complete:
        yield "There may be more: what follows was not looked at."
    count = len(found.problems)
    yield (
        "Everything is supported."
        if not count
        else f"{count} of its statements {'is' if count == 1 else 'are'} not supported."
    )


def _printable(text: str) -> str:
    """Return text without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _entry_table(entry: Entry) -> Table:
    table = Table(show_header=False, title=entry.name, title_justify="left")
    parameters = [
        f"{each.type} {each.name}" + (f" ({each.size} bytes)" if each.type == "b8" else "")
        for each in entry.parameters
    ]
    table.add_row("parameters", ", ".join(parameters) or "none")
    table.add_row("parameter block", f"{entry.parameter_bytes} bytes")
    table.add_row("shared memory", f"{entry.shared_bytes} bytes a block")
    table.add_row("local memory", f"{entry.local_bytes} bytes a thread")
    if entry.max_threads is not None:
        table.add_row("threads a block", f"at most {entry.max_threads}")
    if entry.required_block is not None:
        table.add_row("threads a block", " x ".join(map(str, entry.required_block)))
    counts = count_instructions(entry)
    table.add_row(
        f"{counts.total()} instructions", ", ".join(f"{name} {n}" for name, n in counts.most_common())
    )
    return table
