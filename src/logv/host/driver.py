"""The host driver: one per GPU."""

from threading import RLock

from logv.errors import ClosedError, InvalidValueError, OutOfMemoryError
from logv.gpu import Gpu
from logv.host._arguments import PAGE_SIZE, integer, page_multiple
from logv.host._quota import Quota
from logv.host._table_pool import TablePool, TableShare
from logv.host.partition import Partition, Usage
from logv.host.runlist import Runlist
from logv.host.session import Session
from logv.hw.software_gpu import CHANNELS_PER_CLIENT, MAX_CHANNELS
from logv.uapi import Domain

_MAX_PARTITIONS = 256
# Bounds the tables of one partition: 8 GiB in 4 KiB pages, hundreds of times that in large ones.
_TABLES_PER_PARTITION = 4096


class HostDriver:
    """Places memory, writes page tables and makes channels, for native applications and for VMs.

    Threads may share it; one lock makes calls take turns.

    Parameters
    ----------
    gpu : Gpu
        Used, not owned.
    vram_size, system_size : int
        Bytes of GPU memory, and of GPU-visible system memory, that partitions may use in all;
        multiples of 4 KiB. Page tables lie outside of it.

    Raises
    ------
    InvalidValueError
        An impossible size.
    OutOfMemoryError
        The host has no room for the window of the page tables.
    """

    def __init__(self, gpu: Gpu, vram_size: int, system_size: int) -> None:
        self._gpu = gpu
        self._memory = {
            Domain.VRAM: Quota(
                "bytes of GPU memory", page_multiple(vram_size, "vram_size", PAGE_SIZE), OutOfMemoryError
            ),
            Domain.SYSTEM: Quota(
                "bytes of GPU-visible system memory",
                page_multiple(system_size, "system_size", PAGE_SIZE),
                OutOfMemoryError,
            ),
        }
        self._lock = RLock()
        self._runlist = Runlist(gpu)
        # Sparse: costs what is written. Each partition's share is set aside, so that none can use up
        # another's.
        self._window = gpu.add_window(Domain.VRAM, _MAX_PARTITIONS * _TABLES_PER_PARTITION * PAGE_SIZE)
        self._pool = TablePool(self._window)
        self._slots = Quota("partitions", _MAX_PARTITIONS)
        self._partitions: list[Partition] = []
        self._closed = False

    def create_partition(
        self,
        name: str,
        *,
        vram: int | None = None,
        system: int | None = None,
        channels: int = CHANNELS_PER_CLIENT,
    ) -> Partition:
        """Make a share of the GPU.

        Parameters
        ----------
        name : str
            For messages.
        vram, system : int, optional
            Bytes to set aside for this partition alone, a multiple of 4 KiB: a VM's window. None: the
            partition shares whatever is not set aside, as native applications do.
        channels : int
            Channels at one time, 1 to ``MAX_CHANNELS``.

        Raises
        ------
        InvalidValueError
            An impossible size or number.
        OutOfMemoryError
            The bytes do not fit beside what is set aside and what shared partitions use.
        ExhaustedError
            Too many partitions.
        ClosedError
            The driver is closed.
        """
        reserve = {
            Domain.VRAM: None if vram is None else page_multiple(vram, "vram", PAGE_SIZE),
            Domain.SYSTEM: None if system is None else page_multiple(system, "system", PAGE_SIZE),
        }
        integer(channels, "channels", 1, MAX_CHANNELS)
        with self._lock:
            if self._closed:
                raise ClosedError("the host driver is closed")
            self._slots.take()
            try:
                partition = Partition(
                    name,
                    gpu=self._gpu,
                    lock=self._lock,
                    runlist=self._runlist,
                    tables=TableShare(self._pool, _TABLES_PER_PARTITION),
                    memory=self._memory,
                    reserve=reserve,
                    channels=channels,
                    forget=self._forget,
                )
            except BaseException:
                self._slots.give()
                raise
            self._partitions.append(partition)
            return partition

    def open(self, partition: Partition) -> Session:
        """Connect one process; raise ClosedError if the partition is closed."""
        with self._lock:
            if not partition.closed and partition not in self._partitions:
                raise InvalidValueError("the partition belongs to another host driver")
            return Session(partition)

    def free(self, domain: Domain) -> int:
        """Return the bytes that are neither set aside nor used by shared partitions."""
        return self._memory[domain].free

    def usage(self) -> Usage:
        """Return what all sessions hold."""
        with self._lock:
            return sum((partition.usage() for partition in self._partitions), Usage())

    def close(self) -> None:
        """Close every partition and give the page tables' window back. Closing twice is harmless."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for partition in list(self._partitions):
                partition.close()
            self._gpu.remove_window(self._window)

    def _forget(self, partition: Partition) -> None:
        self._partitions.remove(partition)
        self._slots.give()
