"""The intermediate representation: basic blocks of typed values in static single assignment form.

Types are LLVM's (``i1 i8 i16 i32 i64 i128 float double``). Operations are named after LLVM's
instructions and intrinsics where they mean the same; none can trap or yield poison as the lowering
builds them (shift amounts are below the width, divisors are not zero).
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from logv.ptx._meeting import Meeting

# Operations whose result does not depend on their arguments only.
IMPURE = frozenset({"load", "store", "atom", "fence", "phi", "livein", "publish", "collect", "counted"})

# Operations that somebody else can notice.
EFFECTS = frozenset({"store", "atom", "fence", "publish", "spill", "update", "pend"})


class Value:
    """One operation and its result.

    Attributes
    ----------
    op : str
        The operation; ``const``, ``param``, ``special``, ``phi``, ``load``, ``store``, ``atom``,
        ``fence``, ``cvta``, ``publish``, ``collect``, ``counted`` (see :mod:`logv.ptx._meeting`) or the name
        of an arithmetic operation.
    type : str
        Type of the result; empty if there is none.
    args : list of Value
        Arguments; of a phi, one for each predecessor in the block's order.
    attr : object
        What else the operation needs: bits of a constant, a predicate, a :class:`Access`.
    block : Block or None
        Where it stands; None for constants.
    """

    __slots__ = ("args", "attr", "block", "op", "type")

    def __init__(self, op: str, kind: str, args: "list[Value]", attr: object = None) -> None:
        self.op = op
        self.type = kind
        self.args = args
        self.attr = attr
        self.block: Block | None = None

    def __repr__(self) -> str:
        return f"<{self.op} {self.type} {self.attr!r} at {id(self):#x}>"


@dataclass(frozen=True, slots=True)
class Access:
    """How a load, store or atomic reaches memory.

    Attributes
    ----------
    space : str
        ``global``, ``shared``, ``local``, ``const``, ``param`` or ``generic``; ``timer`` for a load that
        reads one instead of memory.
    size : int
        Bytes.
    offset : int
        Constant added to the address.
    volatile : bool
        Every access counts, in order.
    operation : str
        Of an atomic: ``add``, ``min``, ...; of a timer, which.
    line, text : int, str
        The statement, for errors found after lowering.
    candidates : tuple of str
        Of a generic access after :func:`logv.ptx._spaces.resolve_generic`: the spaces it may mean.
    """

    space: str
    size: int
    offset: int
    volatile: bool = False
    operation: str = ""
    line: int = 0
    text: str = ""
    candidates: tuple[str, ...] = ()


@dataclass(eq=False, slots=True)
class Block:
    """A basic block. `terminator` is ``jump branch barrier exit trap``; `successors` in branch order.

    `meeting` says what threads do together at a ``barrier``; None elsewhere.
    """

    index: int
    phis: list[Value] = field(default_factory=list)
    ops: list[Value] = field(default_factory=list)
    terminator: str = "exit"
    condition: Value | None = None
    successors: "list[Block]" = field(default_factory=list)
    predecessors: "list[Block]" = field(default_factory=list)
    meeting: Meeting | None = None


@dataclass(slots=True)
class Function:
    """One entry in SSA form; `blocks` in reverse post-order, the entry first, unreachable ones dropped.

    `operations` is how many were made of the text, dropped ones included.
    """

    name: str
    blocks: list[Block]
    operations: int


def reverse_postorder(entry: Block, stop: "frozenset[Block] | set[Block]" = frozenset()) -> list[Block]:
    """Return the blocks reachable from `entry` in reverse post-order, not entering those in `stop`.

    A block that ends at a barrier has no successors here if its successor is in `stop`.
    """
    seen = {entry}
    order: list[Block] = []
    stack: list[tuple[Block, int]] = [(entry, 0)]
    while stack:
        block, position = stack.pop()
        if position < len(block.successors):
            stack.append((block, position + 1))
            successor = block.successors[position]
            if successor not in seen and successor not in stop:
                seen.add(successor)
                stack.append((successor, 0))
        else:
            order.append(block)
    order.reverse()
    return order


def link_predecessors(blocks: Iterable[Block]) -> None:
    """Recompute every block's predecessors from the successors."""
    blocks = list(blocks)
    for block in blocks:
        block.predecessors = []
    for block in blocks:
        for successor in dict.fromkeys(block.successors):
            successor.predecessors.append(block)


def drop_unused(blocks: Iterable[Block]) -> None:
    """Drop operations that nothing depends on."""
    blocks = list(blocks)
    needed: set[Value] = set()
    pending = [block.condition for block in blocks if block.condition is not None]
    pending += [
        value for block in blocks for value in block.ops if value.op in ("load", "atom") or not value.type
    ]
    while pending:
        value = pending.pop()
        if value not in needed:
            needed.add(value)
            pending += value.args
    for block in blocks:
        block.phis = [phi for phi in block.phis if phi in needed]
        block.ops = [value for value in block.ops if value in needed]


def simplify_phis(phis: Iterable[Value], others: Iterable[Value], blocks: Iterable[Block]) -> None:
    """Replace phis that merge one value only, everywhere, until none is left.

    Parameters
    ----------
    phis : iterable of Value
        The phis to look at.
    others : iterable of Value
        Every operation that may use one.
    blocks : iterable of Block
        Blocks whose conditions may use one, and whose phi lists are cleaned.
    """
    blocks = list(blocks)
    users: dict[Value, list[Value]] = {}
    # In program order: a chain of phis then collapses from its start, in one pass.
    pending = list(phis)[::-1]
    queued = set(pending)
    for phi in pending:
        for arg in phi.args:
            if arg.op == "phi":
                users.setdefault(arg, []).append(phi)
    replaced: dict[Value, Value] = {}

    def find(value: Value) -> Value:
        path = []
        while value in replaced:
            path.append(value)
            value = replaced[value]
        for step in path:
            replaced[step] = value
        return value

    while pending:
        phi = pending.pop()
        queued.discard(phi)
        if phi in replaced:
            continue
        same: Value | None = None
        for arg in phi.args:
            found = find(arg)
            if found is phi or found is same:
                continue
            if same is not None:
                break
            same = found
        else:
            if same is not None:
                replaced[phi] = same
                again = [user for user in users.pop(phi, ()) if user not in replaced]
                pending.extend(user for user in again if user not in queued)
                queued.update(again)
                if same.op == "phi":
                    users.setdefault(same, []).extend(again)
    if not replaced:
        return
    for block in blocks:
        block.phis = [phi for phi in block.phis if phi not in replaced]
        if block.condition is not None:
            block.condition = find(block.condition)
        for phi in block.phis:
            phi.args = [find(arg) for arg in phi.args]
    for value in others:
        value.args = [find(arg) for arg in value.args]
