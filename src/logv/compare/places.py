"""All places of a comparison: started together, given turns, ended together."""

import pickle
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from logv.compare.application import Timing
from logv.compare.contest import Runner
from logv.compare.cpus import keep_apart, stay_with_engine
from logv.compare.place import Place
from logv.workloads import Sync, Workload

CALIBRATION_ROUNDS = (500, 4500)
CALIBRATION_RUNS = 5
"""What is run to learn how fast this machine's GPU is."""


class Places:
    """Processes of several modes; a context manager, outside of which none of them lives.

    Parameters
    ----------
    counts : mapping of str to int
        How many of each mode. ``native`` needs two: one is compared with another.
    rng : numpy.random.Generator
        Decides whose turn it is.

    Raises
    ------
    LogvError
        On entry: one of them did not start.

    Attributes
    ----------
    directory : Path
        What they put into the file system, while they live.
    """

    def __init__(self, counts: Mapping[str, int], rng: np.random.Generator) -> None:
        self._counts = counts
        self._rng = rng
        self._places: dict[str, list[Place]] = {}

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="logv-"))
        try:
            for mode, count in self._counts.items():
                places = self._places[mode] = []
                for number in range(1, count + 1):
                    places.append(Place(mode, f"{mode} {number}" if count > 1 else mode, self.directory))
            for place in self.all:
                place.await_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for place in self.all:
            place.stop()
        for place in self.all:
            place.join()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def all(self) -> list[Place]:
        """Every place, of whatever mode."""
        return [place for places in self._places.values() for place in places]

    def rounds_per_us(self) -> float:
        """Return how many rounds of ``sync.cu`` this machine does in a microsecond.

        From two lengths, so that launching and waiting does not count.
        """
        place = self._places["native"][0]
        best = []
        for rounds in CALIBRATION_ROUNDS:
            workload = Sync(length_us=rounds, rounds_per_us=1.0)
            workload.prepare()
            timings = []
            for _ in range(CALIBRATION_RUNS):
                place.hand_over(pickle.dumps(workload))
                timings.append(place.timing().run_ns)
            best.append(min(timings) / 1e3 / workload.launches)
        return (CALIBRATION_ROUNDS[1] - CALIBRATION_ROUNDS[0]) / (best[1] - best[0])

    def hand_over(self, workload: Workload) -> None:
        """Give a prepared workload to every place, where it runs once; ask for that with :meth:`all_right`.

        All at once, so that kernels are compiled on every CPU there is.
        """
        pickled = pickle.dumps(workload)
        for place in self.all:
            place.hand_over(pickled)

    def all_right(self) -> bool:
        """Wait until every place has run what it was handed over; return whether all results were right."""
        timings = [place.timing() for place in self.all]
        return all(timing.right for timing in timings)

    def keep_apart(self) -> None:
        """Give the engines one CPU, and the applications another.

        A process that holds the GPU for another one stays with its engine: where it took turns with the
        application on one CPU, each would find the caches full of the other's.
        """
        for place in self.all:
            application, *servers = place.pids
            keep_apart(application)
            for server in servers:
                stay_with_engine(server)

    def runner(self, mode: str) -> Runner:
        """Return what runs a workload in the next place of `mode`."""
        turns = self._turns(mode)

        def run(workload: Workload) -> Timing:
            index, place = next(turns)
            return replace(place.run(workload), place=index)

        return run

    def two_natively(self, workload: Workload) -> tuple[Timing, Timing]:
        """Run a workload natively in two different processes, the second one after the first."""
        native = self._places["native"]
        first, second = self._rng.permutation(len(native))[:2]
        return native[first].run(workload), native[second].run(workload)

    def _turns(self, mode: str) -> Iterator[tuple[int, Place]]:
        """Yield the places of a mode with their numbers, each as often as the others, in random order.

        So that every native place meets every place of the other mode, whatever the number of each.
        """
        places = self._places[mode]
        while True:
            for index in self._rng.permutation(len(places)):
                yield int(index), places[index]
