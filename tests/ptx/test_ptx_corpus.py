"""Every kernel of the corpus, natively and in a VM, from the PTX of nvcc and of NVRTC.

What runs natively is baseline code, and optimised code in the VM: tiered compilation begins with baseline
code, and nothing runs long enough here to go over.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.ptx.corpus import CASES, Case, build
from tests.ptx.corpus.case import Array

import logv
from logv.runtime.device import Device
from logv.runtime.program import ObjectCode

CORPUS = Path(__file__).parent / "corpus"


def theme(name: str) -> str:
    """Return the theme of a case: the name of its source."""
    return name.partition("-")[0]


@pytest.fixture(scope="module")
def native() -> Iterator[Device]:
    """The device as the host sees it."""
    with logv.Machine(vram="256MiB", disk_cache=False) as machine, machine.device() as device:
        yield device


@pytest.fixture(scope="module")
def virtual() -> Iterator[Device]:
    """The device as a VM sees it."""
    with (
        logv.Machine(vram="256MiB", tiered_compilation=False, disk_cache=False) as machine,
        machine.create_vm("guest", memory="64MiB").device() as device,
    ):
        yield device


@cache
def by_nvcc(theme: str) -> ObjectCode:
    """Return the program of a theme, as nvcc compiled it."""
    return logv.Program((CORPUS / f"{theme}.ptx").read_text()).compile()


@cache
def by_nvrtc(theme: str) -> ObjectCode:
    """Return the program of a theme, as NVRTC compiles it."""
    return logv.Program((CORPUS / f"{theme}.cu").read_text(), code_type="c++").compile()


def run(case: Case, program: ObjectCode, device: Device) -> Mapping[str, Array]:
    """Run a case on a device and return what its arrays hold afterwards."""
    stream = device.create_stream()
    buffers = {name: device.allocate(array.nbytes) for name, array in case.arrays.items()}
    for name, array in case.arrays.items():
        buffers[name].copy_from(np.ascontiguousarray(array), stream=stream)
    addresses = {name: buffer.handle for name, buffer in buffers.items()}
    for one in case.launches:
        config = logv.LaunchConfig(grid=one.grid, block=one.block, shmem_size=one.shared)
        logv.launch(stream, config, program.get_kernel(one.entry), *one.values(addresses))
    results = {name: np.empty(array.shape, array.dtype) for name, array in case.arrays.items()}
    for name, result in results.items():
        buffers[name].copy_to(result, stream=stream)
    for buffer in buffers.values():
        buffer.close()
    stream.close()
    return results


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_right_natively(name: str, native: Device) -> None:
    """From nvcc's PTX, on the host."""
    case = build(name)
    case.check(run(case, by_nvcc(theme(name)), native))


@pytest.mark.parametrize("name", CASES)
def test_kernel_is_right_in_a_vm(name: str, virtual: Device) -> None:
    """From nvcc's PTX, in a VM."""
    case = build(name)
    case.check(run(case, by_nvcc(theme(name)), virtual))


@pytest.mark.parametrize("name", [name for name in CASES if theme(name) != "tiles"])
def test_kernel_is_right_from_nvrtc(name: str, native: Device, virtual: Device) -> None:
    """From NVRTC's PTX, on the host and in a VM."""
    case, program = build(name), by_nvrtc(theme(name))
    case.check(run(case, program, native))
    case.check(run(case, program, virtual))


@pytest.mark.parametrize("source", sorted(CORPUS.glob("*.cu")), ids=lambda path: path.stem)
def test_every_kernel_has_a_case(source: Path) -> None:
    """A kernel that nothing launches is not tested."""
    cases = [build(name) for name in CASES if theme(name) == source.stem]
    launched = {launch.entry for case in cases for launch in case.launches}
    assert launched == set(by_nvcc(source.stem).kernel_names)
