"""Chooses loops to run in lockstep: all threads do one iteration before any does the next.

Run one thread after the other, a loop that walks memory in strides of the grid touches every cache
line once for each thread. In lockstep, neighbouring threads touch neighbouring bytes, and the loop
over threads vectorises.
"""

from collections.abc import Container

from logv.ptx._graph import Graph, Loop
from logv.ptx._ir import Access, Block, Value

# A loop body larger than this has enough work of its own.
_MAX_BODY = 2_000
_MAX_DEPTH = 48
# Narrower blocks have no neighbours worth running side by side.
_MIN_WIDTH = 4


class Stride:
    """How much a value grows from one thread to the next along x: an integer, or None if not constant.

    Parameters
    ----------
    special : str
        What else to count instead of threads, as ``ctaid.x``.
    """

    def __init__(self, special: str = "tid.x") -> None:
        self._special = special
        self._known: dict[Value, int | None] = {}

    def of(self, value: Value, depth: int = 0) -> int | None:
        if value not in self._known:
            if depth > _MAX_DEPTH:
                return None
            self._known[value] = None
            self._known[value] = self._find(value, depth + 1)
        return self._known[value]

    def _find(self, value: Value, depth: int) -> int | None:
        op, args = value.op, value.args
        if op in ("const", "param"):
            return 0
        if op == "special":
            return int(value.attr == self._special)
        if op in ("load", "atom", "collect", "reload"):
            return None
        if op == "phi":
            return self._of_phi(value, depth)
        strides = [self.of(arg, depth) for arg in args]
        if op in ("cvta", "sext", "zext", "trunc", "bitcast"):
            return strides[0]
        if all(stride == 0 for stride in strides):
            return 0
        if None in strides:
            return None
        first, second = strides[0] or 0, (strides[1] or 0) if len(strides) > 1 else 0
        if op in ("smin", "smax"):
            # A clamp: in the middle of the grid it does nothing.
            return first or second
        if op == "add":
            return first + second
        if op == "sub":
            return first - second
        if op in ("mul", "shl") and args[1].op == "const" and isinstance(args[1].attr, int):
            return first * args[1].attr if op == "mul" else first << args[1].attr
        return None

    def _of_phi(self, phi: Value, depth: int) -> int | None:
        """Of a loop's phi: the stride of its start; steps are looked at where they are added."""
        assert phi.block is not None
        starts = [
            self.of(arg, depth)
            for arg, before in zip(phi.args, phi.block.predecessors, strict=True)
            if before.index < phi.block.index
        ]
        return starts[0] if starts and all(start == starts[0] for start in starts) else None


class Lockstep:
    """Says which loops had better run in lockstep.

    Parameters
    ----------
    graph : Graph
    divergent : set of Value
    width : int
        Block dimension x.
    """

    def __init__(self, graph: Graph, divergent: set[Value], width: int) -> None:
        self._wide = width >= _MIN_WIDTH
        self._divergent = divergent
        self._stride = Stride()
        self._positional = _depending_on_place(graph)

    def gains(self, loop: Loop) -> bool:
        """Whether threads of most blocks leave the loop together, and touch neighbouring memory in it."""
        return (
            self._wide
            and _stays_together(loop, self._divergent, self._positional)
            and _pays(loop, self._divergent, self._stride)
        )


def choose_cuts(graph: Graph, divergent: set[Value], width: int, apart: Container[Block]) -> set[Block]:
    """Return where regions begin besides barriers: headers of loops in lockstep, and what follows them.

    A loop with a barrier, or around another loop in lockstep, is in lockstep itself. Cutting before and
    after it keeps the decision to go on out of the loop over threads, and its code in one region.

    Parameters
    ----------
    graph : Graph
    divergent : set of Value
    width : int
        Block dimension x.
    apart : container of Block
        Headers of loops that threads do not enter in step.
    """
    if not graph.reducible or any(loop.depth > _MAX_DEPTH for loop in graph.loops):
        return set()
    lockstep = Lockstep(graph, divergent, width)
    cuts: set[Block] = set()
    for loop in reversed(graph.loops):
        waits = any(block.terminator == "barrier" or block in cuts for block in loop.blocks)
        if waits or (loop.header not in apart and lockstep.gains(loop)):
            cuts.add(loop.header)
            for block in loop.blocks:
                cuts.update(
                    after for after in block.successors if after not in loop.blocks and not _ends(after)
                )
    return cuts - {block.successors[0] for block in graph.blocks if block.terminator == "barrier"}


def _depending_on_place(graph: Graph) -> set[Value]:
    """Values computed from the block's place in the grid, not by way of memory."""
    users: dict[Value, list[Value]] = {}
    pending: list[Value] = []
    for block in graph.blocks:
        for value in (*block.phis, *block.ops):
            if value.op == "special" and str(value.attr).startswith("ctaid"):
                pending.append(value)
            elif value.op not in ("load", "atom"):
                for arg in value.args:
                    users.setdefault(arg, []).append(value)
    found = set(pending)
    while pending:
        for user in users.get(pending.pop(), ()):
            if user not in found:
                found.add(user)
                pending.append(user)
    return found


def _stays_together(loop: Loop, divergent: set[Value], positional: set[Value]) -> bool:
    """Whether the threads of most blocks leave the loop together."""
    for block in loop.blocks:
        if all(after in loop.blocks for after in block.successors) or block.condition is None:
            continue
        pending = [block.condition]
        while pending:
            value = pending.pop()
            if value not in divergent:
                continue
            if value.op in ("and", "or", "xor") and value.type == "i1":
                pending += value.args
            elif value.op != "icmp" or value not in positional:
                return False
    return True


def _ends(block: Block) -> bool:
    return block.terminator == "exit" and not block.ops


def _pays(loop: Loop, divergent: set[Value], stride: Stride) -> bool:
    """Whether neighbouring threads touch neighbouring memory that one thread alone would stride over."""
    if sum(len(block.ops) for block in loop.blocks) > _MAX_BODY:
        return False
    neighbours = 0
    for block in loop.blocks:
        for value in block.ops:
            if value.op not in ("load", "store", "atom"):
                continue
            access = value.attr
            assert isinstance(access, Access)
            step = stride.of(value.args[0])
            if access.space in ("const", "local", "param"):
                return False
            if value.op != "atom" and step == access.size:
                neighbours += 1
            elif (
                value.op != "atom"
                and step is None
                and value.args[0] in divergent
                and access.space == "global"
            ):
                neighbours -= 1
    return neighbours > 0
