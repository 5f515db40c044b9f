"""Decides how each region hands over to the next: by scalar code, or thread by thread.

If all threads of a region go the same way, the way and the new values of uniform counters are worked
out once, after the loop over threads. Otherwise each thread notes its next region, and a scheduler runs
the regions until all threads have left.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from logv.ptx._converge import Converger
from logv.ptx._divergence import Divergence
from logv.ptx._fission import Part, split_at_guards
from logv.ptx._graph import Graph
from logv.ptx._ir import Block, Value
from logv.ptx._regions import Region, RegionBuilder, hoist

# Larger regions would take longer to compile once more than most kernels run.
_MAX_SPECIALIZED_OPS = 2_500


@dataclass(slots=True)
class Step:
    """One node of the scalar way through a region: follow `branch`, `jump`, or leave for `target`."""

    updates: list[Value]
    branch: tuple[Value, Block, Block] | None = None
    jump: Block | None = None
    target: Region | None = None


@dataclass(slots=True)
class RegionPlan:
    """How one region ends.

    Attributes
    ----------
    steps : dict of Block to Step
        Scalar way, beginning at the region's first block; empty if there is none.
    pending : list of Value
        Counter updates made in any case, where there is no scalar way.
    region : Region
    scheduled : bool
        Threads note their next region one by one, and only those that noted this region run it.
    fast : RegionPlan or None
        A specialised copy, for blocks whose threads all decide alike.
    parts : list of Part
        The loops over threads, where they are several.
    """

    region: Region
    steps: dict[Block, Step] = field(default_factory=dict)
    pending: list[Value] = field(default_factory=list)
    scheduled: bool = False
    fast: "RegionPlan | None" = None
    parts: list[Part] = field(default_factory=list)


class Plan:
    """Plans of all regions, and the counters that turned out not to be worked out by scalar code.

    Parameters
    ----------
    builder : RegionBuilder
    divergence : Divergence

    Attributes
    ----------
    regions : dict of Region to RegionPlan
    demoted : set of Value
        Uniform phis that must be kept for each thread; everything is to be planned again without them.
    joins : set of Block
        Blocks where regions should begin, because uniform counters merge there.
    specialized : bool
        Whether the copies for converged blocks are planned as well.
    """

    def __init__(self, builder: RegionBuilder, divergence: Divergence) -> None:
        self.demoted: set[Value] = set()
        self.joins: set[Block] = set()
        self.specialized = False
        self._builder = builder
        self._block_level = builder.classes.block_level
        self.regions: dict[Region, RegionPlan] = {}
        for region in builder.regions:
            self.regions[region] = self._plan(region)
        if self.demoted or self.joins:
            return
        self._schedule(divergence)

    @property
    def scheduled(self) -> bool:
        """Whether threads of any region go their own ways."""
        return any(plan.scheduled for plan in self.regions.values())

    def specialize(self, block: tuple[int, int, int], *, rows_part: bool) -> None:
        """Plan copies for converged blocks, where they would be better than the general ones.

        Parameters
        ----------
        block : tuple of int
        rows_part : bool
            See :class:`logv.ptx._converge.Converger`.
        """
        self.specialized = True
        for region, plan in self.regions.items():
            plan.fast = self._specialize(region, block, plan.scheduled, rows_part)
            usual = plan.fast or plan
            if not usual.scheduled and _size(usual.region) <= _MAX_SPECIALIZED_OPS:
                usual.parts = split_at_guards(usual.region, block, self._block_level)

    def _specialize(
        self, region: Region, block: tuple[int, int, int], scheduled: bool, rows_part: bool
    ) -> RegionPlan | None:
        """Plan a copy of a region; None where it would be no better than the general one."""
        if _size(region) > _MAX_SPECIALIZED_OPS:
            return None
        copy = self._builder.copy(region)
        Converger(self._builder, copy, block, rows_part=rows_part).apply()
        if not copy.checks and not copy.bounds and not scheduled:
            return None
        hoist(copy, self._block_level)
        walk = _Walk(copy, self._block_level)
        if not walk.found or walk.partial or any(self._unknown(copy, walk)):
            return None
        return RegionPlan(copy, walk.steps)

    @staticmethod
    def _unknown(region: Region, walk: "_Walk") -> Iterator[Value]:
        """Counter updates that scalar code cannot make."""
        for block in region.blocks:
            for value in block.ops:
                if value.op in ("update", "pend") and (
                    block not in walk.steps or not walk.scalar(value.args[0])
                ):
                    yield value

    def _plan(self, region: Region) -> RegionPlan:
        plan = RegionPlan(region)
        walk = _Walk(region, self._block_level)
        if walk.found:
            plan.steps = walk.steps
            plan.scheduled = walk.partial
            for value in self._unknown(region, walk):
                self._demote(value)
            return plan
        plan.scheduled = True
        unique: dict[object, Value] = {}
        for block in region.blocks:
            for value in block.ops:
                if value.op == "update":
                    self._demote(value)
                elif value.op == "pend":
                    known = unique.setdefault(value.attr, value)
                    if known.args[0] is not value.args[0] or not walk.scalar(value.args[0]):
                        self._demote(value)
        plan.pending = list(unique.values())
        return plan

    def _demote(self, value: Value) -> None:
        """Give up on one update of a counter: cut the region where it is merged, or demote it."""
        phi = value.attr
        assert isinstance(phi, Value)
        assert phi.block is not None
        if value.op == "update" and value.args[0].op == "phi" and phi.block not in self._builder.cuts:
            self.joins.add(phi.block)
        else:
            self.demoted.add(phi)

    def _schedule(self, divergence: Divergence) -> None:
        """Close the set of scheduled regions: threads that parted stay so until they meet again."""
        gathers = {region for region in self.regions if divergence.gathers(region.start)}
        for region, plan in self.regions.items():
            # Only the dispatcher counts threads at barriers that do not wait for all.
            meeting = region.meeting
            plan.scheduled |= meeting is not None and not meeting.of_warp and not meeting.is_plain
        pending = [region for region, plan in self.regions.items() if plan.scheduled]
        while pending:
            for target in pending.pop().leaves.values():
                if target is not None and target not in gathers and not self.regions[target].scheduled:
                    self.regions[target].scheduled = True
                    pending.append(target)


def _size(region: Region) -> int:
    return sum(len(block.ops) + 1 for block in region.blocks)


class _Walk:
    """Follows a region's control flow as far as scalar values decide it."""

    def __init__(self, region: Region, block_level: set[Value]) -> None:
        self.steps: dict[Block, Step] = {}
        self.partial = False
        self._region = region
        self._graph = Graph(region.blocks)
        self._available = set(region.scalar_ops) | block_level
        self._loops = {loop.header: loop for loop in self._graph.loops}
        self._waiting = self._reach_waiting()
        self.found = self._graph.reducible and self._walk()

    def scalar(self, value: Value) -> bool:
        """Whether the value is known outside the loop over threads."""
        return value.op == "const" or value in self._available

    def _reach_waiting(self) -> set[Block]:
        stack = [block for block, target in self._region.leaves.items() if target is not None]
        found = set(stack)
        while stack:
            for before in stack.pop().predecessors:
                if before not in found:
                    found.add(before)
                    stack.append(before)
        return found

    def _walk(self) -> bool:
        pending = [self._region.blocks[0]]
        while pending:
            block = pending.pop()
            if block in self.steps:
                continue
            step = self._step(block)
            if step is None:
                return False
            self.steps[block] = step
            if step.branch is not None:
                pending.extend(step.branch[1:])
            elif step.jump is not None:
                pending.append(step.jump)
        return True

    def _step(self, block: Block) -> Step | None:
        updates = [value for value in block.ops if value.op in ("update", "pend")]
        if block in self._loops:
            inside = self._loops[block].blocks
            after = self._graph.post_dominator[block.index]
            while after >= 0 and self._graph.blocks[after] in inside:
                after = self._graph.post_dominator[after]
            # Threads may go round different numbers of times, but meet where the loop ends.
            return None if after < 0 else Step(updates, jump=self._graph.blocks[after])
        if block.terminator == "leave":
            return Step(updates, target=self._region.leaves[block])
        if block.terminator == "trap":
            return Step(updates)
        if block.terminator == "jump":
            return Step(updates, jump=block.successors[0])
        assert block.condition is not None
        yes, no = block.successors
        if self.scalar(block.condition):
            return Step(updates, branch=(block.condition, yes, no))
        waiting = [successor for successor in (yes, no) if successor in self._waiting]
        if not waiting:
            return Step(updates)
        if len(waiting) == 1:
            self.partial = True
            return Step(updates, jump=waiting[0])
        join = self._graph.post_dominator[block.index]
        return None if join < 0 else Step(updates, jump=self._graph.blocks[join])
