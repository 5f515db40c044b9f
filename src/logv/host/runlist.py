"""The runlist: which channels the GPU gives turns to, and in which order."""

from itertools import chain, zip_longest

from logv.gpu import Gpu


class Runlist:
    """Plain round robin over channels, taken from the partitions in turn.

    A channel that joins a partition with many stands behind as many channels of every other partition
    as of its own: the first channels of all partitions come first, then the second ones, and so on.

    Parameters
    ----------
    gpu : Gpu
    """

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._groups: dict[object, list[int]] = {}

    def add(self, group: object, channel: int) -> None:
        """Give a channel turns, after the others of its group (its partition)."""
        self._groups.setdefault(group, []).append(channel)
        self._publish()

    def remove(self, group: object, channel: int) -> None:
        """Take a channel off; one that is not on the list is passed over."""
        members = self._groups.get(group, [])
        if channel not in members:
            return
        members.remove(channel)
        if not members:
            del self._groups[group]
        self._publish()

    def order(self) -> list[int]:
        """Return the channels in polling order."""
        turns = chain.from_iterable(zip_longest(*self._groups.values()))
        return [channel for channel in turns if channel is not None]

    def _publish(self) -> None:
        self._gpu.set_runlist(self.order())
