"""One run of an application: timed by phase, counted, checked."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from logv.runtime import Device
from logv.workloads import Workload


@dataclass(frozen=True, slots=True)
class Timing:
    """What one run came to.

    Attributes
    ----------
    whole_ns, run_ns : int
        From opening the device to having closed it, and the run phase alone, in nanoseconds.
    hypercalls, hypercalls_in_run : int
        In all, and during the run phase.
    right : bool
        Whether the result is what NumPy computed.
    place : int
        Which of the places of its mode it ran in; whoever gives the places their turns says so.
    """

    whole_ns: int
    run_ns: int
    hypercalls: int
    hypercalls_in_run: int
    right: bool
    place: int = 0


def run_application(
    workload: Workload,
    open_device: Callable[[], Device],
    hypercalls: Callable[[], int],
    clock: Callable[[], int] = time.perf_counter_ns,
) -> Timing:
    """Run an application once, on a device of its own.

    Parameters
    ----------
    workload : Workload
        Prepared.
    open_device : callable
        Return a new device.
    hypercalls : callable
        Return the number of hypercalls so far. The clock stands still while it is asked.
    clock : callable, optional
        Returns the time now in nanoseconds.

    Raises
    ------
    LogvError
        Whatever the application raises; nothing of it is left on its device.
    """
    workload.poison()
    calls_before = hypercalls()
    start = clock()
    with open_device() as device:
        try:
            workload.setup(device)
            setup_ns = clock() - start
            calls_at_run = hypercalls()
            start = clock()
            workload.run()
            run_ns = clock() - start
            calls_in_run = hypercalls() - calls_at_run
            start = clock()
        finally:
            workload.close()
    close_ns = clock() - start
    calls = hypercalls() - calls_before
    return Timing(setup_ns + run_ns + close_ns, run_ns, calls, calls_in_run, workload.check())
