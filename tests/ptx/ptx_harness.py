"""Runs compiled kernels on NumPy arrays: an aperture with one fixed region, and no GPU around it."""

import ctypes
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from logv.hw.software_gpu import MAX_SHARED_MEMORY_PER_BLOCK
from logv.ptx import CompiledKernel, Module, compile_entry, parse

_T = TypeVar("_T", bound=np.generic)

KERNELS = Path(__file__).parent / "kernels"
# GPU virtual address of the first byte of device memory.
BASE = 0x2_0000_0000

_SIGNATURE = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_uint64,
    ctypes.c_uint64,
)


def _aligned(size: int, align: int = 64) -> tuple[NDArray[np.uint8], int]:
    raw = np.zeros(size + align, np.uint8)
    begin = -raw.ctypes.data % align
    return raw[begin : begin + size], raw.ctypes.data + begin


class Bench:
    """Device memory, and launches of kernels on it.

    Parameters
    ----------
    size : int
        Bytes of device memory.
    """

    def __init__(self, size: int = 1 << 22) -> None:
        self.memory, self._host = _aligned(size, 4096)
        self._next = 0

    def upload(self, array: NDArray[np.generic]) -> int:
        """Copy an array to device memory and return its GPU address."""
        data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        address = self._next
        self._next += -(-max(1, data.size) // 256) * 256
        assert self._next <= self.memory.size, "the bench's device memory is too small"
        self.memory[address : address + data.size] = data
        return BASE + address

    def download(self, address: int, shape: int | tuple[int, ...], dtype: type[_T]) -> NDArray[_T]:
        """Copy an array back."""
        kind = np.dtype(dtype)
        count = math.prod(shape) if isinstance(shape, tuple) else shape
        begin = address - BASE
        return self.memory[begin : begin + count * kind.itemsize].copy().view(kind).reshape(shape)

    def load(self, module: Module) -> int:
        """Give a module's variables memory, write their initial contents, and return the GPU address."""
        address = self.upload(np.zeros(module.data.size, np.uint8))
        module.data.write(self.memory.data[address - BASE :], address)
        return address

    def launch(
        self,
        kernel: CompiledKernel,
        grid: Sequence[int],
        *arguments: np.generic | NDArray[np.void] | int,
        variables: int | None = None,
        shared: int = 0,
        blocks: tuple[int, int] | None = None,
    ) -> int:
        """Run a kernel; integers are 64-bit pointers. Returns the kernel's status.

        `variables` is what :meth:`load` returned, for a kernel that uses those of its module.
        """
        parameters = np.zeros(max(16, kernel.entry.parameter_bytes), np.uint8)
        assert len(arguments) == len(kernel.entry.parameters)
        for parameter, argument in zip(kernel.entry.parameters, arguments, strict=True):
            value = np.uint64(argument) if isinstance(argument, int) else argument
            data = np.frombuffer(value.tobytes(), np.uint8)
            assert data.size == parameter.size, parameter
            parameters[parameter.offset : parameter.offset + parameter.size] = data
        assert (variables is None) == (kernel.entry.data_offset is None)
        if variables is not None and kernel.entry.data_offset is not None:
            parameters[kernel.entry.data_offset :][:8] = np.array([variables], np.uint64).view(np.uint8)
        words = np.array([*[*grid, 1, 1][:3], shared], np.uint32)
        assert kernel.shared_bytes + shared <= MAX_SHARED_MEMORY_PER_BLOCK
        arena, arena_address = _aligned(1 << 18)
        arena[:] = 0xA5
        scratch, scratch_address = _aligned(max(64, kernel.scratch_bytes))
        scratch[:] = 0x5A
        begin, end = blocks or (0, math.prod(int(word) for word in words[:3]))
        function = _SIGNATURE(kernel.address)
        return int(
            function(
                parameters.ctypes.data,
                self._host - BASE,
                arena_address,
                scratch_address,
                words.ctypes.data,
                begin,
                end,
            )
        )


def load_module(name: str) -> Module:
    """Parse a fixture of the kernels folder."""
    return parse((KERNELS / f"{name}.ptx").read_bytes())


def kernel_of(name: str, entry: str, block: Sequence[int]) -> CompiledKernel:
    """Compile one entry of a fixture."""
    x, y, z = [*block, 1, 1][:3]
    return compile_entry(load_module(name), entry, (x, y, z))
