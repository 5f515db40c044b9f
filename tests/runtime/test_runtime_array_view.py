"""Array views: dtype, shape and strides over the bytes of a buffer."""

from typing import Any

import numpy as np
import pytest

import logv
from logv.errors import InvalidValueError
from logv.runtime import Device


def test_views_of_buffers(device: Device) -> None:
    """A view knows its shape, its size and its strides; it need not take all of the buffer."""
    buffer = device.allocate(100)
    whole = logv.ArrayView(buffer, "f4")
    assert (whole.shape, whole.size, whole.strides) == ((25,), 25, (4,))
    part = logv.ArrayView(buffer, np.int16, (2, 3, 4))
    assert (part.shape, part.size, part.strides) == ((2, 3, 4), 24, (24, 8, 2))
    assert part.strides == np.zeros((2, 3, 4), np.int16).strides
    assert logv.ArrayView(buffer, "f8").shape == (12,)
    assert logv.ArrayView(buffer, "u1", 7).shape == (7,)
    assert "float32" in repr(whole)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("f4", 26),
        ("f8", (3, 5)),
        ("O", None),
        ("V0", None),
        ("f4", -1),
        ("f4", ()),
        ("f4", 1.5),
        ("no", None),
    ],
    ids=["one too many", "too large", "objects", "empty", "negative", "no dimension", "fraction", "dtype"],
)
def test_impossible_views(device: Device, dtype: Any, shape: Any) -> None:
    """They are refused when they are made."""
    with pytest.raises(InvalidValueError):
        logv.ArrayView(device.allocate(100), dtype, shape)


def test_a_view_is_of_a_buffer() -> None:
    """Not of a host array."""
    with pytest.raises(InvalidValueError, match="ndarray"):
        logv.ArrayView(np.zeros(3), "f4")  # type: ignore[arg-type]
