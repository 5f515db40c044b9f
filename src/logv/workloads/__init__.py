"""GPU applications with real input, each checked against NumPy on every run.

The CUDA C of each stands beside it, with the PTX it compiles to (``nvcc -ptx -arch=compute_80``).
"""

from logv.errors import InvalidValueError
from logv.workloads.allocate import Allocate
from logv.workloads.copy import Copy
from logv.workloads.histogram import Histogram
from logv.workloads.matmul import Matmul
from logv.workloads.pyramid import Pyramid
from logv.workloads.saxpy import Saxpy
from logv.workloads.short import ShortCopy, ShortMatmul, ShortSaxpy, ShortSrad
from logv.workloads.srad import Srad
from logv.workloads.stereo import Stereo
from logv.workloads.sync import Sync
from logv.workloads.workload import Workload

__all__ = ["SHORT_WORKLOADS", "WORKLOADS", "Sync", "Workload", "create"]

WORKLOADS: dict[str, type[Workload]] = {
    kind.name: kind for kind in (Stereo, Srad, Pyramid, Matmul, Histogram, Saxpy, Copy, Allocate)
}
"""The long ones by name, 80 to 170 ms, applications first."""

SHORT_WORKLOADS: dict[str, type[Workload]] = {
    kind.name: kind for kind in (ShortSrad, ShortMatmul, ShortSaxpy, ShortCopy)
}
"""The short ones by name, about 20 ms."""


def create(name: str) -> Workload:
    """Return a new workload, long or short.

    Raises
    ------
    InvalidValueError
        There is none of this name; the message lists those that there are.
    """
    kinds = WORKLOADS | SHORT_WORKLOADS
    try:
        return kinds[name]()
    except KeyError:
        raise InvalidValueError(f"there is no workload {name!r}; choose from: {', '.join(kinds)}") from None
