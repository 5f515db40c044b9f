"""Image processing."""

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch

WIDTH, HEIGHT = 83, 45
BLOCK = (16, 8)
GRID = (blocks(WIDTH, 16), blocks(HEIGHT, 8))
SHAPE = (HEIGHT, WIDTH)


def _windows(image: Array, radius: int) -> Array:
    """Return every pixel's square of neighbours, with edges repeated."""
    padded = np.pad(image, radius, mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1, 2 * radius + 1))


@case
def sobel(rng: np.random.Generator) -> Case:
    """Gradients in whole numbers."""
    x = rng.integers(0, 256, SHAPE, np.uint8)
    windows = _windows(x.astype(np.int64), 1)
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    gx, gy = (windows * kernel).sum(axis=(2, 3)), (windows * kernel.T).sum(axis=(2, 3))
    expected = np.minimum(np.abs(gx) + np.abs(gy), 255)
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(arrays, [launch("sobel", GRID, BLOCK, WIDTH, HEIGHT, "x", "out")], {"out": expected})


@case
def median_3x3(rng: np.random.Generator) -> Case:
    """Medians are elements: exact."""
    x = rng.integers(0, 256, SHAPE, np.uint8)
    expected = np.median(_windows(x, 1), axis=(2, 3))
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(arrays, [launch("median_3x3", GRID, BLOCK, WIDTH, HEIGHT, "x", "out")], {"out": expected})


@case
def bilateral(rng: np.random.Generator) -> Case:
    """Positive weights, each with the error of `__expf`, whose argument is at least -2."""
    x = rng.random(SHAPE, np.float32)
    space, spread, radius = 0.05, 1.5, 2
    windows = _windows(x.astype(np.float64), radius)
    offset = np.arange(-radius, radius + 1)
    distance = offset[:, None] ** 2 + offset**2
    weights = np.exp(-distance * space - (windows - x[:, :, None, None]) ** 2 * spread)
    expected = (weights * windows).sum(axis=(2, 3)) / weights.sum(axis=(2, 3))
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("bilateral", GRID, BLOCK, WIDTH, HEIGHT, radius, space, spread, "x", "out")],
        {"out": expected},
        {"out": 60 * SINGLE},
    )


@case
def box_blur_rows(rng: np.random.Generator) -> Case:
    """A running sum is exact in whole numbers."""
    x = rng.integers(0, 256, SHAPE, np.uint8)
    radius = 4
    padded = np.pad(x.astype(np.int64), ((0, 0), (radius, radius)), mode="edge")
    sums = np.lib.stride_tricks.sliding_window_view(padded, 9, axis=1).sum(axis=2)
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("box_blur_rows", 2, 32, WIDTH, HEIGHT, radius, "x", "out")],
        {"out": (sums + 4) // 9},
    )


@case
def separable_convolution(rng: np.random.Generator) -> Case:
    """Rows through shared memory, then columns; taps in constant memory, zeros outside."""
    x = rng.random(SHAPE, np.float32)
    taps = np.array([0.02, 0.05, 0.12, 0.19, 0.24, 0.19, 0.12, 0.05, 0.02])
    rows = np.apply_along_axis(np.convolve, 1, x.astype(np.float64), taps, "same")
    columns = np.apply_along_axis(np.convolve, 0, rows, taps, "same")
    arrays = {"x": x, "rows": np.zeros_like(x), "columns": np.zeros_like(x)}
    launches = [
        launch("convolve_rows", (blocks(WIDTH, 64), blocks(HEIGHT, 4)), (64, 4), WIDTH, HEIGHT, "x", "rows"),
        launch("convolve_columns", GRID, BLOCK, WIDTH, HEIGHT, "rows", "columns"),
    ]
    return Case(
        arrays,
        launches,
        {"rows": rows, "columns": columns},
        {"rows": 12 * SINGLE, "columns": 24 * SINGLE},
    )


@case
def convolve_channels(rng: np.random.Generator) -> Case:
    """Three channels, four filters of 5x5, at a stride of two."""
    channels, filters, size, stride = 3, 4, 5, 2
    x = rng.standard_normal((channels, 21, 34), np.float32)
    f = rng.standard_normal((filters, channels, size, size), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (size, size), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    expected = np.einsum("cyxij,fcij->fyx", windows, f)
    magnitude = np.einsum("cyxij,fcij->fyx", np.abs(windows), np.abs(f))
    arrays = {"x": x, "f": f, "out": np.zeros(expected.shape, np.float32)}
    sizes = (channels, 21, 34, size, stride)
    return Case(
        arrays,
        [launch("convolve_channels", (1, 2, filters), (16, 8), *sizes, "x", "f", "out")],
        {"out": expected},
        {"out": channels * size**2 * SINGLE * magnitude},
    )


@case
def max_pool(rng: np.random.Generator) -> Case:
    """Pairs are loaded as vectors; the odd row is left out."""
    x = rng.integers(0, 9, (HEIGHT, 84)).astype(np.float32)
    quads = x[:44].reshape(22, 2, 42, 2).transpose(0, 2, 1, 3).reshape(22, 42, 4)
    arrays: dict[str, Array] = {
        "x": x,
        "out": np.zeros((22, 42), np.float32),
        "choice": np.zeros((22, 42), np.uint8),
    }
    return Case(
        arrays,
        [launch("max_pool", (2, 22), 32, HEIGHT, 84, "x", "out", "choice")],
        {"out": quads.max(axis=2), "choice": quads.argmax(axis=2)},
    )


@case
def mandelbrot(rng: np.random.Generator) -> Case:
    """Every operation rounds in single precision, in NumPy as in the kernel: equal counts."""
    left, top, step = np.float32(-2.2), np.float32(-1.2), np.float32(0.037)
    limit = 100
    cr = left + np.arange(WIDTH, dtype=np.float32) * step + np.zeros((HEIGHT, 1), np.float32)
    ci = top + np.arange(HEIGHT, dtype=np.float32)[:, None] * step + np.zeros(WIDTH, np.float32)
    zr, zi = np.zeros_like(cr), np.zeros_like(ci)
    count = np.zeros(SHAPE, np.uint16)
    for _ in range(limit):
        rr, ii = zr * zr, zi * zi
        inside = rr + ii <= 4
        count += inside
        zi = np.where(inside, 2 * zr * zi + ci, zi)
        zr = np.where(inside, rr - ii + cr, zr)
    arrays = {"out": np.zeros(SHAPE, np.uint16)}
    return Case(
        arrays,
        [
            launch(
                "mandelbrot", GRID, BLOCK, WIDTH, HEIGHT, float(left), float(top), float(step), limit, "out"
            )
        ],
        {"out": count},
    )


@case
def haar_levels(rng: np.random.Generator) -> Case:
    """Three levels: each keeps the norm, so errors do not grow beyond the largest value."""
    x = rng.standard_normal((3, 256), np.float32)
    expected = x.astype(np.float64)
    for size in (256, 128, 64):
        pairs = expected[:, :size].reshape(3, -1, 2) / np.sqrt(2)
        expected[:, : size // 2], expected[:, size // 2 : size] = (
            pairs.sum(axis=2),
            pairs[..., 0] - pairs[..., 1],
        )
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays, [launch("haar_levels", 3, 128, 3, "x", "out")], {"out": expected}, {"out": 60 * SINGLE}
    )


@case
def rgba_to_gray(rng: np.random.Generator) -> Case:
    """Vectors of four bytes."""
    x = rng.integers(0, 256, (1003, 4), np.uint8)
    arrays = {"x": x, "out": np.zeros(1003, np.uint8)}
    expected = (x[:, :3].astype(np.int64) @ np.array([77, 150, 29]) + 128) >> 8
    return Case(arrays, [launch("rgba_to_gray", 8, 128, 1003, "x", "out")], {"out": expected})


@case
def resize_bilinear(rng: np.random.Generator) -> Case:
    """Places are found in single precision, like the kernel's, since a fraction near 0 or 1 is sensitive."""
    x = rng.random((HEIGHT, WIDTH, 4), np.float32)
    columns, rows = 50, 101
    sx = np.arange(columns, dtype=np.float32) * np.float32(np.float32(WIDTH - 1) / np.float32(columns - 1))
    sy = np.arange(rows, dtype=np.float32) * np.float32(np.float32(HEIGHT - 1) / np.float32(rows - 1))
    x0, y0 = np.minimum(sx.astype(int), WIDTH - 2), np.minimum(sy.astype(int), HEIGHT - 2)
    fx, fy = (sx - x0).astype(np.float64)[:, None], (sy - y0).astype(np.float64)[:, None, None]
    above, below = x[y0].astype(np.float64), x[y0 + 1].astype(np.float64)
    top = above[:, x0] * (1 - fx) + above[:, x0 + 1] * fx
    bottom = below[:, x0] * (1 - fx) + below[:, x0 + 1] * fx
    expected = top * (1 - fy) + bottom * fy
    arrays = {"x": x, "out": np.zeros(expected.shape, np.float32)}
    return Case(
        arrays,
        [launch("resize_bilinear", (4, 13), (16, 8), WIDTH, HEIGHT, "x", columns, rows, "out")],
        {"out": expected},
        {"out": 1e-5},
    )


@case
def integral_columns(rng: np.random.Generator) -> Case:
    """64-bit sums of 16-bit numbers."""
    x = rng.integers(0, 2**16, (20, 37), np.uint16)
    expected = x.astype(np.uint64).cumsum(axis=0).cumsum(axis=1)
    arrays = {"x": x, "out": np.zeros_like(expected)}
    return Case(arrays, [launch("integral_columns", 2, 32, 37, 20, "x", "out")], {"out": expected})
