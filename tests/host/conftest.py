from collections.abc import Iterator

import pytest

from logv.gpu import Gpu
from logv.host import HostDriver, Partition, Session

VRAM_SIZE = 64 << 20
SYSTEM_SIZE = 16 << 20


@pytest.fixture
def gpu() -> Iterator[Gpu]:
    """A software GPU."""
    made = Gpu()
    yield made
    made.close()


@pytest.fixture
def host(gpu: Gpu) -> Iterator[HostDriver]:
    """A host driver with 64 MiB of GPU memory and 16 MiB of system memory."""
    made = HostDriver(gpu, VRAM_SIZE, SYSTEM_SIZE)
    yield made
    made.close()


@pytest.fixture
def partition(host: HostDriver) -> Partition:
    """A partition for native applications."""
    return host.create_partition("native")


@pytest.fixture
def session(host: HostDriver, partition: Partition) -> Session:
    """A session of the native partition."""
    return host.open(partition)
