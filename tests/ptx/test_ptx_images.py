"""Image kernels against NumPy, at sizes that blocks do not divide."""

from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.ptx.ptx_harness import Bench, kernel_of

_T = TypeVar("_T", bound=np.generic)
W, H = 131, 77
RNG = np.random.default_rng(21)
IMAGE = RNG.integers(0, 256, (H, W)).astype(np.uint8)
SIZE = (np.int32(W), np.int32(H))


def _grid(block: tuple[int, int], w: int = W, h: int = H) -> list[int]:
    return [-(-w // block[0]), -(-h // block[1])]


def _shifted(image: NDArray[_T], dy: int, dx: int) -> NDArray[_T]:
    """The image's neighbours at a distance, clamped at the edges."""
    rows = np.clip(np.arange(H) + dy, 0, H - 1)
    columns = np.clip(np.arange(W) + dx, 0, W - 1)
    return image[rows][:, columns]


@pytest.mark.parametrize("block", [(32, 8), (16, 16), (64, 1), (1, 32), (5, 3)])
def test_sobel(block: tuple[int, int]) -> None:
    """Clamped neighbours of bytes, integer arithmetic, a square root, in blocks of any shape."""
    bench = Bench()
    source, target = bench.upload(IMAGE), bench.upload(np.zeros_like(IMAGE))
    bench.launch(kernel_of("images", "sobel", block), _grid(block), *SIZE, source, target)
    p = {(y, x): _shifted(IMAGE.astype(np.int32), y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)}
    gx = p[-1, 1] + 2 * p[0, 1] + p[1, 1] - p[-1, -1] - 2 * p[0, -1] - p[1, -1]
    gy = p[1, -1] + 2 * p[1, 0] + p[1, 1] - p[-1, -1] - 2 * p[-1, 0] - p[-1, 1]
    expected = np.minimum(np.sqrt((gx * gx + gy * gy).astype(np.float32)).astype(np.int32), 255)
    np.testing.assert_array_equal(bench.download(target, (H, W), np.uint8), expected)


def test_gaussian_pyramid_step() -> None:
    """Rows through a shared tile with a halo, columns, and every second pixel."""
    bench = Bench()
    source = bench.upload(IMAGE)
    rows, both = (bench.upload(np.zeros((H, W), np.float32)) for _ in range(2))
    small = bench.upload(np.zeros((H // 2, W // 2), np.uint8))
    bench.launch(kernel_of("images", "gauss_rows", (32, 8)), _grid((32, 8)), *SIZE, source, rows)
    bench.launch(kernel_of("images", "gauss_columns", (32, 4)), _grid((32, 4)), *SIZE, rows, both)
    grid = _grid((16, 16), W // 2, H // 2)
    bench.launch(kernel_of("images", "downsample", (16, 16)), grid, *SIZE, both, small)
    weights = dict(zip(range(-2, 3), (1, 4, 6, 4, 1), strict=True))
    image = IMAGE.astype(np.float64)
    expected = np.sum([weight * _shifted(image, 0, d) for d, weight in weights.items()], 0) / 16
    np.testing.assert_allclose(bench.download(rows, (H, W), np.float32), expected, rtol=1e-6)
    expected = np.sum([weight * _shifted(expected, d, 0) for d, weight in weights.items()], 0) / 16
    np.testing.assert_allclose(bench.download(both, (H, W), np.float32), expected, rtol=1e-6)
    even = expected[: H // 2 * 2, : W // 2 * 2].reshape(H // 2, 2, W // 2, 2).mean((1, 3))
    error = np.abs(bench.download(small, even.shape, np.uint8).astype(np.int32) - even)
    assert error.max() <= 0.5 + 1e-4


def test_srad_coefficients() -> None:
    """Division, exponential and square root of single precision, clamped to [0, 1]."""
    image = RNG.random((H, W), dtype=np.float32) + np.float32(0.5)
    bench = Bench()
    source, target = bench.upload(image), bench.upload(np.zeros_like(image))
    kernel = kernel_of("images", "srad_coefficients", (32, 8))
    bench.launch(kernel, _grid((32, 8)), *SIZE, np.float32(0.05), source, target)
    j = image.astype(np.float64)
    deltas = [_shifted(j, dy, dx) - j for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    g2 = np.sum([delta**2 for delta in deltas], 0) / j**2
    laplacian = np.sum(deltas, 0) / j
    q = (0.5 * g2 - laplacian**2 / 16) / (1 + 0.25 * laplacian) ** 2
    d = (q - np.float32(0.05)) / (np.float64(np.float32(0.05)) * (1 + np.float64(np.float32(0.05))))
    expected = np.clip(1 / (1 + d), 0, 1) * np.exp(-d * d) + np.sqrt(j)
    np.testing.assert_allclose(bench.download(target, (H, W), np.float32), expected, rtol=2e-4)


def test_stereo_disparity() -> None:
    """Three nested loops with sizes known at run time, inside blocks whose border threads return early."""
    depth, radius = 9, 2
    left = IMAGE
    right = _shifted(IMAGE, 0, 4).astype(np.uint8)
    bench = Bench()
    pl, pr, po = bench.upload(left), bench.upload(right), bench.upload(np.full_like(IMAGE, 99))
    arguments = (*SIZE, np.int32(depth), np.int32(radius), pl, pr, po)
    bench.launch(kernel_of("images", "stereo", (16, 8)), _grid((16, 8)), *arguments)
    rows, columns = np.arange(H), np.arange(W)
    cost = np.zeros((depth, H, W), np.int64)
    for j in range(-radius, radius + 1):
        y = np.clip(rows + j, 0, H - 1)[:, None]
        for i in range(-radius, radius + 1):
            x = np.clip(columns + i, 0, W - 1)
            for d in range(depth):
                cost[d] += np.abs(left[y, x].astype(int) - right[y, np.maximum(x - d, 0)])
    np.testing.assert_array_equal(bench.download(po, (H, W), np.uint8), cost.argmin(0))
