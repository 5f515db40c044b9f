"""The virtual device: registers, regions, and the run of call slots that a write to EXECUTE starts."""

import logging
import threading
from collections.abc import Callable, Mapping

from logv import abi
from logv.errors import InvalidValueError, LogvError, Status
from logv.hypervisor.calls import Calls
from logv.hypervisor.slot_memory import SlotMemory

_log = logging.getLogger(__name__)

_WORD = 0xFFFFFFFF
_DONE = abi.Reply(Status.OK, (), "")
_ABORTED = abi.Reply(Status.ABORTED, (), "not tried, because a call before it failed")


def _referable(request: type[abi.Request]) -> tuple[tuple[int, abi.Call], ...]:
    return tuple(
        (position, abi.REFERABLE[name])
        for position, name in enumerate(request._fields)
        if name in abi.REFERABLE
    )


_REFERABLE = {call: _referable(request) for call, request in abi.REQUESTS.items()}


class VirtualDevice:
    """One VM's device, as its guest driver sees it (``abi.VirtualDevice``).

    Nothing here raises because of what the guest does: it is told by a status. One run at a time.

    Parameters
    ----------
    name : str
        The VM's name, for the log.
    regions : mapping
        The memory that the guest maps, but for the slots.
    channels : int
        USERD pages behind the doorbell page.
    doorbell_fd : int
        Eventfd that wakes the GPU.
    start : callable
        Returns the VM's calls; what it held before is returned first. Called once here, and at resets.
    """

    def __init__(
        self,
        name: str,
        *,
        regions: Mapping[abi.RegionIndex, abi.Region],
        channels: int,
        doorbell_fd: int,
        start: Callable[[], Calls],
    ) -> None:
        self.doorbell_fd = doorbell_fd
        self._name = name
        self._start = start
        self._lock = threading.Lock()
        self._slots = SlotMemory()
        self._regions = {**regions, abi.RegionIndex.SLOTS: abi.Region(self._slots.fd, abi.SLOTS_SIZE)}
        self._constants: dict[int, int] = {
            abi.Register.ID: abi.DEVICE_ID,
            abi.Register.VERSION: abi.ABI_VERSION,
            abi.Register.SLOTS: abi.SLOT_COUNT,
            abi.Register.CHANNELS: channels,
        }
        self._status = int(Status.OK)
        self._closed = False
        self.hypercalls = 0
        self.calls = 0
        try:
            self._handlers = start()
        except BaseException:
            self._slots.close()
            raise

    def region(self, index: abi.RegionIndex) -> abi.Region:
        """Return a region; its size is 0 if there is none, or the device was closed."""
        return abi.Region(-1, 0) if self._closed else self._regions.get(index, abi.Region(-1, 0))

    def read_register(self, offset: int) -> int:
        """Read a BAR0 register; all ones where there is none, and once the device was closed."""
        if self._closed:
            return _WORD
        values = {
            **self._constants,
            abi.Register.EXECUTE: 0,
            abi.Register.STATUS: self._status,
            abi.Register.RESET: 0,
            abi.Register.HYPERCALLS: self.hypercalls & _WORD,
            abi.Register.CALLS: self.calls & _WORD,
        }
        return values.get(offset, _WORD)

    def write_register(self, offset: int, value: int) -> None:
        """Write a BAR0 register; ignored where there is none, and once the device was closed."""
        with self._lock:
            if self._closed:
                return
            if offset == abi.Register.EXECUTE:
                self.hypercalls += 1
                self._status = self._execute(*abi.decode_execute(value & _WORD))
            elif offset == abi.Register.RESET and value == abi.RESET_KEY:
                self._reset()

    def reset(self) -> None:
        """Return everything that the VM holds. Counters go on."""
        with self._lock:
            if not self._closed:
                self._reset()

    def close(self) -> None:
        """End the device: registers read as all ones from now on. Closing twice is harmless."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._slots.close()

    def _reset(self) -> None:
        self._slots.clear()
        try:
            self._handlers = self._start()
        except LogvError as error:
            # The host driver was closed: from now on every call says so.
            self._status = error.status
        else:
            self._status = int(Status.OK)

    def _execute(self, first: int, count: int) -> int:
        """Carry out a run of slots up to the first that fails; return that one's status, or OK."""
        # The prototype of 2013 trusted the offset of a slot, and read behind the last one.
        if not count or first + count > abi.SLOT_COUNT:
            return Status.INVALID_VALUE
        # All of the run at once, once: from here on the slots are write-only.
        copy = self._slots.copy(first, count)
        done: dict[int, tuple[abi.Call, int]] = {}
        for position in range(count):
            slot = first + position
            call, fields = abi.unpack_request(copy, position)
            reply = self._carry_out(slot, call, fields, done)
            self._slots.reply(slot, reply)
            if reply.status != Status.OK:
                for late in range(slot + 1, first + count):
                    self._slots.reply(late, _ABORTED)
                return reply.status
            self.calls += 1
        return Status.OK

    def _carry_out(
        self, slot: int, number: int, fields: tuple[int, ...], done: dict[int, tuple[abi.Call, int]]
    ) -> abi.Reply:
        """Carry out one call; `done` are the calls of the run before it, by slot, with their results."""
        try:
            call, request = _parse(number, fields, done)
            result = self._handlers.carry_out(call, request)
        except LogvError as error:
            return abi.Reply(error.status, (), str(error))
        except Exception:
            # A fault of ours must not reach the guest as anything but a status, nor end the others' VMs.
            _log.exception("a hypercall of VM %s failed", self._name)
            return abi.Reply(Status.INTERNAL, (), "the hypervisor failed; its log says more")
        if result:
            done[slot] = call, result[0]
            return abi.Reply(Status.OK, result, "")
        return _DONE


def _parse(
    number: int, fields: tuple[int, ...], done: dict[int, tuple[abi.Call, int]]
) -> tuple[abi.Call, abi.Request]:
    """Return the call and its request, references replaced by what they name."""
    if number not in abi.REQUESTS:
        raise InvalidValueError(f"there is no call number {number}")
    call = abi.Call(number)
    request = abi.REQUESTS[call]
    length = len(request._fields)
    if any(fields[length:]):
        raise InvalidValueError(f"{call.name} has {length} fields; those behind must be 0")
    values = list(fields[:length])
    for position, producer in _REFERABLE[call]:
        if values[position] & abi.REFERENCE:
            # Only calls before this one are in `done`: not this one, later ones, or other runs'.
            named = values[position] & ~abi.REFERENCE
            made_by, result = done.get(named, (None, 0))
            if made_by is not producer:
                raise InvalidValueError(f"slot {named} is no {producer.name} before this one in its run")
            values[position] = result
    return call, request(*values)
