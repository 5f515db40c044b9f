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
from logv.workloads.srad import Srad
from logv.workloads.stereo import Stereo
from logv.workloads.workload import Workload

__all__ = ["WORKLOADS", "Workload", "create"]

WORKLOADS: dict[str, type[Workload]] = {
    kind.name: kind for kind in (Stereo, Srad, Pyramid, Matmul, Histogram, Saxpy, Copy, Allocate)
}
"""Every workload by its name, applications first."""


def create(name: str) -> Workload:
    """Return a new workload.

    Raises
    ------
    InvalidValueError
        There is none of this name; the message lists those that there are.
    """
    try:
        return WORKLOADS[name]()
    except KeyError:
        raise InvalidValueError(
            f"there is no workload {name!r}; choose from: {', '.join(WORKLOADS)}"
        ) from None
