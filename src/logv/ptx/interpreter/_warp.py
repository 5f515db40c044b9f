"""Operations of a warp: a lane brings its operands and leaves when all that the mask names are there."""

from collections.abc import Callable, Mapping

from logv.ptx._syntax import Operand
from logv.ptx.interpreter._form import PREDICATE, Decoder, Form, Reader, Step, Writer
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._thread import Gathering, Meeting, Thread

_B32 = Kind("b32", 32)
_U32 = Kind("u32", 32)

Lanes = Mapping[int, tuple[int, ...]]
Resolver = Callable[[int, Lanes], tuple[int, ...]]


def _meet(form: Form, mask: Reader, values: list[Reader], resolve: Resolver, writers: list[Writer]) -> Step:
    """Return a step that makes a thread wait for its lanes."""
    key = (form.opcode, *sorted(form.instruction.modifiers))

    def deliver(thread: Thread, results: tuple[int, ...]) -> None:
        for write, result in zip(writers, results, strict=True):
            write(thread, result)

    def step(thread: Thread) -> None:
        named = mask(thread)
        if not named >> thread.lane & 1:
            raise form.error(f"lane {thread.lane} is not in its own membermask {named:#x}")
        brought = tuple(read(thread) for read in values)
        thread.waiting = Meeting(key, named, brought, resolve, deliver)

    return step


def _shuffle(form: Form) -> Step:
    form.types(1, "sync up down bfly idx", among="b32")
    form.choose("sync")
    mode = form.choose("up down bfly idx")
    target, a, b, c, mask = form.operands(5)
    value, valid = form.pair(target)

    def resolve(lane: int, lanes: Lanes) -> tuple[int, ...]:
        own, amount, bounds = lanes[lane]
        amount, clamp, segment = amount & 31, bounds & 31, bounds >> 8 & 31
        least = lane & segment
        most = least | clamp & ~segment
        source = {
            "up": lane - amount,
            "down": lane + amount,
            "bfly": lane ^ amount,
            "idx": least | amount & ~segment,
        }[mode]
        inside = source >= most if mode == "up" else source <= most
        # What a lane that takes no part would send is open: the own value stands for it.
        return lanes[source][0] if inside and source in lanes else own, int(inside)

    return _meet(
        form,
        form.source(mask, _B32),
        [form.source(a, _B32), form.source(b, _U32), form.source(c, _U32)],
        resolve,
        [form.target(value, _B32), form.target(valid, PREDICATE)],
    )


def _vote(form: Form) -> Step:
    ballot = "ballot" in form.flags
    form.types(1, "sync all any uni ballot", among="b32" if ballot else "pred")
    form.choose("sync")
    mode = form.choose("all any uni ballot")
    target, predicate, mask = form.operands(3)

    def resolve(lane: int, lanes: Lanes) -> tuple[int, ...]:
        votes = {each: values[0] for each, values in lanes.items()}
        if mode == "ballot":
            return (sum(vote << each for each, vote in votes.items()),)
        yes = sum(votes.values())
        return (int({"all": yes == len(votes), "any": yes > 0, "uni": yes in (0, len(votes))}[mode]),)

    return _meet(
        form,
        form.source(mask, _B32),
        [form.source(predicate, PREDICATE)],
        resolve,
        [form.target(target, _B32 if ballot else PREDICATE)],
    )


def _match(form: Form) -> Step:
    (kind,) = form.types(1, "sync any all", among="b32 b64")
    form.choose("sync")
    mode = form.choose("any all")
    target, a, mask = form.operands(3)
    value, same = form.pair(target)

    def resolve(lane: int, lanes: Lanes) -> tuple[int, ...]:
        equal = sum(1 << each for each, values in lanes.items() if values == lanes[lane])
        everyone = sum(1 << each for each in lanes)
        if mode == "any":
            return equal, 0
        return (everyone, 1) if equal == everyone else (0, 0)

    return _meet(
        form,
        form.source(mask, _B32),
        [form.source(a, kind)],
        resolve,
        [form.target(value, _B32), form.target(same, PREDICATE)],
    )


def _reduce(form: Form) -> Step:
    (kind,) = form.types(1, "sync add min max and or xor", among="u32 s32 b32")
    form.choose("sync")
    name = form.choose("and or xor" if kind.untyped else "add min max")
    target, a, mask = form.operands(3)
    operations: dict[str, tuple[int, Callable[[int, int], int]]] = {
        "add": (0, lambda x, y: x + y),
        "min": (kind.most, min),
        "max": (kind.least, max),
        "and": (kind.mask, lambda x, y: x & y),
        "or": (0, lambda x, y: x | y),
        "xor": (0, lambda x, y: x ^ y),
    }
    start, combine = operations[name]

    def resolve(lane: int, lanes: Lanes) -> tuple[int, ...]:
        result = start
        for (value,) in lanes.values():
            result = combine(result, value)
        return (result,)

    return _meet(form, form.source(mask, _B32), [form.source(a, kind)], resolve, [form.target(target, kind)])


def warp_barrier(form: Form, mask: Operand) -> Step:
    """Return the step of ``bar.warp.sync``."""
    return _meet(form, form.source(mask, _B32), [], lambda lane, lanes: (), [])


def _active_mask(form: Form) -> Step:
    form.types(1, among="b32")
    (target,) = form.operands(1)
    write = form.target(target, _B32)

    def step(thread: Thread) -> None:
        thread.waiting = Gathering(form.place, write)

    return step


def _elect(form: Form) -> Step:
    """``elect.sync``: the lowest lane of the mask."""
    form.types(0, "sync")
    form.choose("sync")
    target, mask = form.operands(2)
    value, chosen = form.pair(target)

    def resolve(lane: int, lanes: Lanes) -> tuple[int, ...]:
        leader = min(lanes)
        return leader, int(lane == leader)

    return _meet(
        form,
        form.source(mask, _B32),
        [],
        resolve,
        [form.target(value, _B32), form.target(chosen, PREDICATE)],
    )


def settle_warp(threads: list[Thread]) -> bool:
    """Let the lanes of one warp go that have all met; returns whether any did.

    Parameters
    ----------
    threads : list of Thread
        The warp's threads that have not ended.
    """
    alive = sum(1 << thread.lane for thread in threads)
    meetings: dict[tuple[tuple[str, ...], int], dict[Thread, Meeting]] = {}
    for thread in threads:
        if isinstance(thread.waiting, Meeting):
            meetings.setdefault((thread.waiting.key, thread.waiting.mask), {})[thread] = thread.waiting
    settled = False
    for (_, mask), present in meetings.items():
        lanes = {thread.lane: meeting.values for thread, meeting in present.items()}
        if mask & alive & ~sum(1 << lane for lane in lanes):
            continue
        for thread, meeting in present.items():
            thread.waiting = None
            meeting.deliver(thread, meeting.resolve(thread.lane, lanes))
        settled = True
    return settled


def gather_warp(threads: list[Thread]) -> bool:
    """Let the lanes go that wait at the first ``activemask``; returns whether there are any."""
    gatherings = {thread: thread.waiting for thread in threads if isinstance(thread.waiting, Gathering)}
    first = min((gathering.place for gathering in gatherings.values()), default=None)
    present = {thread: each for thread, each in gatherings.items() if each.place == first}
    mask = sum(1 << thread.lane for thread in present)
    for thread, gathering in present.items():
        thread.waiting = None
        gathering.deliver(thread, mask)
    return bool(present)


WARP: dict[str, Decoder] = {
    "shfl": _shuffle, "vote": _vote, "match": _match, "redux": _reduce, "activemask": _active_mask,
    "elect": _elect,
}  # fmt: skip
