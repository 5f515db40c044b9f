from collections.abc import Iterator

import pytest
from tests.contract.worlds import Factory, World, host_world
from tests.guest.guest_world import guest_world

from logv.gpu import Gpu
from logv.host import HostDriver
from logv.uapi import Driver

# One line per implementation of `uapi.Driver`.
FACTORIES: dict[str, Factory] = {
    "host": host_world,
    "guest": guest_world,
}


@pytest.fixture(scope="session")
def contract_gpu() -> Iterator[Gpu]:
    """One software GPU for the suite: what one test leaves on it, another would see."""
    gpu = Gpu()
    yield gpu
    gpu.close()


@pytest.fixture(params=FACTORIES)
def world(request: pytest.FixtureRequest, contract_gpu: Gpu) -> Iterator[World]:
    """An owner of a share of the GPU; whatever its processes did, their close returns everything."""
    host = HostDriver(contract_gpu, 64 << 20, 16 << 20)
    try:
        with FACTORIES[request.param](host) as made:
            before = made.usage()
            yield made
            for driver in made.drivers:
                driver.close()
            assert made.usage() == before, "a driver's close has not returned everything"
    finally:
        host.close()


@pytest.fixture
def driver(world: World) -> Driver:
    """One process's driver."""
    return world.open()
