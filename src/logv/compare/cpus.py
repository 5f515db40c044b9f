"""Which CPUs a comparison runs on."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENGINE_THREAD = "logv-engine"


@contextmanager
def own_cpus() -> Iterator[None]:
    """Give the engines of this process one CPU meanwhile, and the calling thread another.

    Where the kernel moves the two about, or puts both on one CPU, the same work takes 10 % more or less
    from one run to the next, which says nothing about what is compared. Does nothing where only one CPU
    is to be had.
    """
    available = sorted(os.sched_getaffinity(0))
    threads = [
        thread.native_id
        for thread in threading.enumerate()
        if thread.name == ENGINE_THREAD and thread.native_id is not None
    ]
    if len(available) < 2:
        yield
        return
    # Half-way apart: neighbours in number are often two threads of one core.
    other = available[len(available) // 2]
    for thread in threads:
        os.sched_setaffinity(thread, {available[0]})
    os.sched_setaffinity(0, {other})
    try:
        yield
    finally:
        os.sched_setaffinity(0, available)
        for thread in threads:
            # The machine may have been closed meanwhile.
            if os.path.exists(f"/proc/self/task/{thread}"):
                os.sched_setaffinity(thread, available)
