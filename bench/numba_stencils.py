"""Pairs of kernel and numba's function: stencils and filters."""

from collections.abc import Callable
from functools import partial

import numpy as np
from bench import numba_functions as functions
from bench.numba_pair import THREADS, Array, Pair, Result, blocks, floats, job_of, rounding
from numpy.typing import NDArray

BLOCK = (32, 8)
PYRAMID_THREADS = 64
GAUSS = np.exp(-0.5 * (np.arange(-functions.RADIUS, functions.RADIUS + 1) / 2.0) ** 2)
WEIGHTS = (GAUSS / GAUSS.sum()).astype(np.float32)


def _cover(side: int, block: tuple[int, ...] = BLOCK) -> tuple[int, ...]:
    return tuple(blocks(side, size) for size in block)


def _hotspot(kernel: str, block: tuple[int, int], side: int) -> Pair:
    heat, power, rate, size = floats(side, side), floats(side, side), np.float32(0.125), np.int32(side)
    padded = np.pad(heat.astype(np.float64), 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    expected = heat + 0.125 * (around - 4.0 * heat + power)
    tolerance = rounding(heat, around, 4 * heat, power)
    return Pair(
        job_of(kernel, _cover(side, block), block, size, size, rate, heat, power, np.zeros_like(heat)),
        partial(functions.hotspot, rate),
        (Result(-1, expected, tolerance),),
    )


def hotspot(side: int) -> Pair:
    """Five points, from global memory."""
    return _hotspot("hotspot", BLOCK, side)


def hotspot_tiled(side: int) -> Pair:
    """Five points, by tiles in shared memory."""
    return _hotspot("hotspot_tiled", (16, 16), side)


def laplace_3d(side: int) -> Pair:
    """Seven points in three dimensions."""
    field, centre, factor = floats(side, side, side), np.float32(0.5), np.float32(0.125)
    f = field.astype(np.float64)
    around = f[1:-1, 1:-1, :-2] + f[1:-1, 1:-1, 2:] + f[1:-1, :-2, 1:-1] + f[1:-1, 2:, 1:-1]
    around = around + f[:-2, 1:-1, 1:-1] + f[2:, 1:-1, 1:-1]
    expected = np.zeros_like(f)
    expected[1:-1, 1:-1, 1:-1] = 0.5 * f[1:-1, 1:-1, 1:-1] + 0.125 * around
    block, sizes = (32, 4, 2), (np.int32(side),) * 3
    return Pair(
        job_of("laplace_3d", _cover(side, block), block, *sizes, centre, factor, field, np.zeros_like(field)),
        partial(functions.laplace_3d, centre, factor),
        (Result(-1, expected, rounding(4 * expected)),),
    )


def gauss_rows(side: int) -> Pair:
    """Convolution with nine weights along rows, in shared memory."""
    image, size, grid = floats(side, side), np.int32(side), (blocks(side), side)
    padded = np.pad(image.astype(np.float64), ((0, 0), (4, 4)), mode="edge")
    expected = np.sum([float(WEIGHTS[k]) * padded[:, k : k + side] for k in range(9)], axis=0)
    return Pair(
        job_of("gauss_rows", grid, THREADS, size, size, WEIGHTS, image, np.zeros_like(image)),
        functions.gauss_rows,
        (Result(-1, expected, rounding(2.0)),),
    )


def gauss_columns(side: int) -> Pair:
    """Convolution with nine weights along columns, from global memory."""
    image, size = floats(side, side), np.int32(side)
    padded = np.pad(image.astype(np.float64), ((4, 4), (0, 0)), mode="edge")
    expected = np.sum([float(WEIGHTS[k]) * padded[k : k + side] for k in range(9)], axis=0)
    return Pair(
        job_of("gauss_columns", _cover(side), BLOCK, size, size, WEIGHTS, image, np.zeros_like(image)),
        functions.gauss_columns,
        (Result(-1, expected, rounding(2.0)),),
    )


def downsample(side: int) -> Pair:
    """Means of 2 x 2 pixels; `side` is the result's."""
    image, size, out = floats(2 * side, 2 * side), np.int32(side), np.zeros((side, side), np.float32)
    expected = image.astype(np.float64).reshape(side, 2, side, 2).mean(axis=(1, 3))
    return Pair(
        job_of("downsample", _cover(side), BLOCK, size, size, np.int32(2 * side), image, out),
        functions.downsample,
        (Result(-1, expected, rounding(expected)),),
    )


def coefficients(side: int) -> Pair:
    """Five points with divisions: the workload's kernel."""
    image, scale = floats(side + 2, side + 2), floats(1)
    f, q0 = image.astype(np.float64), float(scale[0])
    here = f[1:-1, 1:-1]
    north, south, west, east = (
        neighbour - here for neighbour in (f[:-2, 1:-1], f[2:, 1:-1], f[1:-1, :-2], f[1:-1, 2:])
    )
    gradient = (north**2 + south**2 + west**2 + east**2) / here**2
    laplacian = (north + south + west + east) / here
    q = (0.5 * gradient - 0.0625 * laplacian**2) / (1 + 0.25 * laplacian) ** 2
    expected = np.zeros_like(f)
    expected[1:-1, 1:-1] = np.clip(1 / (1 + (q - q0) / (q0 * (1 + q0))), 0, 1)
    arguments = (image, np.zeros_like(image), np.int32(side + 2), scale)
    return Pair(
        job_of("coefficients", (side // THREADS, side), THREADS, *arguments, workload="srad"),
        functions.coefficients,
        # The quotients magnify what was rounded before them.
        (Result(1, expected, 1e-4),),
    )


def diffuse(side: int) -> Pair:
    """Five points of two fields: the workload's kernel."""
    image = floats(side + 2, side + 2)
    coefficient, rate = np.flip(image).copy() - np.float32(0.5), np.float32(0.5)
    f, c = image.astype(np.float64), coefficient.astype(np.float64)
    here, own = f[1:-1, 1:-1], c[1:-1, 1:-1]
    divergence = own * (f[:-2, 1:-1] - here) + c[2:, 1:-1] * (f[2:, 1:-1] - here)
    divergence += own * (f[1:-1, :-2] - here) + c[1:-1, 2:] * (f[1:-1, 2:] - here)
    expected = np.zeros_like(f)
    expected[1:-1, 1:-1] = here + 0.125 * divergence
    arguments = (image, coefficient, np.zeros_like(image), np.int32(side + 2), rate)
    return Pair(
        job_of("diffuse", (side // THREADS, side), THREADS, *arguments, workload="srad"),
        partial(functions.diffuse, rate),
        (Result(-1, expected, rounding(4.0)),),
    )


def _planes(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(2).integers(0, 256, (3, side, side), dtype=np.uint8)


def _filter(kernel: str, function: Callable[..., object], planes: Array, expected: Array) -> Pair:
    """Return a filter of the workload, which keeps the size of its planes."""
    side = planes.shape[1]
    grid, size = (blocks(side, PYRAMID_THREADS), side, 3), np.int32(side)
    arguments = (planes, np.zeros_like(planes), size, size)
    return Pair(
        job_of(kernel, grid, PYRAMID_THREADS, *arguments, workload="pyramid"),
        function,
        (Result(-1, expected),),
    )


def blur_rows(side: int) -> Pair:
    """Binomial filter of 8-bit planes along rows, in shared memory: the workload's kernel."""
    planes = _planes(side)
    padded = np.pad(planes.astype(np.int32), ((0, 0), (0, 0), (2, 2)), mode="edge")
    total = np.sum([w * padded[:, :, k : k + side] for k, w in enumerate((1, 4, 6, 4, 1))], axis=0)
    return _filter("blur_rows", functions.blur_rows, planes, (total + 8) >> 4)


def blur_columns(side: int) -> Pair:
    """Binomial filter of 8-bit planes along columns: the workload's kernel."""
    planes = _planes(side)
    padded = np.pad(planes.astype(np.int32), ((0, 0), (2, 2), (0, 0)), mode="edge")
    total = np.sum([w * padded[:, k : k + side] for k, w in enumerate((1, 4, 6, 4, 1))], axis=0)
    return _filter("blur_columns", functions.blur_columns, planes, (total + 8) >> 4)


def sobel(side: int) -> Pair:
    """Gradients of 8-bit planes, in shared memory: the workload's kernel."""
    planes = _planes(side)
    p = np.pad(planes.astype(np.int32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = p[:, :-2] + 2 * p[:, 1:-1] + p[:, 2:]
    columns = p[:, :, :-2] + 2 * p[:, :, 1:-1] + p[:, :, 2:]
    gradient = np.abs(rows[:, :, 2:] - rows[:, :, :-2]) + np.abs(columns[:, 2:] - columns[:, :-2])
    return _filter("sobel", functions.sobel, planes, np.minimum(gradient, 255))


def halve(side: int) -> Pair:
    """Every second pixel of 8-bit planes: the workload's kernel; `side` is the result's."""
    planes, grid = _planes(2 * side), (blocks(side, PYRAMID_THREADS), side, 3)
    sizes = (np.int32(side), np.int32(side), np.int32(2 * side), np.int32(2 * side))
    arguments = (planes, np.zeros((3, side, side), np.uint8), *sizes)
    return Pair(
        job_of("halve", grid, PYRAMID_THREADS, *arguments, workload="pyramid"),
        functions.halve,
        (Result(-1, planes[:, ::2, ::2]),),
    )
