"""Host arrays as flat bytes, whatever offers them: NumPy, or anything with the buffer protocol."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logv.errors import InvalidValueError


def readable(source: Any) -> NDArray[np.uint8]:
    """Return the bytes of `source` without copying; InvalidValueError if that cannot be done."""
    try:
        view = memoryview(source)
    except (TypeError, ValueError, BufferError) as error:
        what = type(source).__name__
        raise InvalidValueError(
            f"cannot copy {what}: give a Buffer, an array or another buffer ({error})"
        ) from None
    if isinstance(source, np.ndarray) and source.dtype.hasobject:
        raise InvalidValueError(f"an array of {source.dtype} holds Python objects, which no GPU can read")
    if not view.c_contiguous:
        raise InvalidValueError("the array is not C-contiguous; copy np.ascontiguousarray(array) instead")
    if view.nbytes == 0:
        raise InvalidValueError("the array is empty; there is nothing to copy")
    return np.frombuffer(view, np.uint8)


def writable(target: Any) -> NDArray[np.uint8]:
    """Return the bytes of `target`, as :func:`readable` does; InvalidValueError if they are read-only."""
    array = readable(target)
    if not array.flags.writeable:
        raise InvalidValueError("the array is read-only; copy into a writable one")
    return array
