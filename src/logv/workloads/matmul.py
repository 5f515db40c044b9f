"""Single-precision matrix multiply, tiled in shared memory."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.workload import Workload

TILE = 32


class Matmul(Workload):
    """Multiplies two square matrices."""

    side: ClassVar[int] = 1152
    """A multiple of ``TILE``."""

    name: str = "matmul"
    summary: str = "C = A B, tiles in shared memory"
    kernels: ClassVar[tuple[str, ...]] = ("matmul",)
    input: str = f"2 matrices of {side} x {side} float32 (generated)"

    def _prepare(self) -> None:
        rng = np.random.default_rng(2)
        self._a_in = rng.standard_normal((self.side, self.side), dtype=np.float32)
        self._b_in = rng.standard_normal((self.side, self.side), dtype=np.float32)
        a, b = self._a_in.astype(np.float64), self._b_in.astype(np.float64)
        # Rounding errors of a sum add up as a random walk: sqrt(n) * eps * sum of |a| |b|, not n.
        tolerance = np.sqrt(self.side) * np.finfo(np.float32).eps * (np.abs(a) @ np.abs(b))
        self._out: NDArray[np.float32] = self._expect((a @ b).astype(np.float32), tolerance)

    def _setup(self) -> None:
        self._a: Buffer = self._allocate(self._a_in.nbytes)
        self._b: Buffer = self._allocate(self._b_in.nbytes)
        self._c: Buffer = self._allocate(self._out.nbytes)

    def run(self) -> None:
        """Copy both matrices in, multiply, copy the product out."""
        self._a.copy_from(self._a_in, stream=self._stream)
        self._b.copy_from(self._b_in, stream=self._stream)
        config = LaunchConfig(grid=(self.side // TILE, self.side // TILE), block=(TILE, TILE))
        launch(self._stream, config, self._kernels["matmul"], np.int32(self.side), self._a, self._b, self._c)
        self._c.copy_to(self._out, stream=self._stream)
        self._stream.sync()
