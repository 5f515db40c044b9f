"""Floating point instructions of single and double precision."""

import math
import struct
from collections.abc import Callable, Sequence

from logv.ptx._ir import Value
from logv.ptx._lowering import Lowering
from logv.ptx._rounding import directed_product, directed_quotient, directed_root, directed_sum
from logv.ptx._syntax import Instruction, Operand
from logv.ptx._types import VALUE_BITS, ScalarType

ROUNDING = frozenset({"rn", "rz", "rm", "rp"})


def real(low: Lowering, kind: str, number: float) -> Value:
    """Return a floating point constant."""
    layout = ("<f", "<I") if kind == "float" else ("<d", "<Q")
    return low.const(kind, struct.unpack(layout[1], struct.pack(layout[0], number))[0])


def saturate_float(low: Lowering, value: Value) -> Value:
    """Clamp to [0, 1]; NaN becomes 0."""
    zero, one = real(low, value.type, 0.0), real(low, value.type, 1.0)
    positive = low.select(low.compare("ogt", value, zero), value, zero)
    return low.select(low.compare("olt", positive, one), positive, one)


def flush(low: Lowering, value: Value, flags: set[str]) -> Value:
    """With ``.ftz``, replace a subnormal single by a zero of its sign."""
    if "ftz" not in flags or value.type != "float" or value in low.flushed:
        return value
    bits = low.bits(value)
    subnormal = low.compare("eq", low.int_op("and", bits, 0x7F800000), low.const("i32", 0))
    kept = low.select(subnormal, low.int_op("and", bits, 1 << 31), bits)
    result = low.op("bitcast", "float", kept)
    low.flushed.add(result)
    return result


def rounding_of(instruction: Instruction, flags: set[str]) -> str:
    """Return the one rounding among an instruction's flags; to nearest if there is none."""
    modes = flags & ROUNDING
    if len(modes) > 1:
        raise instruction.error("two roundings")
    return next(iter(modes), "rn")


def check_flush(instruction: Instruction, kind: ScalarType, flags: set[str]) -> None:
    """Refuse ``.ftz`` of anything but single precision."""
    if "ftz" in flags and kind.name != "f32":
        raise instruction.error(".ftz is for .f32")


def float_arithmetic(
    low: Lowering, instruction: Instruction, kind: ScalarType, flags: set[str], operands: Sequence[Operand]
) -> Value:
    """Add, subtract, multiply, or multiply and add (three operands), as the flags say.

    Raises
    ------
    PtxError
        Two roundings, or flags that the type does not have.
    """
    check_flush(instruction, kind, flags)
    if "sat" in flags and kind.name != "f32":
        raise instruction.error(".sat is for .f32")
    mode = rounding_of(instruction, flags)
    values = [flush(low, low.value(instruction, operand, kind), flags) for operand in operands]
    name = {"add": "fadd", "sub": "fsub", "mul": "fmul"}.get(instruction.opcode, "fma")
    if mode == "rn":
        result = low.op(name, kind.value_type, *values)
    elif name in ("fadd", "fsub"):
        other = values[1] if name == "fadd" else low.op("fneg", kind.value_type, values[1])
        result = directed_sum(low, values[0], other, mode)
    else:
        result = directed_product(low, values[0], values[1], values[2] if name == "fma" else None, mode)
    result = flush(low, result, flags)
    return saturate_float(low, result) if "sat" in flags else result


def float_minimum(
    low: Lowering, instruction: Instruction, flags: set[str], left: Value, right: Value
) -> Value:
    """``min`` and ``max`` of floating point numbers of one type."""
    minimum = instruction.opcode == "min"
    kind = left.type
    if ("xorsign" in flags) != ("abs" in flags):
        raise instruction.error(".xorsign and .abs go together")
    a, b = left, right
    if "abs" in flags:
        a, b = low.op("fabs", kind, a), low.op("fabs", kind, b)
    if "NaN" in flags:
        result = low.op("minimum" if minimum else "maximum", kind, a, b)
    else:
        result = _number_first(low, a, b, minimum=minimum)
    if "abs" in flags:
        sign = low.int_op("xor", low.bits(left), low.bits(right))
        result = low.op("copysign", kind, result, low.op("bitcast", kind, sign))
    return result


def _number_first(low: Lowering, a: Value, b: Value, *, minimum: bool) -> Value:
    """Return the smaller or larger; the other one where one is not a number; -0 is below +0.

    LLVM has an operation for this, which its versions 20 to 22 translate wrongly for x86 where they know
    that one operand is a number.
    """
    result = low.select(low.compare("olt" if minimum else "ogt", a, b), a, b)
    bits = low.int_op("or" if minimum else "and", low.bits(a), low.bits(b))
    result = low.select(low.compare("oeq", a, b), low.op("bitcast", a.type, bits), result)
    return low.select(low.compare("uno", b, b), a, result)


def _polynomial(low: Lowering, x: Value, coefficients: Sequence[float]) -> Value:
    """Evaluate by Horner's rule; the highest power first."""
    result = real(low, x.type, coefficients[0])
    for coefficient in coefficients[1:]:
        result = low.op("fma", x.type, result, x, real(low, x.type, coefficient))
    return result


# 2**f on [-0.5, 0.5]: the Taylor series of exp(f ln 2) up to a term of 4e-9.
_EXP2 = tuple(math.log(2) ** power / math.factorial(power) for power in range(7, -1, -1))
# log2((1 + s) / (1 - s)) / s in powers of s*s, |s| <= 0.172: the next term is 3e-9.
_LOG2 = tuple(2 / math.log(2) / power for power in range(11, 0, -2))
# sin(r) / r and cos(r) in powers of r*r on [-pi/4, pi/4].
_SINE = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(5, -1, -1))
_COSINE = tuple((-1) ** k / math.factorial(2 * k) for k in range(5, -1, -1))


def exp2(low: Lowering, x: Value) -> Value:
    """2**x in single precision, to about 2 units in the last place."""
    kind = "float"
    highest, lowest = real(low, kind, 160.0), real(low, kind, -160.0)
    bounded = low.select(low.compare("ogt", x, highest), highest, x)
    bounded = low.select(low.compare("olt", bounded, lowest), lowest, bounded)
    whole = low.op("roundeven", kind, bounded)
    result = _polynomial(low, low.op("fsub", kind, bounded, whole), _EXP2)
    exponent = low.op("fptosi_sat", "i32", whole)
    # In two factors, because neither 2**128 nor the subnormal powers are numbers that bits can name.
    half = low.int_op("ashr", exponent, 1)
    for part in (half, low.int_op("sub", exponent, half)):
        power = low.int_op("shl", low.int_op("add", part, 127), 23)
        result = low.op("fmul", kind, result, low.op("bitcast", kind, power))
    return result


def log2(low: Lowering, x: Value) -> Value:
    """log2(x) in single precision; NaN below 0, minus infinity at 0."""
    kind = "float"
    tiny = low.compare("olt", x, real(low, kind, 2.0**-126))
    scaled = low.select(tiny, low.op("fmul", kind, x, real(low, kind, 2.0**24)), x)
    bits = low.op("bitcast", "i32", scaled)
    # Split so that the mantissa lies in [sqrt(1/2), sqrt(2)).
    offset = low.int_op("sub", bits, 0x3F3504F3)
    exponent = low.int_op("ashr", offset, 23)
    mantissa = low.op("bitcast", kind, low.int_op("sub", bits, low.int_op("shl", exponent, 23)))
    one = real(low, kind, 1.0)
    s = low.op("fdiv", kind, low.op("fsub", kind, mantissa, one), low.op("fadd", kind, mantissa, one))
    series = _polynomial(low, low.op("fmul", kind, s, s), _LOG2)
    bias = low.select(tiny, low.const("i32", 24), low.const("i32", 0))
    power = low.op("sitofp", kind, low.int_op("sub", exponent, bias))
    result = low.op("fma", kind, s, series, power)
    zero = real(low, kind, 0.0)
    result = low.select(low.compare("oeq", x, zero), real(low, kind, -math.inf), result)
    result = low.select(low.compare("olt", x, zero), real(low, kind, math.nan), result)
    infinite = low.compare("ueq", x, real(low, kind, math.inf))
    return low.select(infinite, x, result)


def _sine(low: Lowering, x: Value, quarter_turns: int) -> Value:
    """sin(x + quarter_turns * pi/2) in single precision, reduced in double."""
    kind = "double"
    wide = low.op("fpext", kind, x)
    turns = low.op("roundeven", kind, low.op("fmul", kind, wide, real(low, kind, 2 / math.pi)))
    r = low.op("fma", kind, turns, real(low, kind, -math.pi / 2), wide)
    r = low.op("fma", kind, turns, real(low, kind, -6.123233995736766e-17), r)
    square = low.op("fmul", kind, r, r)
    sine = low.op("fmul", kind, r, _polynomial(low, square, _SINE))
    cosine = _polynomial(low, square, _COSINE)
    quadrant = low.int_op("add", low.op("fptosi_sat", "i64", turns), quarter_turns)
    odd = low.compare("ne", low.int_op("and", quadrant, 1), low.const("i64", 0))
    negative = low.compare("ne", low.int_op("and", quadrant, 2), low.const("i64", 0))
    result = low.select(odd, cosine, sine)
    return low.op("fptrunc", "float", low.select(negative, low.op("fneg", kind, result), result))


def tanh(low: Lowering, x: Value) -> Value:
    """Hyperbolic tangent in single precision."""
    kind = "float"
    one, two = real(low, kind, 1.0), real(low, kind, 2.0)
    power = exp2(low, low.op("fmul", kind, x, real(low, kind, 2 / math.log(2))))
    far = low.op("fsub", kind, one, low.op("fdiv", kind, two, low.op("fadd", kind, power, one)))
    cube = low.op("fmul", kind, low.op("fmul", kind, x, x), low.op("fmul", kind, x, real(low, kind, -1 / 3)))
    near = low.op("fadd", kind, x, cube)
    small = low.compare("olt", low.op("fabs", kind, x), real(low, kind, 0.02))
    return low.select(small, near, far)


def unary(low: Lowering, instruction: Instruction) -> None:
    """``rcp sqrt rsqrt ex2 lg2 sin cos tanh``."""
    name = instruction.opcode
    exact = name in ("rcp", "sqrt")
    (kind,), flags = low.split(instruction, {"approx", "ftz"} | (ROUNDING if exact else set()), 1)
    if not kind.floating or (kind.bits == 64 and name not in ("rcp", "sqrt", "rsqrt")):
        raise instruction.error(f".{kind.name} is not a type of {name}")
    if ("approx" in flags) == bool(flags & ROUNDING):
        raise instruction.error(".approx or one rounding is needed")
    gross = kind.bits == 64 and flags == {"approx", "ftz"} and name != "sqrt"
    if kind.bits == 64 and not gross and ("ftz" in flags or ("approx" in flags and name != "rsqrt")):
        raise instruction.error(f"there is no such form of {name}.f64")
    target, source = low.operands(instruction, 2)
    x = flush(low, low.value(instruction, source, kind), flags)
    if gross:
        result = _gross(low, name, x)
    else:
        result = flush(low, _unary(low, name, x, rounding_of(instruction, flags)), flags)
    low.assign(instruction, target, result)


def _unary(low: Lowering, name: str, x: Value, mode: str) -> Value:
    one = real(low, x.type, 1.0)
    if name == "rcp":
        return directed_quotient(low, one, x, mode)
    if name == "sqrt":
        return directed_root(low, x, mode)
    if name == "rsqrt":
        return low.op("fdiv", x.type, one, low.op("sqrt", x.type, x))
    if name in ("sin", "cos"):
        return _sine(low, x, int(name == "cos"))
    return {"ex2": exp2, "lg2": log2, "tanh": tanh}[name](low, x)


def _gross(low: Lowering, name: str, x: Value) -> Value:
    """``rcp`` and ``rsqrt`` ``.approx.ftz.f64``: from the upper half of a double to the upper half of one."""

    def upper(bits: Value) -> Value:
        kept = low.int_op("and", bits, 0xFFFFFFFF << 32)
        normal = low.compare("ne", low.int_op("and", bits, 0x7FF << 52), low.const("i64", 0))
        return low.op("bitcast", "double", low.select(normal, kept, low.int_op("and", bits, 1 << 63)))

    exact = _unary(low, name, upper(low.bits(x)), "rn")
    return upper(low.int_op("add", low.bits(exact), 1 << 31))


def fused_multiply_add(low: Lowering, instruction: Instruction) -> None:
    """``fma``."""
    (kind,), flags = low.split(instruction, ROUNDING | {"ftz", "sat"}, 1)
    if not kind.floating or not flags & ROUNDING:
        raise instruction.error("a rounding and .f32 or .f64 are needed")
    target, *rest = low.operands(instruction, 4)
    low.assign(instruction, target, float_arithmetic(low, instruction, kind, flags, rest))


def divide_float(low: Lowering, instruction: Instruction) -> None:
    """``div`` of floating point; the approximate forms are rounded to nearest."""
    (kind,), flags = low.split(instruction, ROUNDING | {"approx", "full", "ftz"}, 1)
    check_flush(instruction, kind, flags)
    forms = flags - {"ftz"}
    if len(forms) != 1 or (kind.bits == 64 and not forms & ROUNDING):
        raise instruction.error(".approx, .full or one rounding is needed")
    target, left, right = low.operands(instruction, 3)
    a, b = (flush(low, low.value(instruction, operand, kind), flags) for operand in (left, right))
    result = directed_quotient(low, a, b, rounding_of(instruction, flags))
    low.assign(instruction, target, flush(low, result, flags))


def copy_sign(low: Lowering, instruction: Instruction) -> None:
    """``copysign``: the first operand's sign on the second."""
    (kind,), _ = low.split(instruction, set(), 1)
    target, sign, magnitude = low.operands(instruction, 3)
    if not kind.floating:
        raise instruction.error("copysign is for floating point")
    a, b = low.value(instruction, sign, kind), low.value(instruction, magnitude, kind)
    low.assign(instruction, target, low.op("copysign", a.type, b, a))


def test_property(low: Lowering, instruction: Instruction) -> None:
    """``testp``."""
    (kind,), flags = low.split(
        instruction, {"finite", "infinite", "number", "notanumber", "normal", "subnormal"}, 1
    )
    target, source = low.operands(instruction, 2)
    if not kind.floating or len(flags) != 1:
        raise instruction.error("one property of a floating point number is tested")
    x = low.value(instruction, source, kind)
    magnitude = low.op("fabs", x.type, x)
    infinity = real(low, x.type, math.inf)
    smallest = real(low, x.type, 2.0**-126 if VALUE_BITS[x.type] == 32 else 2.0**-1022)
    zero = real(low, x.type, 0.0)
    tests: dict[str, Callable[[], Value]] = {
        "finite": lambda: low.compare("olt", magnitude, infinity),
        "infinite": lambda: low.compare("oeq", magnitude, infinity),
        "number": lambda: low.compare("ord", x, x),
        "notanumber": lambda: low.compare("uno", x, x),
        "normal": lambda: low.int_op(
            "and", low.compare("oge", magnitude, smallest), low.compare("olt", magnitude, infinity)
        ),
        "subnormal": lambda: low.int_op(
            "and", low.compare("olt", magnitude, smallest), low.compare("ogt", magnitude, zero)
        ),
    }
    low.assign(instruction, target, tests[flags.pop()]())


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "fma": fused_multiply_add,
    "copysign": copy_sign,
    "testp": test_property,
    **dict.fromkeys(("rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh"), unary),
}
