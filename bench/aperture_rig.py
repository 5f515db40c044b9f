"""Kernels called by hand on memory of a GPU's address space: no engine, no launch, one thread."""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from logv import ptx
from logv.gpu import Gpu
from logv.host import HostDriver
from logv.hw.software_gpu import MAX_SHARED_MEMORY_PER_BLOCK

ALIGNMENT = 4096

Entry = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 5, ctypes.c_uint64, ctypes.c_uint64)
"""The signature that ``CompiledKernel.address`` documents."""


class Place:
    """Memory that kernels reach at one GPU virtual address, whatever host address it has."""

    def __init__(self, view: memoryview, va: int, base: int) -> None:
        self.bytes: NDArray[np.uint8] = np.frombuffer(view, dtype=np.uint8)
        self.va = va
        self.base = base


@contextmanager
def aperture(size: int) -> Iterator[Place]:
    """Yield `size` bytes of GPU memory in the aperture of an address space."""
    gpu = Gpu()
    host = HostDriver(gpu, 2 * size, size)
    session = host.open(host.create_partition("bench"))
    memory = session.mem_alloc(size)
    vspace = session.vspace_new()
    va = session.vspace_map(vspace, memory.handle)
    # Only the engine needs to know where an aperture lies: there is no public way to ask.
    base = gpu.aperture(session._vspaces.get(vspace).id)
    try:
        yield Place(session.mem_map(memory.handle), va, base)
    finally:
        session.close()
        host.close()
        gpu.close()


class Job:
    """One launch of one kernel; `arguments` are arrays, which become buffers, and scalars."""

    def __init__(
        self, text: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], *arguments: Any
    ) -> None:
        x, y, z = (*block, 1, 1)[:3]
        self.code = ptx.compile_entry(ptx.parse(text), kernel, block=(x, y, z))
        self._arguments = arguments
        self._arrays = [argument for argument in arguments if isinstance(argument, np.ndarray)]
        ends = np.cumsum([0, *(-(-array.nbytes // ALIGNMENT) * ALIGNMENT for array in self._arrays)])
        self._offsets: list[int] = ends[:-1].tolist()
        # Behind the grid: no dynamic shared memory.
        self._grid = np.array((*(*grid, 1, 1)[:3], 0), dtype=np.uint32)
        self._blocks = int(self._grid[:3].prod(dtype=np.uint64))
        self._shared = np.zeros(MAX_SHARED_MEMORY_PER_BLOCK, dtype=np.uint8)
        self._scratch = np.zeros(self.code.scratch_bytes + 64, dtype=np.uint8)

    def put(self, place: Place) -> tuple[NDArray[Any], ...]:
        """Copy the arrays into `place`, with zeros behind them; return them as they lie there."""
        place.bytes.fill(0)
        views = []
        for array, at in zip(self._arrays, self._offsets, strict=True):
            view = place.bytes[at : at + array.nbytes].view(array.dtype).reshape(array.shape)
            view[...] = array
            views.append(view)
        return tuple(views)

    def launch(self, place: Place) -> Callable[[], None]:
        """Return the launch, on arrays that were put into `place`."""
        block = bytearray(self.code.entry.parameter_bytes)
        addresses = (np.uint64(place.va + at) for at in self._offsets)
        for parameter, argument in zip(self.code.entry.parameters, self._arguments, strict=True):
            value = next(addresses) if isinstance(argument, np.ndarray) else argument
            block[parameter.offset : parameter.offset + parameter.size] = value.tobytes()
        parameters = ctypes.create_string_buffer(bytes(block), len(block))
        entry = Entry(self.code.address)
        scratch = -(-self._scratch.ctypes.data // 64) * 64
        shared, grid, base, blocks = (
            self._shared.ctypes.data,
            self._grid.ctypes.data,
            place.base,
            self._blocks,
        )

        def run() -> None:
            assert entry(ctypes.addressof(parameters), base, shared, scratch, grid, 0, blocks) == 0

        return run
