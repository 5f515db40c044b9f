"""Chooses loops to run in lockstep: all threads do one iteration before any does the next.

Run one thread after the other, a loop that walks memory in strides of the grid touches every cache
line once for each thread. In lockstep, neighbouring threads touch neighbouring bytes, and the loop
over threads vectorises.
"""

from logv.ptx._graph import Graph, Loop
from logv.ptx._ir import Access, Block, Value

# A loop body larger than this has enough work of its own.
_MAX_BODY = 2_000
_MAX_DEPTH = 48


class _Stride:
    """How much a value grows from one thread to the next along x: an integer, or None if not constant."""

    def __init__(self) -> None:
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
            return int(value.attr == "tid.x")
        if op in ("load", "atom"):
            return None
        strides = [self.of(arg, depth) for arg in args]
        if op in ("cvta", "sext", "zext", "trunc", "bitcast"):
            return strides[0]
        if op == "phi":
            # The first argument comes from before the loop; steps are looked at where they are added.
            return next((stride for stride in strides if stride is not None), None)
        if all(stride == 0 for stride in strides):
            return 0
        if None in strides:
            return None
        first, second = strides[0] or 0, (strides[1] or 0) if len(strides) > 1 else 0
        if op == "add":
            return first + second
        if op == "sub":
            return first - second
        if op in ("mul", "shl") and args[1].op == "const" and isinstance(args[1].attr, int):
            return first * args[1].attr if op == "mul" else first << args[1].attr
        return None


def choose_cuts(graph: Graph, divergent: set[Value], width: int) -> set[Block]:
    """Return headers of the loops to run in lockstep.

    Parameters
    ----------
    graph : Graph
    divergent : set of Value
    width : int
        Block dimension x.
    """
    if width < 4 or not graph.reducible:
        return set()
    stride = _Stride()
    cuts: set[Block] = set()
    chosen: list[Loop] = []
    for loop in reversed(graph.loops):
        inner = any(other.header in loop.blocks and other is not loop for other in chosen)
        if any(block.terminator == "barrier" for block in loop.blocks):
            if inner:
                chosen.append(loop)
                cuts.add(loop.header)
            continue
        if inner or _pays(loop, divergent, stride):
            chosen.append(loop)
            cuts.add(loop.header)
    return cuts


def _pays(loop: Loop, divergent: set[Value], stride: _Stride) -> bool:
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
            elif value.op != "atom" and step is None and value.args[0] in divergent and access.space == "global":
                neighbours -= 1
    return neighbours > 0
