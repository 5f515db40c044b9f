"""Launches that are waited for one by one: what a launch costs, for kernels of any length."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.errors import InvalidValueError
from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.workload import Workload

THREADS = 64
MULTIPLIER, INCREMENT = 1664525, 1013904223
"""Of the generator in sync.cu."""
RUN_US = 25_000
"""How long the kernels of one run take together, about."""
LEAST_LAUNCHES = 4
ROUNDS_PER_US = 14.0
"""Steps of the generator in a microsecond, where nobody has measured them."""


class Sync(Workload):
    """Launches a kernel of a given length and waits for it, again and again.

    Each launch goes on with the numbers that the one before left, so that the result tells whether each of
    them ran exactly once, in order.

    Parameters
    ----------
    length_us : int
        How long the kernel takes, in microseconds, without launching it and waiting for it.
    rounds_per_us : float
        Steps of the generator that the kernel does in a microsecond on this machine.
    launches : int, optional
        How often it is launched; so often that a run takes about 25 ms, at least 4 times, if left out.

    Raises
    ------
    InvalidValueError
        The kernel would do nothing, or would not be launched.
    """

    name: str = "sync"
    source: ClassVar[str] = "sync"
    summary: str = "synchronous launches of a kernel"
    kernels: ClassVar[tuple[str, ...]] = ("churn",)
    input: str = f"{THREADS} uint32 (generated)"

    def __init__(
        self, length_us: int, rounds_per_us: float = ROUNDS_PER_US, launches: int | None = None
    ) -> None:
        super().__init__()
        self.length_us = length_us
        self.rounds = round(length_us * rounds_per_us)
        self.launches = max(RUN_US // max(length_us, 1), LEAST_LAUNCHES) if launches is None else launches
        if length_us < 1 or self.rounds < 1 or self.launches < 1:
            raise InvalidValueError(
                f"{self.launches} launches of {self.rounds} rounds in {length_us} us are no work; "
                "ask for at least 1 of each"
            )
        self.name = f"sync{length_us}us"
        self.summary = f"a kernel of {length_us} us, launched and waited for {self.launches} times"

    def _prepare(self) -> None:
        self._numbers_in: NDArray[np.uint32] = np.random.default_rng(6).integers(
            0, 1 << 32, THREADS, dtype=np.uint32
        )
        self._out: NDArray[np.uint32] = self._expect(churned(self._numbers_in, self.rounds * self.launches))

    def _setup(self) -> None:
        self._numbers: Buffer = self._allocate(self._out.nbytes)

    def run(self) -> None:
        """Copy the numbers in, launch and wait so many times, copy them out."""
        stream, kernel = self._stream, self._kernels["churn"]
        self._numbers.copy_from(self._numbers_in, stream=stream)
        config = LaunchConfig(grid=1, block=THREADS)
        rounds = np.int32(self.rounds)
        for _ in range(self.launches):
            launch(stream, config, kernel, rounds, self._numbers)
            stream.sync()
        self._numbers.copy_to(self._out, stream=stream)
        stream.sync()


def churned(numbers: NDArray[np.uint32], rounds: int) -> NDArray[np.uint32]:
    """Return what so many steps of the generator make of the numbers.

    A step is affine, hence so are many of them; squaring gets there in as many steps as `rounds` has bits.
    """
    factor, summand = 1, 0
    step_factor, step_summand = MULTIPLIER, INCREMENT
    for bit in range(rounds.bit_length()):
        if rounds >> bit & 1:
            factor, summand = factor * step_factor % 2**32, (summand * step_factor + step_summand) % 2**32
        step_factor, step_summand = step_factor**2 % 2**32, step_summand * (step_factor + 1) % 2**32
    return numbers * np.uint32(factor) + np.uint32(summand)
