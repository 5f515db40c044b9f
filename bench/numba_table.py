"""Prints the comparison with numba in Markdown: ``python bench/numba_table.py [.bench/latest.json]``.

Reads what ``pytest bench --benchmark-json=FILE`` wrote, or ``pytest bench/test_bench_numba.py`` with the same
option. With ``--write`` the table goes into ``SPECIFICATION.md``, between its markers.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

DEFAULT = Path(".bench/latest.json")
SPECIFICATION = Path(__file__).parent.parent / "SPECIFICATION.md"
BEGIN, END = "<!-- numba: begin -->", "<!-- numba: end -->"


def row_of(info: dict[str, Any]) -> str:
    """Return the row of one bench: numba over LoGV, bold if it misses its bar."""
    low, high = info["interval"]
    ratio, bar = f"{1 / info['ratio']:.2f}", info["bar"]
    if info["verdict"] == "fail":
        ratio = f"**{ratio}**"
    elif info["verdict"] == "inconclusive":
        ratio = f"{ratio} (open)"
    cells = (
        info["family"],
        f"`{info['kernel']}`",
        info["size"].replace("x", " x "),
        ratio,
        f"{1 / high:.2f} to {1 / low:.2f}",
        "" if bar is None else f"{1 / bar:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def table_of(document: dict[str, Any]) -> str:
    """Return the table of a bench run, its rows in the run's order."""
    heading = ("family", "kernel", "size", "numba / LoGV", "95 % interval", "bar")
    infos = (bench["extra_info"] for bench in document["benchmarks"])
    rows = [row_of(info) for info in infos if "family" in info and "ratio" in info]
    return "\n".join([f"| {' | '.join(heading)} |", "|---|---|---|---|---|---|", *rows])


def write(table: str) -> None:
    """Replace what stands between the markers."""
    text = SPECIFICATION.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        sys.exit(f"{SPECIFICATION} has no {BEGIN} and {END}")
    SPECIFICATION.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    """Print the table of the file named on the command line, or write it."""
    parser = argparse.ArgumentParser(description="the comparison with numba, in Markdown")
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT)
    parser.add_argument("--write", action="store_true", help="put it into SPECIFICATION.md")
    arguments = parser.parse_args()
    try:
        document = json.loads(arguments.file.read_text(encoding="utf-8"))
    except OSError as error:
        sys.exit(f"{arguments.file}: {error.strerror}; run `make bench` first")
    table = table_of(document)
    if arguments.write:
        write(table)
    else:
        print(table)


if __name__ == "__main__":
    main()
