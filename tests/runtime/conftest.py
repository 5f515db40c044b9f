from collections.abc import Iterator

import pytest
from tests.runtime.fake_driver import FakeDriver

import logv
from logv.runtime import Device


@pytest.fixture
def driver() -> FakeDriver:
    """A driver whose engine runs in this thread."""
    return FakeDriver()


@pytest.fixture
def device(driver: FakeDriver) -> Iterator[Device]:
    """A device on that driver."""
    with Device(driver, "fake") as device:
        yield device


@pytest.fixture(scope="module")
def machine() -> Iterator[logv.Machine]:
    """A machine that the tests of a file share."""
    with logv.Machine(vram="64MiB") as machine:
        yield machine


@pytest.fixture(params=["native", "virtual"])
def anywhere(machine: logv.Machine, request: pytest.FixtureRequest) -> Iterator[logv.Device]:
    """The GPU, as the machine's own applications see it and as a VM's do."""
    if request.param == "native":
        with machine.device() as device:
            yield device
    else:
        with machine.create_vm("vm", memory="16MiB") as vm, vm.device() as device:
            yield device
