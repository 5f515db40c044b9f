"""Splits the loop over a region's threads where some of them do something of their own.

A tile's border is loaded by its outermost threads (``if (threadIdx.x == 0) ...``). Left inside, such a guard
is asked by every thread, and keeps the loop from being vectorised. Where the guard is a range of thread
numbers, the loop becomes several, one after the other: what all do, what the few do, for them only, and what
all do then. Each thread still does everything in its order; only threads between two barriers overtake each
other, as they may.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from logv.ptx._graph import Graph
from logv.ptx._ir import EFFECTS, IMPURE, Block, Value
from logv.ptx._liveness import EXPENSIVE
from logv.ptx._regions import PER_THREAD, Region
from logv.ptx._settle import demand
from logv.ptx._types import VALUE_BITS

_AXES = "xyz"
# Each loop is compiled by itself; more guards than this stay where they are.
_MAX_PARTS = 12

# A part of the threads that it does not pay to specialise for.
_FEW = 1 / 4
# What scalar code does after the loop.
_SCALAR = frozenset({"update", "pend"})

# By axis, the number of the first thread and of the one after the last; axes not named are whole.
Range = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Part:
    """What the threads of a range do in a loop of their own.

    Attributes
    ----------
    region : Region
        Holds the blocks; they may compute again what an earlier part has computed.
    threads : dict of str to (int, int)
    """

    region: Region
    threads: Range


@dataclass(slots=True)
class _Piece:
    """A stretch of the region with one entry and one way out, and who runs it (None: all)."""

    blocks: list[Block]
    threads: Range | None = None


def split_at_guards(region: Region, block: tuple[int, int, int], block_level: set[Value]) -> list[Part]:
    """Return the loops that a region becomes; none if one loop over all threads is as good.

    Parameters
    ----------
    region : Region
        One that no thread notes its way out of.
    block : tuple of int
    block_level : set of Value
        Values that are the same for a whole block.
    """
    graph = Graph(region.blocks)
    if not graph.reducible:
        return []
    pieces = list(_pieces(graph, block))
    if all(piece.threads is None for piece in pieces):
        return []
    known = block_level.union(region.scalar_ops)
    pieces = _joined(pieces, known)
    if all(piece.threads is None for piece in pieces) or len(pieces) > _MAX_PARTS:
        return []
    order = {value: place for place, value in enumerate(op for each in region.blocks for op in each.ops)}
    return [
        Part(_region_of(region, piece, known, order), piece.threads or {})
        for piece in pieces
        if not _is_empty(piece)
    ]


def done_by_few(region: Region, extents: tuple[int, int, int]) -> set[Block]:
    """Return the blocks that a guard leaves to a small part of the threads."""
    graph = Graph(region.blocks)
    found: set[Block] = set()
    if not graph.reducible:
        return found
    for block in graph.blocks:
        arms = _arms(graph, block, graph.post_dominator[block.index], extents) or []
        found.update(each for arm in arms if _is_small(arm, extents) for each in arm.blocks)
    return found


def _is_small(piece: _Piece, extents: tuple[int, int, int]) -> bool:
    share = 1.0
    for axis, (low, high) in (piece.threads or {}).items():
        share *= max(0, high - low) / extents[_AXES.index(axis)]
    return share <= _FEW


def _is_empty(piece: _Piece) -> bool:
    return any(low >= high for low, high in (piece.threads or {}).values())


def _pieces(graph: Graph, extents: tuple[int, int, int]) -> Iterator[_Piece]:
    """Cut a region into pieces that every thread passes in turn: guarded work, and what lies between."""
    common: list[Block] = []
    at = 0
    while at >= 0:
        block = graph.blocks[at]
        join = _after(graph, block)
        between = _between(graph, block, join)
        arms = _arms(graph, block, join, extents) if len(between) > 1 else None
        common.append(block)
        if arms is not None:
            yield _Piece(common)
            common = []
            yield from arms
        else:
            common += [each for each in between if each is not block]
        at = join
    yield _Piece(common)


def _after(graph: Graph, block: Block) -> int:
    """Return the first block that all threads pass next, outside of any loop around this one; or -1."""
    inside = {each for loop in graph.loops if block in loop.blocks for each in loop.blocks}
    after = graph.post_dominator[block.index]
    while after >= 0 and graph.blocks[after] in inside:
        after = graph.post_dominator[after]
    return after


def _between(graph: Graph, block: Block, join: int) -> list[Block]:
    """Return a block and those that can be reached from it before the join, in the region's order."""
    found = {block}
    pending = [block]
    while pending:
        for after in pending.pop().successors:
            if after not in found and after.index != join:
                found.add(after)
                pending.append(after)
    return [each for each in graph.blocks if each in found]


def _arms(graph: Graph, block: Block, join: int, extents: tuple[int, int, int]) -> list[_Piece] | None:
    """Return what hangs on a guard, for those who do it; None if the block does not end in such a guard."""
    if join < 0 or block.terminator != "branch" or block.condition is None:
        return None
    if any(block in loop.blocks for loop in graph.loops):
        # It is asked in each iteration.
        return None
    arms: list[_Piece] = []
    for side, start in enumerate(block.successors):
        if start.index == join:
            continue
        threads = _range_of(block.condition, side == 0, extents)
        if threads is None:
            return None
        arms.append(_Piece(_between(graph, start, join), threads))
    if len(arms) > 1 and not set(arms[0].blocks).isdisjoint(arms[1].blocks):
        return None
    return arms


def _range_of(condition: Value, truth: bool, extents: tuple[int, int, int]) -> Range | None:
    """Return which threads see a condition be `truth`; None if that is not a range on each axis."""
    wanted = demand(condition, truth, _Comparisons())
    if wanted is None:
        return None
    found: Range = {}
    for value, needed in wanted.items():
        axis = _axis(value.args[0])
        extent = extents[_AXES.index(axis)]
        low, high = found.get(axis, (0, extent))
        meets = [number for number in range(low, high) if _compare(value, number) is needed]
        if meets and len(meets) != meets[-1] + 1 - meets[0]:
            return None
        found[axis] = (meets[0], meets[-1] + 1) if meets else (0, 0)
    return found


class _Comparisons:
    """All comparisons of a thread number with a constant, as a collection."""

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, Value)
            and value.op == "icmp"
            and bool(_axis(value.args[0]))
            and value.args[1].op == "const"
        )


def _axis(value: Value) -> str:
    """Name the axis whose thread number a value is; "" if it is none."""
    while value.op in ("zext", "sext", "cvta"):
        value = value.args[0]
    register, _, axis = str(value.attr).partition(".")
    return axis if value.op == "special" and register == "tid" else ""


def _compare(comparison: Value, number: int) -> bool:
    predicate, other = str(comparison.attr), comparison.args[1]
    assert isinstance(other.attr, int)
    limit, bits = other.attr, VALUE_BITS[other.type]
    if predicate[0] == "s" and limit >> (bits - 1):
        limit -= 1 << bits
    # A thread number is the same, signed or not: far below the half of any type that holds it.
    return {
        "eq": number == limit,
        "ne": number != limit,
        "lt": number < limit,
        "le": number <= limit,
        "gt": number > limit,
        "ge": number >= limit,
    }[predicate[-2:]]


# -- what must stay together --------------------------------------------------------------------------


def _joined(pieces: list[_Piece], known: set[Value]) -> list[_Piece]:
    """Join pieces of which one uses what another has read from memory, or merges its ways."""
    places = {each: place for place, piece in enumerate(pieces) for each in piece.blocks}
    homes = {value: place for each, place in places.items() for value in (*each.phis, *each.ops)}
    joined: list[_Piece] = []
    starts: list[int] = []
    for place, piece in enumerate(pieces):
        used = _used(piece.blocks, known)
        together = [homes[value] for value in used if not _repeatable(value)]
        together += [places[before] for each in piece.blocks if each.phis for before in each.predecessors]
        first = min(together, default=place)
        merged, start = piece, place
        while start > first:
            merged = _Piece(joined.pop().blocks + merged.blocks)
            start = starts.pop()
        joined.append(merged)
        starts.append(start)
    return joined


def _repeatable(value: Value) -> bool:
    """Whether computing a value again costs little and gives the same."""
    return value.op not in IMPURE and value.op not in PER_THREAD and value.op not in EXPENSIVE


def _used(blocks: list[Block], known: set[Value]) -> set[Value]:
    """Return what blocks need to have computed: values of their own and of the blocks before."""
    own = {value for each in blocks for value in (*each.phis, *each.ops)}
    pending = [value for value in own if value.op in EFFECTS | IMPURE and value.op not in _SCALAR]
    pending += [each.condition for each in blocks if each.condition is not None and _chooses(each, blocks)]
    found: set[Value] = set()
    while pending:
        value = pending.pop()
        if value in found or value in known or value.op == "const":
            continue
        found.add(value)
        if value in own or _repeatable(value):
            pending += value.args
    return found


def _chooses(block: Block, blocks: list[Block]) -> bool:
    """Whether a branch leads to more than the way out."""
    return any(after in blocks for after in block.successors)


# -- the parts ----------------------------------------------------------------------------------------


def _region_of(region: Region, piece: _Piece, known: set[Value], order: dict[Value, int]) -> Region:
    """Copy a piece's blocks, with what they need of earlier pieces in front."""
    used = _used(piece.blocks, known)
    copies = {each: Block(place) for place, each in enumerate(piece.blocks)}
    end = Block(len(copies), terminator="leave")
    for each, copy in copies.items():
        copy.phis = each.phis
        copy.ops = [value for value in each.ops if value in used]
        copy.predecessors = [copies[before] for before in each.predecessors if before in copies]
        copy.terminator, copy.condition = each.terminator, each.condition
        copy.successors = [copies.get(after, end) for after in each.successors]
        if copy.terminator == "branch" and not _chooses(each, piece.blocks):
            copy.terminator, copy.condition, copy.successors = "jump", None, [end]
    own = {value for each in piece.blocks for value in (*each.phis, *each.ops)}
    next(iter(copies.values())).ops[:0] = sorted(used - own, key=order.__getitem__)
    return Region(region.index, region.start, None, blocks=[*copies.values(), end])
