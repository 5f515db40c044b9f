"""Batches: calls that cross into the hypervisor together."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from logv import abi
from logv.errors import ClosedError, InvalidHandleError, InvalidValueError, raise_for_status
from logv.guest._arguments import word
from logv.guest._holdings import Holdings
from logv.uapi import Channel, Domain, Memory, Pending

if TYPE_CHECKING:
    from logv.guest.process import Process

# These cannot be taken back, so they come last: until then, every call can be undone.
# An application need not wait for these, where they cannot fail.
_POSTED = frozenset({abi.VspaceUnmap, abi.MemFree})
_FOR_GOOD = frozenset({abi.ObjEngNew, abi.FifoInitIb, abi.VspaceUnmap, abi.MemFree})
_REFERABLE = {
    request: [position for position, name in enumerate(request._fields) if name in abi.REFERABLE]
    for request in abi.REQUESTS.values()
}


@dataclass(slots=True, eq=False)
class _Call:
    """A call that was recorded; `fields` is its reply, once it succeeded.

    References in `request` name calls of the batch by their index, where a slot's number belongs.
    """

    pending: Pending[Any]
    request: abi.Request
    finish: Callable[[tuple[int, ...]], object]
    fields: tuple[int, ...] = ()


class GuestBatch:
    """Calls of one process, one crossing for every ``abi.SLOT_COUNT`` of them: ``uapi.Batch``, in a VM.

    Rings and engine classes are set, and mappings and objects freed, after all other calls have succeeded.

    Parameters
    ----------
    process : Process
    holdings : Holdings
        What the process holds; takes the results in.
    """

    def __init__(self, process: "Process", holdings: Holdings) -> None:
        self._process = process
        self._holdings = holdings
        self._open = False
        self._used = False
        self._calls: list[_Call] = []

    def __enter__(self) -> Self:
        if self._used:
            raise ClosedError("a batch is carried out once; make a new one")
        self._used = self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if kind is None and self._calls:
            self._carry_out()
        # The calls' closures name this batch: without them it goes at once, not with a garbage collection.
        self._calls.clear()

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Pending[Memory]:
        """See :meth:`Process.mem_alloc`."""
        return self._record(
            abi.MemAlloc(word(size, "the size in bytes"), word(domain, "the domain")),
            lambda fields: self._holdings.take_memory(fields, domain),
        )

    def mem_map(self, memory: int | Pending[Memory]) -> Pending[memoryview]:
        """See :meth:`Process.mem_map`."""
        handle = self._memory(memory)
        return self._record(
            abi.MemMap(handle),
            lambda fields: self._holdings.take_view(self._resolve(handle, {}), fields),
        )

    def vspace_new(self) -> Pending[int]:
        """See :meth:`Process.vspace_new`."""
        return self._record(abi.VspaceNew(), self._holdings.take_vspace)

    def vspace_map(
        self,
        vspace: int | Pending[int],
        memory: int | Pending[Memory],
        *,
        offset: int = 0,
        size: int | None = None,
        writable: bool = True,
    ) -> Pending[int]:
        """See :meth:`Process.vspace_map`."""
        flags = abi.VSPACE_MAP_WRITABLE if writable else 0
        if size is None:
            size, flags = 0, flags | abi.VSPACE_MAP_TO_END
        space, handle = self._vspace(vspace), self._memory(memory)
        return self._record(
            abi.VspaceMap(
                space, handle, word(offset, "the offset in bytes"), word(size, "the size in bytes"), flags
            ),
            lambda fields: self._holdings.take_mapping(
                self._resolve(space, {}), self._resolve(handle, {}), fields
            ),
        )

    def vspace_unmap(self, vspace: int, address: int) -> Pending[None]:
        """See :meth:`Process.vspace_unmap`."""
        space, where = self._vspace(vspace), word(address, "the address")
        return self._record(
            abi.VspaceUnmap(space, where), lambda _: self._holdings.drop_mapping(space, where)
        )

    def mem_free(self, memory: int) -> Pending[None]:
        """See :meth:`Process.mem_free`."""
        handle = self._memory(memory)
        return self._record(abi.MemFree(handle), lambda _: self._holdings.drop_memory(handle))

    def chan_new(self, vspace: int | Pending[int]) -> Pending[Channel]:
        """See :meth:`Process.chan_new`."""
        return self._record(abi.ChanNew(self._vspace(vspace)), self._holdings.take_channel)

    def fifo_init_ib(
        self, channel: int | Pending[Channel], ring: int | Pending[int], entries: int
    ) -> Pending[None]:
        """See :meth:`Process.fifo_init_ib`."""
        if isinstance(ring, Pending):
            address = self._reference(ring, abi.Call.VSPACE_MAP)
        elif (address := word(ring, "the ring's address")) & abi.REFERENCE:
            raise InvalidValueError(f"there can be no ring at {ring:#x}, beyond every GPU address")
        request = abi.FifoInitIb(self._channel(channel), address, word(entries, "the number of entries"))
        return self._record(request, _nothing)

    def obj_eng_new(self, channel: int | Pending[Channel], engine_class: int) -> Pending[None]:
        """See :meth:`Process.obj_eng_new`."""
        request = abi.ObjEngNew(self._channel(channel), word(engine_class, "the engine class"))
        return self._record(request, _nothing)

    def _memory(self, argument: object) -> int:
        if isinstance(argument, Pending):
            return self._reference(argument, abi.Call.MEM_ALLOC)
        return self._holdings.memories.check(argument)

    def _vspace(self, argument: object) -> int:
        if isinstance(argument, Pending):
            return self._reference(argument, abi.Call.VSPACE_NEW)
        return self._holdings.vspaces.check(argument)

    def _channel(self, argument: object) -> int:
        if isinstance(argument, Pending):
            return self._reference(argument, abi.Call.CHAN_NEW)
        return self._holdings.channels.check(argument)

    def _reference(self, argument: Pending[Any], producer: abi.Call) -> int:
        """Return a reference; refuse a result of another batch, whose index means another call here."""
        calls, index = self._calls, argument.index
        if index >= len(calls) or calls[index].pending is not argument:
            raise InvalidValueError("the Pending argument belongs to another batch; pass its value")
        if not isinstance(calls[index].request, abi.REQUESTS[producer]):
            raise InvalidHandleError(f"the Pending argument is not the result of {producer.name.lower()}")
        return abi.REFERENCE | index

    def _record(self, request: abi.Request, finish: Callable[[tuple[int, ...]], object]) -> Pending[Any]:
        if not self._open:
            raise ClosedError("a batch takes calls inside its with block only; make a new one")
        pending: Pending[Any] = Pending(len(self._calls))
        self._calls.append(_Call(pending, request, finish))
        return pending

    def _carry_out(self) -> None:
        # Handles were checked against the process's own when they were recorded. One that was freed
        # since then names nothing any more, so the hypervisor refuses it.
        calls = self._calls
        done: list[_Call] = []
        with self._process.lock:
            slots = self._process.ready()
            if all(type(call.request) in _POSTED for call in calls):
                requests = [call.request for call in calls]
                if self._holdings.surely_succeed(requests):
                    slots.run_all(requests)
                    results = [call.finish(()) for call in calls]
                    self._settle(results)
                    return
            order = sorted(calls, key=_comes_last)
            # Mostly all fit into one run in the order they came: then an index is its slot's number.
            as_recorded = order == calls and len(calls) <= abi.SLOT_COUNT
            try:
                for start in range(0, len(order), abi.SLOT_COUNT):
                    run = order[start : start + abi.SLOT_COUNT]
                    if as_recorded:
                        requests = [call.request for call in run]
                    else:
                        numbers = {call.pending.index: slot for slot, call in enumerate(run)}
                        requests = [self._place(call.request, numbers) for call in run]
                    for call, (status, fields, message) in zip(run, slots.run(requests), strict=True):
                        if status:
                            raise_for_status(status, message)
                        call.fields = fields
                        done.append(call)
            except BaseException:
                # A device that no longer answers has taken everything back.
                with suppress(ClosedError):
                    slots.run_all([undo for call in reversed(done) for undo in self._undo(call)])
                for call in done:
                    if isinstance(call.request, abi.MemFree):
                        call.finish(call.fields)
                raise
            results = [call.finish(call.fields) for call in calls]
        self._settle(results)

    def _settle(self, results: list[object]) -> None:
        for call, result in zip(self._calls, results, strict=True):
            call.pending.resolve(result)

    def _place(self, request: abi.Request, numbers: dict[int, int]) -> abi.Request:
        """Return a request as it stands in a slot; `numbers` are the slots of its run by call."""
        values: list[int] | None = None
        for position in _REFERABLE[type(request)]:
            if request[position] & abi.REFERENCE:
                values = values or list(request)
                values[position] = self._resolve(request[position], numbers)
        return type(request)(*values) if values else request

    def _resolve(self, value: int, numbers: dict[int, int]) -> int:
        """Return what a field says in a run: a reference into it, or what earlier runs have made."""
        if not value & abi.REFERENCE:
            return value
        index = value & ~abi.REFERENCE
        return abi.REFERENCE | numbers[index] if index in numbers else self._calls[index].fields[0]

    def _undo(self, call: _Call) -> list[abi.Request]:
        """Return what takes a call back."""
        made = call.fields[0]
        match call.request:
            case abi.MemAlloc():
                return [abi.MemFree(made)]
            case abi.VspaceNew():
                return [abi.VspaceFree(made)]
            case abi.VspaceMap(vspace=vspace):
                return [abi.VspaceUnmap(self._resolve(vspace, {}), made)]
            case abi.ChanNew():
                return [abi.ChanFree(made)]
        return []


def _comes_last(call: _Call) -> bool:
    return type(call.request) in _FOR_GOOD


def _nothing(_: tuple[int, ...]) -> None:
    """Return the result of a call that has none."""
