"""Floating point arithmetic, in single, double and half precision, one number or two in a word."""

import math
from collections.abc import Callable

from logv.ptx.interpreter._form import PREDICATE, Decoder, Form, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._real import FORMATS, Format

_ROUNDING = "rn rz rm rp"
_ALL = "f32 f64 f16 f16x2 bf16 bf16x2"
# The approximate forms are exact here, and rounded to nearest: within every bound that PTX states.
_APPROXIMATIONS: dict[str, Callable[[float], float]] = {
    "ex2": lambda x: 2.0**x if x < 1100 else math.inf,
    "lg2": lambda x: math.log2(x) if x > 0 else (-math.inf if x == 0 else math.nan),
    "sin": lambda x: math.nan if math.isinf(x) else math.sin(x),
    "cos": lambda x: math.nan if math.isinf(x) else math.cos(x),
    "tanh": math.tanh,
}


def _each_half(kind: Kind, function: Callable[..., int]) -> Callable[..., int]:
    """Return a function on words that applies one on halves to both, if the type is packed."""
    if not kind.packed:
        return function

    def both(*words: int) -> int:
        low = function(*[word & 0xFFFF for word in words])
        return low | function(*[word >> 16 for word in words]) << 16

    return both


def _calculation(
    form: Form, kind: Kind, count: int, exact: Callable[..., int], *, result: Callable[[int], int] = int
) -> Step:
    """Return the step of an operation on `count` numbers that ``.ftz`` and ``.sat`` apply to."""
    number: Format = kind.format
    flush = number.flush if "ftz" in form.flags else int
    saturate = number.saturate if "sat" in form.flags else int

    def calculate(*operands: int) -> int:
        return result(saturate(flush(exact(*[flush(operand) for operand in operands]))))

    return form.compute(kind, [kind] * count, _each_half(kind, calculate))


def _arithmetic(form: Form) -> Step:
    """``add``, ``sub``, ``mul``."""
    (kind,) = form.types(1, f"{_ROUNDING} ftz sat", among=_ALL)
    number, rounding = kind.format, form.choose(_ROUNDING, "rn")
    function = {"add": number.add, "sub": number.subtract, "mul": number.multiply}[form.opcode]
    return _calculation(form, kind, 2, lambda a, b: function(a, b, rounding))


def _fused_multiply_add(form: Form) -> Step:
    """``fma`` and, in floating point, ``mad``."""
    (kind,) = form.types(1, f"{_ROUNDING} ftz sat relu", among=_ALL)
    number, rounding = kind.format, form.choose(_ROUNDING)
    rectify = _rectifier(number) if "relu" in form.flags else int
    return _calculation(form, kind, 3, lambda a, b, c: number.fma(a, b, c, rounding), result=rectify)


def _rectifier(number: Format) -> Callable[[int], int]:
    """Return what ``.relu`` does: negative numbers become +0, a NaN stays one."""
    return lambda bits: number.nan if number.is_nan(bits) else 0 if number.is_negative(bits) else bits


def _divide(form: Form) -> Step:
    (kind,) = form.types(1, f"{_ROUNDING} approx full ftz", among="f32 f64")
    if form.flags & {"approx", "full"}:
        form.types(1, "approx full ftz", among="f32")
        rounding = "rn"
    else:
        rounding = form.choose(_ROUNDING)
    return _calculation(form, kind, 2, lambda a, b: kind.format.divide(a, b, rounding))


def _root(form: Form) -> Step:
    """``sqrt``, ``rcp``."""
    (kind,) = form.types(1, f"{_ROUNDING} approx ftz", among="f32 f64")
    number = kind.format
    rounding = "rn" if "approx" in form.flags else form.choose(_ROUNDING)
    if form.opcode == "sqrt":
        return _calculation(form, kind, 1, lambda a: number.square_root(a, rounding))
    return _calculation(form, kind, 1, lambda a: number.divide(number.one, a, rounding))


def _reciprocal_root(form: Form) -> Step:
    (kind,) = form.types(1, "approx ftz", among="f32 f64")
    form.choose("approx")
    number, wide = kind.format, FORMATS["f64"]

    def invert(a: int) -> int:
        if number.is_zero(a) or not number.is_finite(a) or number.is_negative(a):
            return number.divide(number.one, number.square_root(a))
        root = wide.square_root(wide.encode(number.decode(a)))
        return number.encode(wide.decode(wide.divide(wide.one, root)))

    return _calculation(form, kind, 1, invert)


def _approximate(form: Form) -> Step:
    """``ex2 lg2 sin cos tanh``."""
    halves = " f16 f16x2 bf16 bf16x2" if form.opcode in ("ex2", "tanh") else ""
    (kind,) = form.types(1, "approx ftz", among=f"f32{halves}")
    form.choose("approx")
    number, function = kind.format, _APPROXIMATIONS[form.opcode]

    def approximate(a: int) -> int:
        x = number.to_float(a)
        return number.nan if math.isnan(x) else number.from_float(function(x))

    return _calculation(form, kind, 1, approximate)


def _sign(form: Form) -> Step:
    """``neg``, ``abs``."""
    (kind,) = form.types(1, "ftz", among=_ALL)
    function = kind.format.negate if form.opcode == "neg" else kind.format.magnitude
    return _calculation(form, kind, 1, function)


def _minimum(form: Form) -> Step:
    (kind,) = form.types(1, "ftz NaN xorsign abs", among=_ALL)
    number, propagate = kind.format, "NaN" in form.flags
    function = number.minimum if form.opcode == "min" else number.maximum
    if "xorsign" not in form.flags:
        return _calculation(form, kind, 2, lambda a, b: function(a, b, propagate=propagate))
    form.choose("abs")

    def by_magnitude(a: int, b: int) -> int:
        result = function(number.magnitude(a), number.magnitude(b), propagate=propagate)
        return result if number.is_nan(result) else result | (a ^ b) & number.sign

    return _calculation(form, kind, 2, by_magnitude)


def _copy_sign(form: Form) -> Step:
    (kind,) = form.types(1, among="f32 f64")
    sign = kind.format.sign
    return form.compute(kind, [kind] * 2, lambda a, b: b & ~sign | a & sign)


def _test(form: Form) -> Step:
    """``testp``."""
    (kind,) = form.types(1, "finite infinite number notanumber normal subnormal", among="f32 f64")
    number = kind.format
    tests: dict[str, Callable[[int], bool]] = {
        "finite": number.is_finite,
        "infinite": number.is_infinite,
        "number": lambda a: not number.is_nan(a),
        "notanumber": number.is_nan,
        "normal": lambda a: number.is_finite(a) and not number.is_zero(a) and not number.is_subnormal(a),
        "subnormal": number.is_subnormal,
    }
    test = tests[form.choose(" ".join(tests))]
    return form.compute(PREDICATE, [kind], lambda a: int(test(a)))


FLOATING: dict[str, Decoder] = {
    "add": _arithmetic, "sub": _arithmetic, "mul": _arithmetic, "fma": _fused_multiply_add,
    "mad": _fused_multiply_add, "div": _divide, "sqrt": _root, "rcp": _root, "rsqrt": _reciprocal_root,
    "neg": _sign, "abs": _sign, "min": _minimum, "max": _minimum, "copysign": _copy_sign, "testp": _test,
    **dict.fromkeys(_APPROXIMATIONS, _approximate),
}  # fmt: skip
