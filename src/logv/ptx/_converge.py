"""Specialises a region for blocks whose threads all decide alike.

Most blocks of a grid lie in its interior: every thread is inside the image, no index is clamped, and no
32-bit index wraps. Where a comparison or clamp works on ``base + kx*x + ky*y + kz*z`` (thread numbers
times constants), a few scalar checks at both ends of the block settle it for all threads. In the
specialised copy such comparisons are scalars, clamps are gone and indices are linear in 64 bits, so the
loop over threads has no masks and walks memory contiguously. Blocks that fail the checks run the general
copy. The rows of blocks that run together (:mod:`logv.ptx._widen`) are so long that many of them part: what
differs along a row settles a guard there, or it is left to each thread.
"""

from dataclasses import dataclass

from logv.ptx._fission import done_by_few
from logv.ptx._ir import IMPURE, Value
from logv.ptx._regions import PER_THREAD, Bound, Region, RegionBuilder
from logv.ptx._settle import settle_branches
from logv.ptx._types import VALUE_BITS

_AXES = "xyz"
# Deeper index computations than this are left alone.
_MAX_DEPTH = 12
# Threads farther apart than this touch no memory together.
_MAX_SLOPE = 1 << 20
# How far the threads of a block may be apart, so that 32 bits hold the limits that are checked.
_MAX_SPREAD = 1 << 30
# Constant operands of comparisons below: predicate to (exclusive of equality, swapped).
_ORDER = {"lt": (False, False), "le": (True, False), "gt": (False, True), "ge": (True, True)}


@dataclass(frozen=True, slots=True)
class _Affine:
    """``base + slope . thread``; `positional` if the base depends on the block's place in the grid."""

    base: Value
    slope: tuple[int, int, int]
    positional: bool


@dataclass(frozen=True, slots=True)
class _Distance:
    """The comparison ``value + slope . thread <= limit`` (``>=`` if not `most`), in 64 bits."""

    value: Value
    slope: tuple[int, int, int]
    most: bool
    limit: int

    def inverted(self) -> "_Distance":
        """Return the opposite comparison."""
        return _Distance(self.value, self.slope, not self.most, self.limit + (1 if self.most else -1))


@dataclass(frozen=True, slots=True)
class _Span:
    """Bounds of a value over the block, as i64 scalars; `bits` bounds their width."""

    low: Value
    high: Value
    bits: int


class Converger:
    """Applies the specialisation to a freshly copied region.

    Parameters
    ----------
    builder : RegionBuilder
    region : Region
        A copy that nothing else uses.
    block : tuple of int
    rows_part : bool
        Rows of threads are so long that many of them part: what differs along a row is no reason not to
        run the copy, unless it guards work.
    """

    def __init__(
        self, builder: RegionBuilder, region: Region, block: tuple[int, int, int], *, rows_part: bool = False
    ) -> None:
        self._rows_part = rows_part
        self._region = region
        self._block = block
        self._forms: dict[Value, _Affine] = {}
        self._scalars: dict[Value, bool] = dict.fromkeys(builder.classes.block_level, False)
        for value in builder.positional:
            self._scalars[value] = True
        for value in region.scalar_ops:
            self._scalars[value] = any(self._scalars.get(arg, False) for arg in value.args)
        # Comparisons that the whole block answers alike, with scalars that say "all" and "none".
        self.decided: dict[Value, tuple[Value, Value]] = {}
        self._distances: dict[Value, _Distance] = {}
        # What these scalars take for granted: that no operand wraps.
        self._exactly: dict[Value, list[Value]] = {}
        # Those of them that no interior block answers alike: ``thread < half``.
        self._optional: set[Value] = set()
        self._checked: set[Value] = set()
        self._bases: dict[tuple[object, ...], Value] = {}
        self._x_slopes: dict[Value, int] = {}
        self._placed: set[Value] = set()
        self._spans: dict[Value, _Span | None] = {}

    def apply(self) -> None:
        """Rewrite the region's operations; its `checks` say when the copy may run."""
        # Few threads do not take the others with them to the general copy: they keep their clamps.
        few = done_by_few(self._region, self._block)
        for block in self._region.blocks:
            ops: list[Value] = []
            for value in block.ops:
                if block in few and value.op in ("icmp", "smin", "smax"):
                    self._note_x(value)
                    ops.append(value)
                else:
                    ops += self._rewrite(value)
            block.ops = ops
        found = settle_branches(self._region, self.decided, self._optional, self._shortening())
        settled = found.settled
        for value in found.ending:
            holds, fails = self.decided[value]
            leaves = fails if settled[value] else holds
            for exact in self._exactly[value]:
                leaves = self._scalar("and", "i1", [leaves, exact])
            self._region.exits.append(leaves)
        for value, (holds, fails) in self.decided.items():
            if value in settled:
                distance = self._distances[value]
                if not settled[value]:
                    distance = distance.inverted()
                check = holds if settled[value] else fails
                ends = "before" if value in found.ending else "after" if value in found.last else ""
                self._demand(check, distance, idle=value in found.idle, ends=ends)
                _become(value, _constant("i1", int(settled[value])))
            elif value not in self._optional and (value in found.leading or not self._parts_rows(value)):
                self._check(self._scalar("or", "i1", [holds, fails]))
                _become(value, holds)

    # -- forms --------------------------------------------------------------------------------------

    def _shortening(self) -> dict[Value, bool]:
        """Comparisons that the first threads of every row meet, and which way."""
        if not self._rows_part:
            return {}
        return {
            value: distance.most == (distance.slope[0] > 0)
            for value, distance in self._distances.items()
            if distance.slope in ((1, 0, 0), (-1, 0, 0))
        }

    def _parts_rows(self, value: Value) -> bool:
        """Whether a comparison had better be left to each thread of long rows."""
        return self._rows_part and self._distances[value].slope[0] != 0

    def _form(self, value: Value) -> _Affine | None:
        if value.op == "const":
            return _Affine(value, (0, 0, 0), False)
        if value in self._scalars:
            return _Affine(value, (0, 0, 0), self._scalars[value])
        return self._forms.get(value)

    def _note(self, value: Value) -> None:
        op = value.op
        if op == "special" and str(value.attr).startswith("tid"):
            axis = _AXES.index(str(value.attr)[-1])
            x, y, z = (int(axis == place) for place in range(3))
            self._forms[value] = _Affine(_constant(value.type, 0), (x, y, z), False)
            return
        if op not in ("add", "sub", "mul", "shl") or value.type not in ("i32", "i64"):
            return
        left, right = (self._form(arg) for arg in value.args)
        if left is None or right is None:
            return
        if op in ("mul", "shl"):
            factor = value.args[1]
            if factor.op != "const" or not isinstance(factor.attr, int):
                return
            bits = VALUE_BITS[value.type]
            number = factor.attr - (1 << bits) if factor.attr >> (bits - 1) else factor.attr
            scale = number if op == "mul" else 1 << number
            x, y, z = (scale * each for each in left.slope)
        else:
            sign = 1 if op == "add" else -1
            x, y, z = (a + sign * b for a, b in zip(left.slope, right.slope, strict=True))
        low, high = self._ends((x, y, z))
        if max(abs(x), abs(y), abs(z)) > _MAX_SLOPE or high - low > _MAX_SPREAD:
            return
        base = self._scalar(op, value.type, [left.base, right.base])
        self._forms[value] = _Affine(base, (x, y, z), left.positional or right.positional)

    def _scalar(self, op: str, kind: str, args: list[Value], attr: object = None) -> Value:
        """Append a scalar operation, or find the same one again."""
        key = (op, kind, attr, *((arg.op, arg.type, arg.attr) if arg.op == "const" else arg for arg in args))
        value = self._bases.get(key)
        if value is None:
            value = self._bases[key] = Value(op, kind, args, attr)
            self._region.scalar_ops.append(value)
            self._scalars[value] = any(self._scalars.get(arg, False) for arg in args)
        return value

    def _ends(self, slope: tuple[int, int, int]) -> tuple[int, int]:
        """Least and greatest of slope . thread over the block."""
        spans = [each * (extent - 1) for each, extent in zip(slope, self._block, strict=True)]
        return sum(min(0, span) for span in spans), sum(max(0, span) for span in spans)

    # -- checks -------------------------------------------------------------------------------------

    def _check(self, value: Value) -> None:
        if value not in self._checked:
            self._checked.add(value)
            self._region.checks.append(value)

    def _demand(self, check: Value, distance: "_Distance", *, idle: bool, ends: str = "") -> None:
        """Demand a comparison of every thread, as a bound on one axis where it is one."""
        axes = [place for place, slope in enumerate(distance.slope) if slope]
        if len(axes) != 1 or abs(distance.slope[axes[0]]) != 1:
            self._check(check)
            return
        # distance + t (or - t) is at most, or at least, the limit.
        upper = distance.most == (distance.slope[axes[0]] > 0)
        limit = _constant("i64", distance.limit)
        order = [limit, distance.value] if distance.slope[axes[0]] > 0 else [distance.value, limit]
        end = self._scalar("sub", "i64", order)
        if upper:
            end = self._scalar("add", "i64", [end, _constant("i64", 1)])
        lower, upper_end = (None, end) if upper else (end, None)
        if not upper or axes != [0]:
            ends = ""
        self._region.bounds.append(Bound(check, _AXES[axes[0]], lower, upper_end, idle, ends))

    def _exact(self, form: _Affine, signed: bool) -> list[Value]:
        """Check that a 32-bit form does not wrap for any thread, and return the conditions."""
        low, high = self._ends(form.slope)
        least, most = (-(1 << 31), (1 << 31) - 1) if signed else (0, (1 << 32) - 1)
        sign = "s" if signed else "u"
        ends = []
        if low < 0:
            ends.append(self._scalar("icmp", "i1", [form.base, _constant("i32", least - low)], f"{sign}ge"))
        if high > 0:
            ends.append(self._scalar("icmp", "i1", [form.base, _constant("i32", most - high)], f"{sign}le"))
        for end in ends:
            self._check(end)
        return ends

    def _wide(self, form: _Affine, signed: bool) -> Value:
        return self._scalar("sext" if signed else "zext", "i64", [form.base])

    # -- rewriting ----------------------------------------------------------------------------------

    def _rewrite(self, value: Value) -> list[Value]:
        """Return the operation, changed in place where that helps, after what it now needs."""
        if value.op == "icmp":
            self._compare(value)
        elif value.op in ("smin", "smax"):
            self._clamp(value)
        elif value.op in ("sext", "zext") and value.type == "i64" and value.args[0].type == "i32":
            return [*self._extend(value), value]
        else:
            self._note(value)
        self._note_x(value)
        return [value]

    def _compare(self, value: Value) -> None:
        if value.args[0].type != "i32":
            return
        left, right = (self._form(arg) for arg in value.args)
        if left is None or right is None:
            return
        x, y, z = (a - b for a, b in zip(left.slope, right.slope, strict=True))
        predicate = str(value.attr)
        signed = predicate[0] == "s"
        if (x, y, z) == (0, 0, 0) or predicate[1:] not in _ORDER:
            return
        exact = [*self._exact(left, signed), *self._exact(right, signed)]
        distance = self._scalar("sub", "i64", [self._wide(left, signed), self._wide(right, signed)])
        low, high = self._ends((x, y, z))
        equal, swapped = _ORDER[predicate[1:]]
        # The comparison is "distance < 0" or one of its kin: it holds for all threads or for none.
        if swapped:
            always = ("sge" if equal else "sgt", -low)
            never = ("slt" if equal else "sle", -high)
        else:
            always = ("sle" if equal else "slt", -high)
            never = ("sgt" if equal else "sge", -low)
        holds, fails = (
            self._scalar("icmp", "i1", [distance, _constant("i64", bound)], name)
            for name, bound in (always, never)
        )
        self.decided[value] = (holds, fails)
        self._exactly[value] = exact
        limit = int(not equal) if swapped else -int(not equal)
        self._distances[value] = _Distance(distance, (x, y, z), not swapped, limit)
        if not (left.positional or right.positional):
            self._optional.add(value)

    def _clamp(self, value: Value) -> None:
        if value.type != "i32":
            return
        left, right = (self._form(arg) for arg in value.args)
        if left is None or right is None:
            return
        linear, bound = (left, right) if any(left.slope) else (right, left)
        if not any(linear.slope) or any(bound.slope) or not linear.positional:
            return
        self._exact(linear, signed=True)
        distance = self._scalar("sub", "i64", [self._wide(linear, True), self._wide(bound, True)])
        low, high = self._ends(linear.slope)
        name, end = ("sle", -high) if value.op == "smin" else ("sge", -low)
        check = self._scalar("icmp", "i1", [distance, _constant("i64", end)], name)
        self._demand(check, _Distance(distance, linear.slope, value.op == "smin", 0), idle=False)
        self._forms[value] = linear
        _become(value, value.args[0] if linear is left else value.args[1])

    def _extend(self, value: Value) -> list[Value]:
        form = self._form(value.args[0])
        if form is None:
            return self._extend_row(value)
        if not any(form.slope) or not form.positional:
            return []
        signed = value.op == "sext"
        self._exact(form, signed)
        base = self._wide(form, signed)
        made: list[Value] = []
        total: Value | None = None
        for axis, slope in zip(_AXES, form.slope, strict=True):
            if not slope:
                continue
            thread = Value("special", "i32", [], f"tid.{axis}")
            wide = Value("zext", "i64", [thread])
            term = Value("mul", "i64", [wide, _constant("i64", slope)])
            made += [thread, wide, term]
            if total is not None:
                total = Value("add", "i64", [total, term])
                made.append(total)
            else:
                total = term
        assert total is not None
        value.op, value.args, value.attr = "add", [base, total], None
        self._forms[value] = _Affine(base, form.slope, True)
        return made

    # -- values that are linear in x only -----------------------------------------------------------

    def _extend_row(self, value: Value) -> list[Value]:
        """Rewrite ``sext(row + k*x)``, where the row's part depends on y and z in any way."""
        source = value.args[0]
        slope = self._x_slopes.get(source)
        if not slope or value.op != "sext" or source not in self._placed:
            return []
        made: list[Value] = []
        base = self._without_x(source, made, _MAX_DEPTH)
        span = self._range(base, _MAX_DEPTH) if base is not None else None
        if base is None or span is None:
            return []
        end = slope * (self._block[0] - 1)
        if span.bits == 63:
            return []
        self._fits(_Span(self._shifted(span.low, min(0, end)), self._shifted(span.high, max(0, end)), 33))
        thread = Value("special", "i32", [], "tid.x")
        wide = Value("zext", "i64", [thread])
        term = Value("mul", "i64", [wide, _constant("i64", slope)])
        row = Value("sext", "i64", [base])
        value.op, value.args, value.attr = "add", [row, term], None
        return [*made, row, thread, wide, term]

    def _note_x(self, value: Value) -> None:
        """Note how a 32-bit value grows with x, if linearly, and whether it depends on the block's place."""
        op, args = value.op, value.args
        if op == "special":
            self._x_slopes[value] = int(value.attr == "tid.x")
            return
        if any(arg in self._placed or self._scalars.get(arg, False) for arg in args):
            self._placed.add(value)
        slopes = [0 if arg.op == "const" or arg in self._scalars else self._x_slopes.get(arg) for arg in args]
        if None in slopes or value.op in IMPURE or value.op in PER_THREAD:
            return
        if not any(slopes):
            self._x_slopes[value] = 0
        elif op in ("add", "sub"):
            self._x_slopes[value] = (slopes[0] or 0) + (slopes[1] or 0) * (1 if op == "add" else -1)
        elif op == "cvta":
            self._x_slopes[value] = slopes[0] or 0
        elif op == "shl" and args[1].op == "const" and isinstance(args[1].attr, int) and args[1].attr < 16:
            self._x_slopes[value] = (slopes[0] or 0) << args[1].attr
        if abs(self._x_slopes.get(value, 0)) > _MAX_SLOPE:
            del self._x_slopes[value]

    def _without_x(self, value: Value, made: list[Value], depth: int) -> Value | None:
        """Append what computes the value for x = 0; at most a few operations."""
        if value.op == "const" or value in self._scalars or self._x_slopes.get(value) == 0:
            return value
        if value.op == "special":
            return _constant("i32", 0)
        if depth == 0 or len(made) > 2 * _MAX_DEPTH:
            return None
        found: list[Value] = []
        for arg in value.args:
            other = self._without_x(arg, made, depth - 1)
            if other is None:
                return None
            found.append(other)
        copy = Value(value.op, value.type, found, value.attr)
        self._x_slopes[copy] = 0
        made.append(copy)
        return copy

    def _range(self, value: Value, depth: int) -> _Span | None:
        """Bounds of what a 32-bit value would be without wrapping, as i64 scalars over the block.

        Sums and products may wrap on the way, as long as what is made of them does not in the end;
        for values that a clamp compares, checks are added that they do not wrap.
        """
        if value in self._spans or depth == 0:
            return self._spans.get(value)
        form = self._form(value)
        found: _Span | None = None
        if form is not None:
            self._exact(form, signed=True)
            wide = self._wide(form, signed=True)
            low, high = self._ends(form.slope)
            found = _Span(self._shifted(wide, low), self._shifted(wide, high), 32)
        elif value.op in ("add", "sub", "mul", "smin", "smax") and value.type == "i32":
            found = self._range_of_operation(value, depth)
        elif value.op == "cvta":
            found = self._range(value.args[0], depth - 1)
        self._spans[value] = found
        return found

    def _range_of_operation(self, value: Value, depth: int) -> _Span | None:
        left, right = (self._range(arg, depth - 1) for arg in value.args)
        if left is None or right is None:
            return None
        op = value.op
        if op == "mul":
            products = [
                self._scalar("mul", "i64", [a, b])
                for a in dict.fromkeys((left.low, left.high))
                for b in dict.fromkeys((right.low, right.high))
            ]
            low = high = products[0]
            for product in products[1:]:
                low = self._scalar("smin", "i64", [low, product])
                high = self._scalar("smax", "i64", [high, product])
            bits = left.bits + right.bits
        elif op == "sub":
            low = self._scalar(op, "i64", [left.low, right.high])
            high = self._scalar(op, "i64", [left.high, right.low])
            bits = max(left.bits, right.bits) + 1
        else:
            if op != "add":
                self._fits(left)
                self._fits(right)
            low = self._scalar(op, "i64", [left.low, right.low])
            high = self._scalar(op, "i64", [left.high, right.high])
            bits = max(left.bits, right.bits) + 1 if op == "add" else 32
        # Beyond 64 bits the bounds themselves would wrap.
        return _Span(low, high, bits) if bits < 64 else None

    def _shifted(self, value: Value, amount: int) -> Value:
        return self._scalar("add", "i64", [value, _constant("i64", amount)]) if amount else value

    def _fits(self, span: _Span) -> None:
        """Check that a range is one of 32-bit numbers."""
        if span.bits > 32:
            self._check(self._scalar("icmp", "i1", [span.low, _constant("i64", -(1 << 31))], "sge"))
            self._check(self._scalar("icmp", "i1", [span.high, _constant("i64", (1 << 31) - 1)], "sle"))


def _become(value: Value, other: Value) -> None:
    """Make an operation stand for another value in place, so that its users need no change."""
    value.op, value.args, value.attr = "cvta", [other], "alias"


def _constant(kind: str, number: int) -> Value:
    return Value("const", kind, [], number & ((1 << VALUE_BITS[kind]) - 1))
