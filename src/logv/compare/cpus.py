"""Which CPUs a comparison runs on: the engine on one, the application on another.

Where the kernel moves the two about, or puts both on one CPU, the same work takes 10 % more or less from
one run to the next, which says nothing about what is compared. Nothing is done where only one CPU is to
be had.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ENGINE_THREAD = "logv-engine"


@contextmanager
def own_cpus() -> Iterator[None]:
    """Give the engines of this process one CPU meanwhile, and the calling thread another."""
    available = os.sched_getaffinity(0)
    cpus = _two_of(available)
    if cpus is None:
        yield
        return
    engines = [thread for thread, name in _threads("self") if name == ENGINE_THREAD]
    engine_cpu, other_cpu = cpus
    for thread in engines:
        os.sched_setaffinity(thread, {engine_cpu})
    os.sched_setaffinity(0, {other_cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, available)
        for thread in engines:
            # The machine may have been closed meanwhile.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, available)


def keep_apart(pid: int) -> None:
    """Give the engine of a process one CPU for good, and its other threads another.

    Threads that it starts later stay with the thread that started them.
    """
    _pin(pid, all_with_engine=False)


def stay_with_engine(pid: int) -> None:
    """Give a process the engines' CPU for good: one that holds the GPU for applications elsewhere."""
    _pin(pid, all_with_engine=True)


def _pin(pid: int, *, all_with_engine: bool) -> None:
    cpus = _two_of(os.sched_getaffinity(0))
    if cpus is None:
        return
    engine_cpu, other_cpu = cpus
    for thread, name in _threads(pid):
        # A thread, or the process with all of them, may have ended meanwhile.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(
                thread, {engine_cpu if all_with_engine or name == ENGINE_THREAD else other_cpu}
            )


def _two_of(available: set[int]) -> tuple[int, int] | None:
    """Return one CPU for engines and one for the rest; the same two wherever this is called."""
    if len(available) < 2:
        return None
    ordered = sorted(available)
    # Half-way apart: neighbours in number are often two threads of one core.
    return ordered[0], ordered[len(ordered) // 2]


def _threads(pid: int | str) -> Iterator[tuple[int, str]]:
    """Yield the id and the name of each thread of a process; of none if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):
                yield int(task.name), (task / "comm").read_text().rstrip("\n")
