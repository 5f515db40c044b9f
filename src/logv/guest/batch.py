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

# These cannot be taken back while their channel lives, so they come last: until then, every call can be
# undone.
_FOR_GOOD = (abi.ObjEngNew, abi.FifoInitIb)
_PRODUCERS = {abi.REQUESTS[call]: call for call in abi.REFERABLE.values()}


@dataclass(slots=True)
class _Call:
    """A call that was recorded; `fields` is its reply once it succeeded."""

    pending: Pending[Any]
    request: type[abi.Request]
    arguments: tuple[object, ...]
    finish: Callable[[Any, tuple[int, ...]], object]
    fields: tuple[int, ...] = ()


class GuestBatch:
    """Calls of one process, one crossing for every ``abi.SLOT_COUNT`` of them: ``uapi.Batch``, in a VM.

    Rings and engine classes are set after all other calls have succeeded.

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

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Pending[Memory]:
        """See :meth:`Process.mem_alloc`."""
        return self._record(
            abi.MemAlloc,
            (word(size, "the size in bytes"), word(domain, "the domain")),
            lambda _, fields: self._holdings.take_memory(fields, domain),
        )

    def mem_map(self, memory: int | Pending[Memory]) -> Pending[memoryview]:
        """See :meth:`Process.mem_map`."""
        return self._record(
            abi.MemMap, (memory,), lambda request, fields: self._holdings.take_view(request.memory, fields)
        )

    def vspace_new(self) -> Pending[int]:
        """See :meth:`Process.vspace_new`."""
        return self._record(abi.VspaceNew, (), lambda _, fields: self._holdings.take_vspace(fields))

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
        return self._record(
            abi.VspaceMap,
            (vspace, memory, word(offset, "the offset in bytes"), word(size, "the size in bytes"), flags),
            lambda _, fields: abi.read_fields(abi.VspaceMapReply, fields).address,
        )

    def chan_new(self, vspace: int | Pending[int]) -> Pending[Channel]:
        """See :meth:`Process.chan_new`."""
        return self._record(abi.ChanNew, (vspace,), lambda _, fields: self._holdings.take_channel(fields))

    def fifo_init_ib(
        self, channel: int | Pending[Channel], ring: int | Pending[int], entries: int
    ) -> Pending[None]:
        """See :meth:`Process.fifo_init_ib`."""
        if not isinstance(ring, Pending) and word(ring, "the ring's address") & abi.REFERENCE:
            raise InvalidValueError(f"there can be no ring at {ring:#x}, beyond every GPU address")
        return self._record(
            abi.FifoInitIb, (channel, ring, word(entries, "the number of entries")), lambda _, __: None
        )

    def obj_eng_new(self, channel: int | Pending[Channel], engine_class: int) -> Pending[None]:
        """See :meth:`Process.obj_eng_new`."""
        return self._record(
            abi.ObjEngNew, (channel, word(engine_class, "the engine class")), lambda _, __: None
        )

    def _record(
        self,
        request: type[abi.Request],
        arguments: tuple[object, ...],
        finish: Callable[[Any, tuple[int, ...]], object],
    ) -> Pending[Any]:
        if not self._open:
            raise ClosedError("a batch takes calls inside its with block only; make a new one")
        for name, argument in zip(request._fields, arguments, strict=True):
            if isinstance(argument, Pending):
                self._check_pending(name, argument)
        pending: Pending[Any] = Pending(len(self._calls))
        self._calls.append(_Call(pending, request, arguments, finish))
        return pending

    def _check_pending(self, name: str, argument: Pending[Any]) -> None:
        """Refuse a result of another batch, whose number means another call here, or of another kind."""
        if argument.index >= len(self._calls) or self._calls[argument.index].pending is not argument:
            raise InvalidValueError("the Pending argument belongs to another batch; pass its value")
        if _PRODUCERS.get(self._calls[argument.index].request) is not abi.REFERABLE[name]:
            raise InvalidHandleError(f"the Pending argument does not stand for a {name}")

    def _carry_out(self) -> None:
        done: list[_Call] = []
        with self._process.enter() as slots:
            for call in self._calls:
                self._check_handles(call)
            order = sorted(self._calls, key=lambda call: call.request in _FOR_GOOD)
            try:
                for start in range(0, len(order), abi.SLOT_COUNT):
                    run = order[start : start + abi.SLOT_COUNT]
                    numbers = {call.pending.index: slot for slot, call in enumerate(run)}
                    replies = slots.run([self._request(call, numbers) for call in run])
                    for call, reply in zip(run, replies, strict=True):
                        raise_for_status(reply.status, reply.message)
                        call.fields = reply.fields
                        done.append(call)
            except BaseException:
                # A device that no longer answers has taken everything back.
                with suppress(ClosedError):
                    slots.run_all([undo for call in reversed(done) for undo in self._undo(call)])
                raise
            results = [call.finish(self._request(call, {}), call.fields) for call in self._calls]
        for call, result in zip(self._calls, results, strict=True):
            call.pending.resolve(result)

    def _check_handles(self, call: _Call) -> None:
        for name, argument in zip(call.request._fields, call.arguments, strict=True):
            if name in abi.REFERABLE and name != "ring" and not isinstance(argument, Pending):
                self._holdings.check(name, argument)

    def _request(self, call: _Call, numbers: dict[int, int]) -> abi.Request:
        """Return a request in which results of `numbers`, slots by call, are named, and others stand."""
        values: list[Any] = []
        for argument in call.arguments:
            if not isinstance(argument, Pending):
                values.append(argument)
            elif argument.index in numbers:
                values.append(abi.REFERENCE | numbers[argument.index])
            else:
                values.append(self._calls[argument.index].fields[0])
        return call.request(*values)

    def _undo(self, call: _Call) -> list[abi.Request]:
        """Return what takes a call back."""
        made = call.fields[0]
        request = self._request(call, {})
        match request:
            case abi.MemAlloc():
                return [abi.MemFree(made)]
            case abi.VspaceNew():
                return [abi.VspaceFree(made)]
            case abi.VspaceMap():
                return [abi.VspaceUnmap(request.vspace, made)]
            case abi.ChanNew():
                return [abi.ChanFree(made)]
        return []
