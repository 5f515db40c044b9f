"""Arrays in buffers: what a kernel written in Python needs to know of its memory."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from logv.errors import InvalidValueError
from logv.runtime.buffer import Buffer


class ArrayView:
    """A C-contiguous array at the beginning of a buffer. Immutable; the memory stays the buffer's.

    Parameters
    ----------
    buffer : Buffer
    dtype : dtype or what NumPy makes one of
    shape : int or sequence of int, optional
        Without it, one dimension with as many elements as the buffer holds.

    Raises
    ------
    InvalidValueError
        The buffer is too small, or there is no such shape or dtype.
    """

    __slots__ = ("buffer", "dtype", "shape")

    def __init__(self, buffer: Buffer, dtype: DTypeLike, shape: int | Sequence[int] | None = None) -> None:
        if not isinstance(buffer, Buffer):
            raise InvalidValueError(f"an ArrayView is of a Buffer, not {type(buffer).__name__}")
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise InvalidValueError(f"no dtype: {error}") from None
        if kind.hasobject or not kind.itemsize:
            raise InvalidValueError(f"a buffer cannot hold elements of {kind}")
        self.buffer = buffer
        self.dtype: np.dtype[Any] = kind
        self.shape = (buffer.size // kind.itemsize,) if shape is None else _dimensions(shape)
        if self.size * kind.itemsize > buffer.size:
            raise InvalidValueError(
                f"{self.shape} elements of {kind} do not fit into a buffer of {buffer.size} bytes"
            )

    def __repr__(self) -> str:
        return f"<ArrayView {self.dtype} {self.shape} of {self.buffer!r}>"

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one element to the next in each dimension."""
        steps = [self.dtype.itemsize]
        for extent in reversed(self.shape[1:]):
            steps.append(steps[-1] * extent)
        return tuple(reversed(steps))


def _dimensions(shape: int | Sequence[int]) -> tuple[int, ...]:
    given = shape if isinstance(shape, Sequence) else (shape,)
    try:
        extents = tuple(operator.index(extent) for extent in given)
    except TypeError:
        raise InvalidValueError(f"a shape is made of integers, not {shape!r}") from None
    if not extents or min(extents) < 0:
        raise InvalidValueError(f"a shape has one dimension or more, none of them negative, not {shape!r}")
    return extents
