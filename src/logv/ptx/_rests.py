"""Gives blocks whose threads all skip the rest of an unrolled loop a copy of the loop without one.

A compiler that unrolls ``for (i = start + tid; i < end; i += ntid)`` by four first runs a rest of
``(end - start - tid - 1) / ntid + 1 & 3`` iterations. By the look of it each thread has a rest of its own,
and parts from its neighbours for the whole loop. But a quotient is the same for all threads if it is the
same at both ends of the block, and then most often there is no rest. So the way there is split by a question
that the whole block answers alike, and behind it lies a copy of the loop that all threads enter in step.
"""

from logv.ptx._cuts import Lockstep
from logv.ptx._divergence import Divergence
from logv.ptx._graph import Graph
from logv.ptx._ir import IMPURE, Block, Function, Value, reverse_postorder
from logv.ptx._types import VALUE_BITS

_AXES = "xyz"
# Longer computations of a rest are not looked at.
_MAX_DEPTH = 12
_MAX_OPERATIONS = 32
# How far the threads of a block may be apart: less than half of what 32 bits hold.
_MAX_SPREAD = 1 << 30
# Operations; when the copies in a kernel are more, no other is made.
_MAX_COPIED = 500
# Bounds what hostile text can make of the search.
_MAX_ASKING = 32
# Guards between a rest and its loop.
_MAX_GUARDS = 4

_Place = tuple[int, int, int]


def split_rests(function: Function, block: _Place) -> set[Block]:
    """Copy loops behind rests; return the headers of those that threads now enter out of step.

    Parameters
    ----------
    function : Function
        Lowered for the block.
    block : tuple of int
    """
    apart: set[Block] = set()
    asked: set[Value] = set()
    copied = 0
    while copied <= _MAX_COPIED:
        asking = [
            each
            for each in function.blocks
            if each.condition is not None and each.condition not in asked and _divides(each.condition)
        ]
        if not asking:
            break
        graph = Graph(function.blocks)
        divergence = Divergence(graph, ())
        if divergence.entangled or not graph.reducible:
            break
        lockstep = Lockstep(graph, divergence.divergent, block[0])
        for branch in asking[:_MAX_ASKING]:
            assert branch.condition is not None
            asked.add(branch.condition)
            question = _Question(branch, divergence.divergent, block)
            rest = _Rest.find(graph, branch, lockstep) if question.found else None
            if rest is not None and rest.is_closed(function):
                rest.split(question.skips(branch.successors[0] is rest.after))
                apart.update(rest.headers)
                function.blocks = reverse_postorder(function.blocks[0])
                copied += sum(len(each.ops) for each in rest.blocks)
                break
        else:
            break
    return apart


def _divides(condition: Value) -> bool:
    """Whether a condition hangs on a quotient."""
    pending = [condition]
    for value in pending:
        if value.op in ("lshr", "udiv"):
            return True
        if value.op not in IMPURE and len(pending) <= _MAX_OPERATIONS:
            pending += value.args
    return False


class _Question:
    """Whether all threads of a block go the same way at a branch, by the quotients that decide it."""

    def __init__(self, branch: Block, divergent: set[Value], block: _Place) -> None:
        self._branch = branch
        self._divergent = divergent
        self._block = block
        self._known: dict[tuple[Value, _Place], Value] = {}
        self._slopes: dict[Value, _Place | None] = {}
        # In order, each once.
        self._quotients: dict[Value, None] = {}
        self.found = self._collect()

    def skips(self, wanted: bool) -> Value:
        """Append to the branch's block whether all threads find the condition to be `wanted`."""
        assert self._branch.condition is not None
        answer = self._at(self._branch.condition, (0, 0, 0))
        if not wanted:
            answer = self._make("xor", "i1", [answer, Value("const", "i1", [], 1)])
        for quotient in self._quotients:
            low, high = self._ends(quotient.args[0])
            first, last = self._at(quotient.args[0], low), self._at(quotient.args[0], high)
            # The ends are less than the numbers' range apart, so they are in order only if nothing wraps
            # between them; then all other threads' numbers lie between.
            ordered = self._make("icmp", "i1", [first, last], "ule")
            same = self._make("icmp", "i1", [self._at(quotient, low), self._at(quotient, high)], "eq")
            answer = self._make("and", "i1", [answer, self._make("and", "i1", [ordered, same])])
        return answer

    def _collect(self) -> bool:
        """Collect the quotients; whether nothing else that differs between threads decides."""
        assert self._branch.condition is not None
        pending = [self._branch.condition]
        for value in pending:
            if value not in self._divergent:
                continue
            if value.op in ("lshr", "udiv") and self._may_agree(value):
                self._quotients[value] = None
            elif value.op in IMPURE or value.op == "special" or len(pending) > _MAX_OPERATIONS:
                return False
            else:
                pending += value.args
        return bool(self._quotients)

    def _may_agree(self, quotient: Value) -> bool:
        """Whether numbers as far apart as those of a block's threads can have the same quotient."""
        number, by = quotient.args
        if quotient.type not in ("i32", "i64") or by.op != "const" or not isinstance(by.attr, int):
            return False
        slope = self._slope(number, _MAX_DEPTH)
        if slope is None:
            return False
        divisor = by.attr if quotient.op == "udiv" else 1 << by.attr
        spread = sum(abs(each) * (extent - 1) for each, extent in zip(slope, self._block, strict=True))
        return spread < min(divisor, _MAX_SPREAD)

    def _slope(self, value: Value, depth: int) -> _Place | None:
        """How a number grows with the thread's on each axis, modulo its type's size; None if not linearly."""
        if value not in self._divergent:
            return (0, 0, 0)
        if value not in self._slopes:
            self._slopes[value] = self._find_slope(value, depth)
        return self._slopes[value]

    def _find_slope(self, value: Value, depth: int) -> _Place | None:
        op, args = value.op, value.args
        if depth == 0 or op in IMPURE:
            return None
        if op == "special":
            name = str(value.attr)
            return _unit(name) if name.startswith("tid.") else None
        if op in ("sext", "zext"):
            # A thread's number is the same in a larger type.
            return self._slope(args[0], depth - 1) if args[0].op == "special" else None
        if op not in ("add", "sub", "mul", "shl", "xor"):
            return None
        left, right = (self._slope(arg, depth - 1) for arg in args)
        if left is None or right is None:
            return None
        if op in ("add", "sub"):
            sign = 1 if op == "add" else -1
            x, y, z = (a + sign * b for a, b in zip(left, right, strict=True))
            return x, y, z
        factor = args[1].attr if args[1].op == "const" else None
        if not isinstance(factor, int):
            return None
        bits = VALUE_BITS[value.type]
        signed = factor - (factor >> (bits - 1) << bits)
        if op == "xor" and signed != -1:
            return None
        # -1 - x, where all bits are turned round.
        scale = signed if op != "shl" else 1 << factor
        x, y, z = (scale * each for each in left)
        return x, y, z

    def _ends(self, number: Value) -> tuple[_Place, _Place]:
        """Return the threads whose numbers are the least and the greatest."""
        slope = self._slope(number, _MAX_DEPTH)
        assert slope is not None
        last = [extent - 1 for extent in self._block]
        low = [end if each < 0 else 0 for each, end in zip(slope, last, strict=True)]
        high = [end - other for other, end in zip(low, last, strict=True)]
        return (low[0], low[1], low[2]), (high[0], high[1], high[2])

    def _at(self, value: Value, thread: _Place) -> Value:
        """Compute what one thread has."""
        if value not in self._divergent:
            return value
        if value.op == "special":
            return Value("const", value.type, [], thread[_AXES.index(str(value.attr)[-1])])
        known = self._known.get((value, thread))
        if known is None:
            args = [self._at(arg, thread) for arg in value.args]
            known = self._known[value, thread] = self._make(value.op, value.type, args, value.attr)
        return known

    def _make(self, op: str, kind: str, args: list[Value], attr: object = None) -> Value:
        made = Value(op, kind, args, attr)
        made.block = self._branch
        self._branch.ops.append(made)
        return made


def _unit(special: str) -> _Place:
    x, y, z = (int(axis == special[-1]) for axis in _AXES)
    return x, y, z


class _Rest:
    """A branch around a loop, and the part of the kernel behind it that is to be copied.

    Attributes
    ----------
    after : Block
        Where threads go that skip the rest.
    blocks : list of Block
        From there to the end of another loop, in reverse post-order.
    headers : list of Block
        Of all loops in the rest and behind it.
    """

    def __init__(
        self, branch: Block, after: Block, blocks: list[Block], end: Block, headers: list[Block]
    ) -> None:
        self.after = after
        self.blocks = blocks
        self.headers = headers
        self._branch = branch
        self._end = end
        self._inside = set(blocks)
        self._copies: dict[Block, Block] = {}
        self._values: dict[Value, Value] = {}

    @classmethod
    def find(cls, graph: Graph, branch: Block, lockstep: Lockstep) -> "_Rest | None":
        """Find a loop that is skipped, and another behind it that had better run in lockstep."""
        if graph.post_dominator[branch.index] < 0:
            return None
        after = graph.blocks[graph.post_dominator[branch.index]]
        if after not in branch.successors:
            return None
        skipped = {each for other in branch.successors for each in reverse_postorder(other, {after})} - {
            after
        }
        rests = [loop.header for loop in graph.loops if loop.header in skipped]
        if not rests or branch in skipped:
            return None
        found = cls._behind(graph, branch, after, lockstep)
        if found is None:
            return None
        blocks, end, headers = found
        return cls(branch, after, blocks, end, [*rests, *headers])

    @staticmethod
    def _behind(
        graph: Graph, branch: Block, after: Block, lockstep: Lockstep
    ) -> tuple[list[Block], Block, list[Block]] | None:
        """Return the blocks up to the end of the first loop, the one behind, and the loops' headers."""
        place = graph.post_dominator[after.index]
        for _ in range(_MAX_GUARDS):
            if place < 0:
                break
            end = graph.blocks[place]
            blocks = reverse_postorder(after, {end})
            inside = set(blocks)
            if branch in inside or any(each.terminator == "barrier" for each in blocks):
                return None
            loops = [loop for loop in graph.loops if loop.header in inside]
            if loops and not any(end in loop.blocks for loop in loops):
                if not any(lockstep.gains(loop) for loop in loops):
                    return None
                return blocks, end, [loop.header for loop in loops]
            place = graph.post_dominator[place]
        return None

    def is_closed(self, function: Function) -> bool:
        """Whether what is computed there goes on by way of phis at the end only."""
        for block in function.blocks:
            if block in self._inside:
                continue
            used = [arg for value in block.ops for arg in value.args]
            for phi in block.phis:
                args = zip(phi.args, block.predecessors, strict=True)
                used += [arg for arg, before in args if before not in self._inside]
            if block.condition is not None:
                used.append(block.condition)
            if any(arg.block in self._inside for arg in used):
                return False
        return True

    def split(self, skips: Value) -> None:
        """Make threads take the copy if `skips` is true."""
        branch, end = self._branch, self._end
        asks = Block(0, terminator="branch", condition=branch.condition, successors=branch.successors)
        for after in asks.successors:
            after.predecessors = [asks if each is branch else each for each in after.predecessors]
        self._copies = {block: Block(0, terminator=block.terminator) for block in self.blocks}
        asks.predecessors = [branch]
        branch.condition, branch.successors = skips, [self._copies[self.after], asks]
        for block, copy in self._copies.items():
            self._begin(block, copy, asks)
        for block, copy in self._copies.items():
            for value, made in zip(block.ops, copy.ops, strict=True):
                made.args = [self._values.get(arg, arg) for arg in value.args]
            for phi in copy.phis:
                phi.args = [self._values.get(arg, arg) for arg in phi.args]
            if block.condition is not None:
                copy.condition = self._values.get(block.condition, block.condition)
            copy.successors = [self._copies.get(each, each) for each in block.successors]
        for phi in end.phis:
            args = zip(phi.args, end.predecessors, strict=True)
            phi.args = [*phi.args, *(self._values.get(a, a) for a, before in args if before in self._inside)]
        end.predecessors = [
            *end.predecessors,
            *(self._copies[before] for before in end.predecessors if before in self._inside),
        ]

    def _begin(self, block: Block, copy: Block, asks: Block) -> None:
        """Make a block's values, with the arguments that they have in the original."""
        kept = [
            place for place, each in enumerate(block.predecessors) if each is asks or each in self._inside
        ]
        before = [block.predecessors[place] for place in kept]
        copy.predecessors = [self._copies.get(each, self._branch) for each in before]
        for phi in block.phis:
            args = [phi.args[place] for place in kept]
            if len(args) == 1:
                self._values[phi] = self._values.get(args[0], args[0])
                continue
            self._values[phi] = made = Value("phi", phi.type, args)
            made.block = copy
            copy.phis.append(made)
        for value in block.ops:
            self._values[value] = made = Value(value.op, value.type, [], value.attr)
            made.block = copy
            copy.ops.append(made)
