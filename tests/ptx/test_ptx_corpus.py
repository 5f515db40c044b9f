"""Every kernel of the corpus, natively and in a VM, from the PTX of nvcc and of NVRTC."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.ptx.corpus import CASES, Case, build

import logv
from logv.runtime.device import Device
from logv.runtime.program import ObjectCode

CORPUS = Path(__file__).parent / "corpus"


@pytest.fixture(scope="module")
def machine() -> Iterator[logv.Machine]:
    """One machine for all cases."""
    with logv.Machine(vram="256MiB") as machine:
        yield machine


@pytest.fixture(scope="module")
def native(machine: logv.Machine) -> Iterator[Device]:
    """The device as the host sees it."""
    with machine.device() as device:
        yield device


@pytest.fixture(scope="module")
def virtual(machine: logv.Machine) -> Iterator[Device]:
    """The device as a VM sees it."""
    with machine.create_vm("guest", memory="64MiB").device() as device:
        yield device


@cache
def compiled(theme: str) -> ObjectCode:
    """The program of a theme, as nvcc compiled it."""
    return logv.Program((CORPUS / f"{theme}.ptx").read_text(), code_type="ptx").compile()


def run(case: Case, program: ObjectCode, device: Device) -> Mapping[str, np.ndarray[Any, Any]]:
    """Run a case on a device and return what its arrays hold afterwards."""
    stream = device.create_stream()
    buffers = {name: device.allocate(max(1, array.nbytes)) for name, array in case.arrays.items()}
    for name, array in case.arrays.items():
        buffers[name].copy_from(np.ascontiguousarray(array), stream=stream)
    addresses = {name: buffer.handle for name, buffer in buffers.items()}
    for one in case.launches:
        config = logv.LaunchConfig(grid=one.grid, block=one.block, shmem_size=one.shared)
        logv.launch(stream, config, program.get_kernel(one.entry), *one.values(addresses))
    results = {name: np.empty(array.shape, array.dtype) for name, array in case.arrays.items()}
    for name, result in results.items():
        buffers[name].copy_to(result, stream=stream)
    stream.sync()
    for buffer in buffers.values():
        buffer.close()
    stream.close()
    return results


@pytest.mark.parametrize("name", CASES)
def test_native(name: str, native: Device) -> None:
    """From nvcc's PTX, on the host."""
    case = build(name)
    case.check(run(case, compiled(name.partition("-")[0]), native))


@pytest.mark.parametrize("name", CASES)
def test_virtual(name: str, virtual: Device) -> None:
    """From nvcc's PTX, in a VM."""
    case = build(name)
    case.check(run(case, compiled(name.partition("-")[0]), virtual))
