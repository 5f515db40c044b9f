"""Speckle reducing anisotropic diffusion of a retina."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.pictures import gray, picture
from logv.workloads.workload import Workload

SIDE = 1024
RATE = 0.5
THREADS, STRIP = 256, 8
"""Geometry of the blocks, as in srad.cu."""
PARTS = (SIDE // THREADS) * (SIDE // STRIP)
"""Partial sums of one image."""

_CROP = slice(194, 194 + SIDE)


class Srad(Workload):
    """Smooths an image where it varies as speckle does, and keeps its edges (Yu and Acton, 2002)."""

    steps: ClassVar[int] = 48

    name: str = "srad"
    summary: str = f"speckle reducing diffusion, {steps} steps of 6 launches"
    kernels: ClassVar[tuple[str, ...]] = (
        "partial_sums",
        "speckle_scale",
        "coefficients",
        "diffuse",
        "mirror_border",
    )
    input: str = f"skimage.data.retina(), {SIDE} x {SIDE} gray crop"

    def _prepare(self) -> None:
        (rgb,) = picture("retina")
        # SRAD works on intensities; a picture holds their logarithm.
        intensity = np.exp(gray(rgb)[_CROP, _CROP].astype(np.float64) / 255)
        self._image_in = with_ghosts(intensity).astype(np.float32)
        # Float32 keeps 7 digits, and each of the steps may lose a few units in the last.
        self._out: NDArray[np.float32] = self._expect(
            diffused(self._image_in, self.steps).astype(np.float32), 1e-5
        )

    def _setup(self) -> None:
        self._image: Buffer = self._allocate(self._image_in.nbytes)
        self._next: Buffer = self._allocate(self._image_in.nbytes)
        self._coefficient: Buffer = self._allocate(self._image_in.nbytes)
        self._sums: Buffer = self._allocate(4 * PARTS)
        self._squares: Buffer = self._allocate(4 * PARTS)
        self._scale: Buffer = self._allocate(4)

    def run(self) -> None:
        """Copy the image in, diffuse, copy it out with its ghost cells."""
        stream, kernels = self._stream, self._kernels
        strips = LaunchConfig(grid=(SIDE // THREADS, SIDE // STRIP), block=THREADS)
        rows = LaunchConfig(grid=(SIDE // THREADS, SIDE), block=THREADS)
        one = LaunchConfig(grid=1, block=THREADS)
        border = LaunchConfig(grid=SIDE // THREADS, block=THREADS)
        pitch, side = np.int32(SIDE + 2), np.int32(SIDE)
        sums, squares, scale, coefficient = self._sums, self._squares, self._scale, self._coefficient
        pixels, rate = np.float32(SIDE * SIDE), np.float32(RATE)

        # Into both: no step writes the corners of the ghost ring, and the result holds them.
        self._image.copy_from(self._image_in, stream=stream)
        self._next.copy_from(self._image_in, stream=stream)
        image, following = self._image, self._next
        for _ in range(self.steps):
            launch(stream, strips, kernels["partial_sums"], image, pitch, sums, squares)
            launch(stream, one, kernels["speckle_scale"], sums, squares, np.int32(PARTS), pixels, scale)
            launch(stream, rows, kernels["coefficients"], image, coefficient, pitch, scale)
            launch(stream, border, kernels["mirror_border"], coefficient, side, side, pitch)
            launch(stream, rows, kernels["diffuse"], image, coefficient, following, pitch, rate)
            launch(stream, border, kernels["mirror_border"], following, side, side, pitch)
            image, following = following, image
        image.copy_to(self._out, stream=stream)
        stream.sync()


def with_ghosts(field: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the field with a ring of ghost cells that repeats its border, and corners of 0.

    No step reads a corner.
    """
    padded = np.pad(field, 1, mode="edge")
    padded[[0, 0, -1, -1], [0, -1, 0, -1]] = 0
    return padded


def diffused(image: NDArray[np.float32], steps: int) -> NDArray[np.float64]:
    """Return what so many steps make of an image with ghost cells, in double precision."""
    padded = image.astype(np.float64)
    for _ in range(steps):
        here = padded[1:-1, 1:-1]
        mean = here.mean()
        q0 = (np.square(here).mean() - mean**2) / mean**2
        north, south = padded[:-2, 1:-1] - here, padded[2:, 1:-1] - here
        west, east = padded[1:-1, :-2] - here, padded[1:-1, 2:] - here
        gradient = (north**2 + south**2 + west**2 + east**2) / here**2
        laplacian = (north + south + west + east) / here
        q = (0.5 * gradient - laplacian**2 / 16) / (1 + 0.25 * laplacian) ** 2
        c = with_ghosts(np.clip(1 / (1 + (q - q0) / (q0 * (1 + q0))), 0, 1))
        center, below, right = c[1:-1, 1:-1], c[2:, 1:-1], c[1:-1, 2:]
        divergence = center * north + below * south + center * west + right * east
        padded = with_ghosts(here + 0.25 * RATE * divergence)
    return padded
