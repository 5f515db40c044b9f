"""A kernel of LoGV beside a function of numba: what is launched, what is called, what has to come out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from bench.aperture_rig import Job
from numpy.typing import NDArray

THREADS = 256
EPS = float(np.finfo(np.float32).eps)

Array = NDArray[Any]
Size = int | tuple[int, ...]

_OWN = Path(__file__).parent / "kernels" / "numba_pairs.ptx"


@dataclass(frozen=True)
class Result:
    """What one output has to be.

    Attributes
    ----------
    index : int
        Which of the arrays it is.
    reference : ndarray
        What NumPy computes.
    tolerance : ndarray or float
        The largest absolute difference allowed.
    """

    index: int
    reference: Array
    tolerance: Array | float = 0.0

    def check(self, arrays: tuple[Array, ...]) -> bool:
        """Say whether the output among `arrays` is right."""
        difference = np.abs(arrays[self.index].astype(np.float64) - self.reference)
        return bool(np.all(difference <= self.tolerance))


@dataclass(frozen=True)
class Pair:
    """One launch of a kernel, and the same work by numba.

    Attributes
    ----------
    job : Job
    numba : callable
        Takes the launch's arrays, in its order.
    results : tuple of Result
    """

    job: Job
    numba: Callable[..., object]
    results: tuple[Result, ...]

    def check(self, arrays: tuple[Array, ...]) -> bool:
        """Say whether every output among `arrays` is right."""
        return all(result.check(arrays) for result in self.results)


@cache
def _text(workload: str | None) -> str:
    if workload is None:
        return _OWN.read_text(encoding="ascii")
    return resources.files("logv.workloads").joinpath(f"{workload}.ptx").read_text(encoding="ascii")


def job_of(kernel: str, grid: Size, block: Size, *arguments: Any, workload: str | None = None) -> Job:
    """Return a launch of a kernel of ``kernels/numba_pairs.cu``, or of a workload."""
    dimensions = [size if isinstance(size, tuple) else (size,) for size in (grid, block)]
    return Job(_text(workload), kernel, *dimensions, *arguments)


def blocks(elements: int, per_block: int = THREADS) -> int:
    """Return how many blocks cover `elements`."""
    return -(-elements // per_block)


def floats(*shape: int) -> NDArray[np.float32]:
    """Return numbers in [0.5, 1.5): they can be divided by."""
    return np.random.default_rng(1).random(shape, dtype=np.float32) + np.float32(0.5)


def rounding(*terms: Array | float) -> Array:
    """Return what a few roundings may make of a sum of these terms."""
    total: Array = np.asarray(sum(np.abs(np.asarray(term, np.float64)) for term in terms))
    return 4 * EPS * total
