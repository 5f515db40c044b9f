"""Compiled kernels on the aperture, against the same machine code on private memory.

The aperture is where kernels see an address space: shared mappings of a window, cut at pages. Private
memory is the best that a CPU offers. What differs is the base that one and the same code adds to
its addresses.
"""

import ctypes
import mmap
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from logv import ptx
from logv.compare.paired import PairedResult
from logv.gpu import Gpu
from logv.host import HostDriver
from logv.hw.software_gpu import MAX_SHARED_MEMORY_PER_BLOCK

BAR = 1 / 0.97
"""The aperture reaches at least 0.97 of private memory's speed."""

MEMORY_BYTES = 64 << 20
ALIGNMENT = 4096

Entry = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 5, ctypes.c_uint64, ctypes.c_uint64)
"""The signature that ``CompiledKernel.address`` documents."""


class Place:
    """Memory that kernels reach at one GPU virtual address, whatever host address it has."""

    def __init__(self, view: memoryview, va: int, base: int) -> None:
        self.bytes: NDArray[np.uint8] = np.frombuffer(view, dtype=np.uint8)
        self.va = va
        self.base = base


@pytest.fixture(scope="module")
def places() -> Iterator[tuple[Place, Place]]:
    """Return the aperture of an address space, and private memory at the same virtual address."""
    gpu = Gpu()
    host = HostDriver(gpu, 2 * MEMORY_BYTES, MEMORY_BYTES)
    session = host.open(host.create_partition("bench"))
    memory = session.mem_alloc(MEMORY_BYTES)
    vspace = session.vspace_new()
    va = session.vspace_map(vspace, memory.handle)
    # Only the engine needs to know where an aperture lies: there is no public way to ask.
    aperture = gpu.aperture(session._vspaces.get(vspace).id)
    private = mmap.mmap(-1, MEMORY_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(private))
    yield Place(session.mem_map(memory.handle), va, aperture), Place(memoryview(private), va, address - va)
    session.close()
    host.close()
    gpu.close()


class Job:
    """One launch of one kernel; `arguments` are arrays, which become buffers, and scalars."""

    def __init__(
        self, workload: str, kernel: str, grid: tuple[int, int], block: tuple[int, int], *arguments: Any
    ) -> None:
        text = resources.files("logv.workloads").joinpath(f"{workload}.ptx").read_text(encoding="ascii")
        self.code = ptx.compile_entry(ptx.parse(text), kernel, block=(*block, 1))
        self._arguments = arguments
        self._grid = np.array([*grid, 1], dtype=np.uint32)
        self._blocks = grid[0] * grid[1]
        self._shared = np.zeros(MAX_SHARED_MEMORY_PER_BLOCK, dtype=np.uint8)
        self._scratch = np.zeros(self.code.scratch_bytes + 64, dtype=np.uint8)

    def on(self, place: Place) -> Callable[[], None]:
        """Put the arrays into `place`, with zeros behind them, and return the launch."""
        place.bytes.fill(0)
        block = bytearray(self.code.entry.parameter_bytes)
        at = 0
        for parameter, argument in zip(self.code.entry.parameters, self._arguments, strict=True):
            value = argument
            if isinstance(argument, np.ndarray):
                place.bytes[at : at + argument.nbytes] = argument.reshape(-1).view(np.uint8)
                value = np.uint64(place.va + at)
                at += -(-argument.nbytes // ALIGNMENT) * ALIGNMENT
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


def saxpy() -> Job:
    """Return a job that streams: two loads and a store for one multiply-add."""
    n = 1 << 20
    x = np.ones(n, dtype=np.float32)
    return Job("saxpy", "saxpy", (n // 256, 1), (256, 1), np.int32(n), np.float32(0.5), x, x)


def matmul() -> Job:
    """Return a job that computes in shared memory."""
    side = 256
    a = np.ones((side, side), dtype=np.float32)
    return Job("matmul", "matmul", (side // 32, side // 32), (32, 32), np.int32(side), a, a, np.zeros_like(a))


def stencil() -> Job:
    """Return a job that reads neighbours and divides."""
    side = 512
    image = np.ones((side + 2, side + 2), dtype=np.float32)
    scale = np.ones(1, dtype=np.float32)
    pitch = np.int32(side + 2)
    return Job(
        "srad", "coefficients", (side // 256, side), (256, 1), image, np.zeros_like(image), pitch, scale
    )


def histogram() -> Job:
    """Return a job of atomics."""
    data = np.random.default_rng(0).integers(0, 256, 1 << 21, dtype=np.uint8)
    counts = np.zeros(256, dtype=np.uint32)
    return Job("histogram", "histogram", (data.size // 32768, 1), (256, 1), np.int32(data.size), data, counts)


@pytest.mark.parametrize("job", [saxpy, matmul, stencil, histogram], ids=lambda make: make.__name__)
def test_aperture(
    paired: Callable[..., PairedResult], places: tuple[Place, Place], job: Callable[[], Job]
) -> None:
    """The same launches leave the same bytes in both places, in nearly the same time."""
    made = job()
    aperture, private = (made.on(place) for place in places)
    aperture()
    private()
    assert np.array_equal(places[0].bytes, places[1].bytes)
    assert places[0].bytes.any()
    paired(aperture, private, label=f"aperture over private memory: {job.__name__}", bar=BAR)
