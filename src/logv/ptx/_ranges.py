"""Interval analysis: bounds of integer values that hold whatever a kernel's inputs are.

Address masking rests on this: only types, constants and block dimensions count, never branch
conditions or anything read from memory beyond its width.
"""

from logv.ptx._ir import Access, Value
from logv.ptx._types import VALUE_BITS

Interval = tuple[int, int]


def full(kind: str) -> Interval:
    """Return the signed interval of an integer type."""
    half = 1 << (VALUE_BITS[kind] - 1)
    return -half, half - 1


def _fits(interval: Interval, kind: str) -> bool:
    low, high = full(kind)
    return low <= interval[0] and interval[1] <= high


class Ranges:
    """Signed intervals of values; to be asked in an order in which arguments come first.

    Parameters
    ----------
    block : tuple of int
        Block dimensions.
    """

    def __init__(self, block: tuple[int, int, int]) -> None:
        self._block = block
        self._known: dict[Value, Interval] = {}

    def of(self, value: Value) -> Interval:
        """Return what is known; the type's interval where nothing is."""
        known = self._known.get(value)
        if known is not None:
            return known
        if value.op == "const" and isinstance(value.attr, int):
            bits = VALUE_BITS[value.type]
            number = value.attr - (1 << bits) if value.attr >> (bits - 1) else value.attr
            return number, number
        return full(value.type)

    def note(self, value: Value) -> None:
        """Work out a value's interval from its arguments' and keep it."""
        if not value.type.startswith("i") or value.type == "i1":
            return
        found = self._find(value)
        if found is not None and _fits(found, value.type):
            self._known[value] = found

    def sum_flags(self, value: Value) -> str:
        """Return the ``nuw``/``nsw`` flags that hold for an add, mul or shl by its intervals."""
        if value.op == "shl":
            shift = self._constant(value.args[1])
            if shift is None:
                return ""
            low, high = self.of(value.args[0])
            exact: Interval | None = (low << shift, high << shift)
        else:
            exact = self._find(value)
        if exact is None or not _fits(exact, value.type):
            return ""
        positive = all(self.of(arg)[0] >= 0 for arg in value.args) and exact[0] >= 0
        return " nuw nsw" if positive and value.op != "sub" else " nsw"

    @staticmethod
    def _constant(value: Value) -> int | None:
        return value.attr if value.op == "const" and isinstance(value.attr, int) else None

    def _find(self, value: Value) -> Interval | None:
        op, args = value.op, value.args
        if op == "special":
            name, _, axis = str(value.attr).partition(".")
            return (0, self._block["xyz".index(axis)] - 1) if name == "tid" else None
        if op == "load" and isinstance(value.attr, Access):
            return None
        if op in ("cvta", "sext", "freeze"):
            return self.of(args[0])
        if op == "zext":
            if args[0].type == "i1":
                return 0, 1
            low, high = self.of(args[0])
            return (low, high) if low >= 0 else (0, (1 << VALUE_BITS[args[0].type]) - 1)
        if op == "trunc":
            return self.of(args[0])
        if op == "select":
            (a, b), (c, d) = self.of(args[1]), self.of(args[2])
            return min(a, c), max(b, d)
        if op in ("ctpop", "ctlz"):
            return 0, VALUE_BITS[value.type]
        if len(args) != 2 or op in ("icmp", "fcmp"):
            return None
        return self._binary(op, self.of(args[0]), self.of(args[1]), args[1])

    def _binary(self, op: str, left: Interval, right: Interval, other: Value) -> Interval | None:
        (a, b), (c, d) = left, right
        if op == "add":
            return a + c, b + d
        if op == "sub":
            return a - d, b - c
        if op == "mul":
            products = (a * c, a * d, b * c, b * d)
            return min(products), max(products)
        if op == "and":
            tops = [high for low, high in (left, right) if low >= 0]
            return (0, min(tops)) if tops else None
        if op in ("or", "xor") and a >= 0 and c >= 0:
            return 0, (1 << max(b, d).bit_length()) - 1
        if op == "smin":
            return min(a, c), min(b, d)
        if op == "smax":
            return max(a, c), max(b, d)
        if op == "umin" and (a >= 0 or c >= 0):
            return 0, min(high for low, high in (left, right) if low >= 0)
        if op == "umax" and a >= 0 and c >= 0:
            return max(a, c), max(b, d)
        shift = self._constant(other)
        if shift is not None:
            if op == "shl":
                return a << shift, b << shift
            if op == "ashr" or (op == "lshr" and a >= 0):
                return a >> shift, b >> shift
            if op == "lshr" and shift:
                return 0, (1 << (VALUE_BITS[other.type] - shift)) - 1
        if op in ("urem", "srem") and c > 0 and (op == "srem" or a >= 0):
            return (0 if a >= 0 else 1 - d), d - 1
        if op in ("udiv", "sdiv") and c > 0 and a >= 0:
            return 0, b
        return None
