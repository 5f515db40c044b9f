"""Launches on two compute threads against the same launches on one."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from logv.compare.paired import PairedResult
from logv.machine import Machine
from logv.runtime import Device, Kernel, LaunchConfig, Program, launch

TILE = 16
PTX = Path(__file__).parent / "kernels" / "numba_pairs.ptx"


@pytest.fixture(scope="module")
def devices() -> Iterator[tuple[Device, Device]]:
    """Return a device with two compute threads, and one with one."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two threads need two CPUs")
    with ExitStack() as stack:
        machines = [
            stack.enter_context(Machine(vram="64MiB", compute_threads=count, tiered_compilation=False))
            for count in (2, 1)
        ]
        yield machines[0].device(), machines[1].device()


def product(device: Device, kernel: Kernel, side: int) -> tuple[Callable[[], None], Callable[[], bool]]:
    """Return a launch that multiplies two matrices and waits, and the check of its result."""
    a, b = np.random.default_rng(6).random((2, side, side), dtype=np.float32)
    stream = device.create_stream()
    buffers = [device.allocate(a.nbytes) for _ in range(3)]
    buffers[0].copy_from(a, stream=stream)
    buffers[1].copy_from(b, stream=stream)
    grid = -(-side // TILE)
    config = LaunchConfig(grid=(grid, grid), block=(TILE, TILE))

    def run() -> None:
        launch(stream, config, kernel, *(np.int32(side),) * 3, *buffers)
        stream.sync()

    def right() -> bool:
        out = buffers[2].copy_to(np.empty_like(a), stream=stream)
        return np.allclose(out, a @ b, rtol=1e-4)

    return run, right


@pytest.mark.parametrize(("side", "inner", "bar"), [(64, 50, 1.05), (512, 1, 0.7)], ids=["20 us", "5 ms"])
def test_two_threads(
    paired: Callable[..., PairedResult], devices: tuple[Device, Device], side: int, inner: int, bar: float
) -> None:
    """A launch of milliseconds gains from a second idle CPU; one of microseconds loses nothing."""
    kernel = Program(PTX.read_text(encoding="ascii"), code_type="ptx").compile().get_kernel("matmul_tiled")
    (two, two_right), (one, one_right) = (product(device, kernel, side) for device in devices)
    two()
    one()
    paired(two, one, label=f"product of side {side}: two compute threads over one", bar=bar, inner=inner)
    assert two_right()
    assert one_right()
