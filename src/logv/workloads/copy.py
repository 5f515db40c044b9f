"""Copies and nothing else: to the GPU, within it, and back."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer
from logv.workloads.workload import Workload

BYTES = 8 << 20


class Copy(Workload):
    """Copies ``BYTES`` from the host to one buffer, on to another one, and back; ``rounds`` times."""

    rounds: ClassVar[int] = 48

    name: str = "copy"
    summary: str = f"host to GPU, GPU to GPU, GPU to host, {rounds} times"
    kernels: ClassVar[tuple[str, ...]] = ()
    input: str = f"{BYTES >> 20} MiB (generated)"

    def _prepare(self) -> None:
        self._data_in: NDArray[np.uint8] = np.frombuffer(np.random.default_rng(4).bytes(BYTES), np.uint8)
        self._out: NDArray[np.uint8] = self._expect(self._data_in)

    def _setup(self) -> None:
        self._first: Buffer = self._allocate(BYTES)
        self._second: Buffer = self._allocate(BYTES)

    def run(self) -> None:
        """Copy in, across, and out, and wait; again and again."""
        for _ in range(self.rounds):
            self._first.copy_from(self._data_in, stream=self._stream)
            self._second.copy_from(self._first, stream=self._stream)
            self._second.copy_to(self._out, stream=self._stream)
            self._stream.sync()
