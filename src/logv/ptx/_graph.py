"""Control-flow analyses: dominators, post-dominators, loops."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from logv.ptx._ir import Block


def _immediate_dominators(order: Sequence[int], before: Sequence[Sequence[int]]) -> list[int]:
    """Cooper, Harvey and Kennedy's iteration; `order` is a reverse post-order, its first node the root.

    Returns the immediate dominator of each node, -1 where the node was not reached; the root is its own.
    """
    rank = {node: position for position, node in enumerate(order)}
    found = [-1] * len(before)
    found[order[0]] = order[0]
    changed = True
    while changed:
        changed = False
        for node in order[1:]:
            best = -1
            for other in before[node]:
                if other not in rank or found[other] < 0:
                    continue
                if best < 0:
                    best = other
                    continue
                left, right = other, best
                while left != right:
                    while rank[left] > rank[right]:
                        left = found[left]
                    while rank[right] > rank[left]:
                        right = found[right]
                best = left
            if best != found[node]:
                found[node] = best
                changed = True
    return found


@dataclass(eq=False, slots=True)
class Loop:
    """A natural loop."""

    header: Block
    blocks: set[Block]
    depth: int = 0
    parent: "Loop | None" = None


@dataclass(slots=True)
class Graph:
    """Blocks in reverse post-order with what is known of their shape.

    Attributes
    ----------
    dominator : list of int
        Immediate dominator of each block, by index.
    post_dominator : list of int
        Immediate post-dominator; -1 where it is the end of the kernel (or there is none).
    loops : list of Loop
        Outer loops before inner ones.
    reducible : bool
        Whether every cycle has a header that dominates it.
    """

    blocks: list[Block]
    dominator: list[int] = field(default_factory=list)
    post_dominator: list[int] = field(default_factory=list)
    loops: list[Loop] = field(default_factory=list)
    reducible: bool = True

    def __post_init__(self) -> None:
        count = len(self.blocks)
        for index, block in enumerate(self.blocks):
            block.index = index
        before = [[other.index for other in block.predecessors] for block in self.blocks]
        self.dominator = _immediate_dominators(range(count), before)
        self.post_dominator = self._post_dominators(count)
        self._find_loops()

    def _post_dominators(self, count: int) -> list[int]:
        # Node `count` is the virtual end that every leaving block leads to.
        after = [[other.index for other in block.successors] or [count] for block in self.blocks]
        before: list[list[int]] = [[] for _ in range(count + 1)]
        for node, nexts in enumerate(after):
            for other in nexts:
                before[other].append(node)
        seen = {count}
        order: list[int] = []
        stack = [(count, 0)]
        while stack:
            node, position = stack.pop()
            if position < len(before[node]):
                stack.append((node, position + 1))
                if (other := before[node][position]) not in seen:
                    seen.add(other)
                    stack.append((other, 0))
            else:
                order.append(node)
        order.reverse()
        found = _immediate_dominators(order, [*after, []])
        return [-1 if node < 0 or node == count else node for node in found[:count]]

    def dominates(self, above: Block, below: Block) -> bool:
        """Whether every path to `below` passes `above`."""
        node = below.index
        while node > above.index:
            node = self.dominator[node]
        return node == above.index

    def post_dominates(self, later: Block, earlier: Block) -> bool:
        """Whether every path from `earlier` to the end passes `later`."""
        node = earlier.index
        for _ in range(len(self.blocks)):
            if node == later.index:
                return True
            if node < 0:
                return False
            node = self.post_dominator[node]
        return False

    def _find_loops(self) -> None:
        bodies: dict[Block, set[Block]] = {}
        for block in self.blocks:
            for successor in block.successors:
                if successor.index > block.index:
                    continue
                if not self.dominates(successor, block):
                    self.reducible = False
                    continue
                body = bodies.setdefault(successor, {successor})
                stack = [block]
                while stack:
                    inside = stack.pop()
                    if inside not in body:
                        body.add(inside)
                        stack.extend(inside.predecessors)
        # By size: a loop comes after every loop that contains it.
        for header, body in sorted(bodies.items(), key=lambda item: -len(item[1])):
            loop = Loop(header, body)
            for outer in reversed(self.loops):
                if header in outer.blocks:
                    loop.parent, loop.depth = outer, outer.depth + 1
                    break
            self.loops.append(loop)
