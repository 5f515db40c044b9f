"""``cvt`` and the conversions of addresses."""

from collections.abc import Callable

from logv.ptx.interpreter._form import B64, PREDICATE, Decoder, Form, Step
from logv.ptx.interpreter._kinds import Kind
from logv.ptx.interpreter._real import FORMATS, Format, Real
from logv.ptx.interpreter._thread import WINDOW_BYTES, WINDOWS, Thread

_TO_INTEGER = "rni rzi rmi rpi"
_TO_FLOAT = "rn rz rm rp rna"
_SPACES = "global shared local const param shared::cta"
_F32 = Kind("f32", 32)


def _convert(form: Form) -> Step:
    if not form.kinds:
        raise form.error("two types are needed")
    if form.kinds[0].packed:
        return _convert_pair(form)
    to, source = form.types(2, f"{_TO_INTEGER} {_TO_FLOAT} ftz sat relu")
    if any(kind.predicate or kind.untyped or kind.packed for kind in (to, source)):
        raise form.error("these types are not converted")
    target, operand = form.operands(2)
    read = form.source(operand, source, wider=True)
    write = form.target(target, to, wider=True)
    function = _conversion(form, to, source)

    def step(thread: Thread) -> None:
        write(thread, function(read(thread)))

    return step


def _conversion(form: Form, to: Kind, source: Kind) -> Callable[[int], int]:
    if to.name == "tf32":
        return _to_tf32(form, source)
    if not source.floating and not to.floating:
        return to.clamp if "sat" in form.flags else int
    if not source.floating:
        return _integer_to_float(form, to)
    # .ftz is about the single-precision side, whichever that is.
    flush = source.format.flush if "ftz" in form.flags and source.name == "f32" else int
    function = _float_to_float(form, to, source) if to.floating else _float_to_integer(form, to, source)
    return lambda bits: function(flush(bits))


def _finish(form: Form, to: Kind) -> Callable[[int], int]:
    """Return what the flags do to a floating point result."""
    number = to.format
    if "sat" in form.flags:
        return number.saturate
    if "relu" in form.flags:
        return lambda bits: number.nan if number.is_nan(bits) else 0 if number.is_negative(bits) else bits
    return number.flush if "ftz" in form.flags and to.name == "f32" else int


def _float_to_float(form: Form, to: Kind, source: Kind) -> Callable[[int], int]:
    finish = _finish(form, to)
    if to.name == source.name:
        rounding = form.choose(_TO_INTEGER, "none")
        if rounding == "none":
            return finish
        return lambda bits: finish(_round_to_integer(source.format, bits, rounding))
    # Where every number of the one is a number of the other, nothing is rounded.
    widens = to.format.fraction_bits >= source.format.fraction_bits and (
        to.format.exponent_bits >= source.format.exponent_bits
    )
    rounding = form.choose(_TO_FLOAT, "rn") if widens else form.choose(_TO_FLOAT)
    return lambda bits: finish(_reformat(source.format, to.format, bits, rounding))


def _round_to_integer(number: Format, bits: int, rounding: str) -> int:
    if number.is_nan(bits):
        return number.nan
    if number.is_infinite(bits):
        return bits
    return number.encode(Real(number.is_negative(bits), abs(number.to_integer(bits, rounding)), 0))


def _reformat(source: Format, to: Format, bits: int, rounding: str) -> int:
    if source.is_nan(bits):
        return to.nan
    if source.is_infinite(bits):
        return to.infinity | (to.sign if source.is_negative(bits) else 0)
    return to.encode(source.decode(bits), rounding)


def _float_to_integer(form: Form, to: Kind, source: Kind) -> Callable[[int], int]:
    rounding, number = form.choose(_TO_INTEGER), source.format
    # As the manual has it since PTX 9.0; before, it left NaN open.
    from_nan = 1 << (to.bits - 1) if source.name == "f64" or to.bits == 64 else 0

    def convert(bits: int) -> int:
        if number.is_nan(bits):
            return to.number(from_nan)
        if number.is_infinite(bits):
            return to.least if number.is_negative(bits) else to.most
        return to.clamp(number.to_integer(bits, rounding))

    return convert


def _integer_to_float(form: Form, to: Kind) -> Callable[[int], int]:
    rounding, finish = form.choose(_TO_FLOAT), _finish(form, to)
    return lambda value: finish(to.format.encode(Real(value < 0, abs(value), 0), rounding))


def _to_tf32(form: Form, source: Kind) -> Callable[[int], int]:
    """Keep ten bits of the fraction of a single."""
    if source.name != "f32" or form.flags != {"rna"}:
        raise form.error("cvt.rna.tf32.f32 is the only conversion to .tf32")
    short = Format(8, 10, 0x3FFFF)
    return lambda bits: _reformat(FORMATS["f32"], short, bits, "rna") << 13


def _convert_pair(form: Form) -> Step:
    """Two singles to two halves in a word; the first becomes the upper one."""
    to, _ = form.types(2, "rn rz relu", among="f16x2 bf16x2 f32")
    rounding, finish = form.choose("rn rz"), _finish(form, to)

    def pack(upper: int, lower: int) -> int:
        high, low = (finish(_reformat(FORMATS["f32"], to.format, bits, rounding)) for bits in (upper, lower))
        return high << 16 | low

    return form.compute(to, [_F32, _F32], pack)


def _space(form: Form) -> str:
    return form.choose(_SPACES).removesuffix("::cta")


def _convert_address(form: Form) -> Step:
    """``cvta``: add the window of a space to an address in it; ``cvta.to``: take it away."""
    (kind,) = form.types(1, f"to {_SPACES}", among="u64")
    begin = WINDOWS.get(_space(form), 0)
    if not begin:
        return form.compute(kind, [kind], int)
    if "to" in form.flags:
        return form.compute(kind, [kind], lambda address: address - begin if address >= begin else address)
    return form.compute(kind, [kind], lambda address: address + begin if address < begin else address)


def _is_space(form: Form) -> Step:
    """``isspacep``."""
    form.types(0, _SPACES)
    windows = [WINDOWS[space]] if (space := _space(form)) in WINDOWS else list(WINDOWS.values())

    def is_space(address: int) -> int:
        inside = any(begin <= address < begin + WINDOW_BYTES for begin in windows)
        return int(inside != (space == "global"))

    return form.compute(PREDICATE, [B64], is_space)


CONVERSIONS: dict[str, Decoder] = {"cvt": _convert, "cvta": _convert_address, "isspacep": _is_space}
