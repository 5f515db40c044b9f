"""Launches: the geometry of one, and the call that submits it."""

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logv.errors import InvalidValueError
from logv.hw import software_gpu
from logv.runtime.stream import Stream

if TYPE_CHECKING:
    from logv.runtime.kernel import Kernel

_GRID_LIMITS = (software_gpu.MAX_GRID_DIM_X, software_gpu.MAX_GRID_DIM_Y, software_gpu.MAX_GRID_DIM_Z)
_BLOCK_LIMITS = (software_gpu.MAX_BLOCK_DIM_X, software_gpu.MAX_BLOCK_DIM_Y, software_gpu.MAX_BLOCK_DIM_Z)


class LaunchConfig:
    """How many threads a launch has, and how they are grouped. Immutable.

    Parameters
    ----------
    grid : int or tuple of int
        Blocks in x, y and z; what is left out is 1.
    block : int or tuple of int
        Threads of a block in x, y and z.
    shmem_size : int
        Bytes of dynamic shared memory of each block.

    Raises
    ------
    InvalidValueError
        The GPU has no such geometry.
    """

    __slots__ = ("_hash", "_key")

    def __init__(self, grid: int | Sequence[int], block: int | Sequence[int], shmem_size: int = 0) -> None:
        blocks = _dimensions(grid, _GRID_LIMITS, "grid")
        threads = _dimensions(block, _BLOCK_LIMITS, "block")
        if threads[0] * threads[1] * threads[2] > software_gpu.MAX_THREADS_PER_BLOCK:
            raise InvalidValueError(
                f"a block of {threads} has more than {software_gpu.MAX_THREADS_PER_BLOCK} threads"
            )
        shared = _integer(shmem_size, "shmem_size")
        if not 0 <= shared <= software_gpu.MAX_SHARED_MEMORY_PER_BLOCK:
            raise InvalidValueError(
                f"shmem_size must be 0 to {software_gpu.MAX_SHARED_MEMORY_PER_BLOCK} bytes, not {shared}"
            )
        self._key = (blocks, threads, shared)
        # Looked up at every launch, so computed once.
        self._hash = hash(self._key)

    def __repr__(self) -> str:
        return f"LaunchConfig(grid={self.grid}, block={self.block}, shmem_size={self.shmem_size})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LaunchConfig) and self._key == other._key

    def __hash__(self) -> int:
        return self._hash

    @property
    def grid(self) -> tuple[int, int, int]:
        """Blocks in x, y and z."""
        return self._key[0]

    @property
    def block(self) -> tuple[int, int, int]:
        """Threads of a block in x, y and z."""
        return self._key[1]

    @property
    def shmem_size(self) -> int:
        """Bytes of dynamic shared memory of each block."""
        return self._key[2]


def launch(stream: Stream, config: LaunchConfig, kernel: "Kernel", *args: object) -> None:
    """Launch a kernel, in stream order.

    Parameters
    ----------
    stream : Stream
    config : LaunchConfig
    kernel : Kernel
    *args
        One for each parameter: a :class:`Buffer` or an integer for a pointer, a Python or NumPy number,
        a bytes-like object for a structure passed by value.

    Raises
    ------
    InvalidValueError
        The geometry does not suit the kernel, or an argument does not suit its parameter.
    ClosedError
        The stream or a buffer was closed.
    GpuFaultError, ChannelError
        Something submitted to the stream before has failed.
    """
    if not isinstance(stream, Stream):
        raise InvalidValueError(f"stream must be a Stream, not {type(stream).__name__}")
    device = stream.device
    device.launch_template(kernel, config).submit(stream.channel, device, args)


def _dimensions(value: object, limits: tuple[int, int, int], what: str) -> tuple[int, int, int]:
    given = value if isinstance(value, tuple | list) else (value,)
    if not 1 <= len(given) <= len(limits):
        raise InvalidValueError(f"{what} must have 1 to 3 dimensions, not {len(given)}")
    x, y, z = (*(_integer(number, what) for number in given), 1, 1)[:3]
    for number, limit, axis in zip((x, y, z), limits, "xyz", strict=True):
        if not 1 <= number <= limit:
            raise InvalidValueError(f"{what} in {axis} must be 1 to {limit}, not {number}")
    return x, y, z


def _integer(value: Any, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InvalidValueError(f"{what} must be made of integers, not {type(value).__name__}") from None
