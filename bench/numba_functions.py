"""The algorithms of ``kernels/numba_pairs.cu`` and of the workloads' kernels, as numba compiles them.

Written as one writes them for numba: plain loops in the order of memory, single precision throughout, and the
arrays in the order in which the kernels take theirs. fastmath is off; division by zero gives what IEEE 754
says, because the check that Python asks for would keep loops from being vectorised.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Bytes = NDArray[np.uint8]

RADIUS = 4
ZERO, QUARTER, HALF, ONE, FOUR = (np.float32(value) for value in (0, 0.25, 0.5, 1, 4))
SIXTEENTH = np.float32(0.0625)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def njit(function: Callable[_P, _T]) -> Callable[_P, _T]:
    """Compile with numba, with default flags but for division by zero."""
    return cast("Callable[_P, _T]", numba.njit(error_model="numpy")(function))


@njit
def vector_add(a: Floats, b: Floats, c: Floats) -> None:
    """C = a + b."""
    for i in range(a.size):
        c[i] = a[i] + b[i]


@njit
def scale(factor: np.float32, a: Floats, b: Floats) -> None:
    """B = factor * a."""
    for i in range(a.size):
        b[i] = factor * a[i]


@njit
def triad(factor: np.float32, a: Floats, b: Floats, c: Floats) -> None:
    """C = a + factor * b."""
    for i in range(a.size):
        c[i] = a[i] + factor * b[i]


@njit
def saxpy(factor: np.float32, x: Floats, y: Floats) -> None:
    """Y = factor * x + y."""
    for i in range(x.size):
        y[i] = factor * x[i] + y[i]


@njit
def fill(seed: np.uint32, out: NDArray[np.uint32]) -> None:
    """Number each element by position and seed."""
    for i in range(out.size):
        out[i] = np.uint32(i) * np.uint32(2654435761) ^ seed


@njit
def hotspot(rate: np.float32, heat: Floats, power: Floats, out: Floats) -> None:
    """One step of heat conduction, insulated borders."""
    height, width = heat.shape
    for y in range(height):
        above, below = max(y - 1, 0), min(y + 1, height - 1)
        for x in range(width):
            here = heat[y, x]
            around = heat[above, x] + heat[below, x] + heat[y, max(x - 1, 0)] + heat[y, min(x + 1, width - 1)]
            out[y, x] = here + rate * (around - FOUR * here + power[y, x])


@njit
def laplace_3d(centre: np.float32, side: np.float32, field: Floats, out: Floats) -> None:
    """One Jacobi step in three dimensions; borders are left alone."""
    nz, ny, nx = field.shape
    for z in range(1, nz - 1):
        for y in range(1, ny - 1):
            for x in range(1, nx - 1):
                out[z, y, x] = centre * field[z, y, x] + side * (
                    field[z, y, x - 1]
                    + field[z, y, x + 1]
                    + field[z, y - 1, x]
                    + field[z, y + 1, x]
                    + field[z - 1, y, x]
                    + field[z + 1, y, x]
                )


@njit
def gauss_rows(weights: Floats, image: Floats, out: Floats) -> None:
    """Convolve rows; each is copied with its border repeated first."""
    height, width = image.shape
    row = np.empty(width + 2 * RADIUS, np.float32)
    for y in range(height):
        for x in range(RADIUS):
            row[x] = image[y, 0]
            row[x + width + RADIUS] = image[y, width - 1]
        for x in range(width):
            row[x + RADIUS] = image[y, x]
        for x in range(width):
            total = ZERO
            for k in range(2 * RADIUS + 1):
                total += weights[k] * row[x + k]
            out[y, x] = total


@njit
def gauss_columns(weights: Floats, image: Floats, out: Floats) -> None:
    """Convolve columns; the border repeats."""
    height, width = image.shape
    for y in range(height):
        for x in range(width):
            total = ZERO
            for k in range(2 * RADIUS + 1):
                total += weights[k] * image[min(max(y + k - RADIUS, 0), height - 1), x]
            out[y, x] = total


@njit
def downsample(image: Floats, out: Floats) -> None:
    """Means of 2 x 2 pixels."""
    height, width = out.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = QUARTER * (
                image[2 * y, 2 * x]
                + image[2 * y, 2 * x + 1]
                + image[2 * y + 1, 2 * x]
                + image[2 * y + 1, 2 * x + 1]
            )


@njit
def coefficients(image: Floats, out: Floats, scale: Floats) -> None:
    """SRAD's coefficients; fields have a ring of ghost cells."""
    height, width = image.shape
    q0 = scale[0]
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            here = image[y, x]
            north, south = image[y - 1, x] - here, image[y + 1, x] - here
            west, east = image[y, x - 1] - here, image[y, x + 1] - here
            gradient = (north * north + south * south + west * west + east * east) / (here * here)
            laplacian = (north + south + west + east) / here
            spread = ONE + QUARTER * laplacian
            q = (HALF * gradient - SIXTEENTH * laplacian * laplacian) / (spread * spread)
            c = ONE / (ONE + (q - q0) / (q0 * (ONE + q0)))
            out[y, x] = min(max(c, ZERO), ONE)


@njit
def diffuse(rate: np.float32, image: Floats, coefficient: Floats, out: Floats) -> None:
    """One step of SRAD's diffusion."""
    height, width = image.shape
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            here, c = image[y, x], coefficient[y, x]
            divergence = (
                c * (image[y - 1, x] - here)
                + coefficient[y + 1, x] * (image[y + 1, x] - here)
                + c * (image[y, x - 1] - here)
                + coefficient[y, x + 1] * (image[y, x + 1] - here)
            )
            out[y, x] = here + QUARTER * rate * divergence


@njit
def blur_rows(planes: Bytes, out: Bytes) -> None:
    """Binomial filter of 8-bit planes along rows; each is copied with its border repeated first."""
    count, height, width = planes.shape
    row = np.empty(width + 4, np.int32)
    for plane in range(count):
        for y in range(height):
            row[0] = row[1] = planes[plane, y, 0]
            row[width + 2] = row[width + 3] = planes[plane, y, width - 1]
            for x in range(width):
                row[x + 2] = planes[plane, y, x]
            for x in range(width):
                total = (
                    row[x]
                    + np.int32(4) * row[x + 1]
                    + np.int32(6) * row[x + 2]
                    + np.int32(4) * row[x + 3]
                    + row[x + 4]
                )
                out[plane, y, x] = np.uint8((total + np.int32(8)) >> np.int32(4))


@njit
def blur_columns(planes: Bytes, out: Bytes) -> None:
    """Binomial filter of 8-bit planes along columns."""
    count, height, width = planes.shape
    for plane in range(count):
        for y in range(height):
            a, b, c = max(y - 2, 0), max(y - 1, 0), y
            d, e = min(y + 1, height - 1), min(y + 2, height - 1)
            for x in range(width):
                total = (
                    np.int32(planes[plane, a, x])
                    + np.int32(4) * np.int32(planes[plane, b, x])
                    + np.int32(6) * np.int32(planes[plane, c, x])
                    + np.int32(4) * np.int32(planes[plane, d, x])
                    + np.int32(planes[plane, e, x])
                )
                out[plane, y, x] = np.uint8((total + np.int32(8)) >> np.int32(4))


@njit
def sobel(planes: Bytes, out: Bytes) -> None:
    """Saturated sum of the gradients of 8-bit planes; three rows are copied with their borders first."""
    count, height, width = planes.shape
    tile = np.empty((3, width + 2), np.int32)
    for plane in range(count):
        for y in range(height):
            for i in range(3):
                source = min(max(y + i - 1, 0), height - 1)
                tile[i, 0] = planes[plane, source, 0]
                tile[i, width + 1] = planes[plane, source, width - 1]
                for x in range(width):
                    tile[i, x + 1] = planes[plane, source, x]
            for x in range(width):
                west = tile[0, x] + np.int32(2) * tile[1, x] + tile[2, x]
                east = tile[0, x + 2] + np.int32(2) * tile[1, x + 2] + tile[2, x + 2]
                north = tile[0, x] + np.int32(2) * tile[0, x + 1] + tile[0, x + 2]
                south = tile[2, x] + np.int32(2) * tile[2, x + 1] + tile[2, x + 2]
                out[plane, y, x] = np.uint8(min(abs(east - west) + abs(south - north), np.int32(255)))


@njit
def halve(planes: Bytes, out: Bytes) -> None:
    """Every second pixel of every second row."""
    count, height, width = out.shape
    for plane in range(count):
        for y in range(height):
            for x in range(width):
                out[plane, y, x] = planes[plane, 2 * y, 2 * x]


@njit
def add_up(a: Floats, total: Floats) -> None:
    """Add a strict sum, in order."""
    own = ZERO
    for i in range(a.size):
        own += a[i]
    total[0] += own


@njit
def dot(a: Floats, b: Floats, total: Floats) -> None:
    """Add a strict sum of products, in order."""
    own = ZERO
    for i in range(a.size):
        own += a[i] * b[i]
    total[0] += own


@njit
def partial_sums(image: Floats, sums: Floats, squares: Floats) -> None:
    """Sums and sums of squares of strips of 8 rows by 256 columns, each in order."""
    height, width = image.shape[0] - 2, image.shape[1] - 2
    at = 0
    for row in range(1, height + 1, 8):
        for column in range(1, width + 1, 256):
            total, square = ZERO, ZERO
            for y in range(row, row + 8):
                for x in range(column, column + 256):
                    total += image[y, x]
                    square += image[y, x] * image[y, x]
            sums[at], squares[at] = total, square
            at += 1


@njit
def bfs_level(level: int, starts: Ints, neighbours: Ints, levels: Ints, out: Ints, found: Ints) -> None:
    """Mark the unvisited neighbours of the vertices of one level."""
    for vertex in range(levels.size):
        if levels[vertex] == level:
            for edge in range(starts[vertex], starts[vertex + 1]):
                other = neighbours[edge]
                if levels[other] < 0:
                    out[other] = level + 1
                    found[0] = 1


@njit
def spmv(starts: Ints, columns: Ints, values: Floats, x: Floats, y: Floats) -> None:
    """Sparse matrix times vector."""
    for row in range(y.size):
        total = ZERO
        for i in range(starts[row], starts[row + 1]):
            total += values[i] * x[columns[i]]
        y[row] = total


@njit
def matmul(a: Floats, b: Floats, c: Floats) -> None:
    """C = a * b by three loops, the innermost along rows."""
    m, k = a.shape
    n = b.shape[1]
    for i in range(m):
        for j in range(n):
            c[i, j] = ZERO
        for t in range(k):
            factor = a[i, t]
            for j in range(n):
                c[i, j] += factor * b[t, j]


def matmul_tiled(tile: int) -> Callable[[Floats, Floats, Floats], None]:
    """Return C = a * b by tiles of both, which are copied, with zeros beyond the borders."""

    @njit
    def multiply(a: Floats, b: Floats, c: Floats) -> None:
        m, k = a.shape
        n = b.shape[1]
        tile_a = np.empty((tile, tile), np.float32)
        tile_b = np.empty((tile, tile), np.float32)
        sums = np.empty((tile, tile), np.float32)
        for row in range(0, m, tile):
            for column in range(0, n, tile):
                sums[:] = ZERO
                for start in range(0, k, tile):
                    for y in range(tile):
                        for x in range(tile):
                            inside = row + y < m and start + x < k
                            tile_a[y, x] = a[row + y, start + x] if inside else ZERO
                            inside = start + y < k and column + x < n
                            tile_b[y, x] = b[start + y, column + x] if inside else ZERO
                    for y in range(tile):
                        for i in range(tile):
                            for x in range(tile):
                                sums[y, x] += tile_a[y, i] * tile_b[i, x]
                for y in range(min(tile, m - row)):
                    for x in range(min(tile, n - column)):
                        c[row + y, column + x] = sums[y, x]

    return multiply


@njit
def histogram(data: Bytes, counts: NDArray[np.uint32]) -> None:
    """Count byte values."""
    for value in data:
        counts[value] += np.uint32(1)
