"""``python -m logv``: the command line."""

from logv.cli import main

main(prog_name="logv")
