from collections.abc import Iterator

import pytest
from tests.runtime.fake_driver import FakeDriver

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
