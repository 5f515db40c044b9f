"""The differential test at the size of a night: ``python -m tests.ptx.nightly --programs 10000``.

Prints progress, and each failing program as small as Hypothesis makes it; exits with 1 if there is any.
"""

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from hypothesis import HealthCheck, Phase, given, seed, settings
from tests.ptx.differential import difference
from tests.ptx.program_strategy import ALL_FAMILIES, Program, programs

from logv.errors import LogvError

CHUNK = 100
"""Programs from one seed: a failure ends its chunk, and the others go on."""


@dataclass
class Outcome:
    """What became of a chunk; `failure` is a reason and a program."""

    seed: int
    programs: int = 0
    statements: int = 0
    failure: str = ""


def check(first: int, count: int, families: frozenset[str]) -> Outcome:
    """Check programs of one seed until one fails."""
    outcome = Outcome(first)

    @seed(first)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(programs(families))
    def each(program: Program) -> None:
        outcome.programs += 1
        outcome.statements += program.text.count(";")
        try:
            reason = difference(program)
        except LogvError as error:
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            # The last one that fails is the smallest.
            outcome.failure = f"{reason}\n{program!r}"
            raise AssertionError(reason)

    try:
        each()
    except AssertionError:
        pass
    except BaseExceptionGroup:
        # Several kinds of failure: the smallest of the last kind is kept.
        pass
    return outcome


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument(
        "--families",
        default=",".join(sorted(ALL_FAMILIES)),
        help="of instructions, separated by commas (%(default)s)",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.families.split(",")) - ALL_FAMILIES
    if unknown:
        parser.error(f"no such families: {', '.join(sorted(unknown))}")
    return arguments


def main() -> int:
    """Run the chunks; returns the exit status."""
    arguments = _arguments()
    families = frozenset(arguments.families.split(","))
    seeds = range(arguments.seed, arguments.seed + -(-arguments.programs // CHUNK))
    checked = statements = failures = 0
    # A process for each chunk: machine code and what a crash tears down go with it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(arguments.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for future in as_completed([pool.submit(check, each, CHUNK, families) for each in seeds]):
            outcome = future.result()
            checked += outcome.programs
            statements += outcome.statements
            if outcome.failure:
                failures += 1
                print(f"\nFAILED with seed {outcome.seed}: {outcome.failure}", flush=True)
            print(f"{checked} programs, {statements} statements, {failures} failures", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
