"""Batches: calls that are carried out together, or not at all."""

from collections.abc import Callable
from contextlib import ExitStack
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from logv.errors import ClosedError, InvalidHandleError, InvalidValueError
from logv.host.channel import check_class
from logv.uapi import Channel, Domain, Memory, Pending

if TYPE_CHECKING:
    from logv.host.session import Session


class HostBatch:
    """Calls of one session, carried out in order under the driver's lock: ``uapi.Batch``, natively.

    A channel is enabled, an engine class allowed, and a mapping or an object freed, when all other calls
    have succeeded: none of these can be taken back, and until then none has to be.

    Parameters
    ----------
    session : Session
    lock : RLock
        The host driver's lock.
    """

    def __init__(self, session: "Session", lock: RLock) -> None:
        self._session = session
        self._lock = lock
        self._open = False
        self._used = False
        self._calls: list[tuple[Pending[Any], Callable[[], Any]]] = []
        self._results: list[Any] = []
        self._undo = ExitStack()
        self._commit: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        if self._used:
            raise ClosedError("a batch is carried out once; make a new one")
        self._used = self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        if kind is None:
            self._carry_out()
        # The calls' closures name this batch: without them it goes at once, not with a garbage collection.
        self._calls.clear()
        self._commit.clear()

    def mem_alloc(self, size: int, domain: Domain = Domain.VRAM) -> Pending[Memory]:
        """See :meth:`Session.mem_alloc`."""

        def call() -> Memory:
            made = self._session.mem_alloc(size, domain)
            self._undo.callback(self._session.mem_free, made.handle)
            return made

        return self._record(call)

    def mem_map(self, memory: int | Pending[Memory]) -> Pending[memoryview]:
        """See :meth:`Session.mem_map`."""
        self._check(memory)
        return self._record(lambda: self._session.mem_map(self._handle(memory)))

    def vspace_new(self) -> Pending[int]:
        """See :meth:`Session.vspace_new`."""

        def call() -> int:
            made = self._session.vspace_new()
            self._undo.callback(self._session.vspace_free, made)
            return made

        return self._record(call)

    def vspace_map(
        self,
        vspace: int | Pending[int],
        memory: int | Pending[Memory],
        *,
        offset: int = 0,
        size: int | None = None,
        writable: bool = True,
    ) -> Pending[int]:
        """See :meth:`Session.vspace_map`."""
        self._check(vspace, memory)

        def call() -> int:
            space = self._handle(vspace)
            address = self._session.vspace_map(
                space, self._handle(memory), offset=offset, size=size, writable=writable
            )
            self._undo.callback(self._session.vspace_unmap, space, address)
            return address

        return self._record(call)

    def vspace_unmap(self, vspace: int, address: int) -> Pending[None]:
        """See :meth:`Session.vspace_unmap`."""
        return self._record(lambda: self._commit.append(lambda: self._session.vspace_unmap(vspace, address)))

    def mem_free(self, memory: int) -> Pending[None]:
        """See :meth:`Session.mem_free`."""
        return self._record(lambda: self._commit.append(lambda: self._session.mem_free(memory)))

    def chan_new(self, vspace: int | Pending[int]) -> Pending[Channel]:
        """See :meth:`Session.chan_new`."""
        self._check(vspace)

        def call() -> Channel:
            made = self._session.chan_new(self._handle(vspace))
            self._undo.callback(self._session.chan_free, made.handle)
            return made

        return self._record(call)

    def fifo_init_ib(
        self, channel: int | Pending[Channel], ring: int | Pending[int], entries: int
    ) -> Pending[None]:
        """See :meth:`Session.fifo_init_ib`."""
        self._check(channel, ring)

        def call() -> None:
            found = self._session.find_channel(self._handle(channel))
            found.reserve_ring(self._handle(ring), entries)
            self._undo.callback(found.forget_ring)
            self._commit.append(found.enable)

        return self._record(call)

    def obj_eng_new(self, channel: int | Pending[Channel], engine_class: int) -> Pending[None]:
        """See :meth:`Session.obj_eng_new`."""
        self._check(channel)

        def call() -> None:
            found = self._session.find_channel(self._handle(channel))
            allowed = check_class(engine_class)
            self._commit.append(lambda: found.allow(allowed))

        return self._record(call)

    def _check(self, *arguments: object) -> None:
        """Refuse a Pending of another batch: its number means another call here."""
        for argument in arguments:
            if isinstance(argument, Pending) and not (
                argument.index < len(self._calls) and self._calls[argument.index][0] is argument
            ):
                raise InvalidValueError("the Pending argument belongs to another batch; pass its value")

    def _record(self, call: Callable[[], Any]) -> Pending[Any]:
        if not self._open:
            raise ClosedError("a batch takes calls inside its with block only; make a new one")
        pending: Pending[Any] = Pending(len(self._calls))
        self._calls.append((pending, call))
        return pending

    def _handle(self, argument: object) -> int:
        """Return the number that an argument stands for."""
        value = self._results[argument.index] if isinstance(argument, Pending) else argument
        if isinstance(argument, Pending) and isinstance(value, Memory | Channel):
            return value.handle
        if not isinstance(value, int):
            raise InvalidHandleError(f"{type(value).__name__} is neither a handle nor stands for one")
        return value

    def _carry_out(self) -> None:
        with self._lock, self._undo:
            for _, call in self._calls:
                self._results.append(call())
            for commit in self._commit:
                commit()
            self._undo.pop_all()
        for (pending, _), result in zip(self._calls, self._results, strict=True):
            pending.resolve(result)
