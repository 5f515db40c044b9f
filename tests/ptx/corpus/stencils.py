"""Stencils and other kernels on grids.

The references are computed in double precision; the errors allowed are a few roundings of single precision,
relative to the largest value that takes part.
"""

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch

WIDTH, HEIGHT = 75, 41
GRID = (blocks(WIDTH, 16), blocks(HEIGHT, 8))
BLOCK = (16, 8)


@case
def jacobi_2d(rng: np.random.Generator) -> Case:
    """Two steps, there and back; the borders are left alone."""
    x = rng.random((HEIGHT, WIDTH), np.float32)
    arrays = {"a": x, "b": x}
    expected = x.astype(np.float64)
    for _ in range(2):
        old = expected.copy()
        expected[1:-1, 1:-1] = 0.2 * (
            old[1:-1, 1:-1] + old[1:-1, :-2] + old[1:-1, 2:] + old[:-2, 1:-1] + old[2:, 1:-1]
        )
    launches = [launch("jacobi_2d", GRID, BLOCK, WIDTH, HEIGHT, *names) for names in (("a", "b"), ("b", "a"))]
    return Case(arrays, launches, {"a": expected}, {"a": 12 * SINGLE})


@case
def stencil_3d(rng: np.random.Generator) -> Case:
    """Seven points."""
    nx, ny, nz = 37, 18, 11
    x = rng.random((nz, ny, nx), np.float32)
    c0, c1 = 0.75, 0.125
    wide = x.astype(np.float64)
    inner = wide[1:-1, 1:-1, 1:-1]
    around = (
        wide[:-2, 1:-1, 1:-1]
        + wide[2:, 1:-1, 1:-1]
        + wide[1:-1, :-2, 1:-1]
        + wide[1:-1, 2:, 1:-1]
        + wide[1:-1, 1:-1, :-2]
        + wide[1:-1, 1:-1, 2:]
    )
    expected = np.full(x.shape, -1.0)
    expected[1:-1, 1:-1, 1:-1] = c1 * around - c0 * inner
    arrays = {"x": x, "out": np.full_like(x, -1)}
    return Case(
        arrays,
        [launch("stencil_3d", (blocks(nx, 16), blocks(ny, 4)), (16, 4), nx, ny, nz, c0, c1, "x", "out")],
        {"out": expected},
        {"out": 8 * SINGLE},
    )


@case
def stencil_halo(rng: np.random.Generator) -> Case:
    """Zeros beyond the ends."""
    n = 1003
    x = rng.integers(-1000, 1000, n, np.int32)
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("stencil_halo", blocks(n, 96), 96, n, "x", "out")],
        {"out": np.convolve(x, [1, 2, 3, 2, 1], "same")},
    )


@case
def hotspot(rng: np.random.Generator) -> Case:
    """Three steps in one launch, against three steps over the whole chip."""
    steps, inner = 3, 10
    power = rng.random((HEIGHT, WIDTH), np.float32)
    t = (rng.random((HEIGHT, WIDTH)) * 10 + 75).astype(np.float32)
    expected = t.astype(np.float64)
    for _ in range(steps):
        p = np.pad(expected, 1, mode="edge")
        expected = expected + 0.1 * (
            power
            + (p[2:, 1:-1] + p[:-2, 1:-1] - 2 * expected) * 0.8
            + (p[1:-1, 2:] + p[1:-1, :-2] - 2 * expected) * 0.7
            + (80 - expected) * 0.05
        )
    arrays = {"power": power, "t": t, "out": np.zeros_like(t)}
    grid = (blocks(WIDTH, inner), blocks(HEIGHT, inner))
    return Case(
        arrays,
        [launch("hotspot", grid, (16, 16), WIDTH, HEIGHT, steps, "power", "t", "out")],
        {"out": expected},
        {"out": 6 * steps * SINGLE * 90},
    )


@case
def srad(rng: np.random.Generator) -> Case:
    """Both kernels of a step; differences of close numbers are what is least exact."""
    q0, rate = 0.05, 0.5
    j = np.exp(rng.random((HEIGHT, WIDTH))).astype(np.float32)
    wide = j.astype(np.float64)
    p = np.pad(wide, 1, mode="edge")
    n, s = p[:-2, 1:-1] - wide, p[2:, 1:-1] - wide
    w, e = p[1:-1, :-2] - wide, p[1:-1, 2:] - wide
    g2, laplacian = (n * n + s * s + w * w + e * e) / wide**2, (n + s + w + e) / wide
    q = (0.5 * g2 - laplacian**2 / 16) / (1 + 0.25 * laplacian) ** 2
    c = np.clip(1 / (1 + (q - q0) / (q0 * (1 + q0))), 0, 1)
    south, east = np.vstack([c[1:], c[-1:]]), np.hstack([c[:, 1:], c[:, -1:]])
    updated = wide + 0.25 * rate * (c * n + south * s + c * w + east * e)
    arrays = {"j": j, **{name: np.zeros_like(j) for name in ("n", "s", "w", "e", "c")}}
    launches = [
        launch("srad_coefficients", GRID, BLOCK, HEIGHT, WIDTH, q0, "j", "n", "s", "w", "e", "c"),
        launch("srad_update", GRID, BLOCK, HEIGHT, WIDTH, rate, "j", "n", "s", "w", "e", "c"),
    ]
    return Case(arrays, launches, {"c": c, "j": updated}, {"c": 4e-5, "j": 4e-5})


@case
def pathfinder(rng: np.random.Generator) -> Case:
    """Two launches of four and of three rows."""
    columns = 203
    wall = rng.integers(0, 10, (8, columns), np.int32)
    cost = wall[0]
    for row in wall[1:]:
        p = np.pad(cost, 1, constant_values=2**30)
        cost = row + np.minimum(p[1:-1], np.minimum(p[:-2], p[2:]))
    arrays = {"wall": wall, "a": wall[0], "b": np.zeros_like(wall[0])}
    launches = [
        launch("pathfinder", blocks(columns, 56), 64, columns, 4, 0, "wall", "a", "b"),
        launch("pathfinder", blocks(columns, 58), 64, columns, 3, 4, "wall", "b", "a"),
    ]
    return Case(arrays, launches, {"a": cost})


@case
def game_of_life(rng: np.random.Generator) -> Case:
    """Four generations."""
    x = rng.integers(0, 2, (HEIGHT, WIDTH), np.uint8)
    expected = x
    for _ in range(4):
        around = sum(
            np.roll(expected, (dy, dx), (0, 1)) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
        )
        expected = ((around == 3) | ((around == 2) & (expected == 1))).astype(np.uint8)
    launches = [
        launch("game_of_life", GRID, BLOCK, WIDTH, HEIGHT, *names) for names in (("a", "b"), ("b", "a")) * 2
    ]
    return Case({"a": x, "b": np.zeros_like(x)}, launches, {"a": expected})


@case
def fdtd(rng: np.random.Generator) -> Case:
    """Three steps of both fields."""
    ex, ey, hz = rng.random((3, HEIGHT, WIDTH), np.float32)
    e, f, h = (field.astype(np.float64) for field in (ex, ey, hz))
    launches = []
    for step in range(3):
        source = float(step)
        launches += [
            launch("fdtd_electric", GRID, BLOCK, WIDTH, HEIGHT, source, "ex", "ey", "hz"),
            launch("fdtd_magnetic", GRID, BLOCK, WIDTH, HEIGHT, "ex", "ey", "hz"),
        ]
        f[0] = source
        f[1:] -= 0.5 * (h[1:] - h[:-1])
        e[:, 1:] -= 0.5 * (h[:, 1:] - h[:, :-1])
        h[:-1, :-1] -= 0.7 * (e[:-1, 1:] - e[:-1, :-1] + f[1:, :-1] - f[:-1, :-1])
    bound = 100 * SINGLE
    return Case(
        {"ex": ex, "ey": ey, "hz": hz},
        launches,
        {"ex": e, "ey": f, "hz": h},
        {"ex": bound, "ey": bound, "hz": bound},
    )


@case
def lattice_boltzmann(rng: np.random.Generator) -> Case:
    """A step on a torus, with directions and weights in constant memory."""
    dx, dy = np.array([[0, 1, 0, -1, 0, 1, -1, -1, 1], [0, 0, 1, 0, -1, 1, 1, -1, -1]])
    weight: Array = np.array([4 / 9] + [1 / 9] * 4 + [1 / 36] * 4)
    width, height, omega = 29, 21, 1.25
    x = (weight[:, None, None] * rng.uniform(0.8, 1.2, (9, height, width))).astype(np.float32)
    f = np.stack([np.roll(x[k].astype(np.float64), (dy[k], dx[k]), (0, 1)) for k in range(9)])
    density = f.sum(axis=0)
    ux, uy = np.tensordot(dx, f, 1) / density, np.tensordot(dy, f, 1) / density
    along = 3 * (dx[:, None, None] * ux + dy[:, None, None] * uy)
    equilibrium = weight[:, None, None] * density * (1 + along + along**2 / 2 - 1.5 * (ux**2 + uy**2))
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("lattice_boltzmann", blocks(width * height, 64), 64, width, height, omega, "x", "out")],
        {"out": f + omega * (equilibrium - f)},
        {"out": 40 * SINGLE},
    )
