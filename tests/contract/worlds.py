"""What the contract suite needs of an implementation of ``uapi.Driver``, and the host driver's."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from logv.errors import LogvError
from logv.host import HostDriver
from logv.uapi import Driver

PAGE = 4096
VRAM_SIZE = 16 << 20
SYSTEM_SIZE = 4 << 20
CHANNELS = 6


class World:
    """One owner's share of a GPU: whoever opens a driver in it is a process of that owner.

    Parameters
    ----------
    connect : callable
        Returns a new process's driver.
    usage : callable
        Returns something that compares equal as long as the owner's processes hold the same.
    """

    def __init__(self, connect: Callable[[], Driver], usage: Callable[[], object]) -> None:
        self._connect = connect
        self.usage = usage
        self.drivers: list[Driver] = []

    def open(self) -> Driver:
        """Return a new process's driver. The fixture closes it."""
        driver = self._connect()
        self.drivers.append(driver)
        return driver

    @contextmanager
    def refuses(self, error: type[LogvError]) -> Iterator[None]:
        """Expect `error` from the block, and that it changed nothing."""
        before = self.usage()
        with pytest.raises(error):
            yield
        assert self.usage() == before, "a call that raised has changed something"


Factory = Callable[[HostDriver], AbstractContextManager[World]]
"""Makes a world of VRAM_SIZE and SYSTEM_SIZE bytes and CHANNELS channels on a host driver."""


@contextmanager
def host_world(host: HostDriver) -> Iterator[World]:
    """Sessions of one partition of the host driver."""
    partition = host.create_partition("contract", vram=VRAM_SIZE, system=SYSTEM_SIZE, channels=CHANNELS)
    yield World(lambda: host.open(partition), partition.usage)
    partition.close()
