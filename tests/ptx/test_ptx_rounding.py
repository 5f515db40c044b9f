"""Directed rounding and flush to zero in single and double precision, against exact fractions."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.exact_floats import F32, F64, FORMATS, Format, fused
from tests.ptx.instruction_bench import run

EXAMPLES = settings(max_examples=40, deadline=None)
MODES = ["rn", "rz", "rm", "rp"]
OPERANDS = {"add": 2, "sub": 2, "mul": 2, "div": 2, "fma": 3, "sqrt": 1, "rcp": 1}


def numbers(form: Format) -> st.SearchStrategy[int]:
    """Numbers of every kind: often at the edges, close to each other, or with few digits."""
    one = form.bias << form.fraction_bits
    edges = [0, 1, form.infinity, form.infinity - 1, form.infinity + 1, one, one + 1, one - 1]
    edges += [1 << form.fraction_bits, (1 << form.fraction_bits) - 1]
    magnitude = st.one_of(
        st.sampled_from(edges),
        st.integers(0, form.infinity - 1),
        st.integers(one - 5, one + 5),
        st.integers(0, form.infinity >> form.fraction_bits).map(lambda power: power << form.fraction_bits),
    )
    return st.tuples(magnitude, st.booleans()).map(lambda pair: pair[0] | (form.sign if pair[1] else 0))


def columns(form: Format) -> st.SearchStrategy[list[list[int]]]:
    """Three operands of many threads; the third is often minus the rounded product of the others."""

    def complete(rows: list[tuple[int, int, int, bool, int]]) -> list[list[int]]:
        made = []
        for a, b, c, cancels, nudge in rows:
            product = fused("mul", form, (a, b))
            if cancels and product is not None and abs((product & form.sign - 1) - nudge) < form.infinity - 4:
                third = max(0, (product & form.sign - 1) + nudge) | (product & form.sign ^ form.sign)
            else:
                third = c
            made.append((a, b, third))
        return [list(column) for column in zip(*made, strict=True)]

    one = numbers(form)
    row = st.tuples(one, one, one, st.booleans(), st.integers(-2, 2))
    return st.lists(row, min_size=24, max_size=24).map(complete)


def agrees(form: Format, found: int, wanted: int | None) -> bool:
    """Whether bits are those wanted; None is any NaN."""
    return form.is_nan(found) if wanted is None else found == wanted


def text_of(name: str, suffix: str) -> str:
    """An instruction on as many operands as it takes."""
    return f"{name}.{suffix} {{d}}, " + ", ".join(f"{{{letter}}}" for letter in "abc"[: OPERANDS[name]]) + ";"


@pytest.mark.parametrize("kind", ["f32", "f64"])
@pytest.mark.parametrize("names", [("add", "sub", "mul"), ("fma",), ("div", "sqrt", "rcp")])
def test_arithmetic_in_every_mode(kind: str, names: tuple[str, ...]) -> None:
    """Overflow, underflow, cancellation and the sign of zero included."""
    form = FORMATS[kind]
    cases = [(name, mode) for name in names for mode in MODES]
    instructions = tuple((kind, text_of(name, f"{mode}.{kind}")) for name, mode in cases)

    @EXAMPLES
    @given(columns(form))
    def check(operands: list[list[int]]) -> None:
        found = run((kind,) * 3, instructions, operands)
        for row, (name, mode) in zip(found, cases, strict=True):
            for result, *bits in zip(row, *operands, strict=True):
                wanted = fused(name, form, tuple(bits[: OPERANDS[name]]), mode)
                assert agrees(form, result, wanted), (name, mode, [hex(each) for each in bits])

    check()


def test_fused_multiply_add_of_distant_numbers() -> None:
    """The product and the addend may be 2000 binary orders apart, and the result subnormal."""
    one, tiny, huge = F64.bias << 52, 1, F64.infinity - 1
    small = F64.encode(Fraction(1, 1 << 600))
    rows = [
        (tiny, tiny, one), (tiny, tiny, tiny), (tiny, tiny, huge), (huge, huge, tiny), (one, one, tiny),
        (huge, one + 1, huge | F64.sign), (small, small, tiny), (small, small, tiny | F64.sign),
        (small, small, 0), (huge, tiny, one), (huge, 2 << 52, 1 << 52), (tiny, one - 1, 1 << 52),
    ]  # fmt: skip
    rows += [(a ^ F64.sign, b, c) for a, b, c in rows]
    operands = [list(column) for column in zip(*rows, strict=True)]
    instructions = tuple(("f64", text_of("fma", f"{mode}.f64")) for mode in MODES)
    found = run(("f64",) * 3, instructions, operands)
    for row, mode in zip(found, MODES, strict=True):
        for result, bits in zip(row, rows, strict=True):
            assert result == fused("fma", F64, bits, mode), (mode, [hex(each) for each in bits])


@EXAMPLES
@given(columns(F32))
def test_flush_to_zero(operands: list[list[int]]) -> None:
    """Subnormal operands and results become zeros of their sign, in whatever instruction says ``.ftz``."""
    cases = [
        (name, mode) for name in ("add", "sub", "mul", "fma", "div", "sqrt", "rcp") for mode in ("rn", "rp")
    ]
    plain = tuple(("f32", text_of(name, f"{mode}.ftz.f32")) for name, mode in cases)
    others = (
        ("f32", "min.ftz.f32 {d}, {a}, {b};"),
        ("f32", "abs.ftz.f32 {d}, {a};"),
        ("f32", "neg.ftz.f32 {d}, {a};"),
        ("f64", "cvt.ftz.f64.f32 {d}, {a};"),
        ("b32", "cvt.rpi.ftz.s32.f32 {d}, {a};"),
        ("b32", "set.eq.ftz.u32.f32 {d}, {a}, 0f00000000;"),
        ("f32", "fma.rn.ftz.sat.f32 {d}, {a}, {b}, {c};"),
    )
    found = run(("f32",) * 3, plain + others, operands)
    for row, (name, mode) in zip(found, cases, strict=False):
        for result, *bits in zip(row, *operands, strict=True):
            wanted = fused(name, F32, tuple(F32.flush(each) for each in bits[: OPERANDS[name]]), mode)
            wanted = None if wanted is None else F32.flush(wanted)
            assert agrees(F32, result, wanted), (name, mode, [hex(each) for each in bits])
    rows = found[len(cases) :]
    for place, (raw_a, raw_b, raw_c) in enumerate(zip(*operands, strict=True)):
        a, b, c = (F32.flush(each) for each in (raw_a, raw_b, raw_c))
        number = F32.decode(a)
        if not (F32.is_nan(a) or F32.is_nan(b)):
            smaller = min(a, b, key=lambda bits: (F32.decode(bits), -(bits & F32.sign)))
            assert rows[0][place] == smaller
        assert rows[1][place] == a & ~F32.sign
        assert rows[2][place] == a ^ F32.sign
        if isinstance(number, Fraction):
            wide = F64.encode(number) if number else (a & F32.sign) << 32
            assert rows[3][place] == wide
            bound = min(max(math.ceil(number), -(1 << 31)), (1 << 31) - 1)
            assert rows[4][place] == bound & 0xFFFFFFFF
            assert rows[5][place] == (0 if number else 0xFFFFFFFF)
        total = fused("fma", F32, (a, b, c))
        negative = total is None or bool(total & F32.sign)
        assert rows[6][place] == (0 if negative else min(F32.flush(total or 0), F32.bias << 23))


@EXAMPLES
@given(st.lists(numbers(F64), min_size=32, max_size=32))
def test_narrowing_conversions(values: list[int]) -> None:
    """``cvt.f32.f64`` in every mode, flushed and saturated."""
    cases = [(mode, form) for mode in MODES for form in ("", ".ftz", ".sat")]
    instructions = tuple(("f32", f"cvt.{mode}{form}.f32.f64 {{d}}, {{a}};") for mode, form in cases)
    found = run(("f64",), instructions, [values])
    for row, (mode, form) in zip(found, cases, strict=True):
        for result, bits in zip(row, values, strict=True):
            number = F64.decode(bits)
            sign = F32.sign if bits & F64.sign else 0
            if isinstance(number, float):
                wanted = None if math.isnan(number) else F32.infinity | sign
            else:
                wanted = F32.encode(number, mode) if number else sign
            if form == ".ftz" and wanted is not None:
                wanted = F32.flush(wanted)
            if form == ".sat":
                wanted = 0 if wanted is None or wanted & F32.sign else min(wanted, F32.bias << 23)
            assert agrees(F32, result, wanted), (mode, form, hex(bits))


@EXAMPLES
@given(st.lists(numbers(F64), min_size=32, max_size=32))
def test_gross_approximations(values: list[int]) -> None:
    """``rcp`` and ``rsqrt`` of a double's upper half: a result of 20 fraction bits, no subnormal numbers."""
    names = ("rcp", "rsqrt")
    found = run(("f64",), tuple(("f64", f"{name}.approx.ftz.f64 {{d}}, {{a}};") for name in names), [values])
    for row, name in zip(found, names, strict=True):
        for result, bits in zip(row, values, strict=True):
            x = F64.flush(bits & ~0xFFFFFFFF)
            number = F64.decode(x)
            if F64.is_nan(x) or (name == "rsqrt" and number < 0):
                assert F64.is_nan(result)
                continue
            assert result & 0xFFFFFFFF == 0
            exact = fused("rcp", F64, (x if name == "rcp" else fused("sqrt", F64, (x,)) or 0,))
            wanted = F64.decode(F64.flush(exact or 0))
            if isinstance(wanted, float) or not wanted:
                assert F64.decode(result) == wanted
            else:
                assert abs(Fraction(F64.decode(result)) / wanted - 1) < Fraction(1, 1 << 20), (
                    name,
                    hex(bits),
                )


@pytest.mark.parametrize("name", ["div.approx", "div.full", "sqrt.approx", "rcp.approx", "rsqrt.approx"])
def test_approximate_forms_flush(name: str) -> None:
    """With ``.ftz``, a subnormal number is a zero to them, and a subnormal result becomes one."""
    two, subnormal, largest = 0x40000000, 0x00000123, F32.infinity - 1
    binary = name.startswith("div")
    text = f"{name}.ftz.f32 {{d}}, {{a}}{', {b}' if binary else ''};"
    left = [subnormal, subnormal | F32.sign, two, 1 << 23, largest]
    right = [two, two, subnormal, two, two]
    (found,) = run(("f32", "f32"), (("f32", text),), [left, right])
    plain = name.partition(".")[0]
    for result, a, b in zip(found, left, right, strict=True):
        x, y = F32.flush(a), F32.flush(b)
        if plain == "rsqrt":
            root = fused("sqrt", F32, (x,))
            exact = fused("rcp", F32, (root or 0,))
        else:
            exact = fused(plain, F32, (x, y)[: 1 + binary])
        wanted = F32.flush(exact or 0)
        assert abs(result - wanted) <= 2, (hex(a), hex(b))
