"""Single instructions against models in Python integers and NumPy floats."""

import math
import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.instruction_bench import run

EXAMPLES = settings(max_examples=25, deadline=None)
Model = Callable[..., int]


def words(bits: int) -> st.SearchStrategy[int]:
    """Bit patterns, with those at the edges often."""
    edges = [0, 1, 2, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1, bits - 1, bits, 255]
    return st.one_of(st.sampled_from(edges), st.integers(0, (1 << bits) - 1))


def columns(count: int, bits: int) -> st.SearchStrategy[list[list[int]]]:
    """Several operands of several threads."""
    row = st.lists(words(bits), min_size=8, max_size=8)
    return st.lists(row, min_size=count, max_size=count)


def signed(value: int, bits: int) -> int:
    """The number that a bit pattern stands for."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def _clamp(value: int, bits: int, *, sign: bool) -> int:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if sign else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def _quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def _integer_models(bits: int) -> dict[str, tuple[str, Model]]:
    """Text to result type and model for instructions on two or three words of a width."""
    mask = (1 << bits) - 1

    def s(value: int) -> int:
        return signed(value, bits)

    u, i, b = f"u{bits}", f"s{bits}", f"b{bits}"
    models: dict[str, tuple[str, Model]] = {
        f"add.{i} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x + y),
        f"sub.{i} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x - y),
        f"mul.lo.{i} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x * y),
        f"mul.hi.{u} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x * y >> bits),
        f"mul.hi.{i} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: s(x) * s(y) >> bits),
        f"mad.lo.{i} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: x * y + z),
        f"mad.hi.{i} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: (s(x) * s(y) >> bits) + z),
        f"mad.hi.{u} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: (x * y >> bits) + z),
        f"div.{u} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x // y if y else mask),
        f"rem.{u} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x % y if y else x),
        f"div.{i} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: _quotient(s(x), s(y)) if y else mask),
        f"rem.{i} {{d}}, {{a}}, {{b}};": (
            b,
            lambda x, y, z: s(x) - _quotient(s(x), s(y)) * s(y) if y else x,
        ),
        f"min.{i} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: min(s(x), s(y))),
        f"max.{u} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: max(x, y)),
        f"abs.{i} {{d}}, {{a}};": (b, lambda x, y, z: abs(s(x))),
        f"neg.{i} {{d}}, {{a}};": (b, lambda x, y, z: -x),
        f"sad.{i} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: abs(s(x) - s(y)) + z),
        f"and.{b} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x & y),
        f"xor.{b} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x ^ y),
        f"not.{b} {{d}}, {{a}};": (b, lambda x, y, z: ~x),
        f"cnot.{b} {{d}}, {{a}};": (b, lambda x, y, z: int(x == 0)),
        f"set.lt.u32.{i} %r6, {{a}}, {{b}}; cvt.u{bits}.u32 {{d}}, %r6;": (
            b,
            lambda x, y, z: (0xFFFFFFFF if s(x) < s(y) else 0) & mask,
        ),
        f"setp.ge.and.{u} %p1|%p2, {{a}}, {{b}}, !%outside; selp.{b} {{d}}, 1, 2, %p1;": (
            b,
            lambda x, y, z: 1 if x >= y else 2,
        ),
        f"setp.ge.{u} %p1|%p2, {{a}}, {{b}}; mov.{b} {{d}}, 7; @%p2 mov.{b} {{d}}, 9;": (
            b,
            lambda x, y, z: 7 if x >= y else 9,
        ),
    }
    return models


def _bit_models(bits: int) -> dict[str, tuple[str, Model]]:
    """Shifts and bit fields: the second and third operands are 32-bit amounts."""
    mask = (1 << bits) - 1
    b = f"b{bits}"

    def s(value: int) -> int:
        return signed(value, bits)

    def field(x: int, y: int, z: int, *, sign: bool) -> int:
        begin, count = y & 255, z & 255
        if count == 0:
            return 0
        top = min(begin + count - 1, bits - 1)
        source = x >> begin & (1 << count) - 1 if begin < bits else 0
        if sign and x >> top & 1:
            have = max(0, min(count, bits - begin))
            source |= mask & ~((1 << have) - 1)
        return source

    def insert(x: int, y: int, z: int) -> int:
        begin, count = y & 255, z & 255
        place = ((1 << count) - 1) << begin & mask
        return x << begin & place | x & ~place

    return {
        f"shl.{b} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x << min(y, bits)),
        f"shr.u{bits} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: x >> min(y, bits)),
        f"shr.s{bits} {{d}}, {{a}}, {{b}};": (b, lambda x, y, z: s(x) >> min(y, bits)),
        f"bfe.u{bits} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: field(x, y, z, sign=False)),
        f"bfe.s{bits} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: field(x, y, z, sign=True)),
        f"bfi.{b} {{d}}, {{a}}, {{a}}, {{b}}, {{c}};": (b, insert),
        f"popc.{b} {{d}}, {{a}};": ("b32", lambda x, y, z: x.bit_count()),
        f"clz.{b} {{d}}, {{a}};": ("b32", lambda x, y, z: bits - x.bit_length()),
        f"brev.{b} {{d}}, {{a}};": (b, lambda x, y, z: int(f"{x:0{bits}b}"[::-1], 2)),
        f"bfind.u{bits} {{d}}, {{a}};": ("b32", lambda x, y, z: x.bit_length() - 1),
    }


def _check(models: dict[str, tuple[str, Model]], sources: tuple[str, ...], operands: list[list[int]]) -> None:
    instructions = tuple((kind, text) for text, (kind, _) in models.items())
    found = run(sources, instructions, operands)
    for row, (text, (kind, model)) in zip(found, models.items(), strict=True):
        mask = (1 << int(kind[1:])) - 1
        for result, *arguments in zip(row, *operands, strict=True):
            assert result == model(*arguments) & mask, (text, [hex(argument) for argument in arguments])


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_integer_instructions(bits: int) -> None:
    """Arithmetic wraps, division by zero does not trap, comparisons know their sign."""
    models = _integer_models(bits)

    @EXAMPLES
    @given(columns(3, bits))
    def check(operands: list[list[int]]) -> None:
        _check(models, (f"b{bits}",) * 3, operands)

    check()


@pytest.mark.parametrize("bits", [32, 64])
def test_shifts_and_bit_fields(bits: int) -> None:
    """Amounts beyond the width shift everything out; fields may reach beyond the word."""

    @EXAMPLES
    @given(columns(1, bits), columns(2, 32))
    def check(values: list[list[int]], amounts: list[list[int]]) -> None:
        _check(_bit_models(bits), (f"b{bits}", "b32", "b32"), values + amounts)

    check()


@EXAMPLES
@given(columns(3, 32))
def test_byte_and_logic_instructions(operands: list[list[int]]) -> None:
    """``prmt``, ``lop3``, ``shf``, ``dp4a`` and carries."""

    def permute(x: int, y: int, z: int) -> int:
        octets = (y << 32 | x).to_bytes(8, "little")
        result = 0
        for place in range(4):
            selector = z >> 4 * place & 15
            octet = octets[selector & 7]
            if selector & 8:
                octet = 255 if octet & 128 else 0
            result |= octet << 8 * place
        return result

    def dot(x: int, y: int, z: int) -> int:
        return z + sum(signed(x >> 8 * k, 8) * signed(y >> 8 * k, 8) for k in range(4))

    models: dict[str, tuple[str, Model]] = {
        "prmt.b32 {d}, {a}, {b}, {c};": ("b32", permute),
        "lop3.b32 {d}, {a}, {b}, {c}, 0xE8;": ("b32", lambda x, y, z: x & y | y & z | x & z),
        "lop3.b32 {d}, {a}, {b}, {c}, 150;": ("b32", lambda x, y, z: x ^ y ^ z),
        "shf.l.wrap.b32 {d}, {a}, {b}, {c};": ("b32", lambda x, y, z: (y << 32 | x) << (z & 31) >> 32),
        "shf.r.clamp.b32 {d}, {a}, {b}, {c};": ("b32", lambda x, y, z: (y << 32 | x) >> min(z, 32)),
        "dp4a.s32.s32 {d}, {a}, {b}, {c};": ("b32", dot),
        "mul.wide.s32 {d}, {a}, {b};": ("b64", lambda x, y, z: signed(x, 32) * signed(y, 32)),
        "mul.wide.u32 {d}, {a}, {b};": ("b64", lambda x, y, z: x * y),
        "add.sat.s32 {d}, {a}, {b};": (
            "b32",
            lambda x, y, z: _clamp(signed(x, 32) + signed(y, 32), 32, sign=True),
        ),
        "add.cc.u32 %r6, {a}, {b}; addc.u32 {d}, {c}, 0;": ("b32", lambda x, y, z: z + (x + y >> 32)),
        "sub.cc.u32 %r6, {a}, {b}; subc.u32 {d}, {c}, 0;": ("b32", lambda x, y, z: z - (x < y)),
        "mov.b64 {d}, {{{a}, {b}}};": ("b64", lambda x, y, z: y << 32 | x),
        "mov.b32 {{%h5, %h6}}, {a}; mov.b32 {d}, {{%h6, %h5}};": ("b32", lambda x, y, z: x >> 16 | x << 16),
        "slct.b32.s32 {d}, {a}, {b}, {c};": ("b32", lambda x, y, z: x if signed(z, 32) >= 0 else y),
    }
    _check(models, ("b32",) * 3, operands)


# -- floating point -----------------------------------------------------------------------------------

_FORMATS: dict[int, tuple[str, str, Any]] = {32: ("<f", "<I", np.float32), 64: ("<d", "<Q", np.float64)}


def to_float(bits: int, width: int) -> float:
    """The number of a bit pattern."""
    return float(struct.unpack(_FORMATS[width][0], struct.pack(_FORMATS[width][1], bits))[0])


def same(found: int, wanted: float, width: int) -> bool:
    """Whether bits are this number; any NaN will do for a NaN."""
    if math.isnan(wanted):
        return math.isnan(to_float(found, width))
    kind = _FORMATS[width][2]
    with np.errstate(all="ignore"):
        expected = kind(wanted)
    return found == int.from_bytes(expected.tobytes(), "little")


def floats(width: int) -> st.SearchStrategy[list[int]]:
    """Bit patterns of floating point numbers of every kind."""
    edges = [0.0, -0.0, 1.0, -1.5, math.inf, -math.inf, math.nan, 0.5, 2.5, 3e9, -3e9, 1e19, 2.0**31, 2.0**63]
    layout = _FORMATS[width]
    patterns = [struct.unpack(layout[1], struct.pack(layout[0], edge))[0] for edge in edges]
    return st.lists(
        st.one_of(st.sampled_from(patterns), st.integers(0, (1 << width) - 1)), min_size=8, max_size=8
    )


def _minimum(x: float, y: float) -> float:
    if math.isnan(x) or math.isnan(y):
        return y if math.isnan(x) else x
    if x == y == 0:
        return x if math.copysign(1, x) < 0 else y
    return min(x, y)


@pytest.mark.parametrize("width", [32, 64])
def test_floating_point_instructions(width: int) -> None:
    """Rounded as IEEE 754 says, subnormals kept, signed zeros ordered by min and max."""
    kind = _FORMATS[width][2]
    models: dict[str, Callable[..., float]] = {
        "add": lambda x, y: float(kind(x) + kind(y)),
        "sub": lambda x, y: float(kind(x) - kind(y)),
        "mul": lambda x, y: float(kind(x) * kind(y)),
        "div.rn": lambda x, y: float(kind(x) / kind(y)),
        "min": _minimum,
        "max": lambda x, y: -_minimum(-x, -y),
        "copysign": lambda x, y: math.copysign(y, x),
    }
    single: dict[str, Callable[[float], float]] = {
        "sqrt.rn": lambda x: float(np.sqrt(kind(x))),
        "rcp.rn": lambda x: float(kind(1) / kind(x)),
        "abs": abs,
        "neg": lambda x: -x,
    }
    instructions = tuple((f"f{width}", f"{name}.f{width} {{d}}, {{a}}, {{b}};") for name in models) + tuple(
        (f"f{width}", f"{name}.f{width} {{d}}, {{a}};") for name in single
    )

    @EXAMPLES
    @given(floats(width), floats(width))
    def check(left: list[int], right: list[int]) -> None:
        found = run((f"f{width}",) * 2, instructions, [left, right])
        with np.errstate(all="ignore"):
            for row, (name, binary) in zip(found, models.items(), strict=False):
                for result, a, b in zip(row, left, right, strict=True):
                    x, y = to_float(a, width), to_float(b, width)
                    assert same(result, binary(x, y), width), (name, x, y)
            for row, (name, unary) in zip(found[len(models) :], single.items(), strict=True):
                for result, a in zip(row, left, strict=True):
                    assert same(result, unary(to_float(a, width)), width), (name, to_float(a, width))

    check()


_ROUND: dict[str, Callable[[float], int]] = {
    "rn": round,
    "rz": math.trunc,
    "rm": math.floor,
    "rp": math.ceil,
}


@pytest.mark.parametrize("source", ["f32", "f64"])
def test_float_to_integer_conversions(source: str) -> None:
    """Every rounding; out of range goes to the nearest bound, NaN to 0 or, of 64 bits, to the highest bit."""
    width = int(source[1:])
    targets = ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"]
    cases = [(target, mode) for target in targets for mode in _ROUND]
    instructions = tuple((f"b{t[1:]}", f"cvt.{m}i.{t}.{source} {{d}}, {{a}};") for t, m in cases)

    @EXAMPLES
    @given(floats(width))
    def check(values: list[int]) -> None:
        found = run((source,), instructions, [values])
        for row, (target, mode) in zip(found, cases, strict=True):
            bits, sign = int(target[1:]), target[0] == "s"
            for result, pattern in zip(row, values, strict=True):
                number = to_float(pattern, width)
                if math.isnan(number):
                    wanted = 0 if max(bits, width) < 64 else 1 << (bits - 1)
                elif math.isinf(number):
                    wanted = _clamp((1 << 80) * (1 if number > 0 else -1), bits, sign=sign)
                else:
                    wanted = _clamp(_ROUND[mode](number), bits, sign=sign)
                assert result == wanted & (1 << bits) - 1, (target, mode, number)

    check()


def _rounded(exact: Fraction, mode: str, width: int) -> float:
    """The floating point number of a width that a rounding makes of an exact value."""
    kind = _FORMATS[width][2]
    nearest = kind(float(exact)) if width == 64 else _nearest_single(exact)
    back = Fraction(float(nearest))
    down, up = kind(-math.inf), kind(math.inf)
    if mode == "rn" or back == exact:
        return float(nearest)
    lower = mode == "rm" or (mode == "rz" and exact > 0)
    if lower:
        return float(nearest if back < exact else np.nextafter(nearest, down))
    return float(nearest if back > exact else np.nextafter(nearest, up))


def _nearest_single(exact: Fraction) -> np.float32:
    guess = np.float32(float(exact))
    near = [np.nextafter(guess, np.float32(-math.inf)), guess, np.nextafter(guess, np.float32(math.inf))]

    def distance(candidate: np.float32) -> tuple[Fraction, int]:
        odd = int(candidate.view(np.uint32)) & 1
        return abs(Fraction(float(candidate)) - exact), odd

    return min(near, key=distance)


@pytest.mark.parametrize("source", ["s32", "u32", "s64", "u64"])
def test_integer_to_float_conversions(source: str) -> None:
    """Every rounding of integers that do not fit the mantissa."""
    bits = int(source[1:])
    cases = [(target, mode) for target in (32, 64) for mode in _ROUND]
    instructions = tuple((f"f{t}", f"cvt.{m}.f{t}.{source} {{d}}, {{a}};") for t, m in cases)

    @EXAMPLES
    @given(st.lists(words(bits), min_size=8, max_size=8))
    def check(values: list[int]) -> None:
        found = run((f"b{bits}",), instructions, [values])
        for row, (target, mode) in zip(found, cases, strict=True):
            for result, pattern in zip(row, values, strict=True):
                number = signed(pattern, bits) if source[0] == "s" else pattern
                assert same(result, _rounded(Fraction(number), mode, target), target), (target, mode, number)

    check()


@EXAMPLES
@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3), min_size=8, max_size=8))
def test_directed_rounding_of_single_precision(numbers: list[tuple[float, float, float]]) -> None:
    """``add``, ``mul`` and ``fma`` toward zero, down and up, against exact fractions."""
    exact: dict[str, Callable[[Fraction, Fraction, Fraction], Fraction]] = {
        "add": lambda x, y, z: x + y,
        "sub": lambda x, y, z: x - y,
        "mul": lambda x, y, z: x * y,
        "fma": lambda x, y, z: x * y + z,
    }
    cases = [(name, mode) for name in exact for mode in ("rz", "rm", "rp")]
    third = {"fma": ", {c}"}
    instructions = tuple(
        ("f32", f"{name}.{mode}.f32 {{d}}, {{a}}, {{b}}{third.get(name, '')};") for name, mode in cases
    )
    patterns = [
        [int(np.float32(number).view(np.uint32)) for number in column]
        for column in zip(*numbers, strict=True)
    ]
    found = run(("f32",) * 3, instructions, patterns)
    for row, (name, mode) in zip(found, cases, strict=True):
        for result, operands in zip(row, numbers, strict=True):
            wanted = exact[name](*(Fraction(number) for number in operands))
            value = to_float(result, 32)
            if wanted == 0 or abs(wanted) < Fraction(2) ** -120:
                continue
            assert value == _rounded(wanted, mode, 32), (name, mode, operands)


@EXAMPLES
@given(columns(1, 64))
def test_integer_to_integer_conversions(operands: list[list[int]]) -> None:
    """Widening by sign, narrowing by truncation or saturation."""
    models: dict[str, tuple[str, Model]] = {}
    for to in (8, 16, 32, 64):
        for sign in "su":
            for source in (8, 16, 32, 64):
                kind = f"{sign}{source}"
                register = {8: "%h5", 16: "%h5", 32: "%r5", 64: "%d5"}[source]
                narrow = (
                    f"cvt.u{max(source, 16)}.u64 {register}, {{a}};" if source < 64 else "mov.u64 %d5, {a};"
                )

                def value(x: int, *, source: int = source, sign: str = sign) -> int:
                    return signed(x, source) if sign == "s" else x & (1 << source) - 1

                models[f"{narrow} cvt.{sign}{to}.{kind} {{d}}, {register};"] = (f"b{to}", value)
                models[f"{narrow} cvt.sat.s{to}.{kind} {{d}}, {register};"] = (
                    f"b{to}",
                    lambda x, to=to, value=value: _clamp(value(x), to, sign=True),
                )
    _check(models, ("b64",), operands)


def test_approximate_functions_at_their_edges() -> None:
    """Infinities, zeros, NaN and subnormals of the approximate instructions."""
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 2.0**-149, -1.0, 200.0, -200.0]
    names = (
        "ex2.approx",
        "lg2.approx",
        "rcp.approx",
        "sqrt.approx",
        "rsqrt.approx",
        "sin.approx",
        "tanh.approx",
    )
    patterns = [int(np.float32(value).view(np.uint32)) for value in special]
    found = run(("f32",), tuple(("f32", f"{name}.f32 {{d}}, {{a}};") for name in names), [patterns])
    nan = math.nan
    expected = [
        [1, 1, math.inf, 0, nan, 1, 0.5, math.inf, 0],
        [-math.inf, -math.inf, math.inf, nan, nan, -149, nan, np.log2(200.0), nan],
        [math.inf, -math.inf, 0, 0, nan, math.inf, -1, 1 / 200, -1 / 200],
        [0, 0, math.inf, nan, nan, 2.0**-74.5, nan, math.sqrt(200), nan],
        [math.inf, -math.inf, 0, nan, nan, 2.0**74.5, nan, 1 / math.sqrt(200), nan],
        [0, 0, nan, nan, nan, 2.0**-149, math.sin(-1), math.sin(200), math.sin(-200)],
        [0, 0, 1, -1, nan, 2.0**-149, math.tanh(-1), 1, -1],
    ]
    values = [[to_float(bits, 32) for bits in row] for row in found]
    np.testing.assert_allclose(values, expected, rtol=2e-6)


@pytest.mark.parametrize(
    ("kind", "nan"), [("f32", "0f7FFFFFFF"), ("f64", "0d7FFFFFFFFFFFFFFF")], ids=["single", "double"]
)
def test_a_nan_takes_the_place_of_another(kind: str, nan: str) -> None:
    """Which of them a result is cannot be seen by calculating with it; its bits can be stored."""
    numbers = [-1.0, 4.0, math.nan]
    bits = "<I" if kind == "f32" else "<Q"
    operand = [
        struct.unpack(bits, struct.pack("<f" if kind == "f32" else "<d", number))[0] for number in numbers
    ]
    register = "%f5" if kind == "f32" else "%g5"
    text = (
        f"sqrt.rn.{kind} {register}, {{a}}; setp.nan.{kind} %p1, {register}, {register}; "
        f"selp.{kind} {{d}}, {nan}, {register}, %p1;"
    )
    (found,) = run((kind,), ((kind, text),), [operand])
    two = struct.unpack(bits, struct.pack("<f" if kind == "f32" else "<d", 2.0))[0]
    assert found == [int(nan[2:], 16), two, int(nan[2:], 16)]
