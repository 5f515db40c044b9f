"""Straightens guards in the specialised copy of a region.

A guard is a branch that skips work or ends the thread: ``if (i < n) ...``. In a block that is all inside,
every thread does the work, so the copy takes that side without asking; the check that lets the copy run
demands it.
"""

from collections.abc import Collection, Container, Iterator, Mapping
from dataclasses import dataclass, field

from logv.ptx._graph import Graph
from logv.ptx._ir import EFFECTS, Block, Value, link_predecessors, reverse_postorder, simplify_phis
from logv.ptx._regions import Region

_MAX_LEAVES = 16


@dataclass(slots=True)
class Settled:
    """What has become of the comparisons that a region's guards hang on; sets in order.

    Attributes
    ----------
    settled : dict of Value to bool
        They are now taken as true or false. What follows tells of threads for which they are the other way.
    ending : dict of Value to bool
        Such a thread ends before it has done anything.
    idle : dict of Value to bool
        It does nothing in this region: it ends, or goes on to where the others go.
    last : dict of Value to bool
        It ends behind the region, where it does what the others do.
    leading : dict of Value to bool
        Not settled, because both sides only leave: the end of a loop in lockstep.
    """

    settled: dict[Value, bool] = field(default_factory=dict)
    ending: dict[Value, bool] = field(default_factory=dict)
    idle: dict[Value, bool] = field(default_factory=dict)
    last: dict[Value, bool] = field(default_factory=dict)
    leading: dict[Value, bool] = field(default_factory=dict)


def settle_branches(
    region: Region,
    decided: Collection[Value],
    optional: Collection[Value],
    shortening: Mapping[Value, bool],
) -> Settled:
    """Choose the working side of every guard that hangs on decided comparisons, and drop the other.

    Parameters
    ----------
    region : Region
    decided : collection of Value
    optional : collection of Value
        Those that are settled only where the threads of the other side have nothing to do in the region.
    shortening : mapping of Value to bool
        Those that may be settled this way if the threads of the other side end behind the region.
    """
    found = Settled()
    settled = found.settled
    untouched = _untouched(region)
    graph = Graph(region.blocks)
    changed = False
    for block in region.blocks:
        if block.terminator != "branch" or block.condition is None:
            continue
        side = _working_side(region, graph, block)
        if side is None:
            continue
        wanted = demand(block.condition, side == 0, decided)
        if wanted is None or any(settled.get(value, truth) is not truth for value, truth in wanted.items()):
            continue
        other = block.successors[1 - side]
        nothing = block in untouched and _does_nothing(region, other)
        only_leaves = _is_idle(region, other) and _does_nothing(region, block.successors[side])
        if not nothing and only_leaves and block.condition in wanted:
            truth = shortening.get(block.condition)
            every = graph.post_dominates(block, region.blocks[0])
            if truth is not wanted[block.condition] or not every or _has_other_use(region, block):
                found.leading.update(wanted)
                continue
            found.last.update(wanted)
        elif not nothing and any(value in optional for value in wanted):
            continue
        settled.update(wanted)
        if nothing:
            found.idle.update(wanted)
            if _is_idle(region, other):
                found.ending.update(wanted)
        block.terminator, block.condition = "jump", None
        block.successors = [block.successors[side]]
        changed = True
    if changed:
        _drop_unreachable(region)
    return found


def _untouched(region: Region) -> set[Block]:
    """Blocks that every thread reaches first, without a choice and without any effect before."""
    found: set[Block] = set()
    block = region.blocks[0]
    while block not in found:
        if any(value.op in EFFECTS for value in block.ops):
            break
        found.add(block)
        if block.terminator != "jump":
            break
        block = block.successors[0]
    return found


def _working_side(region: Region, graph: Graph, block: Block) -> int | None:
    """0 or 1 where the other side only skips ahead or ends the thread."""
    join = graph.post_dominator[block.index]
    idle = [_is_idle(region, successor) or successor.index == join for successor in block.successors]
    if idle[0] == idle[1]:
        return None
    return 1 if idle[0] else 0


def _has_other_use(region: Region, branch: Block) -> bool:
    """Whether the condition of a branch decides anything else."""
    condition = branch.condition
    return any(
        (block.condition is condition and block is not branch)
        or any(condition in value.args for value in (*block.phis, *block.ops))
        for block in region.blocks
    )


def _is_idle(region: Region, block: Block) -> bool:
    """Whether the thread just ends."""
    way = list(_jumps_from(block))
    last = way[-1]
    return (
        last.terminator == "leave"
        and region.leaves[last] is None
        and not any(each.ops or each.phis for each in way[:-1])
        and not last.ops
    )


def _does_nothing(region: Region, block: Block) -> bool:
    """Whether the thread leaves without any effect of its own; counters are the whole block's."""
    way = list(_jumps_from(block))
    own = EFFECTS - {"update", "pend"}
    return way[-1].terminator == "leave" and not any(op.op in own for each in way for op in each.ops)


def _jumps_from(block: Block) -> Iterator[Block]:
    """Yield a block and those that it jumps to, up to the first that does not jump or comes again."""
    seen: set[Block] = set()
    while block not in seen:
        seen.add(block)
        yield block
        if block.terminator == "jump":
            block = block.successors[0]


def demand(condition: Value, truth: bool, decided: Container[Value]) -> dict[Value, bool] | None:
    """Return what each comparison must be for the condition to be `truth`; None if that is not certain.

    Parameters
    ----------
    condition : Value
    truth : bool
    decided : container of Value
        The comparisons.
    """
    wanted: dict[Value, bool] = {}
    pending = [(condition, truth)]
    while pending:
        value, needed = pending.pop()
        if value in decided:
            if wanted.setdefault(value, needed) is not needed:
                return None
        elif value.op == "xor" and value.args[1].op == "const" and value.args[1].attr:
            pending.append((value.args[0], not needed))
        elif (value.op == "or" and not needed) or (value.op == "and" and needed):
            pending += [(arg, needed) for arg in value.args]
        else:
            return None
        if len(wanted) + len(pending) > _MAX_LEAVES:
            return None
    return wanted


def _drop_unreachable(region: Region) -> None:
    before = {block: block.predecessors for block in region.blocks}
    region.blocks = reverse_postorder(region.blocks[0])
    link_predecessors(region.blocks)
    for block in region.blocks:
        places = [before[block].index(other) for other in block.predecessors]
        for phi in block.phis:
            phi.args = [phi.args[place] for place in places]
    phis = [phi for block in region.blocks for phi in block.phis]
    simplify_phis(phis, (value for block in region.blocks for value in block.ops), region.blocks)
    reachable = set(region.blocks)
    region.leaves = {block: target for block, target in region.leaves.items() if block in reachable}
