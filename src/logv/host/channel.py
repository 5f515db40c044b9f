"""Channels, as the host driver knows them."""

from logv.errors import BusyError, InvalidValueError, NotSupportedError
from logv.host._arguments import MAX_WORD, integer
from logv.host.partition import Partition
from logv.host.vspace import VSpace
from logv.hw.clc7b5 import AMPERE_DMA_COPY_A, AMPERE_DMA_COPY_B
from logv.hw.clc7c0 import ADA_COMPUTE_A, AMPERE_COMPUTE_A, AMPERE_COMPUTE_B
from logv.hw.clc56f import NVC56F_GP_ENTRY__SIZE
from logv.hw.software_gpu import MAX_GPFIFO_ENTRIES, MIN_GPFIFO_ENTRIES

_CLASSES = frozenset(
    {AMPERE_DMA_COPY_A, AMPERE_DMA_COPY_B, AMPERE_COMPUTE_A, AMPERE_COMPUTE_B, ADA_COMPUTE_A}
)


def check_class(engine_class: int) -> int:
    """Return the class number; raise NotSupportedError if the GPU has no such engine."""
    if integer(engine_class, "the engine class", 0, MAX_WORD) not in _CLASSES:
        known = ", ".join(f"{number:#06x}" for number in sorted(_CLASSES))
        raise NotSupportedError(f"no engine has class {engine_class:#06x}; there are {known}")
    return engine_class


class HostChannel:
    """One channel: its USERD page, its place in the GPU, its ring.

    A ring is reserved, which checks everything, and then enabled, which cannot fail: a batch can be
    undone up to its last call.

    Parameters
    ----------
    partition : Partition
    vspace : VSpace
        The address space of everything the channel does.

    Attributes
    ----------
    id : int
        The GPU's number of this channel.
    page : int
        Index of its USERD page in the partition's port.
    """

    def __init__(self, partition: Partition, vspace: VSpace) -> None:
        self._partition = partition
        self._vspace = vspace
        self.page = partition.take_page()
        try:
            self.id = partition.gpu.bind_channel(partition.port, self.page, vspace.id)
        except BaseException:
            partition.give_page(self.page)
            raise
        vspace.channels += 1
        self._ring: tuple[int, int] | None = None

    def reserve_ring(self, ring: int, entries: int) -> None:
        """Check a GPFIFO ring and remember it; see ``Driver.fifo_init_ib``."""
        integer(ring, "the ring's address", 0, MAX_WORD)
        integer(entries, "the number of ring entries", MIN_GPFIFO_ENTRIES, MAX_GPFIFO_ENTRIES)
        if entries & (entries - 1):
            raise InvalidValueError(f"the number of ring entries must be a power of two, not {entries}")
        if ring % NVC56F_GP_ENTRY__SIZE:
            raise InvalidValueError(f"the ring's address must be a multiple of 8, not {ring:#x}")
        if self._ring is not None:
            raise BusyError("the channel has a ring; a channel gets one ring in its life")
        if not self._vspace.covers(ring, entries * NVC56F_GP_ENTRY__SIZE):
            raise InvalidValueError(
                f"the ring, {entries * NVC56F_GP_ENTRY__SIZE} bytes at {ring:#x}, does not lie within one "
                "mapping of the channel's address space"
            )
        self._ring = (ring, entries)

    def forget_ring(self) -> None:
        """Undo :meth:`reserve_ring`, before :meth:`enable`."""
        self._ring = None

    def enable(self) -> None:
        """Let the channel run on the ring that was reserved."""
        if self._ring is not None:
            self._partition.gpu.start_channel(self.id, *self._ring)
            self._partition.runlist.add(self._partition, self.id)

    def allow(self, engine_class: int) -> None:
        """Allow the channel a class that :func:`check_class` returned."""
        self._partition.gpu.allow_class(self.id, engine_class)

    def close(self) -> None:
        """Stop the channel, whatever it is doing, and give it back."""
        self._partition.runlist.remove(self._partition, self.id)
        self._partition.gpu.stop_channel(self.id)
        self._vspace.channels -= 1
        self._partition.give_page(self.page)
