"""The virtual device: registers, regions, and the run of call slots that a write to EXECUTE starts."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from logv import abi
from logv.errors import InvalidValueError, LogvError, Status
from logv.hypervisor._host import HostPort
from logv.hypervisor.calls import Calls
from logv.hypervisor.slot_memory import SlotMemory

_log = logging.getLogger(__name__)

_WORD = 0xFFFFFFFF
# Attributes of an enumeration take longer to look up than the rest of a register write.
_EXECUTE = int(abi.Register.EXECUTE)


@dataclass(frozen=True, slots=True)
class _Form:
    """What a call's request looks like: where its fields end, and which may be results of which call."""

    call: abi.Call
    end: int
    referable: tuple[tuple[int, abi.Call], ...]


_FORMS: dict[int, _Form] = {
    call: _Form(
        call,
        len(request._fields),
        tuple(
            (position, abi.REFERABLE[name])
            for position, name in enumerate(request._fields)
            if name in abi.REFERABLE
        ),
    )
    for call, request in abi.REQUESTS.items()
}


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
    port : HostPort
        Doorbell and interrupts.
    start : callable
        Returns the VM's calls; what it held before is returned first. Called once here, and at resets.
    """

    def __init__(
        self,
        name: str,
        *,
        regions: Mapping[abi.RegionIndex, abi.Region],
        channels: int,
        port: HostPort,
        start: Callable[[], Calls],
    ) -> None:
        self._port = port
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
        self._status: int = Status.OK
        self._closed = False
        self.hypercalls = 0
        self.calls = 0
        try:
            self._handlers = start().handlers
        except BaseException:
            self._slots.close()
            raise

    @property
    def doorbell_fd(self) -> int:
        """Eventfd that wakes the GPU."""
        return self._port.doorbell_fd

    @property
    def interrupt_fd(self) -> int:
        """Eventfd that the GPU writes at an interrupt; for whoever passes interrupts on."""
        return self._port.interrupt_fd

    @property
    def present(self) -> bool:
        """Whether the device was not closed yet."""
        return not self._closed

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
            abi.Register.DOORBELL: 0,
            abi.Register.HYPERCALLS: self.hypercalls & _WORD,
            abi.Register.CALLS: self.calls & _WORD,
        }
        return values.get(offset, _WORD)

    def write_register(self, offset: int, value: int) -> None:
        """Write a BAR0 register; ignored where there is none, and once the device was closed."""
        with self._lock:
            if self._closed:
                return
            if offset == _EXECUTE:
                self.hypercalls += 1
                self._status = self._execute(*abi.decode_execute(value & _WORD))
            elif offset == abi.Register.RESET and value == abi.RESET_KEY:
                self._reset()
            elif offset == abi.Register.DOORBELL:
                self._port.ring()

    def post_register(self, offset: int, value: int) -> None:
        """Write a register; in one process there is nothing to be gained by not waiting."""
        self.write_register(offset, value)

    def finish_posted(self) -> None:
        """Do nothing: nothing is ever under way."""

    def reset(self) -> None:
        """Return everything that the VM holds. Counters go on."""
        with self._lock:
            if not self._closed:
                self._reset()

    def detach(self) -> None:
        """Take everything back from a guest that is gone, and what it could still signal with."""
        with self._lock:
            if not self._closed:
                self._reset()
                self._port.renew_doorbell()

    def close(self) -> None:
        """End the device: registers read as all ones from now on. Closing twice is harmless."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._slots.close()

    def _reset(self) -> None:
        self._slots.clear()
        try:
            self._handlers = self._start().handlers
        except LogvError as error:
            # The host driver was closed: from now on every call says so.
            self._status = error.status
        else:
            self._status = Status.OK

    def _execute(self, first: int, count: int, go_on: bool) -> Status:
        """Carry out a run of slots, up to the first that fails or all; return that one's status, or OK."""
        # The prototype of 2013 trusted the offset of a slot, and read behind the last one.
        if not count or first + count > abi.SLOT_COUNT:
            return Status.INVALID_VALUE
        # All of the run at once, once: from here on the slots are write-only.
        copy = self._slots.copy(first, count)
        done: dict[int, tuple[int, int]] = {}
        first_failure = Status.OK
        for slot, (number, *fields) in enumerate(abi.unpack_requests(copy), first):
            try:
                values = _parse(number, fields, done)
                result = self._handlers[number](*values)
            except LogvError as error:
                status, message = error.status, str(error)
            except Exception:
                # A fault of ours reaches the guest as a status only, and ends nobody else's VM.
                _log.exception("a hypercall of VM %s failed", self._name)
                status, message = Status.INTERNAL, "the hypervisor failed; see its log"
            else:
                self._slots.succeed(slot, result)
                self.calls += 1
                if result:
                    done[slot] = number, result[0]
                continue
            self._slots.fail(slot, status, message)
            first_failure = first_failure or status
            if not go_on:
                for late in range(slot + 1, first + count):
                    self._slots.fail(late, Status.ABORTED, "not tried, because a call before it failed")
                break
        return first_failure


def _parse(number: int, fields: list[int], done: dict[int, tuple[int, int]]) -> list[int]:
    """Return the fields that a call has, references replaced by what they name.

    `done` are the calls of the run so far: by slot, the number and the first field of the reply. So
    nothing refers to itself, to a later slot, or into another run.
    """
    form = _FORMS.get(number)
    if form is None:
        raise InvalidValueError(f"there is no call number {number}")
    if any(fields[form.end :]):
        raise InvalidValueError(f"{form.call.name} has {form.end} fields; those behind must be 0")
    for position, producer in form.referable:
        if fields[position] >= abi.REFERENCE:
            named = fields[position] - abi.REFERENCE
            made_by, result = done.get(named, (0, 0))
            if made_by != producer:
                raise InvalidValueError(f"slot {named} is no {producer.name} before this one in its run")
            fields[position] = result
    return fields[: form.end]
