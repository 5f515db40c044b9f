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
    yield Place(session.mem_map(memory.handle), va, base)
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
        self._grid = np.array((*grid, 1, 1)[:3], dtype=np.uint32)
        self._blocks = int(self._grid.prod(dtype=np.uint64))
        self._shared = np.zeros(MAX_SHARED_MEMORY_PER_BLOCK, dtype=np.uint8)
        self._scratch = np.zeros(self.code.scratch_bytes + 64, dtype=np.uint8)

    def on(self, place: Place) -> Callable[[], None]:
        """Put the arrays into `place`, with zeros behind them, and return the launch."""
        place.bytes.fill(0)
        block = bytearray(self.code.entry.parameter_bytes)
        for parameter, argument, at in zip(
            self.code.entry.parameters, self._arguments, self._offsets(), strict=True
        ):
            value = argument
            if isinstance(argument, np.ndarray):
                place.bytes[at : at + argument.nbytes] = argument.reshape(-1).view(np.uint8)
                value = np.uint64(place.va + at)
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

    def result(self, place: Place, argument: int) -> NDArray[Any]:
        """Return what the array passed as argument number `argument` holds now."""
        array = self._arguments[argument]
        at = self._offsets()[argument]
        found: NDArray[Any] = place.bytes[at : at + array.nbytes].copy().view(array.dtype)
        return found.reshape(array.shape)

    def _offsets(self) -> list[int]:
        """Return where in a place each array lies; a scalar takes no room."""
        sizes = [
            -(-argument.nbytes // ALIGNMENT) * ALIGNMENT if isinstance(argument, np.ndarray) else 0
            for argument in self._arguments
        ]
        return [sum(sizes[:count]) for count in range(len(sizes))]
