"""Integer arithmetic."""

import operator
from collections.abc import Callable

from logv.ptx.interpreter._form import Decoder, Form, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._thread import Thread

_NUMBERS = "u16 s16 u32 s32 u64 s64"
_CARRYING = "u32 s32 u64 s64 b32 b64"
_U32 = Kind("u32", 32)
_S32 = Kind("s32", 32)


def _add(form: Form) -> Step:
    (kind,) = form.types(1, "cc sat", among=_NUMBERS + " b32 b64")
    if "cc" in form.flags:
        return _carrying(form, kind, _sum if form.opcode == "add" else _difference, uses=False)
    exact = operator.add if form.opcode == "add" else operator.sub
    if "sat" in form.flags:
        form.types(1, "sat", among="s32")
        return form.compute(kind, [kind] * 2, lambda a, b: kind.clamp(exact(a, b)))
    return form.compute(kind, [kind] * 2, exact)


def _add_carry(form: Form) -> Step:
    (kind,) = form.types(1, "cc", among=_CARRYING)
    return _carrying(form, kind, _sum if form.opcode == "addc" else _difference, uses=True)


def _sum(a: int, b: int, carry: int) -> int:
    return a + b + carry


def _difference(a: int, b: int, borrow: int) -> int:
    return a - b - borrow


def _carrying(form: Form, kind: Kind, function: Callable[..., int], *, uses: bool, sources: int = 2) -> Step:
    """Return a step that reads and writes the carry; `function` works on unsigned numbers of any size."""
    unsigned = Kind(f"u{kind.bits}", kind.bits)
    target, *rest = form.operands(1 + sources)
    write = form.target(target, unsigned)
    readers = [form.source(operand, unsigned) for operand in rest]
    sets = "cc" in form.flags

    def step(thread: Thread) -> None:
        exact = function(*[read(thread) for read in readers], thread.carry if uses else 0)
        if sets:
            # Of a sum this is the carry out of the top bit, of a difference the borrow.
            thread.carry = exact >> kind.bits & 1
        write(thread, exact)

    return step


def _multiply(form: Form) -> Step:
    (kind,) = form.types(1, "lo hi wide", among=_NUMBERS)
    part = form.choose("lo hi wide")
    if part == "wide":
        return form.compute(_twice(form, kind), [kind] * 2, operator.mul)
    shift = kind.bits if part == "hi" else 0
    return form.compute(kind, [kind] * 2, lambda a, b: a * b >> shift)


def _twice(form: Form, kind: Kind) -> Kind:
    if kind.bits == 64:
        raise form.error(".wide is for 16 and 32 bits")
    return Kind(f"{kind.name[0]}{2 * kind.bits}", 2 * kind.bits)


def _multiply_add(form: Form) -> Step:
    (kind,) = form.types(1, "lo hi wide sat cc", among=_NUMBERS)
    part = form.choose("lo hi wide")
    if part == "wide":
        wide = _twice(form, kind)
        return form.compute(wide, [kind, kind, wide], lambda a, b, c: a * b + c)
    if "cc" in form.flags:
        return _multiply_add_carry(form)
    shift = kind.bits if part == "hi" else 0
    if "sat" in form.flags:
        if (part, kind.name) != ("hi", "s32"):
            raise form.error(".sat is for mad.hi.s32")
        return form.compute(kind, [kind] * 3, lambda a, b, c: kind.clamp((a * b >> shift) + c))
    return form.compute(kind, [kind] * 3, lambda a, b, c: (a * b >> shift) + c)


def _multiply_add_carry(form: Form) -> Step:
    (kind,) = form.types(1, "lo hi cc", among="u32 s32 u64 s64")
    shift = kind.bits if form.choose("lo hi") == "hi" else 0
    mask = kind.mask

    def add(a: int, b: int, c: int, carry: int) -> int:
        return (kind.number(a) * kind.number(b) >> shift & mask) + c + carry

    return _carrying(form, kind, add, uses=form.opcode == "madc", sources=3)


def _multiply_24(form: Form) -> Step:
    accumulate = form.opcode == "mad24"
    (kind,) = form.types(1, "lo hi sat", among="u32 s32")
    # The high form keeps bits 16 to 47 of the 48-bit product.
    shift = 16 if form.choose("lo hi") == "hi" else 0
    low = Kind(f"{kind.name[0]}24", 24)
    limit = kind.clamp if "sat" in form.flags else int
    if "sat" in form.flags and (not accumulate or not shift or not kind.signed):
        raise form.error(".sat is for mad24.hi.s32")
    if accumulate:
        return form.compute(
            kind, [kind] * 3, lambda a, b, c: limit(kind.number(low.number(a) * low.number(b) >> shift) + c)
        )
    return form.compute(kind, [kind] * 2, lambda a, b: low.number(a) * low.number(b) >> shift)


def quotient(a: int, b: int) -> int:
    """Divide, rounding toward zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _divide(form: Form) -> Step:
    (kind,) = form.types(1, among=_NUMBERS)
    # PTX leaves division by zero open; GPUs return all ones.
    return form.compute(kind, [kind] * 2, lambda a, b: quotient(a, b) if b else -1)


def _remainder(form: Form) -> Step:
    (kind,) = form.types(1, among=_NUMBERS)
    return form.compute(kind, [kind] * 2, lambda a, b: a - quotient(a, b) * b if b else a)


def _absolute(form: Form) -> Step:
    (kind,) = form.types(1, among="s16 s32 s64")
    return form.compute(kind, [kind], abs)


def _negate(form: Form) -> Step:
    (kind,) = form.types(1, among="s16 s32 s64")
    return form.compute(kind, [kind], operator.neg)


def _minimum(form: Form) -> Step:
    (kind,) = form.types(1, among=_NUMBERS)
    return form.compute(kind, [kind] * 2, min if form.opcode == "min" else max)


def _absolute_difference(form: Form) -> Step:
    (kind,) = form.types(1, among=_NUMBERS)
    return form.compute(kind, [kind] * 3, lambda a, b, c: c + abs(a - b))


def _dot_product(form: Form) -> Step:
    """``dp4a``: four products of bytes; ``dp2a``: two, of halves of a with bytes of half of b."""
    kind_a, kind_b = form.types(2, "lo hi", among="u32 s32")
    result = _S32 if kind_a.signed or kind_b.signed else _U32
    width = 8 if form.opcode == "dp4a" else 16
    begin = 16 if form.opcode == "dp2a" and form.choose("lo hi") == "hi" else 0
    part_a = Kind(f"{kind_a.name[0]}{width}", width)
    part_b = Kind(f"{kind_b.name[0]}8", 8)

    def dot(a: int, b: int, c: int) -> int:
        pairs = range(32 // width)
        return c + sum(part_a.number(a >> width * k) * part_b.number(b >> begin + 8 * k) for k in pairs)

    return form.compute(result, [kind_a, kind_b, result], dot)


INTEGER: dict[str, Decoder] = {
    "add": _add, "sub": _add, "addc": _add_carry, "subc": _add_carry, "mul": _multiply, "mad": _multiply_add,
    "madc": _multiply_add_carry, "mul24": _multiply_24, "mad24": _multiply_24, "div": _divide,
    "rem": _remainder, "abs": _absolute, "neg": _negate, "min": _minimum, "max": _minimum,
    "sad": _absolute_difference, "dp4a": _dot_product, "dp2a": _dot_product,
}  # fmt: skip
