"""Many buffers of many sizes: most of this application is set-up."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.workload import Workload, blocks

BUFFERS = 24
ROUNDS = 24
"""How often each buffer is filled anew and read."""
SMALLEST, SIZES = 4096, 12
"""Sizes are ``SMALLEST << 0`` to ``SMALLEST << (SIZES - 1)``: below and above each page size."""
THREADS = 256


class Allocate(Workload):
    """Allocates ``BUFFERS`` buffers, fills each with numbers of its own, and frees them.

    Allocating is this application's set-up phase, as in any other; its run phase touches every buffer
    from the GPU and from the CPU; closing frees one buffer after the other, which others leave to the
    device. All of it counts for the application's time.
    """

    name: str = "allocate"
    summary: str = f"allocates, fills and frees {BUFFERS} buffers"
    kernels: ClassVar[tuple[str, ...]] = ("fill",)
    input: str = f"{BUFFERS} buffers of {SMALLEST >> 10} KiB to {SMALLEST << (SIZES - 1) >> 20} MiB"

    def _prepare(self) -> None:
        self._buffers: list[Buffer] = []
        self._outs: list[NDArray[np.uint32]] = []
        for index in range(BUFFERS):
            elements = (SMALLEST << index % SIZES) // 4
            counted = np.arange(elements, dtype=np.uint32) * np.uint32(2654435761)
            self._outs.append(self._expect(counted ^ np.uint32(_seed(ROUNDS - 1, index))))

    def _setup(self) -> None:
        for out in self._outs:
            self._buffers.append(self._allocate(out.nbytes))

    def close(self) -> None:
        """Free every buffer."""
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
        super().close()

    def run(self) -> None:
        """Fill every buffer on the GPU, then copy all of them out; each round with other numbers."""
        pairs = list(zip(self._buffers, self._outs, strict=True))
        for number in range(ROUNDS):
            for index, (buffer, out) in enumerate(pairs):
                config = LaunchConfig(grid=blocks(out.size, THREADS), block=THREADS)
                arguments = (np.int32(out.size), np.uint32(_seed(number, index)), buffer)
                launch(self._stream, config, self._kernels["fill"], *arguments)
            for buffer, out in pairs:
                buffer.copy_to(out, stream=self._stream)
            self._stream.sync()


def _seed(number: int, index: int) -> int:
    """Return what makes a round's contents of a buffer differ from all others."""
    return number * BUFFERS + index + 1
