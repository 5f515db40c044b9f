"""y = a * x + y, several times over: little work for each byte."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.workload import Workload, blocks

ELEMENTS = 1 << 20
"""Both vectors fit into a CPU's last cache: beyond it, neighbours on the machine decide the time."""
SCALE = 1 / 256
"""Small, so that the sum keeps the size of its parts, and few digits are lost."""
THREADS = 256


class Saxpy(Workload):
    """Adds a scaled vector to another one, ``steps`` times."""

    steps: ClassVar[int] = 1000

    name: str = "saxpy"
    summary: str = f"y = a * x + y, {steps} times"
    kernels: ClassVar[tuple[str, ...]] = ("saxpy",)
    input: str = f"2 vectors of {ELEMENTS} float32 (generated)"

    def _prepare(self) -> None:
        rng = np.random.default_rng(1)
        self._x_in = rng.standard_normal(ELEMENTS, dtype=np.float32)
        self._y_in = rng.standard_normal(ELEMENTS, dtype=np.float32)
        y = self._y_in.astype(np.float64)
        added = self.steps * SCALE * self._x_in.astype(np.float64)
        # Each step rounds to half a unit in the last place, at most.
        tolerance = self.steps / 2 * np.finfo(np.float32).eps * (np.abs(y) + np.abs(added))
        self._out: NDArray[np.float32] = self._expect((y + added).astype(np.float32), tolerance)

    def _setup(self) -> None:
        self._x: Buffer = self._allocate(self._x_in.nbytes)
        self._y: Buffer = self._allocate(self._y_in.nbytes)

    def run(self) -> None:
        """Copy both vectors in, add ``steps`` times, copy the sum out."""
        self._x.copy_from(self._x_in, stream=self._stream)
        self._y.copy_from(self._y_in, stream=self._stream)
        config = LaunchConfig(grid=blocks(ELEMENTS, THREADS), block=THREADS)
        arguments = (np.int32(ELEMENTS), np.float32(SCALE), self._x, self._y)
        for _ in range(self.steps):
            launch(self._stream, config, self._kernels["saxpy"], *arguments)
        self._y.copy_to(self._out, stream=self._stream)
        self._stream.sync()
