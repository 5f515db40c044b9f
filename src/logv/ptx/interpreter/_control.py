"""Branches, ends and barriers."""

from collections.abc import Callable

from logv.ptx._syntax import Immediate, Operand, Symbol
from logv.ptx.interpreter._form import PREDICATE, Decoder, Form, Reader, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._thread import Barrier, BarrierWait, Block, Thread
from logv.ptx.interpreter._warp import warp_barrier

_U32 = Kind("u32", 32)
_BARRIERS = 16


def _target(form: Form, name: str) -> int:
    place = form.labels.get(name)
    if place is None:
        raise form.error(f"there is no label {name}")
    return place


def _branch(form: Form) -> Step:
    form.types(0, "uni")
    (operand,) = form.operands(1)
    if not isinstance(operand, Symbol):
        raise form.error("a label is expected")
    place = _target(form, operand.name)

    def step(thread: Thread) -> None:
        thread.pc = place

    return step


def _indexed_branch(form: Form) -> Step:
    form.types(0, "idx uni")
    index, table = form.operands(2)
    names = form.entry.body.branch_tables.get(table.name) if isinstance(table, Symbol) else None
    if names is None:
        raise form.error("a table declared by .branchtargets is expected")
    read, places = form.source(index, _U32), [_target(form, name) for name in names]

    def step(thread: Thread) -> None:
        number = read(thread)
        if number >= len(places):
            raise form.error(f"index {number} lies beyond the table")
        thread.pc = places[number]

    return step


def _leave(form: Form) -> Step:
    form.types(0, "uni")
    form.operands(0)

    def step(thread: Thread) -> None:
        thread.done = True

    return step


def _trap(form: Form) -> Step:
    form.operands(0)

    def step(thread: Thread) -> None:
        raise form.error(f"thread {thread.index} of block {thread.block.index} trapped")

    return step


# -- barriers -------------------------------------------------------------------------------------------


def _barrier(form: Form) -> Step:
    """``bar`` and ``barrier``: sync, arrive and red; and ``bar.warp.sync``."""
    if "warp" in form.flags:
        form.types(0, "warp sync")
        (mask,) = form.operands(1)
        return warp_barrier(form, mask)
    form.types(len(form.kinds), "cta aligned sync arrive red popc and or")
    action = form.choose("sync arrive red")
    if action == "red":
        return _voting_barrier(form)
    operands = form.instruction.operands
    if not 1 + (action == "arrive") <= len(operands) <= 2:
        raise form.error("a barrier, and perhaps a number of threads, are expected")
    number = _number(form, operands[0])
    count = form.source(operands[1], _U32) if len(operands) == 2 else None
    waits = action == "sync"

    def step(thread: Thread) -> None:
        if waits:
            thread.waiting = BarrierWait(number(thread), None)
        _arrive(form, thread, number(thread), count(thread) if count else None)

    return step


def _voting_barrier(form: Form) -> Step:
    """``bar.red``: every thread gets the votes' number, or whether all or any were true."""
    name = form.choose("popc and or")
    kind = form.types(1, "cta aligned red popc and or", among="u32" if name == "popc" else "pred")[0]
    target, first, *rest = form.instruction.operands
    if not 1 <= len(rest) <= 2:
        raise form.error("a destination, a barrier, perhaps a number of threads, and a vote are expected")
    number, vote = _number(form, first), form.source(rest[-1], PREDICATE)
    count = form.source(rest[0], _U32) if len(rest) == 2 else None
    write = form.target(target, kind)
    result: Callable[[list[int]], int] = {
        "popc": sum,
        "and": lambda votes: int(all(votes)),
        "or": lambda votes: int(any(votes)),
    }[name]

    def step(thread: Thread) -> None:
        thread.waiting = BarrierWait(number(thread), lambda thread, votes: write(thread, result(votes)))
        _arrive(form, thread, number(thread), count(thread) if count else None, vote(thread))

    return step


def _number(form: Form, operand: Operand) -> Reader:
    if isinstance(operand, Immediate) and not 0 <= operand.value < _BARRIERS:
        raise form.error(f"the barriers are 0 to {_BARRIERS - 1}")
    read = form.source(operand, _U32)

    def number(thread: Thread) -> int:
        value = read(thread)
        if value >= _BARRIERS:
            raise form.error(f"the barriers are 0 to {_BARRIERS - 1}, not {value}")
        return value

    return number


def _arrive(form: Form, thread: Thread, number: int, count: int | None, vote: int = 0) -> None:
    block = thread.block
    barrier = block.barriers.setdefault(number, Barrier(count))
    if barrier.expected != count:
        raise form.error(f"barrier {number} is awaited by different numbers of threads")
    barrier.arrived += 1
    barrier.votes.append(vote)
    # At once, not when nobody can go on: the barrier may be used again meanwhile.
    settle_barriers(block)


def settle_barriers(block: Block) -> bool:
    """Let the threads go whose barrier is complete; returns whether any barrier was."""
    alive = sum(not thread.done for thread in block.threads)
    settled = False
    for number, barrier in list(block.barriers.items()):
        # A count is in whole warps; threads that have ended are waited for by nobody.
        expected = alive if barrier.expected is None else min(barrier.expected, alive)
        if barrier.arrived < expected:
            continue
        del block.barriers[number]
        for thread in block.threads:
            wait = thread.waiting
            if isinstance(wait, BarrierWait) and wait.number == number:
                thread.waiting = None
                if wait.deliver is not None:
                    wait.deliver(thread, barrier.votes)
        settled = True
    return settled


CONTROL: dict[str, Decoder] = {
    "bra": _branch, "brx": _indexed_branch, "ret": _leave, "exit": _leave, "trap": _trap,
    "bar": _barrier, "barrier": _barrier,
}  # fmt: skip
