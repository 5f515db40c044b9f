"""The pictures that ship with scikit-image: input of a real kind, read from the installed package."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from logv.errors import NotSupportedError


def picture(name: str) -> tuple[NDArray[Any], ...]:
    """Return the arrays of ``skimage.data.<name>()``; nothing is downloaded.

    Raises
    ------
    NotSupportedError
        scikit-image is not installed.
    """
    try:
        from skimage import data  # noqa: PLC0415  (an extra: only these workloads need it)
    except ImportError:
        raise NotSupportedError(
            f"the picture {name!r} comes with scikit-image, which is not installed; "
            "run: pip install 'logv[workloads]'"
        ) from None
    loaded = getattr(data, name)()
    return loaded if isinstance(loaded, tuple) else (loaded,)


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the luma of an RGB picture (ITU-R BT.601 weights, in integers)."""
    weighted = rgb.astype(np.uint32) @ np.array([299, 587, 114], dtype=np.uint32)
    return ((weighted + 500) // 1000).astype(np.uint8)
