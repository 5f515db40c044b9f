"""Arithmetic and comparisons of half precision: ``f16``, ``bf16`` and pairs of them."""

from collections.abc import Callable

from logv.ptx import _half
from logv.ptx._ir import Value
from logv.ptx._lower_float import exp2, float_minimum, flush, saturate_float, tanh
from logv.ptx._lower_select import COMPARISONS, assign_predicates, comparison
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._syntax import Instruction, Operand
from logv.ptx._types import HALF_TYPES, ScalarType

_ALL = "f16 f16x2 bf16 bf16x2"
_SIGN = {16: 0x8000, 32: 0x80008000}
_ONE = {False: 0x3C00, True: 0x3F80}


def has_half(instruction: Instruction) -> bool:
    """Whether one of the instruction's types is a half."""
    return any(modifier in HALF_TYPES for modifier in instruction.modifiers)


def _flags(low: Lowering, instruction: Instruction, allowed: set[str]) -> tuple[ScalarType, set[str]]:
    (kind,), flags = low.split(instruction, allowed, 1)
    require_type(instruction, kind, _ALL)
    if "ftz" in flags and _half.is_bfloat(kind) and instruction.opcode != "ex2":
        raise instruction.error(".ftz is not for bfloat16")
    return kind, flags


def _columns(
    low: Lowering, instruction: Instruction, kind: ScalarType, flags: set[str], operands: list[Operand]
) -> list[list[Value]]:
    """Return the widened operands of each lane."""
    rows = [_half.lanes(low, kind, low.value(instruction, operand, kind)) for operand in operands]
    widened = [[_half.widen(low, kind, bits) for bits in lane] for lane in zip(*rows, strict=True)]
    if "ftz" not in flags:
        return widened
    return [[_half.flush(low, kind, x) for x in lane] for lane in widened]


def _finish(low: Lowering, kind: ScalarType, flags: set[str], results: list[Value]) -> Value:
    """Round, flush, clamp and pack the results of the lanes."""
    parts = []
    for result in results:
        bits = _half.shorten(low, kind, result)
        if flags & {"ftz", "sat", "relu"}:
            x = _half.widen(low, kind, bits)
            x = _half.flush(low, kind, x) if "ftz" in flags else x
            x = saturate_float(low, x) if "sat" in flags else x
            x = low.op("maximum", "float", x, low.const("float", 0)) if "relu" in flags else x
            bits = _half.shorten(low, kind, x)
        parts.append(bits)
    return _half.joined(low, parts)


def arithmetic(low: Lowering, instruction: Instruction) -> None:
    """``add sub mul fma``."""
    name = instruction.opcode
    kind, flags = _flags(low, instruction, {"rn", "ftz", "sat"} | ({"relu"} if name == "fma" else set()))
    if name == "fma" and "rn" not in flags:
        raise instruction.error("the rounding .rn is needed")
    if {"sat", "relu"} <= flags or ("sat" in flags and _half.is_bfloat(kind)):
        raise instruction.error(f".{kind.name} has no such form")
    target, *rest = low.operands(instruction, 4 if name == "fma" else 3)
    results = []
    for a, b, *c in _columns(low, instruction, kind, flags, rest):
        if name == "fma":
            results.append(_half.multiply_add(low, kind, a, b, c[0]))
        elif name == "mul":
            results.append(_half.multiply(low, kind, a, b))
        else:
            results.append(_half.add(low, a, b if name == "add" else low.op("fneg", "float", b)))
    low.assign(instruction, target, _finish(low, kind, flags, results))


def minimum(low: Lowering, instruction: Instruction) -> None:
    """``min`` and ``max``."""
    kind, flags = _flags(low, instruction, {"ftz", "NaN", "xorsign", "abs"})
    target, *rest = low.operands(instruction, 3)
    results = [
        float_minimum(low, instruction, flags, a, b) for a, b in _columns(low, instruction, kind, flags, rest)
    ]
    low.assign(instruction, target, _finish(low, kind, set(), results))


def sign(low: Lowering, instruction: Instruction) -> None:
    """``neg`` and ``abs``: the sign bit, and nothing else."""
    kind, flags = _flags(low, instruction, {"ftz"})
    target, source = low.operands(instruction, 2)
    value = low.value(instruction, source, kind)
    if "ftz" in flags:
        value = _finish(low, kind, set(), [x for (x,) in _columns(low, instruction, kind, flags, [source])])
    mask = _SIGN[kind.bits]
    negate = instruction.opcode == "neg"
    low.assign(instruction, target, low.int_op("xor" if negate else "and", value, mask if negate else ~mask))


def approximation(low: Lowering, instruction: Instruction) -> None:
    """``ex2`` and ``tanh``."""
    exponential = instruction.opcode == "ex2"
    kind, flags = _flags(low, instruction, {"approx"} | ({"ftz"} if exponential else set()))
    if "approx" not in flags:
        raise instruction.error(".approx is needed")
    target, source = low.operands(instruction, 2)
    function = exp2 if exponential else tanh
    results = [function(low, x) for (x,) in _columns(low, instruction, kind, flags, [source])]
    low.assign(instruction, target, _finish(low, kind, flags, results))


def set_predicate(low: Lowering, instruction: Instruction) -> None:
    """``setp``; of a pair, ``p`` is about the lower number and ``q`` about the upper."""
    kind, flags = _flags(low, instruction, set(COMPARISONS))
    operands = low.operands(instruction, 4 if flags & {"and", "or", "xor"} else 3)
    results = [
        comparison(low, instruction, kind, flags, pair)
        for pair in _columns(low, instruction, kind, flags, operands[1:3])
    ]
    assign_predicates(low, instruction, flags, *results)


def set_value(low: Lowering, instruction: Instruction) -> None:
    """``set``: all ones or 1.0 for each number."""
    (result_kind, kind), flags = low.split(instruction, COMPARISONS, 2)
    require_type(
        instruction, kind, _ALL if kind.kind == "h" else "b16 b32 b64 u16 u32 u64 s16 s32 s64 f32 f64"
    )
    joins = flags & {"and", "or", "xor"}
    operands = low.operands(instruction, 4 if joins else 3)
    if kind.kind == "h":
        columns = _columns(low, instruction, kind, flags, operands[1:3])
        allowed = {"f16": "u16 s16 u32 s32 f16", "f16x2": "u32 s32 f16x2", "bf16": "u16 s16 u32 s32 bf16"}
        require_type(instruction, result_kind, allowed.get(kind.name, "u32 s32 bf16x2"))
    else:
        columns = [[flush(low, low.value(instruction, each, kind), flags) for each in operands[1:3]]]
        require_type(instruction, result_kind, "f16 bf16")
    results = [comparison(low, instruction, kind, flags, pair) for pair in columns]
    if joins:
        join, last = joins.pop(), low.predicate(instruction, operands[3])
        results = [low.int_op(join, result, last) for result in results]
    if result_kind.kind == "h":
        one = low.const("i16", _ONE[_half.is_bfloat(result_kind)])
        parts = [low.select(result, one, low.const("i16", 0)) for result in results]
    else:
        parts = [low.cast("sext", f"i{result_kind.bits // len(results)}", result) for result in results]
    low.assign(instruction, operands[0], _half.joined(low, parts))


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    **dict.fromkeys(("add", "sub", "mul", "fma"), arithmetic),
    **dict.fromkeys(("min", "max"), minimum),
    **dict.fromkeys(("neg", "abs"), sign),
    **dict.fromkeys(("ex2", "tanh"), approximation),
    "setp": set_predicate,
    "set": set_value,
}
