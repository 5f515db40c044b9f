"""Finds kernels whose neighbouring blocks can run as one that is several times as wide.

Small blocks walk memory in short pieces: the rows of a block of 32 x 8 threads are 128 bytes long, too
short for the processor's prefetchers, and much of a vectorised loop's time goes into its ends. Where a
kernel asks for its place in x only by ``ctaid.x * ntid.x + tid.x``, threads of different blocks do not differ
otherwise, and nothing says in which order they run. So a run of blocks of one row of the grid is compiled
as one block: ``ctaid.x`` is that of the first, ``tid.x`` counts on through all of them. The sum is the same
for every thread, and no operation changes.
"""

from dataclasses import dataclass, replace

from logv.ptx._ir import Access, Function, Value
from logv.ptx._types import VALUE_BITS

# Threads of all blocks that run together. Rows of some kilobytes keep the prefetchers busy, loops in strides
# of the grid gain up to here (64 KiB of each array), and what all rows touch stays in a second-level cache.
_MAX_THREADS = 16384
# By these a thread can wait for one of another block, which must then be able to run first, or for its own.
_MEETING = frozenset({"atom", "fence", "publish", "collect", "counted"})
# Memory that each block, or each thread, has for itself.
_OWN = frozenset({"shared", "local", "generic"})
_LINEAR = frozenset({"add", "sub", "mul", "shl", "or", "zext", "sext", "trunc"})


def blocks_together(function: Function, block: tuple[int, int, int]) -> int:
    """Return how many neighbours in x may run as one block, where that makes no difference; else 1.

    Parameters
    ----------
    function : Function
        Lowered for the block. Where the answer is more than 1, sums written as ``or`` become sums.
    block : tuple of int
    """
    x, y, z = block
    count = _MAX_THREADS // (x * y * z)
    if count <= 1 or not all(_is_alone(value) for each in function.blocks for value in each.ops):
        return 1
    if any(each.meeting is not None for each in function.blocks):
        return 1
    places = _Places(x)
    if not places.found_only_together(function):
        return 1
    for value in places.sums:
        value.op = "add"
    return count


def strides_over_grid(function: Function) -> bool:
    """Whether loops may go on in strides of the grid.

    A group of blocks is no wider than the stride, so its threads leave such a loop in two iterations at most.
    Those that leave one by one (``for (j = 0; j < i; j++)``) had better be few at a time.
    """
    return any(
        value.op == "special" and value.attr == "nctaid.x" for block in function.blocks for value in block.ops
    )


def _is_alone(value: Value) -> bool:
    """Whether a thread can do this without noticing any other."""
    access = value.attr
    return value.op not in _MEETING and not (
        isinstance(access, Access) and (access.volatile or access.space in _OWN)
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A value that is ``ctaid * ctaid.x + tid * tid.x`` and something else, modulo its type's size.

    `plain` if it is one of the two and nothing else, so that it stays the same in a larger type.
    """

    ctaid: int
    tid: int
    plain: bool = False


class _Places:
    """Follows ``ctaid.x`` and ``tid.x`` until they are added up.

    Parameters
    ----------
    width : int
        Block dimension x.

    Attributes
    ----------
    sums : list of Value
        Operations ``or`` that add.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._parts: dict[Value, _Part] = {}
        self.sums: list[Value] = []

    def found_only_together(self, function: Function) -> bool:
        """Whether nothing is made of the two but ``k * (ntid.x * ctaid.x + tid.x)``."""
        for block in function.blocks:
            for value in block.ops:
                if not self._note(value):
                    return False
        blocks = function.blocks
        if any(block.condition in self._parts for block in blocks):
            return False
        return not any(arg in self._parts for block in blocks for phi in block.phis for arg in phi.args)

    def _note(self, value: Value) -> bool:
        """Work out what an operation is made of; False if more than a sum."""
        if value.op == "special":
            if value.attr in ("ctaid.x", "tid.x"):
                self._parts[value] = _Part(int(value.attr == "ctaid.x"), int(value.attr == "tid.x"), True)
            return True
        if not any(arg in self._parts for arg in value.args):
            return True
        part = self._combine(value)
        if part is None:
            return False
        size = 1 << VALUE_BITS[value.type]
        # The same for a thread whichever block of the group it is counted from.
        if (part.ctaid - part.tid * self._width) % size:
            self._parts[value] = replace(part, ctaid=part.ctaid % size, tid=part.tid % size)
        return True

    def _combine(self, value: Value) -> _Part | None:
        op = value.op
        if op not in _LINEAR:
            return None
        left = self._parts.get(value.args[0], _Part(0, 0))
        if op == "trunc":
            return _Part(left.ctaid, left.tid)
        if op in ("zext", "sext"):
            # Both are below 2^31.
            return left if left.plain else None
        right = self._parts.get(value.args[1], _Part(0, 0))
        if op in ("mul", "shl"):
            factor = value.args[1]
            if op == "mul" and value.args[1] in self._parts:
                left, factor = right, value.args[0]
            if factor.op != "const" or not isinstance(factor.attr, int):
                return None
            scale = factor.attr if op == "mul" else 1 << factor.attr
            return _Part(left.ctaid * scale, left.tid * scale)
        if op == "or" and not self._adds(value, left, right):
            return None
        sign = -1 if op == "sub" else 1
        return _Part(left.ctaid + sign * right.ctaid, left.tid + sign * right.tid)

    def _adds(self, value: Value, left: _Part, right: _Part) -> bool:
        """Whether an ``or`` joins ``tid.x`` to a multiple of what is above it."""
        number, base = (value.args[1], value.args[0]) if right.plain else (value.args[0], value.args[1])
        part = self._parts.get(number)
        if part is None or not part.plain or not part.tid or base.op != "shl" or base not in self._parts:
            return False
        shift = base.args[1].attr
        if not isinstance(shift, int) or 1 << shift < self._width:
            return False
        self.sums.append(value)
        return True
