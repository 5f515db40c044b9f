"""The guest's side of BAR1: fill slots, write EXECUTE, read the replies."""

import mmap
from collections.abc import Sequence

from logv import abi
from logv.errors import ClosedError, raise_for_status

_NUMBERS = {request: call for call, request in abi.REQUESTS.items()}


class CallSlots:
    """The call slots of one virtual device. One thread at a time; the guest driver's lock sees to it.

    Parameters
    ----------
    device : VirtualDevice
    """

    def __init__(self, device: abi.VirtualDevice) -> None:
        self._device = device
        self._posted = False
        region = device.region(abi.RegionIndex.SLOTS)
        self._memory = mmap.mmap(region.fd, region.size)

    def call(self, request: abi.Request) -> tuple[int, ...]:
        """Carry out one call; return the fields of its reply, or raise what its status says."""
        status, fields, message = self.run([request])[0]
        raise_for_status(status, message)
        return fields

    def run(self, requests: Sequence[abi.Request]) -> list[abi.Reply]:
        """Carry out up to ``SLOT_COUNT`` calls, from slot 0 on, in one crossing.

        Returns
        -------
        list of Reply
            One per request; those behind the first that failed are ABORTED.

        Raises
        ------
        ClosedError
            The device does not answer.
        """
        self._finish()
        self._fill(requests)
        self._device.write_register(abi.Register.EXECUTE, abi.encode_execute(0, len(requests)))
        replies = [abi.unpack_reply(self._memory, slot) for slot in range(len(requests))]
        if replies[0].status == abi.STATUS_PENDING:
            raise ClosedError("the virtual device does not answer: the VM was closed")
        return replies

    def run_all(self, requests: Sequence[abi.Request]) -> None:
        """Carry out any number of calls whatever becomes of each, without waiting for the last ones.

        What a close does, or whoever knows that they succeed. Calls made later come after them.
        """
        for start in range(0, len(requests), abi.SLOT_COUNT):
            self._finish()
            run = requests[start : start + abi.SLOT_COUNT]
            self._fill(run)
            self._posted = True
            self._device.post_register(abi.Register.EXECUTE, abi.encode_execute(0, len(run), go_on=True))

    def _finish(self) -> None:
        """Have the slots to ourselves again."""
        if self._posted:
            self._posted = False
            self._device.finish_posted()

    def _fill(self, requests: Sequence[abi.Request]) -> None:
        for slot, request in enumerate(requests):
            abi.pack_request(self._memory, slot, _NUMBERS[type(request)], request)
