"""Histogram of bytes, with atomics in shared memory."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.workload import Workload, blocks

SAMPLE_BYTES, COPIES = 8 << 20, 14
BYTES = SAMPLE_BYTES * COPIES
BINS = 256
CHUNK = 32768
"""Bytes that one block counts (``CHUNK`` of histogram.cu)."""


class Histogram(Workload):
    """Counts how often each byte value occurs, in bytes that cluster around a mean as a picture's do."""

    name: str = "histogram"
    summary: str = f"{BINS} bins, atomics in shared memory"
    kernels: ClassVar[tuple[str, ...]] = ("histogram",)
    input: str = f"{BYTES >> 20} MiB (generated)"

    def _prepare(self) -> None:
        rng = np.random.default_rng(3)
        values = rng.standard_normal(SAMPLE_BYTES, dtype=np.float32) * 40 + 120
        sample = np.clip(values, 0, BINS - 1).astype(np.uint8)
        self._data_in: NDArray[np.uint8] = np.tile(sample, COPIES)
        self._zeros = np.zeros(BINS, dtype=np.uint32)
        reference = (np.bincount(sample, minlength=BINS) * COPIES).astype(np.uint32)
        self._out: NDArray[np.uint32] = self._expect(reference)

    def _setup(self) -> None:
        self._data: Buffer = self._allocate(self._data_in.nbytes)
        self._counts: Buffer = self._allocate(self._out.nbytes)

    def run(self) -> None:
        """Copy the bytes in, clear the bins, count, copy the bins out."""
        self._data.copy_from(self._data_in, stream=self._stream)
        self._counts.copy_from(self._zeros, stream=self._stream)
        config = LaunchConfig(grid=blocks(BYTES, CHUNK), block=BINS)
        launch(self._stream, config, self._kernels["histogram"], np.int32(BYTES), self._data, self._counts)
        self._counts.copy_to(self._out, stream=self._stream)
        self._stream.sync()
