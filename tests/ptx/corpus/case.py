"""What a case of the corpus is, and the registry of all cases."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Dimensions = int | tuple[int, ...]

# Unit roundoff of single precision: what one operation that rounds to nearest can be off, relatively.
SINGLE = 2.0**-24


@dataclass(frozen=True)
class Element:
    """An argument: the address of a place inside an array.

    Parameters
    ----------
    array : str
        Name of the array.
    offset : int
        Bytes.
    """

    array: str
    offset: int


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel.

    Parameters
    ----------
    entry : str
        The kernel's name in the PTX text.
    grid, block : int or tuple of int
    arguments : tuple
        A name stands for the address of that array, an :class:`Element` for a place in it, a function takes
        the addresses by name and returns the argument; numbers and bytes stand for themselves.
    shared : int
        Bytes of dynamic shared memory.
    """

    entry: str
    grid: Dimensions
    block: Dimensions
    arguments: tuple[Any, ...]
    shared: int = 0

    def values(self, addresses: Mapping[str, int]) -> list[Any]:
        """Return the arguments, with addresses in the place of what stands for them."""
        return [_value(argument, addresses) for argument in self.arguments]


@dataclass(frozen=True)
class Case:
    """Launches on named arrays, and what the arrays hold afterwards.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        What device memory holds before.
    launches : sequence of Launch
    expected : mapping of str to ndarray
        What NumPy says that (some of) the arrays hold after.
    error : mapping of str to ndarray or float
        The largest absolute error of an array's elements; arrays that are not named must be equal.
    observe : callable or None
        Turns results whose order may differ from run to run into what `expected` speaks of.
    """

    arrays: Mapping[str, Array]
    launches: Sequence[Launch]
    expected: Mapping[str, Array]
    error: Mapping[str, Array | float] = field(default_factory=dict)
    observe: Callable[[Mapping[str, Array]], Mapping[str, Array]] | None = None

    def check(self, results: Mapping[str, Array]) -> None:
        """Compare what a run left in the arrays with `expected`; raises AssertionError."""
        seen = self.observe(results) if self.observe else results
        for name, expected in self.expected.items():
            actual = seen[name].reshape(expected.shape)
            if name not in self.error:
                np.testing.assert_array_equal(actual, expected, err_msg=name)
                continue
            wide, limit = actual.astype(np.float64), np.broadcast_to(self.error[name], expected.shape)
            # Infinities and what is not a number have no distance: they must be equal.
            exact = ~(np.isfinite(wide) & np.isfinite(expected))
            np.testing.assert_array_equal(wide[exact], expected[exact].astype(np.float64), err_msg=name)
            difference = np.where(exact, 0, np.abs(np.where(exact, 0, wide) - np.where(exact, 0, expected)))
            wrong = np.argwhere(difference > limit)
            if wrong.size:
                first = tuple(wrong[0])
                raise AssertionError(
                    f"{name}: {len(wrong)} of {wide.size} elements are off by more than allowed, "
                    f"first {first}: {wide[first]!r} where {expected[first]!r} is right "
                    f"within {limit[first]:.3g}"
                )


Builder = Callable[[np.random.Generator], Case]

CASES: dict[str, Builder] = {}


def case(builder: Builder) -> Builder:
    """Register a function that builds a case from random numbers that are the same in every run.

    The case is named after the module and the function; the module is named after the `.cu` file.
    """
    CASES[f"{builder.__module__.rpartition('.')[2]}-{builder.__name__}"] = builder
    return builder


def build(name: str) -> Case:
    """Build a case of the registry."""
    return CASES[name](np.random.default_rng(zlib.crc32(name.encode())))


def launch(entry: str, grid: Dimensions, block: Dimensions, *arguments: Any, shared: int = 0) -> Launch:
    """Return a :class:`Launch`."""
    return Launch(entry, grid, block, arguments, shared)


def blocks(count: int, size: int) -> int:
    """Return how many blocks of `size` cover `count`."""
    return -(-count // size)


def ulp(values: Array, kind: type[np.floating[Any]] = np.float32) -> Array:
    """Return the distance from each value, rounded to `kind`, to the next one, as double precision."""
    with np.errstate(over="ignore"):
        rounded = np.abs(values.astype(kind))
    return np.spacing(np.minimum(rounded, np.finfo(kind).max)).astype(np.float64)


def _value(argument: Any, addresses: Mapping[str, int]) -> Any:
    if isinstance(argument, str):
        return addresses[argument]
    if isinstance(argument, Element):
        return addresses[argument.array] + argument.offset
    return argument(addresses) if callable(argument) else argument
