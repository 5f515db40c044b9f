"""Comparisons, selections and moves."""

import operator
from collections.abc import Callable

from logv.ptx._syntax import Group, Operand
from logv.ptx.interpreter._form import PREDICATE, Decoder, Form, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._thread import Thread

_ORDER: dict[str, Callable[[int], bool]] = {
    "eq": lambda order: order == 0, "ne": lambda order: order != 0, "lt": lambda order: order < 0,
    "le": lambda order: order <= 0, "gt": lambda order: order > 0, "ge": lambda order: order >= 0,
}  # fmt: skip
# Unsigned integers have names of their own for the same comparisons.
_UNSIGNED = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}
_BOOLEAN: dict[str, Callable[[int, int], int]] = {
    "and": operator.and_, "or": operator.or_, "xor": operator.xor,
}  # fmt: skip
_COMPARISONS = " ".join([*_ORDER, *_UNSIGNED, *(f"{name}u" for name in _ORDER), "num", "nan"])
_COMPARED = "b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64 f16 bf16"


def _comparison(form: Form, kind: Kind) -> Callable[[int, int], int]:
    """Return the comparison that the flags name, on numbers of a type."""
    name = form.choose(_COMPARISONS)
    if kind.floating:
        return _float_comparison(form, kind, name)
    name = _UNSIGNED.get(name, name)
    if name not in _ORDER or (kind.untyped and name not in ("eq", "ne")):
        raise form.error(f"no comparison of .{kind.name}")
    test = _ORDER[name]
    return lambda a, b: int(test((a > b) - (a < b)))


def _float_comparison(form: Form, kind: Kind, name: str) -> Callable[[int, int], int]:
    number = kind.format
    flush = number.flush if "ftz" in form.flags else int
    if name in ("num", "nan"):
        return lambda a, b: int((number.compare(a, b) is None) == (name == "nan"))
    test = _ORDER.get(name)
    unordered = test is None
    if test is None:
        test = _ORDER.get(name.removesuffix("u"))
    if test is None:
        raise form.error(f"no comparison of .{kind.name}")

    def compare(a: int, b: int) -> int:
        order = number.compare(flush(a), flush(b))
        return int(unordered if order is None else test(order))

    return compare


def _set_predicate(form: Form) -> Step:
    """``setp``: the second destination gets the opposite comparison, joined to the same operand."""
    join = form.choose("and or xor", "none")
    if form.kinds and form.kinds[0].packed:
        return _set_two_predicates(form, join)
    (kind,) = form.types(1, f"{_COMPARISONS} and or xor ftz", among=_COMPARED)
    target, *rest = form.operands(3 if join == "none" else 4)
    first, second = form.pair(target)
    write, write_second = form.target(first, PREDICATE), form.target(second, PREDICATE)
    a, b = form.source(rest[0], kind), form.source(rest[1], kind)
    other = form.source(rest[2], PREDICATE) if join != "none" else None
    compare = _comparison(form, kind)

    def step(thread: Thread) -> None:
        yes = compare(a(thread), b(thread))
        no = 1 - yes
        if other is not None:
            joined = other(thread)
            yes, no = _BOOLEAN[join](yes, joined), _BOOLEAN[join](no, joined)
        write(thread, yes)
        write_second(thread, no)

    return step


def _set_two_predicates(form: Form, join: str) -> Step:
    """``setp`` of packed halves: one destination for each."""
    (kind,) = form.types(1, f"{_COMPARISONS} and or xor ftz", among="f16x2 bf16x2")
    target, *rest = form.operands(3 if join == "none" else 4)
    writers = [form.target(member, PREDICATE) for member in form.pair(target)]
    a, b = form.source(rest[0], kind), form.source(rest[1], kind)
    other = form.source(rest[2], PREDICATE) if join != "none" else None
    compare = _comparison(form, kind)

    def step(thread: Thread) -> None:
        x, y = a(thread), b(thread)
        results = [compare(x & 0xFFFF, y & 0xFFFF), compare(x >> 16, y >> 16)]
        if other is not None:
            joined = other(thread)
            results = [_BOOLEAN[join](result, joined) for result in results]
        for write, result in zip(writers, results, strict=True):
            write(thread, result)

    return step


def _set_value(form: Form) -> Step:
    """``set``: all ones, or 1.0 where the result is floating point."""
    join = form.choose("and or xor", "none")
    to, kind = form.types(2, f"{_COMPARISONS} and or xor ftz")
    if (
        to.name not in ("u32", "s32", "f32", "u16", "s16", "f16", "bf16")
        or kind.name not in _COMPARED.split()
    ):
        raise form.error("these types are not compared")
    compare = _comparison(form, kind)
    true = to.format.one if to.floating else to.number(to.mask)
    if join == "none":
        return form.compute(to, [kind] * 2, lambda a, b: true if compare(a, b) else 0)
    return form.compute(
        to, [kind, kind, PREDICATE], lambda a, b, c: true if _BOOLEAN[join](compare(a, b), c) else 0
    )


def _select_by_predicate(form: Form) -> Step:
    (kind,) = form.types(1, among="b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64")
    return form.compute(kind, [kind, kind, PREDICATE], lambda a, b, c: a if c else b)


def _select_by_sign(form: Form) -> Step:
    """``slct``: the first where the selector is 0 or more; -0 is, NaN is not."""
    kind, selector = form.types(2, "ftz")
    if selector.name == "s32":
        return form.compute(kind, [kind, kind, selector], lambda a, b, c: a if c >= 0 else b)
    if selector.name != "f32":
        raise form.error("the selector is .s32 or .f32")
    number = selector.format
    flush = number.flush if "ftz" in form.flags else int
    return form.compute(
        kind, [kind, kind, selector], lambda a, b, c: a if number.compare(flush(c), 0) in (0, 1) else b
    )


def _move(form: Form) -> Step:
    """``mov``, also packing and unpacking ``{a, b}``, the first lowest."""
    (kind,) = form.types(1)
    target, source = form.operands(2)
    if isinstance(source, Group):
        return _pack(form, kind, target, source)
    if isinstance(target, Group):
        return _unpack(form, kind, target, source)
    return form.compute(kind, [kind], int)


def _part(form: Form, kind: Kind, group: Group) -> Kind:
    bits, rest = divmod(kind.bits, len(group.members))
    if rest or bits < 8 or group.separator != ",":
        raise form.error("the members do not make up the whole")
    return Kind(f"b{bits}", bits)


def _pack(form: Form, kind: Kind, target: Operand, source: Group) -> Step:
    part = _part(form, kind, source)
    write = form.target(target, Kind(f"b{kind.bits}", kind.bits))
    readers = [form.source(member, part) for member in source.members]

    def step(thread: Thread) -> None:
        write(thread, sum(read(thread) << part.bits * index for index, read in enumerate(readers)))

    return step


def _unpack(form: Form, kind: Kind, target: Group, source: Operand) -> Step:
    part = _part(form, kind, target)
    read = form.source(source, Kind(f"b{kind.bits}", kind.bits))
    writers = [form.target(member, part) for member in target.members]

    def step(thread: Thread) -> None:
        whole = read(thread)
        for index, write in enumerate(writers):
            write(thread, whole >> part.bits * index & part.mask)

    return step


SELECTIONS: dict[str, Decoder] = {
    "setp": _set_predicate, "set": _set_value, "selp": _select_by_predicate, "slct": _select_by_sign,
    "mov": _move,
}  # fmt: skip
