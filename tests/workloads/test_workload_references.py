"""The NumPy references, against plain loops: what a run is checked with must itself be right."""

import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from logv.errors import NotSupportedError
from logv.workloads.pictures import gray, picture
from logv.workloads.pyramid import blur, edges
from logv.workloads.srad import RATE, diffused, with_ghosts
from logv.workloads.stereo import DISPARITIES, RADIUS, UNKNOWN, agreed, best_shifts
from logv.workloads.sync import INCREMENT, MULTIPLIER, churned


def clamped(image: NDArray[np.uint8], y: int, x: int) -> int:
    """Return a pixel, or the border's nearest outside the image."""
    height, width = image.shape
    return int(image[min(max(y, 0), height - 1), min(max(x, 0), width - 1)])


def test_best_shifts_against_loops() -> None:
    """Each pixel gets the first shift whose window differs least."""
    rng = np.random.default_rng(0)
    height, width = 3, 5
    shape = (3, height + 2 * RADIUS, 2 * DISPARITIES + width + 2 * RADIUS)
    left, right = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    window = 2 * RADIUS + 1
    expected = np.empty((height, width), dtype=np.uint8)
    for y in range(height):
        for x in range(width):
            costs = []
            for shift in range(DISPARITIES):
                here = left[:, y : y + window, x + DISPARITIES : x + DISPARITIES + window].astype(int)
                start = x + DISPARITIES - shift
                costs.append(np.abs(here - right[:, y : y + window, start : start + window]).sum())
            expected[y, x] = costs.index(min(costs))
    assert np.array_equal(best_shifts(left, right), expected)


def test_best_shifts_finds_a_known_shift() -> None:
    """A right image that is the left one moved by 13 columns has disparity 13 everywhere."""
    rng = np.random.default_rng(1)
    left = rng.integers(0, 256, (3, 20, 2 * DISPARITIES + 60), dtype=np.uint8)
    assert (best_shifts(left, np.roll(left, -13, axis=2))[:, :30] == 13).all()


def test_agreement_keeps_what_leads_back() -> None:
    """A disparity stays if the right image's, where it leads, differs by at most one."""
    from_left = np.array([[0, 1, 2, 9]], dtype=np.uint8)
    from_right = np.array([[2, 7, 7, 7]], dtype=np.uint8)
    assert agreed(from_left, from_right).tolist() == [[UNKNOWN, 1, 2, UNKNOWN]]


def test_blur_against_loops() -> None:
    """Rows, then columns, each rounded to 8 bits; the border repeats."""
    taps = (1, 4, 6, 4, 1)
    original = np.random.default_rng(2).integers(0, 256, (6, 7), dtype=np.uint8)
    image = original
    for dy, dx in ((0, 1), (1, 0)):
        sums = [
            [
                sum(tap * clamped(image, y + dy * k, x + dx * k) for k, tap in enumerate(taps, -2))
                for x in range(7)
            ]
            for y in range(6)
        ]
        image = ((np.array(sums) + 8) >> 4).astype(np.uint8)
    assert np.array_equal(blur(original[None])[0], image)


def test_edges_against_loops() -> None:
    """The two Sobel gradients' absolute values add up, and saturate."""
    image = np.random.default_rng(3).integers(0, 256, (5, 6), dtype=np.uint8)
    expected = np.empty_like(image)
    for y in range(5):
        for x in range(6):
            near = [[clamped(image, y + dy, x + dx) for dx in (-1, 0, 1)] for dy in (-1, 0, 1)]
            across = sum(w * (near[i][2] - near[i][0]) for i, w in enumerate((1, 2, 1)))
            down = sum(w * (near[2][i] - near[0][i]) for i, w in enumerate((1, 2, 1)))
            expected[y, x] = min(abs(across) + abs(down), 255)
    assert np.array_equal(edges(image[None])[0], expected)


def test_diffusion_against_loops() -> None:
    """One pixel at a time, with the formulas of the paper, gives the same image."""
    height, width = 4, 5
    image = 1 + np.random.default_rng(4).random((height, width))
    expected = image.copy()
    for _ in range(12):
        q0 = expected.var() / expected.mean() ** 2
        ghosts = np.pad(expected, 1, mode="edge")
        slopes = np.empty((height, width, 4))
        c = np.empty((height, width))
        for y in range(height):
            for x in range(width):
                here = expected[y, x]
                around = (ghosts[y, x + 1], ghosts[y + 2, x + 1], ghosts[y + 1, x], ghosts[y + 1, x + 2])
                slopes[y, x] = np.array(around) - here
                gradient = (slopes[y, x] ** 2).sum() / here**2
                laplacian = slopes[y, x].sum() / here
                q = (gradient / 2 - laplacian**2 / 16) / (1 + laplacian / 4) ** 2
                c[y, x] = min(max(1 / (1 + (q - q0) / (q0 * (1 + q0))), 0), 1)
        south = np.vstack([c[1:], c[-1:]])
        east = np.hstack([c[:, 1:], c[:, -1:]])
        weights = np.stack([c, south, c, east], axis=2)
        expected += RATE / 4 * (weights * slopes).sum(axis=2)
    result = diffused(with_ghosts(image).astype(np.float32), 12)
    assert result[1:-1, 1:-1] == pytest.approx(expected, rel=1e-5)


def test_diffusion_smooths() -> None:
    """Speckle on a plain ground loses variance and keeps its mean."""
    speckled = 1 + 0.1 * np.random.default_rng(5).random((16, 16))
    smooth = diffused(with_ghosts(speckled).astype(np.float32), 48)[1:-1, 1:-1]
    assert smooth.var() < speckled.var() / 10
    assert smooth.mean() == pytest.approx(speckled.mean(), rel=0.01)


def test_gray_weighs_colours() -> None:
    """White stays white, and green is brighter than red, red brighter than blue."""
    colours = np.array([[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=np.uint8)
    assert gray(colours).tolist() == [255, 0, 76, 150, 29]


def test_missing_pictures_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without scikit-image the error says what to install."""
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(NotSupportedError, match=r"pip install 'logv\[workloads\]'"):
        picture("retina")


def test_pictures_have_the_sizes_the_workloads_say() -> None:
    """The installed pictures are the ones that the workloads were written for."""
    assert [image.shape for image in picture("stereo_motorcycle")[:2]] == [(500, 741, 3)] * 2
    assert picture("retina")[0].shape == (1411, 1411, 3)
    assert picture("hubble_deep_field")[0].shape == (872, 1000, 3)


def test_churned_against_a_loop() -> None:
    """So many steps at once are what as many single steps make."""
    stepped = numbers = np.random.default_rng(6).integers(0, 1 << 32, 5, dtype=np.uint32)
    for rounds in range(70):
        assert np.array_equal(churned(numbers, rounds), stepped)
        stepped = stepped * np.uint32(MULTIPLIER) + np.uint32(INCREMENT)
