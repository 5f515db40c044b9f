"""Which values outlive a region, and how each of them gets to the next one."""

from collections.abc import Container

from logv.errors import PtxError
from logv.ptx._builder import set_bits
from logv.ptx._graph import Graph
from logv.ptx._ir import IMPURE, Block, Value

# Bounds the product of blocks and values that hostile text can demand (bits).
_MAX_BITS = 1 << 30
# More operations than this are kept for each thread rather than computed again in each region.
_MAX_RECOMPUTED = 48
# Too slow to be computed again.
EXPENSIVE = frozenset({"sdiv", "udiv", "srem", "urem", "fdiv", "sqrt"})


class SlotClass:
    """An array with one element for each thread; `index` numbers the arrays of a kernel."""

    __slots__ = ("index", "type")

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.type = kind


class Liveness:
    """Classes of values, and liveness at block starts.

    Parameters
    ----------
    graph : Graph
    divergent : set of Value
    cuts : set of Block
    outliving : set of Value
        See :class:`logv.ptx._divergence.Divergence`.

    Attributes
    ----------
    block_level : set of Value
        Functions of parameters and block number: computed once for each block of threads.
    counters : set of Value
        Uniform phis that cross regions: one scalar each.
    spilled : dict of Value to SlotClass
        Values kept for each thread. Values joined by a phi share an array where they never meet.
    live_in : dict of Block to int
        Bit set of live values; :meth:`values_in` names them.
    """

    def __init__(
        self, graph: Graph, divergent: set[Value], cuts: set[Block], outliving: Container[Value]
    ) -> None:
        self.block_level: set[Value] = set()
        self.counters: set[Value] = set()
        self.spilled: dict[Value, SlotClass] = {}
        self.live_in: dict[Block, int] = {}
        self._live_out: dict[Block, int] = {}
        self._numbers: dict[Value, int] = {}
        self._values: list[Value] = []
        self._recomputed: dict[Value, int] = {}
        self._leaves: dict[Value, frozenset[Value]] = {}
        self._classify(graph, divergent, outliving)
        self._number(graph)
        self._solve(graph)
        starts = [b.successors[0] for b in graph.blocks if b.terminator == "barrier"] + list(cuts)
        self._place(graph, divergent, cuts, starts)

    def values_in(self, mask: int) -> list[Value]:
        """Return the values that a bit set names."""
        return [self._values[bit] for bit in set_bits(mask)]

    def is_live_in(self, value: Value, block: Block) -> bool:
        """Whether the value is needed at the start of the block."""
        number = self._numbers.get(value)
        return number is not None and bool(self.live_in[block] >> number & 1)

    def _classify(self, graph: Graph, divergent: set[Value], outliving: Container[Value]) -> None:
        for block in graph.blocks:
            for value in block.ops:
                if value.op in IMPURE or not value.type:
                    continue
                if value not in divergent and all(
                    arg.op == "const" or arg in self.block_level for arg in value.args
                ):
                    self.block_level.add(value)
                    continue
                if value not in outliving:
                    self._try_recompute(value, divergent)

    def _try_recompute(self, value: Value, divergent: set[Value]) -> None:
        if value in divergent and value.op in EXPENSIVE:
            return
        cost = 1
        leaves: set[Value] = set()
        for arg in value.args:
            if arg.op == "const" or arg in self.block_level:
                continue
            if arg in self._recomputed:
                cost += self._recomputed[arg]
                leaves |= self._leaves[arg]
            elif arg.op == "phi" and arg not in divergent:
                leaves.add(arg)
            else:
                return
        if cost <= _MAX_RECOMPUTED:
            self._recomputed[value] = cost
            self._leaves[value] = frozenset(leaves)

    def _number(self, graph: Graph) -> None:
        def note(value: Value, block: Block | None) -> None:
            if value.op == "const" or value in self.block_level or value.block is block:
                return
            for each in (value, *self._leaves.get(value, ())):
                if each not in self._numbers:
                    self._numbers[each] = len(self._values)
                    self._values.append(each)

        for block in graph.blocks:
            for phi in block.phis:
                for arg in phi.args:
                    note(arg, None)
            for value in block.ops:
                for arg in value.args:
                    note(arg, block)
            if block.condition is not None:
                note(block.condition, block)
        if len(self._values) * len(graph.blocks) > _MAX_BITS:
            raise PtxError("the control flow is too complex: too many values live across branches")

    def _mask(self, value: Value) -> int:
        number = self._numbers.get(value)
        if number is None:
            return 0
        mask = 1 << number
        for leaf in self._leaves.get(value, ()):
            mask |= 1 << self._numbers[leaf]
        return mask

    def _solve(self, graph: Graph) -> None:
        exposed: dict[Block, int] = {}
        kept: dict[Block, int] = {}
        on_edges: dict[Block, int] = dict.fromkeys(graph.blocks, 0)
        own_phis: dict[Block, int] = {}
        for block in graph.blocks:
            uses = 0
            for value in block.ops:
                for arg in value.args:
                    if arg.block is not block:
                        uses |= self._mask(arg)
            if block.condition is not None and block.condition.block is not block:
                uses |= self._mask(block.condition)
            defined = 0
            for value in (*block.phis, *block.ops):
                if value in self._numbers:
                    defined |= 1 << self._numbers[value]
            for phi in block.phis:
                for arg, before in zip(phi.args, block.predecessors, strict=True):
                    on_edges[before] |= self._mask(arg)
            exposed[block] = uses
            kept[block] = ~defined
            own_phis[block] = ~sum(1 << self._numbers[phi] for phi in block.phis if phi in self._numbers)
        live_in, live_out = self.live_in, self._live_out
        for block in graph.blocks:
            live_in[block] = live_out[block] = 0
        pending = list(graph.blocks)
        queued = set(pending)
        while pending:
            block = pending.pop()
            queued.discard(block)
            after = on_edges[block]
            for successor in block.successors:
                after |= live_in[successor] & own_phis[successor]
            now = exposed[block] | after & kept[block]
            live_out[block] = after
            if now != live_in[block]:
                live_in[block] = now
                for before in block.predecessors:
                    if before not in queued:
                        queued.add(before)
                        pending.append(before)

    def _place(self, graph: Graph, divergent: set[Value], cuts: set[Block], starts: list[Block]) -> None:
        crossing_mask = 0
        for block in starts:
            crossing_mask |= self.live_in[block]
        crossing = self.values_in(crossing_mask)
        crossing += [phi for block in graph.blocks if block in cuts for phi in block.phis]
        spilled: list[Value] = []
        for value in dict.fromkeys(crossing):
            if value.op == "phi" and value not in divergent:
                self.counters.add(value)
            elif value not in self._recomputed:
                spilled.append(value)
        shared = self._coalesce(spilled, starts)
        arrays: dict[Value, SlotClass] = {}
        for value in spilled:
            root = shared[value]
            if root not in arrays:
                arrays[root] = SlotClass(len(arrays), root.type)
            self.spilled[value] = arrays[root]

    def _coalesce(self, spilled: list[Value], starts: list[Block]) -> dict[Value, Value]:
        """Let a phi and its arguments share an array unless both are needed at one time."""
        members: dict[Value, list[Value]] = {value: [value] for value in spilled}
        root: dict[Value, Value] = {value: value for value in spilled}

        def live(value: Value, mask: int) -> bool:
            number = self._numbers.get(value)
            return number is not None and bool(mask >> number & 1)

        def meet(left: Value, right: Value) -> bool:
            for one, other in ((left, right), (right, left)):
                assert one.block is not None
                if live(other, self._live_out[one.block]):
                    return True
            return any(
                live(left, self.live_in[start]) and live(right, self.live_in[start]) for start in starts
            )

        # Phis that take the same value share an array through it, even if it has none itself.
        takers: dict[Value, Value] = {}
        for phi in spilled:
            if phi.op != "phi":
                continue
            for taken in phi.args:
                arg = taken if taken in root else takers.setdefault(taken, phi)
                if root[arg] is root[phi] or arg.type != phi.type or taken.op == "const":
                    continue
                ours, theirs = members[root[phi]], members[root[arg]]
                if len(ours) * len(theirs) > 256 or any(meet(a, b) for a in ours for b in theirs):
                    continue
                for value in theirs:
                    root[value] = root[phi]
                members[root[phi]] = ours + theirs
        return root
