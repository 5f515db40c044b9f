"""Physics, finance, transforms and machine learning.

The references are computed in double precision from the same inputs; the errors allowed grow with the number
of roundings and with the magnitudes that are added.
"""

import numpy as np
from tests.ptx.corpus.case import SINGLE, Array, Case, blocks, case, launch


@case
def nbody(rng: np.random.Generator) -> Case:
    """Positions in tiles that are not full at the end."""
    n, dt, softening = 150, 0.01, 0.1
    body = rng.random((n, 4), np.float32)
    velocity = rng.standard_normal((n, 3), np.float32)
    position, mass = body[:, :3].astype(np.float64), body[:, 3].astype(np.float64)
    difference = position - position[:, None]
    force = mass / ((difference**2).sum(axis=2) + softening) ** 1.5
    terms = force[:, :, None] * difference
    speed = velocity + dt * terms.sum(axis=1)
    error = (n + 10) * SINGLE * dt * np.abs(terms).sum(axis=1) + 2 * SINGLE * np.abs(speed)
    moved = np.concatenate([position + dt * speed, mass[:, None]], axis=1)
    arrays = {"body": body, "out": np.zeros_like(body), "velocity": velocity}
    return Case(
        arrays,
        [launch("nbody", blocks(n, 64), 64, n, dt, softening, "body", "out", "velocity")],
        {"out": moved, "velocity": speed},
        {"out": 4 * SINGLE, "velocity": error},
    )


@case
def lava_md(rng: np.random.Generator) -> Case:
    """Boxes in a row, with up to two neighbours each; one box has all of them."""
    boxes, per_box, alpha = 6, 48, 0.5
    position = rng.random((boxes * per_box, 4), np.float32)
    position[:, 0] += np.repeat(np.arange(boxes), per_box)
    charge = rng.random(boxes * per_box, np.float32)
    table = np.zeros((boxes, 8), np.int32)
    near = np.zeros((boxes, boxes))
    for box in range(boxes):
        around = list(range(boxes)) if box == 3 else [k for k in (box, box - 1, box + 1) if 0 <= k < boxes]
        table[box, 0], table[box, 1 : len(around) + 1] = len(around), around
        near[box, around] = 1
    weight = near.repeat(per_box, axis=0).repeat(per_box, axis=1) * charge
    difference = position[:, None, :3].astype(np.float64) - position[:, :3]
    v = weight * np.exp(-np.float32(alpha) * (difference**2).sum(axis=2))
    terms = np.concatenate([2 * v[:, :, None] * difference, v[:, :, None]], axis=2)
    arrays = {"boxes": table, "position": position, "charge": charge, "force": np.zeros_like(position)}
    return Case(
        arrays,
        [launch("lava_md", boxes, per_box, per_box, alpha, "boxes", "position", "charge", "force")],
        {"force": terms.sum(axis=1)},
        {"force": boxes * per_box * SINGLE * np.abs(terms).sum(axis=1)},
    )


@case
def euler_flux(rng: np.random.Generator) -> Case:
    """Triangles with walls on some of their sides."""
    cells = 203
    neighbours = rng.integers(-40, cells, (3, cells), np.int32)
    normals = rng.standard_normal((3, 2, cells)).astype(np.float32)
    density = rng.uniform(0.5, 2, cells)
    state = np.stack(
        [density, rng.uniform(-1, 1, cells), rng.uniform(-1, 1, cells), rng.uniform(4, 8, cells)]
    )
    state = state.astype(np.float32)
    wide = state.astype(np.float64)

    def derived(u: Array) -> tuple[Array, Array]:
        square = u[1] ** 2 + u[2] ** 2
        p = 0.4 * (u[3] - 0.5 * square / u[0])
        return p, np.sqrt(1.4 * p / u[0]) + np.sqrt(square) / u[0]

    p, speed = derived(wide)
    flux = np.zeros((4, cells))
    for face in range(3):
        other, (nx, ny) = neighbours[face], normals[face].astype(np.float64)
        o = wide[:, other]
        op, os = derived(o)
        viscosity = 0.5 * np.hypot(nx, ny) * np.maximum(speed, os)
        vn, on = (wide[1] * nx + wide[2] * ny) / wide[0], (o[1] * nx + o[2] * ny) / o[0]
        inner = 0.5 * (wide * vn + o * on) + viscosity * (wide - o)
        inner[1] += 0.5 * (p + op) * nx
        inner[2] += 0.5 * (p + op) * ny
        inner[3] += 0.5 * (p * vn + op * on)
        wall = np.stack([0 * p, nx * p, ny * p, 0 * p])
        flux += np.where(other < 0, wall, inner)
    arrays = {"n": neighbours, "normals": normals, "state": state, "out": np.zeros((4, cells), np.float32)}
    return Case(
        arrays,
        [launch("euler_flux", blocks(cells, 64), 64, cells, "n", "normals", "state", "out")],
        {"out": flux},
        {"out": 40 * SINGLE * np.abs(flux).max()},
    )


def _normal_cdf(d: Array) -> Array:
    k = 1 / (1 + 0.2316419 * np.abs(d))
    series = k * np.polyval([1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.31938153], k)
    tail = 0.39894228 * np.exp(-0.5 * d * d) * series
    return np.where(d > 0, 1 - tail, tail)


@case
def black_scholes(rng: np.random.Generator) -> Case:
    """Prices around 50; `__logf` is off by up to 2**-21.4, which the division by sigma enlarges."""
    n, rate, sigma = 301, 0.02, 0.3
    price, strike = rng.uniform(20, 80, (2, n)).astype(np.float32)
    years = rng.uniform(0.25, 10, n).astype(np.float32)
    s, x, t = (values.astype(np.float64) for values in (price, strike, years))
    root = np.sqrt(t)
    d1 = (np.log(s / x) + (rate + 0.5 * sigma**2) * t) / (sigma * root)
    n1, n2 = _normal_cdf(d1), _normal_cdf(d1 - sigma * root)
    discounted = x * np.exp(-rate * t)
    arrays = {"price": price, "strike": strike, "years": years}
    outputs = {"call": np.zeros(n, np.float32), "put": np.zeros(n, np.float32)}
    one = launch("black_scholes", 3, 64, n, "price", "strike", "years", rate, sigma, "call", "put")
    return Case(
        {**arrays, **outputs},
        [one],
        {"call": s * n1 - discounted * n2, "put": discounted * (1 - n2) - s * (1 - n1)},
        {"call": 5e-4, "put": 5e-4},
    )


@case
def binomial_option(rng: np.random.Generator) -> Case:
    """Double precision; up to four nodes of the tree to a thread."""
    steps, strike, up, discount, probability = 100, 50.0, 1.02, 0.9995, 0.51
    price = rng.uniform(30, 70, 5)
    value = np.maximum(price[:, None] * up ** (2.0 * np.arange(steps + 1) - steps) - strike, 0)
    for _ in range(steps):
        value = discount * (probability * value[:, 1:] + (1 - probability) * value[:, :-1])
    arrays = {"price": price, "out": np.zeros(5)}
    numbers = (strike, up, discount, probability)
    return Case(
        arrays,
        [launch("binomial_option", 5, 32, steps, "price", *numbers, "out", shared=8 * (steps + 1))],
        {"out": value[:, 0]},
        {"out": 1e-11},
    )


@case
def fft_radix2(rng: np.random.Generator) -> Case:
    """Forwards, and backwards from there; relative to the norm of the points."""
    x = rng.standard_normal((3, 256, 2), np.float32)
    points = x[..., 0].astype(np.float64) + 1j * x[..., 1]
    spectrum = np.fft.fft(points, axis=1)

    def pairs(values: Array) -> Array:
        return np.stack([values.real, values.imag], axis=2)

    arrays = {"x": x, "spectrum": np.zeros_like(x), "back": np.zeros_like(x)}
    launches = [
        launch("fft_radix2", 3, 128, "x", "spectrum", -1.0),
        launch("fft_radix2", 3, 128, "spectrum", "back", 1.0),
    ]
    norm = float(np.linalg.norm(points, axis=1).max())
    return Case(
        arrays,
        launches,
        {"spectrum": pairs(spectrum), "back": 256 * pairs(points)},
        {"spectrum": 40 * SINGLE * norm, "back": 40 * SINGLE * 16 * norm},
    )


@case
def monte_carlo_pi(rng: np.random.Generator) -> Case:
    """Exact: the same generator in NumPy."""
    samples, seed, threads = 40, 12345, 256
    state = (np.arange(1, threads + 1, dtype=np.uint32) * np.uint32(2654435761)) ^ np.uint32(seed)
    hits = 0
    for _ in range(samples):
        state = state * np.uint32(1664525) + np.uint32(1013904223)
        x = state >> np.uint32(17)
        state = state * np.uint32(1664525) + np.uint32(1013904223)
        y = state >> np.uint32(17)
        hits += int((x * x + y * y < 1 << 30).sum())
    arrays = {"hits": np.zeros(1, np.uint32)}
    one = launch("monte_carlo_pi", 4, 64, samples, seed, "hits")
    return Case(arrays, [one], {"hits": np.array([hits])})


@case
def backprop_layer(rng: np.random.Generator) -> Case:
    """Forward through the logistic function, then the change of the weights."""
    inputs, outputs = 70, 37
    x, weights = rng.random(inputs, np.float32), rng.standard_normal((inputs, outputs)).astype(np.float32)
    weights *= np.float32(0.2)
    delta, previous = (
        rng.standard_normal(outputs, np.float32),
        rng.standard_normal((inputs, outputs), np.float32),
    )
    hidden = 1 / (1 + np.exp(-(x.astype(np.float64) @ weights)))
    change = 0.3 * np.outer(x, delta.astype(np.float64)) + 0.3 * previous
    arrays = {"x": x, "weights": weights, "hidden": np.zeros(outputs, np.float32)}
    launches = [
        launch("layer_forward", blocks(outputs, 16), (16, 16), inputs, outputs, "x", "weights", "hidden"),
        launch(
            *("adjust_weights", (blocks(outputs, 16), blocks(inputs, 8)), (16, 8), inputs, outputs),
            *("delta", "x", "weights", "previous"),
        ),
    ]
    return Case(
        {**arrays, "delta": delta, "previous": previous},
        launches,
        {"hidden": hidden, "weights": weights + change, "previous": change},
        {"hidden": 40 * SINGLE, "weights": 24 * SINGLE, "previous": 12 * SINGLE},
    )


@case
def gelu(rng: np.random.Generator) -> Case:
    """Where 1 + tanh() cancels, the error is relative to the input."""
    x = rng.uniform(-6, 6, 301).astype(np.float32)
    wide = x.astype(np.float64)
    expected = 0.5 * wide * (1 + np.tanh(0.7978845608 * (wide + 0.044715 * wide**3)))
    arrays = {"x": x, "out": np.zeros_like(x)}
    return Case(
        arrays,
        [launch("gelu", 5, 64, x.size, "x", "out")],
        {"out": expected},
        {"out": 8 * SINGLE * np.abs(wide)},
    )


@case
def adam_step(rng: np.random.Generator) -> Case:
    """A structure of floats and an integer by value; the roots of small moments are far above epsilon."""
    n, step = 301, 7
    settings = np.array(
        (0.01, 0.9, 0.999, 1e-8, step),
        [("rate", "f4"), ("beta1", "f4"), ("beta2", "f4"), ("epsilon", "f4"), ("step", "i4")],
    )
    g, m, w = rng.standard_normal((3, n), np.float32)
    v = rng.uniform(0.5, 2, n).astype(np.float32)
    rate, beta1, beta2, epsilon = (float(settings[name]) for name in ("rate", "beta1", "beta2", "epsilon"))
    new_m = beta1 * m.astype(np.float64) + (1 - beta1) * g
    new_v = beta2 * v.astype(np.float64) + (1 - beta2) * g.astype(np.float64) ** 2
    change = rate * new_m / (1 - beta1**step) / (np.sqrt(new_v / (1 - beta2**step)) + epsilon)
    # 1 - beta2 ** 7 is 0.007: it keeps few of the digits of the power.
    error = {"m": 8 * SINGLE, "v": 16 * SINGLE, "w": 1000 * SINGLE * np.abs(change) + 16 * SINGLE}
    arrays = {"g": g, "m": m, "v": v, "w": w}
    return Case(
        arrays,
        [launch("adam_step", blocks(n, 64), 64, n, settings.tobytes(), "g", "m", "v", "w")],
        {"m": new_m, "v": new_v, "w": w - change},
        error,
    )
