"""Half precision against exact fractions, over all numbers where that is cheap."""

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.exact_floats import F32, F64, FORMATS, Format, fused
from tests.ptx.instruction_bench import run

EXAMPLES = settings(max_examples=30, deadline=None)
ALL = list(range(1 << 16))
KINDS = ["f16", "bf16"]
MODES = ["rn", "rz", "rm", "rp"]


def patterns(form: Format, size: int = 32) -> st.SearchStrategy[list[int]]:
    """Numbers of every kind, those at the edges often."""
    one = form.bias << form.fraction_bits
    edges = [0, 1, form.infinity, form.infinity - 1, form.infinity + 1, one, one + 1, one - 1]
    edges += [1 << form.fraction_bits, (1 << form.fraction_bits) - 1]
    edges += [edge | form.sign for edge in edges]
    number = st.one_of(st.sampled_from(edges), st.integers(0, (1 << form.bits) - 1))
    return st.lists(number, min_size=size, max_size=size)


def agrees(form: Format, found: int, wanted: int | None) -> bool:
    """Whether bits are those wanted; None is any NaN."""
    return form.is_nan(found) if wanted is None else found == wanted


def number_of(form: Format, bits: int) -> float:
    """A half as a Python float, which is exact."""
    return math.copysign(float(form.decode(bits)), -1 if bits & form.sign else 1)


@pytest.mark.parametrize("kind", KINDS)
def test_arithmetic_is_rounded_once(kind: str) -> None:
    """``add sub mul fma``, alone and in pairs."""
    form = FORMATS[kind]
    # The product lies on the middle between two numbers; the addend is lost even in a double.
    near_one = form.encode(1 + Fraction(1, 1 << form.fraction_bits // 2 + 1))
    hard = [near_one, near_one, form.encode(Fraction(1, 1 << form.bias - 2))]
    cases = {"add": 2, "sub": 2, "mul": 2, "fma.rn": 3}
    lists = {2: "{a}, {b}", 3: "{a}, {b}, {c}"}
    single = [("b16", f"{name}.{kind} {{d}}, {lists[count]};") for name, count in cases.items()]
    pack = "mov.b32 %r1, {{{a}, {b}}}; mov.b32 %r2, {{{b}, {c}}}; mov.b32 %r3, {{{c}, {a}}}; "
    paired = [
        ("b32", pack + f"{name}.{kind}x2 {{d}}, %r1, %r2{', %r3' * (count - 2)};")
        for name, count in cases.items()
    ]

    @EXAMPLES
    @given(patterns(form), patterns(form), patterns(form))
    def check(a: list[int], b: list[int], c: list[int]) -> None:
        columns = [[*column, extra] for column, extra in zip((a, b, c), hard, strict=True)]
        found = run(("b16",) * 3, (*single, *paired), columns)
        for index, (name, count) in enumerate(cases.items()):
            for place, (x, y, z) in enumerate(zip(*columns, strict=True)):
                lower = fused(name[:3], form, (x, y, z)[:count])
                upper = fused(name[:3], form, (y, z, x)[:count])
                pair = found[index + len(cases)][place]
                assert agrees(form, found[index][place], lower), (name, hex(x), hex(y), hex(z))
                assert agrees(form, pair & 0xFFFF, lower), (name, hex(x), hex(y), hex(z))
                assert agrees(form, pair >> 16, upper), (name, hex(y), hex(z), hex(x))

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_widening_of_every_number(kind: str) -> None:
    """Halves are singles and doubles, subnormals included."""
    form = FORMATS[kind]
    single, double = run(
        ("b16",), (("f32", f"cvt.f32.{kind} {{d}}, {{a}};"), ("f64", f"cvt.f64.{kind} {{d}}, {{a}};")), [ALL]
    )
    for bits in ALL:
        for target, found in ((F32, single[bits]), (F64, double[bits])):
            number = form.decode(bits)
            sign = target.sign if bits & form.sign else 0
            if isinstance(number, float):
                wanted = None if math.isnan(number) else target.infinity | sign
            else:
                wanted = target.encode(number) if number else sign
            assert agrees(target, found, wanted), hex(bits)


@pytest.mark.parametrize("source", ["f32", "f64"])
@pytest.mark.parametrize("kind", KINDS)
def test_narrowing_in_every_mode(kind: str, source: str) -> None:
    """Halves, the middles between them, and what lies barely beside either, are rounded once."""
    form, wide = FORMATS[kind], FORMATS[source]
    cases = tuple(("b16", f"cvt.{mode}.{kind}.{source} {{d}}, {{a}};") for mode in MODES)
    middle = 1 << (wide.fraction_bits - form.fraction_bits - 1)
    offsets = st.sampled_from([0, 1, -1, middle, middle + 1, middle - 1])
    near = st.lists(
        st.tuples(st.integers(0, form.infinity - 1), offsets, st.booleans()), min_size=32, max_size=32
    )

    @EXAMPLES
    @given(near, patterns(wide))
    def check(places: list[tuple[int, int, bool]], others: list[int]) -> None:
        values = list(others)
        for half, offset, negative in places:
            number = form.decode(half)
            bits = max(0, (wide.encode(Fraction(number)) if number else 0) + offset)
            values.append(bits | (wide.sign if negative else 0))
        found = run((source.replace("f", "b"),), cases, [values])
        for row, mode in zip(found, MODES, strict=True):
            for result, bits in zip(row, values, strict=True):
                number = wide.decode(bits)
                sign = form.sign if bits & wide.sign else 0
                if isinstance(number, float):
                    wanted = None if math.isnan(number) else form.infinity | sign
                else:
                    wanted = form.encode(number, mode) if number else sign
                assert agrees(form, result, wanted), (mode, hex(bits))

    check()


@pytest.mark.parametrize("source", ["s16", "u16", "s32", "u32", "s64", "u64"])
def test_integers_to_halves(source: str) -> None:
    """Every mode; 64-bit integers are not rounded on the way."""
    bits = int(source[1:])
    cases = [(kind, mode) for kind in KINDS for mode in MODES]
    instructions = tuple(("b16", f"cvt.{mode}.{kind}.{source} {{d}}, {{a}};") for kind, mode in cases)
    middle = (1 << 62) + (1 << 54)
    edges = st.sampled_from([0, 1, -1, 1 << bits - 1, middle, middle + 1, middle - 1, 2049, 65519, 65520])

    @EXAMPLES
    @given(st.lists(st.one_of(edges, st.integers(0, (1 << bits) - 1)), min_size=32, max_size=32))
    def check(values: list[int]) -> None:
        values = [value & (1 << bits) - 1 for value in values]
        found = run((f"b{bits}",), instructions, [values])
        for row, (kind, mode) in zip(found, cases, strict=True):
            for result, value in zip(row, values, strict=True):
                negative = source[0] == "s" and value >> (bits - 1)
                number = value - (1 << bits) if negative else value
                assert result == (FORMATS[kind].encode(Fraction(number), mode) if number else 0), (
                    mode,
                    number,
                )

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_halves_to_integers(kind: str) -> None:
    """All numbers, in every rounding; beyond the bounds goes to the nearest."""
    form = FORMATS[kind]
    rounds: dict[str, Callable[[Fraction], int]] = {
        "rni": round, "rzi": math.trunc, "rmi": math.floor, "rpi": math.ceil
    }  # fmt: skip
    cases = list(zip(rounds, ["s8", "u16", "s32", "u64"], strict=True))
    instructions = [(f"b{kind_[1:]}", f"cvt.{mode}.{kind_}.{kind} {{d}}, {{a}};") for mode, kind_ in cases]
    whole = [("b16", f"cvt.{mode}.{kind}.{kind} {{d}}, {{a}};") for mode in rounds]
    found = run(("b16",), (*instructions, *whole), [ALL])
    for index, (mode, target) in enumerate(cases):
        width, signed = int(target[1:]), target[0] == "s"
        low, high = (-(1 << width - 1), (1 << width - 1) - 1) if signed else (0, (1 << width) - 1)
        for bits in ALL:
            number = form.decode(bits)
            if isinstance(number, float):
                # A NaN becomes 0, or the highest bit of 64.
                wanted = high if number > 0 else low
                if math.isnan(number):
                    wanted = 1 << 63 if width == 64 else 0
                integral = None if math.isnan(number) else bits
            else:
                rounded = rounds[mode](number)
                wanted = min(max(rounded, low), high)
                integral = form.encode(Fraction(rounded)) if rounded else bits & form.sign
            assert found[index][bits] == wanted & (1 << width) - 1, (mode, target, hex(bits))
            assert agrees(form, found[index + len(cases)][bits], integral), (mode, hex(bits))


def test_modifiers_of_results() -> None:
    """``.sat`` keeps to [0, 1], ``.relu`` has no negative numbers, ``.ftz`` no subnormal ones."""
    form = FORMATS["f16"]
    names = ["add.sat", "add.ftz", "fma.rn.sat", "fma.rn.relu", "fma.rn.ftz", "mul.ftz.sat"]
    lists = {"add": "{a}, {b}", "mul": "{a}, {b}", "fma": "{a}, {b}, {c}"}
    instructions = tuple(("b16", f"{name}.f16 {{d}}, {lists[name[:3]]};") for name in names)

    @EXAMPLES
    @given(patterns(form), patterns(form), patterns(form))
    def check(a: list[int], b: list[int], c: list[int]) -> None:
        columns = [a, b, c]
        found = run(("b16",) * 3, instructions, columns)
        for row, name in zip(found, names, strict=True):
            for result, *given_bits in zip(row, *columns, strict=True):
                flushed = [form.flush(bits) if "ftz" in name else bits for bits in given_bits]
                operands = tuple(flushed[: 3 if name.startswith("fma") else 2])
                wanted = fused(name[:3], form, operands)
                if "ftz" in name and wanted is not None:
                    wanted = form.flush(wanted)
                negative = wanted is not None and bool(wanted & form.sign)
                if "sat" in name:
                    wanted = 0 if wanted is None or negative else min(wanted, 0x3C00)
                if "relu" in name and negative:
                    wanted = 0
                assert agrees(form, result, wanted), (name, operands)

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_minimum_and_sign(kind: str) -> None:
    """``min max neg abs``: a NaN loses or wins as asked, and -0 is below +0."""
    form = FORMATS[kind]
    names = ["min", "max", "min.NaN", "max.NaN", "min.xorsign.abs"]
    instructions = [("b16", f"{name}.{kind} {{d}}, {{a}}, {{b}};") for name in names]
    signs = [("b16", f"{name}.{kind} {{d}}, {{a}};") for name in ("neg", "abs")]
    pair = [("b32", "mov.b32 %r1, {{{a}, {b}}}; " + f"neg.{kind}x2 {{d}}, %r1;")]

    def order(bits: int) -> tuple[float, int]:
        return number_of(form, bits), -(bits & form.sign)

    @EXAMPLES
    @given(patterns(form), patterns(form))
    def check(left: list[int], right: list[int]) -> None:
        found = run(("b16",) * 2, (*instructions, *signs, *pair), [left, right])
        for place, (x, y) in enumerate(zip(left, right, strict=True)):
            numbers = [bits for bits in (x, y) if not form.is_nan(bits)]
            for index, name in enumerate(names):
                choose = min if name.startswith("min") else max
                wanted: int | None = None
                if name.endswith("abs") and numbers:
                    wanted = choose((bits & ~form.sign for bits in numbers), key=order) | (x ^ y) & form.sign
                elif numbers and not (name.endswith("NaN") and len(numbers) < 2):
                    wanted = choose(numbers, key=order)
                assert agrees(form, found[index][place], wanted), (name, hex(x), hex(y))
            assert found[5][place] == x ^ form.sign
            assert found[6][place] == x & ~form.sign
            assert found[7][place] == (y << 16 | x) ^ 0x80008000

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_comparisons(kind: str) -> None:
    """``setp`` and ``set``; of a pair, p is about the lower number and q about the upper."""
    form = FORMATS[kind]
    one = form.bias << form.fraction_bits
    tests: dict[str, Callable[[float, float], bool]] = {
        "lt": lambda x, y: x < y,
        "equ": lambda x, y: x == y or math.isnan(x) or math.isnan(y),
        "nan": lambda x, y: math.isnan(x) or math.isnan(y),
    }
    pack = "mov.b32 %r1, {{{a}, {b}}}; mov.b32 %r2, {{{b}, {b}}}; "
    instructions = []
    for name in tests:
        choose = "selp.b32 {d}, 1, 0, %p1; @%p2 add.u32 {d}, {d}, 2;"
        instructions += [
            ("b32", f"setp.{name}.{kind} %p1|%p2, {{a}}, {{b}}; {choose}"),
            ("b16", f"set.{name}.{kind}.{kind} {{d}}, {{a}}, {{b}};"),
            ("b32", pack + f"set.{name}.u32.{kind}x2 {{d}}, %r1, %r2;"),
            ("b32", pack + f"setp.{name}.and.{kind}x2 %p1|%p2, %r1, %r2, !%outside; {choose}"),
        ]

    @EXAMPLES
    @given(patterns(form), patterns(form))
    def check(left: list[int], right: list[int]) -> None:
        found = run(("b16",) * 2, tuple(instructions), [left, right])
        for index, (name, test) in enumerate(tests.items()):
            for place, (a, b) in enumerate(zip(left, right, strict=True)):
                lower = test(number_of(form, a), number_of(form, b))
                upper = test(number_of(form, b), number_of(form, b))
                rows = [found[4 * index + row][place] for row in range(4)]
                assert rows[0] == (1 if lower else 2), name
                assert rows[1] == (one if lower else 0), name
                assert rows[2] == (0xFFFF if lower else 0) | (0xFFFF0000 if upper else 0), name
                assert rows[3] == lower + 2 * upper, name

    check()


def test_packing_conversions() -> None:
    """Of two singles, the first goes to the upper half; declared half registers hold the same bits."""
    numbers = [0.0, 1.5, -2.0, 65504.0, 1e6, 3.0e-8, -0.1, math.pi]
    singles = [int(np.float32(number).view(np.uint32)) for number in numbers]
    with np.errstate(over="ignore"):
        halves = np.array(numbers, np.float32).astype(np.float16)
    packed = [int(word) for word in halves.view(np.uint16)]
    turned = singles[::-1]
    found = run(
        ("b32", "b32"),
        (
            ("b32", "cvt.rn.f16x2.f32 {d}, {a}, {b};"),
            ("b32", "cvt.rn.relu.bf16x2.f32 {d}, {a}, {b};"),
            (
                "b32",
                "{{ .reg .f16 low, high; .reg.f16x2 both; cvt.rn.f16.f32 low, {b}; cvt.rn.f16.f32 high, {a}; "
                "mov.b32 both, {{low, high}}; mov.b32 {d}, both; }}",
            ),
        ),
        [singles, turned],
    )
    for place, (upper, lower) in enumerate(zip(packed, packed[::-1], strict=True)):
        assert found[0][place] == found[2][place] == upper << 16 | lower
    form = FORMATS["bf16"]
    kept = [form.encode(Fraction(np.float32(number).item())) if number > 0 else 0 for number in numbers]
    assert found[1] == [upper << 16 | lower for upper, lower in zip(kept, kept[::-1], strict=True)]


@pytest.mark.parametrize(
    ("text", "kind", "function", "bound"),
    [
        ("ex2.approx.f16", "f16", lambda x: 2.0**x, 2**-9.9),
        ("ex2.approx.ftz.bf16", "bf16", lambda x: 2.0**x, 2**-7),
        ("tanh.approx.f16", "f16", math.tanh, 2**-10.5),
        ("tanh.approx.bf16", "bf16", math.tanh, 2**-8),
    ],
)
def test_approximations(text: str, kind: str, function: Callable[[float], float], bound: float) -> None:
    """As close as the manual promises, over every number whose result is one."""
    form = FORMATS[kind]
    (found,) = run(("b16",), (("b16", f"{text} {{d}}, {{a}};"),), [ALL])
    smallest = float(form.decode(1 << form.fraction_bits))
    largest = float(form.decode(form.infinity - 1))
    for bits in ALL:
        x = number_of(form, bits)
        if math.isnan(x):
            assert form.is_nan(found[bits])
        elif x < 200:
            wanted = function(x)
            if smallest <= abs(wanted) <= largest:
                assert abs(number_of(form, found[bits]) / wanted - 1) <= bound, x
        elif text.startswith("ex2"):
            assert found[bits] == form.infinity
