"""Specialises a region for blocks whose threads all decide alike.

Most blocks of a grid lie in its interior: every thread is inside the image, no index is clamped, and no
32-bit index wraps. Where a comparison or clamp works on ``base + kx*x + ky*y + kz*z`` (thread numbers
times constants), a few scalar checks at both ends of the block settle it for all threads. In the
specialised copy such comparisons are scalars, clamps are gone and indices are linear in 64 bits, so the
loop over threads has no masks and walks memory contiguously. Blocks that fail the checks run the general copy.
"""

from dataclasses import dataclass

from logv.ptx._ir import Value
from logv.ptx._regions import Region, RegionBuilder
from logv.ptx._types import VALUE_BITS

_AXES = "xyz"
# Constant operands of comparisons below: predicate to (exclusive of equality, swapped).
_ORDER = {"lt": (False, False), "le": (True, False), "gt": (False, True), "ge": (True, True)}


@dataclass(frozen=True, slots=True)
class _Affine:
    """``base + slope . thread``; `positional` if the base depends on the block's place in the grid."""

    base: Value
    slope: tuple[int, int, int]
    positional: bool


class Converger:
    """Applies the specialisation to a freshly copied region.

    Parameters
    ----------
    builder : RegionBuilder
    region : Region
        A copy that nothing else uses.
    block : tuple of int
    """

    def __init__(self, builder: RegionBuilder, region: Region, block: tuple[int, int, int]) -> None:
        self._region = region
        self._block = block
        self._forms: dict[Value, _Affine] = {}
        self._scalars: dict[Value, bool] = dict.fromkeys(builder.classes.block_level, False)
        for value in builder.positional:
            self._scalars[value] = True
        for value in region.scalar_ops:
            self._scalars[value] = any(self._scalars.get(arg, False) for arg in value.args)
        self._checked: set[tuple[Value, tuple[int, int, int], bool]] = set()
        self._bases: dict[tuple[object, ...], Value] = {}

    def apply(self) -> None:
        """Rewrite the region's operations; its `checks` say when the copy may run."""
        for block in self._region.blocks:
            for index, value in enumerate(block.ops):
                replacement = self._rewrite(value)
                if replacement is not None:
                    block.ops[index : index + 1] = []
                    block.ops[index:index] = replacement
        # Replaced operations were emptied in place above; see `_become`.

    # -- forms --------------------------------------------------------------------------------------

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
            slope = tuple(scale * each for each in left.slope)
        else:
            sign = 1 if op == "add" else -1
            slope = tuple(a + sign * b for a, b in zip(left.slope, right.slope, strict=True))
        if max(map(abs, slope)) >= 1 << 20:
            return
        x, y, z = slope
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
        self._region.checks.append(value)

    def _exact(self, form: _Affine, signed: bool) -> None:
        """Check that a 32-bit form does not wrap for any thread."""
        low, high = self._ends(form.slope)
        if (low, high) == (0, 0) or (form.base, form.slope, signed) in self._checked:
            return
        self._checked.add((form.base, form.slope, signed))
        least, most = (-(1 << 31), (1 << 31) - 1) if signed else (0, (1 << 32) - 1)
        sign = "s" if signed else "u"
        if low < 0:
            self._check(self._scalar("icmp", "i1", [form.base, _constant("i32", least - low)], f"{sign}ge"))
        if high > 0:
            self._check(self._scalar("icmp", "i1", [form.base, _constant("i32", most - high)], f"{sign}le"))

    def _wide(self, form: _Affine, signed: bool) -> Value:
        return self._scalar("sext" if signed else "zext", "i64", [form.base])

    # -- rewriting ----------------------------------------------------------------------------------

    def _rewrite(self, value: Value) -> list[Value] | None:
        """Return what stands in the operation's place, or None to keep it."""
        if value.op == "icmp":
            return self._compare(value)
        if value.op in ("smin", "smax"):
            return self._clamp(value)
        if value.op in ("sext", "zext") and value.type == "i64" and value.args[0].type == "i32":
            return self._extend(value)
        self._note(value)
        return None

    def _compare(self, value: Value) -> list[Value] | None:
        if value.args[0].type != "i32":
            return None
        left, right = (self._form(arg) for arg in value.args)
        if left is None or right is None or not (left.positional or right.positional):
            return None
        x, y, z = (a - b for a, b in zip(left.slope, right.slope, strict=True))
        predicate = str(value.attr)
        signed = predicate[0] == "s"
        if (x, y, z) == (0, 0, 0) or predicate[1:] not in _ORDER:
            return None
        self._exact(left, signed)
        self._exact(right, signed)
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
            self._scalar("icmp", "i1", [distance, _constant("i64", bound)], name) for name, bound in (always, never)
        )
        self._check(self._scalar("or", "i1", [holds, fails]))
        self._become(value, holds)
        return []

    def _clamp(self, value: Value) -> list[Value] | None:
        if value.type != "i32":
            return None
        left, right = (self._form(arg) for arg in value.args)
        if left is None or right is None:
            return None
        linear, bound = (left, right) if any(left.slope) else (right, left)
        if not any(linear.slope) or any(bound.slope) or not linear.positional:
            return None
        self._exact(linear, signed=True)
        distance = self._scalar("sub", "i64", [self._wide(linear, True), self._wide(bound, True)])
        low, high = self._ends(linear.slope)
        check = ("sle", -high) if value.op == "smin" else ("sge", -low)
        self._check(self._scalar("icmp", "i1", [distance, _constant("i64", check[1])], check[0]))
        self._become(value, value.args[0] if linear is left else value.args[1])
        return []

    def _extend(self, value: Value) -> list[Value] | None:
        form = self._form(value.args[0])
        if form is None or not any(form.slope) or not form.positional:
            return None
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
        return [*made, value]

    def _become(self, value: Value, other: Value) -> None:
        """Make an operation stand for another value in place, so that its users need no change."""
        value.op, value.args, value.attr = "cvta", [other], "alias"
        form = self._form(other)
        if form is not None:
            self._forms[value] = form


def _constant(kind: str, number: int) -> Value:
    return Value("const", kind, [], number & ((1 << VALUE_BITS[kind]) - 1))
