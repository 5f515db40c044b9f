"""Gaussian pyramid of a picture of deep space, with the edges of every level."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.pictures import picture
from logv.workloads.workload import Workload, blocks

LEVELS = 5
SCALES = 5
"""Blurs of a level, each on top of the one before; the edges of each are a result."""
THREADS = 64

ALIGNMENT = 256
"""Of each result in the one buffer that holds them all, in bytes."""

Planes = NDArray[np.uint8]


class Pyramid(Workload):
    """Blurs and finds edges several times over, then halves; level by level, on each colour.

    All in integers, hence exact.
    """

    name: str = "pyramid"
    summary: str = f"Gaussian pyramid of {LEVELS} levels of {SCALES} scales, Sobel on each"
    kernels: ClassVar[tuple[str, ...]] = ("blur_rows", "blur_columns", "sobel", "halve")
    input: str = "skimage.data.hubble_deep_field(), 1000 x 872 RGB"

    def _prepare(self) -> None:
        (rgb,) = picture("hubble_deep_field")
        self._planes_in: Planes = np.ascontiguousarray(np.moveaxis(rgb, 2, 0))
        self._outs: list[Planes] = []
        level = self._planes_in
        for _ in range(LEVELS):
            for _ in range(SCALES):
                level = blur(level)
                self._outs.append(self._expect(edges(level)))
            level = np.ascontiguousarray(level[:, ::2, ::2])

    def _setup(self) -> None:
        self._level: Buffer = self._allocate(self._planes_in.nbytes)
        self._half: Buffer = self._allocate(self._planes_in.nbytes)
        ends = np.cumsum([-(-out.nbytes // ALIGNMENT) * ALIGNMENT for out in self._outs])
        self._edges: Buffer = self._allocate(int(ends[-1]))
        self._offsets = [0, *ends[:-1].tolist()]

    def run(self) -> None:
        """Copy the picture in, build the pyramid, copy all edges out."""
        stream, kernels = self._stream, self._kernels
        level, other = self._level, self._half
        level.copy_from(self._planes_in, stream=stream)
        for index, (out, offset) in enumerate(zip(self._outs, self._offsets, strict=True), 1):
            planes, height, width = out.shape
            size = (np.int32(width), np.int32(height))
            config = LaunchConfig(grid=(blocks(width, THREADS), height, planes), block=THREADS)
            launch(stream, config, kernels["blur_rows"], level, other, *size)
            launch(stream, config, kernels["blur_columns"], other, level, *size)
            launch(stream, config, kernels["sobel"], level, self._edges.handle + offset, *size)
            if index % SCALES == 0 and index < len(self._outs):
                _, half_height, half_width = self._outs[index].shape
                half = (np.int32(half_width), np.int32(half_height))
                config = LaunchConfig(grid=(blocks(half_width, THREADS), half_height, planes), block=THREADS)
                launch(stream, config, kernels["halve"], level, other, *half, *size)
                level, other = other, level
        for out, offset in zip(self._outs, self._offsets, strict=True):
            self._edges.copy_to(out, stream=stream, offset=offset)
        stream.sync()


def blur(planes: Planes) -> Planes:
    """Return the planes, blurred with 1 4 6 4 1 along rows, then along columns; rounded after each."""
    for axis in (2, 1):
        pads = [(0, 0), (0, 0), (0, 0)]
        pads[axis] = (2, 2)
        padded = np.moveaxis(np.pad(planes.astype(np.int32), pads, mode="edge"), axis, 0)
        total = padded[:-4] + 4 * padded[1:-3] + 6 * padded[2:-2] + 4 * padded[3:-1] + padded[4:]
        planes = np.moveaxis((total + 8) >> 4, 0, axis).astype(np.uint8)
    return planes


def edges(planes: Planes) -> Planes:
    """Return the saturated sum of the absolute Sobel gradients along both axes."""
    padded = np.pad(planes.astype(np.int32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    columns = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    gradient = np.abs(rows[:, :, 2:] - rows[:, :, :-2]) + np.abs(columns[:, 2:] - columns[:, :-2])
    saturated: Planes = np.minimum(gradient, 255).astype(np.uint8)
    return saturated
