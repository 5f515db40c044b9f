"""Prints the ratios of a bench run: ``python bench/report.py [.bench/latest.json]``.

Reads what ``pytest bench --benchmark-json=FILE`` wrote; the figures are those of the paired fixture.
"""

import json
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

DEFAULT = Path(".bench/latest.json")
STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


def duration(seconds: float) -> str:
    """Return a time with the unit that fits it."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def table_of(document: dict[str, Any]) -> Table:
    """Return one row for each bench; those without a baseline show their time only."""
    table = Table(title="Ratios: time of LoGV over time of the baseline, in pairs", box=box.SIMPLE_HEAD)
    table.add_column("bench", overflow="fold")
    for heading in ("time", "ratio", "95 % interval", "bar", "A/A"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for bench in document["benchmarks"]:
        info = bench["extra_info"]
        time = duration(bench["stats"]["median"])
        if "ratio" not in info:
            table.add_row(bench["fullname"].rpartition("/")[2], time)
            continue
        low, high = info["interval"]
        table.add_row(
            info["label"],
            time,
            f"{info['ratio']:.3f}",
            f"{low:.3f}-{high:.3f}",
            "" if info["bar"] is None else f"{info['bar']:.3f}",
            f"{info['aa_ratio']:.3f}",
            Text(info["verdict"] or "", STYLES.get(info["verdict"], "")),
        )
    return table


def main() -> None:
    """Print the table of the file named on the command line."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}; run `make bench` first")
    except json.JSONDecodeError:
        sys.exit(f"{path} is not JSON: it was cut off; run `make bench` again")
    Console().print(table_of(document))


if __name__ == "__main__":
    main()
