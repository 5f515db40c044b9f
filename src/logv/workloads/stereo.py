"""Stereo disparity by block matching: how far away a motorcycle's parts are."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from logv.runtime import Buffer, LaunchConfig, launch
from logv.workloads.pictures import picture
from logv.workloads.workload import Workload, blocks

DISPARITIES = 128
RADIUS, ROWS, WIDTH = 4, 8, 128
OUTPUTS = WIDTH - 2 * RADIUS
"""Geometry of a block, as in stereo.cu."""
UNKNOWN = 255
"""The disparity of a pixel that the other image does not show."""


class Stereo(Workload):
    """Finds for each pixel of the left image the shift at which the right image fits best.

    The same is done the other way round, and what does not agree is marked: those pixels are hidden
    in the right image, or look like many others.
    """

    name: str = "stereo"
    summary: str = f"disparity both ways, {DISPARITIES} shifts, 9 x 9 windows"
    kernels: ClassVar[tuple[str, ...]] = ("disparity", "agree")
    input: str = "skimage.data.stereo_motorcycle(), 741 x 500 RGB"

    def _prepare(self) -> None:
        left, right, _ = picture("stereo_motorcycle")
        self._left_in = self._pad(left)
        self._right_in = self._pad(right)
        # Seen in a mirror, the left image is the right one.
        from_left = best_shifts(self._left_in, self._right_in)
        from_right = best_shifts(self._right_in[..., ::-1], self._left_in[..., ::-1])[:, ::-1]
        self._out: NDArray[np.uint8] = self._expect(agreed(from_left, from_right))

    def _pad(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image's colours as planes, with the border repeated as far as the blocks read."""
        height, width, _ = image.shape
        self._grid = (blocks(width, OUTPUTS), blocks(height, ROWS))
        below = RADIUS + self._grid[1] * ROWS - height
        right = RADIUS + self._grid[0] * OUTPUTS - width + DISPARITIES
        margins = ((0, 0), (RADIUS, below), (DISPARITIES + RADIUS, right))
        return np.pad(np.moveaxis(image, 2, 0), margins, mode="edge")

    def _setup(self) -> None:
        self._left: Buffer = self._allocate(self._left_in.nbytes)
        self._right: Buffer = self._allocate(self._right_in.nbytes)
        self._from_left: Buffer = self._allocate(self._out.nbytes)
        self._from_right: Buffer = self._allocate(self._out.nbytes)
        self._result: Buffer = self._allocate(self._out.nbytes)

    def run(self) -> None:
        """Copy both images in, match them both ways, copy what agrees out."""
        stream, kernels = self._stream, self._kernels
        self._left.copy_from(self._left_in, stream=stream)
        self._right.copy_from(self._right_in, stream=stream)
        height, pitch = self._out.shape
        _, padded_height, padded_width = self._left_in.shape
        sizes = tuple(map(np.int32, (padded_width, padded_height * padded_width, pitch, DISPARITIES)))
        match = LaunchConfig(grid=self._grid, block=WIDTH)
        left_to_right = (self._left, self._right, self._from_left, *sizes, np.int32(-1))
        right_to_left = (self._right, self._left, self._from_right, *sizes, np.int32(1))
        launch(stream, match, kernels["disparity"], *left_to_right)
        launch(stream, match, kernels["disparity"], *right_to_left)
        rows = LaunchConfig(grid=(self._grid[0], height), block=OUTPUTS)
        results = (self._from_left, self._from_right, self._result)
        launch(stream, rows, kernels["agree"], *results, np.int32(pitch))
        self._result.copy_to(self._out, stream=stream)
        stream.sync()


def best_shifts(left: NDArray[np.uint8], right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the disparity of each pixel of the left image between the paddings; images are planes."""
    span = left.shape[2] - 2 * DISPARITIES
    here = left[..., DISPARITIES : DISPARITIES + span]
    costs = []
    for shift in range(DISPARITIES):
        there = right[..., DISPARITIES - shift : DISPARITIES - shift + span]
        differences = (np.maximum(here, there) - np.minimum(here, there)).sum(axis=0, dtype=np.int32)
        costs.append(_window_sums(_window_sums(differences).T).T)
    disparity: NDArray[np.uint8] = np.argmin(costs, axis=0).astype(np.uint8)
    return disparity


def agreed(from_left: NDArray[np.uint8], from_right: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the left image's disparities where the right image's lead back to within one column."""
    columns = np.arange(from_left.shape[1])
    there = np.maximum(columns - from_left, 0)
    back = np.take_along_axis(from_right, there, axis=1)
    difference = np.abs(from_left.astype(np.int32) - back)
    return np.where(difference <= 1, from_left, np.uint8(UNKNOWN))


def _window_sums(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the sums of each ``2 * RADIUS + 1`` neighbours along the first axis."""
    running = np.cumsum(np.pad(values, ((1, 0), (0, 0))), axis=0, dtype=np.int32)
    window = 2 * RADIUS + 1
    return running[window:] - running[:-window]
