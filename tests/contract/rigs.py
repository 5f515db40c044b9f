"""A channel with everything it needs to run, made through the driver under test."""

import time

from tests.contract.worlds import PAGE
from tests.gpu.gpu_rig import COPY, method, semaphore_release

from logv._fastpath import GpFifo, Word64
from logv.hw import clc56f, dev_ram
from logv.hw.clc7b5 import AMPERE_DMA_COPY_B
from logv.uapi import Domain, Driver, Fault

ENTRIES = 16
_RING, _PUSH, _SEMAPHORE = 0, PAGE, 2 * PAGE


class ChannelRig:
    """Ring, pushbuffer and semaphore in one buffer object, in one mapping.

    Parameters
    ----------
    driver : Driver
    domain : Domain
        Where they lie.
    """

    def __init__(self, driver: Driver, domain: Domain = Domain.VRAM) -> None:
        self.space = driver.vspace_new()
        self.memory = driver.mem_alloc(3 * PAGE, domain)
        self.view = driver.mem_map(self.memory.handle)
        self.address = driver.vspace_map(self.space, self.memory.handle)
        self.channel = driver.chan_new(self.space)
        driver.fifo_init_ib(self.channel.handle, self.address + _RING, ENTRIES)
        driver.obj_eng_new(self.channel.handle, AMPERE_DMA_COPY_B)
        self._fifo = GpFifo(
            self.view[_RING:_PUSH],
            self.channel.userd,
            self.channel.doorbell,
            self.channel.doorbell_fd,
            ENTRIES,
        )
        self._semaphore = Word64(self.view, _SEMAPHORE, self.channel.userd, dev_ram.NOTIFIER_STATUS)
        self._value = 0
        self.run(method(COPY, clc56f.NVC56F_SET_OBJECT, AMPERE_DMA_COPY_B))

    def run(self, *methods: bytes) -> bool:
        """Submit methods and a release; return whether the release came, False if the channel failed."""
        self._value += 1
        release = semaphore_release(self.address + _SEMAPHORE, self._value, wide=1)
        data = b"".join(methods) + release
        self.view[_PUSH : _PUSH + len(data)] = data
        assert self._fifo.submit(self.address + _PUSH, len(data) // 4)
        deadline = time.monotonic() + 20
        while not self._semaphore.wait_at_least(self._value, 1.0):
            if self.fault() is not Fault.NONE:
                return False
            assert time.monotonic() < deadline, "the channel hangs"
        return True

    def fault(self) -> Fault:
        """Return the error notifier's status."""
        return Fault(self._userd(dev_ram.NOTIFIER_STATUS, 4))

    def fault_address(self) -> int:
        """Return the error notifier's address."""
        return self._userd(dev_ram.NOTIFIER_ADDRESS, 8)

    def _userd(self, offset: int, size: int) -> int:
        return int.from_bytes(self.channel.userd[offset : offset + size], "little")
