"""Many buffers of many sizes: most of this application is set-up."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.workload import Workload, blocks

BUFFERS = 72
SMALLEST, SIZES = 4096, 12
"""Sizes are ``SMALLEST << 0`` to ``SMALLEST << (SIZES - 1)``: below and above each page size."""
THREADS = 256


class Allocate(Workload):
    """Allocates ``BUFFERS`` buffers, fills each with numbers of its own, and frees them.

    Allocating is this application's set-up phase, as in any other; its run phase touches every
    buffer from the GPU and from the CPU. Both phases, and the freeing, count for its time.
    """

    name: ClassVar[str] = "allocate"
    summary: ClassVar[str] = f"allocates, fills and frees {BUFFERS} buffers"
    kernels: ClassVar[tuple[str, ...]] = ("fill",)
    input: ClassVar[str] = f"{BUFFERS} buffers of {SMALLEST >> 10} KiB to {SMALLEST << (SIZES - 1) >> 20} MiB"

    def _prepare(self) -> None:
        self._outs: list[NDArray[np.uint32]] = []
        for index in range(BUFFERS):
            elements = (SMALLEST << index % SIZES) // 4
            counted = np.arange(elements, dtype=np.uint32) * np.uint32(2654435761)
            self._outs.append(self._expect(counted ^ np.uint32(index + 1)))

    def _setup(self) -> None:
        self._buffers: list[Buffer] = [self._allocate(out.nbytes) for out in self._outs]

    def run(self) -> None:
        """Fill every buffer on the GPU, then copy all of them out."""
        for index, (buffer, out) in enumerate(zip(self._buffers, self._outs, strict=True)):
            config = LaunchConfig(grid=blocks(out.size, THREADS), block=THREADS)
            seed = np.uint32(index + 1)
            launch(self._stream, config, self._kernels["fill"], np.int32(out.size), seed, buffer)
        for buffer, out in zip(self._buffers, self._outs, strict=True):
            buffer.copy_to(out, stream=self._stream)
        self._stream.sync()
