"""Cuts a kernel into regions: what every thread of a block runs before any runs the next region.

A region begins at the entry, after a barrier, or at the header of a loop that runs in lockstep, and ends
at the next of these. It owns a copy of the blocks in between. Values that come from an earlier region
are recomputed if they depend on parameters, thread numbers and uniform counters only; uniform counters
live in scalar slots; the rest is kept in arrays with one element for each thread.
"""

from collections.abc import Container
from dataclasses import dataclass, field

from logv.errors import PtxError
from logv.ptx._graph import Graph
from logv.ptx._ir import IMPURE, Block, Value, link_predecessors, reverse_postorder, simplify_phis
from logv.ptx._liveness import Liveness
from logv.ptx._meeting import Meeting

# Regions copy blocks: bounds what hostile control flow can blow a kernel up to.
MAX_REGION_OPS = 60_000
MAX_REGIONS = 512
PER_THREAD = frozenset({"reload", "spill", "update", "pend"})


@dataclass(frozen=True, slots=True)
class Bound:
    """What a copy demands of each thread by its number on one axis.

    Attributes
    ----------
    check : Value
        Scalar condition: all threads of the block meet the demand.
    axis : str
    lower, upper : Value or None
        The threads from `lower` to before `upper` meet it (i64 scalars).
    idle : bool
        The others have nothing to do in the region: they end, or go on to where all go.
    ends : str
        Of an upper bound in x: ``before`` if the others end and do nothing, ``after`` if they do the same and
        end then. Otherwise empty.
    """

    check: Value
    axis: str
    lower: Value | None
    upper: Value | None
    idle: bool
    ends: str


@dataclass(eq=False, slots=True)
class Region:
    """One region.

    Attributes
    ----------
    index : int
    start : Block
        The block of the function where it begins.
    meeting : Meeting or None
        What threads wait for there, if they do.
    scalar_ops : list of Value
        Evaluated once for each run of the region.
    blocks : list of Block
        What each thread runs, in reverse post-order. ``leave`` blocks end it; their `condition` is None
        and :attr:`leaves` says where they go.
    leaves : dict of Block to Region or None
        Next region; None ends the thread.
    checks : list of Value
        Scalar conditions under which this copy may run (see :mod:`logv.ptx._converge`).
    bounds : list of Bound
        The threads that it may run for.
    exits : list of Value
        Scalar conditions under which all threads of a block leave at once, having done nothing.
    """

    index: int
    start: Block
    meeting: Meeting | None
    scalar_ops: list[Value] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    leaves: "dict[Block, Region | None]" = field(default_factory=dict)
    checks: list[Value] = field(default_factory=list)
    bounds: list[Bound] = field(default_factory=list)
    exits: list[Value] = field(default_factory=list)


class RegionBuilder:
    """Builds all regions of a function.

    Parameters
    ----------
    graph : Graph
    divergent : set of Value
    cuts : set of Block
        Where regions begin besides barriers.
    outliving : set of Value
        See :class:`logv.ptx._divergence.Divergence`.
    """

    def __init__(
        self, graph: Graph, divergent: set[Value], cuts: set[Block], outliving: Container[Value]
    ) -> None:
        self.graph = graph
        self.cuts = cuts
        self.classes = Liveness(graph, divergent, cuts, outliving)
        self.by_start: dict[Block, Region] = {}
        self._work = 0
        self.positional = self._depending_on_place()
        self._form()
        for region in self.regions:
            _Copier(self, region).run()
            hoist(region, self.classes.block_level)

    @property
    def regions(self) -> list[Region]:
        """All regions; lower numbers run first where there is a choice."""
        return list(self.by_start.values())

    def copy(self, region: Region) -> Region:
        """Return another copy of a region's code, to be specialised."""
        other = Region(region.index, region.start, region.meeting)
        _Copier(self, other).run()
        hoist(other, self.classes.block_level)
        return other

    def _depending_on_place(self) -> set[Value]:
        """Block-level values that depend on the block's place in the grid."""
        found: set[Value] = set()
        for block in self.graph.blocks:
            for value in block.ops:
                if value in self.classes.block_level and (
                    (value.op == "special" and str(value.attr).startswith("ctaid"))
                    or any(arg in found for arg in value.args)
                ):
                    found.add(value)
        return found

    def _form(self) -> None:
        graph = self.graph
        meetings = {
            block.successors[0]: block.meeting for block in graph.blocks if block.terminator == "barrier"
        }
        starts = self.cuts.union(meetings)
        if len(starts) >= MAX_REGIONS:
            raise PtxError(f"more than {MAX_REGIONS} barriers, warp operations and loops")
        for index, block in enumerate([graph.blocks[0], *self._in_order(starts)]):
            self.by_start[block] = Region(index, block, meetings.get(block))

    def _in_order(self, starts: set[Block]) -> list[Block]:
        """Sort so that threads that are behind catch up with the others.

        Blocks come after those that lead to them, a loop's header after everything in the loop.
        """
        chains: dict[Block, list[int]] = {block: [] for block in starts}
        for loop in self.graph.loops:  # outer loops first
            for block in starts:
                if block in loop.blocks:
                    chains[block].append(loop.header.index)

        def key(block: Block) -> list[tuple[int, int]]:
            # Within each loop, what lies deeper sorts at the place of its outermost loop's header; the
            # loop's own header comes last.
            chain = chains[block]
            if chain and chain[-1] == block.index:
                return [*((0, header) for header in chain), (1, 0)]
            return [*((0, header) for header in chain), (0, block.index)]

        return sorted(starts, key=key)

    def count(self, amount: int) -> None:
        """Count copied operations against the bound."""
        self._work += amount
        if self._work > MAX_REGION_OPS:
            raise PtxError(
                "the kernel is too large: barriers and loops multiply its code beyond what is compiled"
            )


class _Copier:
    """Copies the blocks of one region and connects them to what comes from outside."""

    def __init__(self, builder: RegionBuilder, region: Region) -> None:
        self._builder = builder
        self._region = region
        self._classes = builder.classes
        stop = set(builder.by_start) - {region.start}
        self._originals = reverse_postorder(region.start, stop)
        self._inside = set(self._originals)
        self._copies: dict[Block, Block] = {}
        self._values: dict[Value, Value] = {}
        self._outside: dict[Value, Value] = {}
        self._head: list[Value] = []
        self._phis: list[Value] = []
        self._conflicts: set[Value] = set()

    def run(self) -> None:
        builder, region = self._builder, self._region
        builder.count(sum(len(block.ops) + len(block.phis) + 1 for block in self._originals))
        for index, block in enumerate(self._originals):
            self._copies[block] = Block(index)
        live = self._classes.live_in[region.start]
        # Values that come from outside and are also made anew inside need phis where both meet.
        conflicts = [
            value
            for value in self._classes.values_in(live)
            if value.block in self._inside and value.block is not region.start
        ]
        self._conflicts = set(conflicts)
        current: dict[Block, dict[Value, Value]] = {}
        late: list[tuple[Value, Block, Value]] = []
        builder.count(len(conflicts) * len(self._originals))
        for block in self._originals:
            copy = self._copies[block]
            before = self._before(block)
            if block is region.start:
                values = {value: self._import(value) for value in conflicts}
            elif len(before) == 1:
                values = dict(current[before[0]])
            else:
                values = {}
                for value in conflicts:
                    if not self._classes.is_live_in(value, block):
                        continue
                    merged = self._new_phi(copy, value.type)
                    values[value] = merged
                    late.extend((merged, other, value) for other in before)
            current[block] = values
            self._copy_phis(block, copy, before, values, late, current)
            for value in block.ops:
                self._copy_op(value, copy, values)
            copy.terminator = block.terminator
            if block.condition is not None:
                copy.condition = self._get(block.condition, values)
        for phi, other, value in late:
            phi.args.append(self._get(value, current[other]))
        self._connect(current)
        copies = [self._copies[self._originals[0]]]
        copies[0].ops[:0] = self._head
        region.blocks = reverse_postorder(copies[0])
        link_predecessors(region.blocks)
        self._order_phi_args(current)
        simplify_phis(self._phis, (value for block in region.blocks for value in block.ops), region.blocks)

    def _before(self, block: Block) -> list[Block]:
        if block is self._region.start:
            return []
        return [
            other for other in block.predecessors if other in self._inside and other.terminator != "barrier"
        ]

    def _order_phi_args(self, current: dict[Block, dict[Value, Value]]) -> None:
        """Put phi arguments in the order of the copies' predecessors."""
        for original in self._originals:
            copy = self._copies[original]
            before = [self._copies[other] for other in self._before(original)]
            if before != copy.predecessors:
                places = [before.index(other) for other in copy.predecessors]
                for phi in copy.phis:
                    phi.args = [phi.args[place] for place in places]

    # -- values -------------------------------------------------------------------------------------

    def _new_phi(self, copy: Block, kind: str) -> Value:
        phi = Value("phi", kind, [])
        phi.block = copy
        copy.phis.append(phi)
        self._phis.append(phi)
        return phi

    def _get(self, value: Value, values: dict[Value, Value]) -> Value:
        if value.op == "const" or value in self._classes.block_level:
            return value
        found = values.get(value)
        if found is not None:
            return found
        found = self._values.get(value)
        if found is not None:
            return found
        return self._import(value)

    def _import(self, value: Value) -> Value:
        """Make a value of an earlier region available at the start of this one."""
        stack = [value]
        outside, classes = self._outside, self._classes
        while stack:
            wanted = stack[-1]
            if wanted in outside or wanted.op == "const" or wanted in classes.block_level:
                stack.pop()
                continue
            if wanted in classes.counters:
                made = Value("slot", wanted.type, [], wanted)
            elif wanted in classes.spilled:
                made = Value("reload", wanted.type, [], classes.spilled[wanted])
            else:
                missing = [
                    arg
                    for arg in wanted.args
                    if arg not in outside and arg.op != "const" and arg not in classes.block_level
                ]
                if missing:
                    stack.extend(missing)
                    continue
                args = [outside.get(arg, arg) for arg in wanted.args]
                made = Value(wanted.op, wanted.type, args, wanted.attr)
            self._head.append(made)
            outside[wanted] = made
            stack.pop()
        return outside.get(value, value)

    def _copy_phis(
        self,
        block: Block,
        copy: Block,
        before: list[Block],
        values: dict[Value, Value],
        late: list[tuple[Value, Block, Value]],
        current: dict[Block, dict[Value, Value]],
    ) -> None:
        made: list[tuple[Value, Value]] = []
        for phi in block.phis:
            if block is self._region.start:
                new = self._import(phi)
                self._values[phi] = new
                continue
            if len(before) == 1:
                arg = phi.args[block.predecessors.index(before[0])]
                new = self._get(arg, current[before[0]])
            else:
                new = self._new_phi(copy, phi.type)
                late.extend((new, other, phi.args[block.predecessors.index(other)]) for other in before)
            made.append((phi, new))
        for phi, new in made:
            self._values[phi] = new
            if phi in self._conflicts:
                values[phi] = new
            self._note(phi, new, copy)

    def _copy_op(self, value: Value, copy: Block, values: dict[Value, Value]) -> None:
        if value in self._classes.block_level:
            return
        new = Value(value.op, value.type, [self._get(arg, values) for arg in value.args], value.attr)
        new.block = copy
        copy.ops.append(new)
        self._values[value] = new
        if value in self._conflicts:
            values[value] = new
        self._note(value, new, copy)

    def _note(self, value: Value, new: Value, copy: Block) -> None:
        """Keep a new value for later regions."""
        classes = self._classes
        if value in classes.counters:
            copy.ops.append(Value("update", "", [new], value))
        elif value in classes.spilled:
            slot = classes.spilled[value]
            if not (new.op == "reload" and new.attr is slot):
                copy.ops.append(Value("spill", "", [new], slot))

    # -- control flow -------------------------------------------------------------------------------

    def _connect(self, current: dict[Block, dict[Value, Value]]) -> None:
        region, by_start = self._region, self._builder.by_start
        for block in self._originals:
            copy = self._copies[block]
            if block.terminator == "barrier":
                copy.terminator = "jump"
                copy.successors = [self._leave(by_start[block.successors[0]], block, None, current)]
            elif block.terminator == "exit":
                copy.terminator = "jump"
                copy.successors = [self._leave(None, block, None, current)]
            elif block.terminator != "trap":
                copy.successors = [
                    self._copies[successor]
                    if successor in self._inside and successor is not region.start
                    else self._leave(by_start[successor], block, successor, current)
                    for successor in block.successors
                ]

    def _leave(
        self,
        target: Region | None,
        source: Block,
        header: Block | None,
        current: dict[Block, dict[Value, Value]],
    ) -> Block:
        leave = Block(len(self._copies) + len(self._region.leaves), terminator="leave")
        self._region.leaves[leave] = target
        if header is None:
            return leave
        # Read all arguments before any phi changes: they are values here, so the order is free.
        for phi in header.phis:
            new = self._get(phi.args[header.predecessors.index(source)], current[source])
            if phi in self._classes.counters:
                leave.ops.append(Value("pend", "", [new], phi))
            elif phi in self._classes.spilled:
                slot = self._classes.spilled[phi]
                if not (new.op == "reload" and new.attr is slot):
                    leave.ops.append(Value("spill", "", [new], slot))
        return leave


def hoist(region: Region, block_level: set[Value]) -> None:
    """Move what is the same for all threads out of the loop over threads."""
    scalar = set(region.scalar_ops)
    for block in region.blocks:
        kept: list[Value] = []
        for value in block.ops:
            uniform = (
                (value.op in ("slot", "counted") or value.op not in IMPURE)
                and value.op not in PER_THREAD
                and not (value.op == "special" and str(value.attr).startswith("tid"))
                and all(arg.op == "const" or arg in scalar or arg in block_level for arg in value.args)
            )
            if uniform:
                scalar.add(value)
                region.scalar_ops.append(value)
            else:
                kept.append(value)
        block.ops = kept
