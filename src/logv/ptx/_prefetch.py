"""Prefetches for loops in strides of the grid, and for blocks that are tiles.

A loop in strides of the grid (``for (i = ...; i < n; i += gridDim.x * blockDim.x)``) reads some lines and
then jumps over what the other blocks read, so the processor's own prefetchers lose track at every iteration,
and most iterations begin on a page that is not in the TLB. The addresses of later iterations are known,
though: the loop over threads is preceded by prefetches of what it will touch some iterations later.

A block that is a tile reads a short piece of each of many rows of an image. The processor's prefetchers
follow neither so many pieces nor the steps from one row to the next, though the next block along x will go on
where each piece ends: each row of threads is preceded by prefetches of what the same row of a later block
will touch.

A prefetch never faults.
"""

from dataclasses import dataclass

from logv.ptx._address import split_address
from logv.ptx._cuts import Stride
from logv.ptx._ir import IMPURE, Access, Value
from logv.ptx._ranges import Ranges
from logv.ptx._regions import PER_THREAD, Region
from logv.ptx._types import VALUE_BITS

CACHE_LINE_BYTES = 64
# Measured on a histogram: 1 ahead gains a factor of 2.3, 2 ahead a little more, 4 ahead nothing beyond that.
_ITERATIONS_AHEAD = 2
_MAX_LINES = 64
_MAX_DEPTH = 12
# Of a tile's rows: measured on stencils whose tiles are 16 and 32 wide. Half of it is late, twice as much is
# gone again when its block comes.
_BYTES_AHEAD = 384
# Wider rows are streams that the processor's own prefetchers follow.
_MAX_ROW_BYTES = 256
# A block that goes by way of shared memory computes nothing while it reads, and reads nothing while it
# computes: the processor's prefetchers lose time at every block.
_MAX_STAGED_BYTES = 1024
# Longer computations of addresses are not done again for a prefetch.
_MAX_SLICE = 48


@dataclass(frozen=True, slots=True)
class Prefetch:
    """What one access will touch: ``base + sum(factor * term)``, from there on `lines` cache lines."""

    base: tuple[tuple[Value, int], ...]
    constant: int
    lines: int
    write: bool


def plan_prefetches(
    region: Region, block: tuple[int, int, int], block_level: set[Value], ranges: Ranges
) -> list[Prefetch]:
    """Return what to prefetch before each run of a region that is a loop in strides of the grid.

    What needs to be computed for that is appended to the region's scalar operations.

    Parameters
    ----------
    region : Region
        Specialised for converged blocks.
    block : tuple of int
    block_level : set of Value
        Values that are the same for a whole block.
    ranges : Ranges
        Of what the region computes.
    """
    # The leaves of a specialised copy are the regions that it was copied from.
    loops = any(target is not None and target.start is region.start for target in region.leaves.values())
    if not loops or block[1] * block[2] > 1:
        return []
    strides = _Strides(region, block_level)
    found: list[Prefetch] = []
    lines = 0
    for value in (value for each in region.blocks for value in each.ops):
        access = value.attr
        if value.op not in ("load", "store") or not isinstance(access, Access) or access.space != "global":
            continue
        prefetch = _plan(value.args[0], access, value.op == "store", block[0], strides, ranges)
        if prefetch is not None and prefetch.lines + lines <= _MAX_LINES:
            lines += prefetch.lines
            found.append(prefetch)
    return found


@dataclass(frozen=True, slots=True)
class RowPrefetch:
    """What a row of threads of a later block will touch by one access.

    Attributes
    ----------
    operations : list of Value
        Compute the address for the row's first thread, in this order.
    address : Value
    access : Access
    offsets : list of int
        From what the first thread touches to a byte of each line.
    write : bool
    """

    operations: list[Value]
    address: Value
    access: Access
    offsets: list[int]
    write: bool


def plan_row_prefetches(region: Region, block: tuple[int, int, int]) -> list[RowPrefetch]:
    """Return what to prefetch before each row of threads, where blocks are tiles, or go by shared memory."""
    staged = any(
        isinstance(value.attr, Access) and value.attr.space == "shared"
        for each in region.blocks
        for value in each.ops
    )
    if block[1] * block[2] == 1 and not staged:
        return []
    longest = _MAX_STAGED_BYTES if staged else _MAX_ROW_BYTES
    threads, places = Stride("tid.x"), Stride("ctaid.x")
    own = {value for each in region.blocks for value in (*each.phis, *each.ops)}
    found: list[RowPrefetch] = []
    for value in (value for each in region.blocks for value in each.ops):
        access = value.attr
        if value.op not in ("load", "store") or not isinstance(access, Access) or access.space != "global":
            continue
        address = value.args[0]
        row = access.size * block[0]
        if row > longest or threads.of(address) != access.size or places.of(address) != row:
            continue
        if any(other.address is address and _near(other.access, access) for other in found):
            continue
        operations = _slice(address, own)
        if operations is not None:
            # The line of a row's last byte: the one of its first byte is the last line of the block before.
            last = (1 - -_BYTES_AHEAD // row) * row - 1
            offsets = list(range(last, last - row, -CACHE_LINE_BYTES))
            found.append(RowPrefetch(operations, address, access, offsets, value.op == "store"))
    return found


def _near(one: Access, other: Access) -> bool:
    return abs(one.offset - other.offset) < CACHE_LINE_BYTES


def _slice(address: Value, own: set[Value]) -> list[Value] | None:
    """Return those of `own` that compute a value, in order; None if they are many, or not only pure ones."""
    order: dict[Value, None] = {}
    pending = [address]
    while pending:
        value = pending[-1]
        missing = [arg for arg in value.args if arg in own and arg not in order]
        if value.op in IMPURE or value.op in PER_THREAD or len(order) > _MAX_SLICE:
            return None
        if missing:
            pending += missing
            continue
        pending.pop()
        if value in own:
            order[value] = None
    return list(order)


def _plan(
    address: Value, access: Access, write: bool, threads: int, strides: "_Strides", ranges: Ranges
) -> Prefetch | None:
    split = split_address(address, access.space, access.offset, access.size, ranges)
    base: list[tuple[Value, int]] = []
    ahead: list[tuple[Value, int]] = []
    slope = 0
    for term, factor in (*split.unbounded, *split.bounded):
        if _is_thread(term):
            slope += factor
            continue
        stride = strides.of(term, _MAX_DEPTH) if strides.scalar(term) else None
        if stride is None:
            return None
        base.append((term, factor))
        if stride.op != "const":
            ahead.append((stride, factor * _ITERATIONS_AHEAD))
    touched = slope * (threads - 1) + access.size
    if slope < 0 or not any(strides.spans_grid(stride, _MAX_DEPTH) for stride, _ in ahead):
        return None
    return Prefetch((*base, *ahead), split.constant, -(-touched // CACHE_LINE_BYTES), write)


def _is_thread(term: Value) -> bool:
    while term.op in ("zext", "sext", "cvta"):
        term = term.args[0]
    return term.op == "special" and term.attr == "tid.x"


class _Strides:
    """By how much scalars of a region grow from one iteration to the next."""

    def __init__(self, region: Region, block_level: set[Value]) -> None:
        self._region = region
        self._block_level = block_level
        self._scalars = set(region.scalar_ops)
        self._zero = Value("const", "i64", [], 0)
        self._known: dict[Value, Value | None] = {}
        self._next: dict[object, Value] = {}
        for leave, target in region.leaves.items():
            if target is not None and target.start is region.start:
                for value in leave.ops:
                    if value.op == "pend":
                        self._next[value.attr] = value.args[0]

    def scalar(self, value: Value) -> bool:
        """Whether all threads of a block have the same."""
        return value.op in ("const", "param") or value in self._scalars or value in self._block_level

    def of(self, value: Value, depth: int) -> Value | None:
        """Return the growth as an i64 (a hint: wrapping is ignored), or None if it is not known."""
        if value.op in ("const", "param") or value in self._block_level:
            return self._zero
        if depth == 0 or value not in self._scalars:
            return None
        if value not in self._known:
            self._known[value] = self._derive(value, depth)
        return self._known[value]

    def _derive(self, value: Value, depth: int) -> Value | None:
        if value.op == "slot":
            after = self._next.get(value.attr)
            if after is None or not self.scalar(after):
                return None
            return self._wide(self._make("sub", value.type, after, value))
        parts = [self.of(arg, depth - 1) for arg in value.args]
        if None in parts:
            return None
        left, *rest = (part for part in parts if part is not None)
        if value.op in ("sext", "zext", "trunc", "cvta"):
            return left
        if value.op in ("add", "sub") and (left.op != "const" or rest[0].op != "const"):
            return self._make(value.op, "i64", left, rest[0])
        if value.op in ("mul", "shl") and rest[0].op == "const" and left.op != "const":
            factor = value.args[1]
            return self._make(value.op, "i64", left, self._wide(factor))
        return self._zero if all(part.op == "const" for part in (left, *rest)) else None

    def _wide(self, value: Value) -> Value:
        if value.type == "i64":
            return value
        if value.op == "const" and isinstance(value.attr, int):
            top = VALUE_BITS[value.type] - 1
            return Value("const", "i64", [], (value.attr - (value.attr >> top << top + 1)) & ((1 << 64) - 1))
        return self._make("sext", "i64", value)

    def _make(self, op: str, kind: str, *args: Value) -> Value:
        made = Value(op, kind, list(args))
        self._region.scalar_ops.append(made)
        self._scalars.add(made)
        return made

    def spans_grid(self, value: Value, depth: int) -> bool:
        """Whether a stride depends on the number of blocks."""
        if value.op == "special":
            return str(value.attr).startswith("nctaid")
        return depth > 0 and any(self.spans_grid(arg, depth - 1) for arg in value.args)
