"""Integer instructions beyond plain arithmetic, against models in Python integers."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.instruction_bench import run

EXAMPLES = settings(max_examples=30, deadline=None)
Model = Callable[[int, int, int], int]
WORD = (1 << 32) - 1


def columns(bits: int) -> st.SearchStrategy[list[list[int]]]:
    """Three operands of many threads; edges and small numbers often."""
    edges = [0, 1, 2, 31, 32, 33, 255, (1 << bits) - 1, 1 << (bits - 1), (1 << (bits - 1)) - 1]
    edges += [0x80808080, 0x7F7F7F7F, 0x80008000]
    number = st.one_of(st.sampled_from(edges), st.integers(0, (1 << bits) - 1))
    row = st.lists(number, min_size=16, max_size=16)
    return st.lists(row, min_size=3, max_size=3)


def signed(value: int, bits: int) -> int:
    """The number that the lower bits stand for."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def clamp(value: int, bits: int, *, sign: bool) -> int:
    """The nearest number of a type."""
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if sign else (0, (1 << bits) - 1)
    return min(max(value, low), high)


def parts(value: int, bits: int, *, sign: bool = False) -> list[int]:
    """The integers in a word, the lowest first."""
    pieces = [value >> at & (1 << bits) - 1 for at in range(0, 32, bits)]
    return [signed(piece, bits) for piece in pieces] if sign else pieces


def word(pieces: list[int]) -> int:
    """A word of integers."""
    bits = 32 // len(pieces)
    return sum((piece & (1 << bits) - 1) << bits * place for place, piece in enumerate(pieces))


def check(models: dict[str, tuple[str, Model]], kind: str, operands: list[list[int]]) -> None:
    """Run instructions on operands of one type and compare."""
    found = run((kind,) * 3, tuple((result, text) for text, (result, _) in models.items()), operands)
    for row, (text, (result, model)) in zip(found, models.items(), strict=True):
        mask = (1 << int(result[1:])) - 1
        for bits, *arguments in zip(row, *operands, strict=True):
            assert bits == model(*arguments) & mask, (text, [hex(argument) for argument in arguments])


@pytest.mark.parametrize("bits", [32, 64])
def test_carries(bits: int) -> None:
    """Chains of ``.cc`` instructions do the arithmetic of longer integers; a guard stops the carry, too."""
    u, b = f"u{bits}", f"b{bits}"
    low, high = ("%r6", "%r7") if bits == 32 else ("%d6", "%d7")
    mask = (1 << bits) - 1

    def s(value: int) -> int:
        return signed(value, bits)

    models: dict[str, tuple[str, Model]] = {
        f"add.cc.{u} {low}, {{a}}, {{b}}; addc.cc.{u} {high}, {{b}}, {{c}}; addc.{u} {{d}}, {{c}}, {{a}};": (
            b,
            lambda x, y, z: (z << 2 * bits | y << bits | x) + (x << 2 * bits | z << bits | y) >> 2 * bits,
        ),
        f"sub.cc.{u} {low}, {{a}}, {{b}}; subc.cc.{u} {high}, {{b}}, {{c}}; subc.{u} {{d}}, {{c}}, {{a}};": (
            b,
            lambda x, y, z: (z << 2 * bits | y << bits | x) - (x << 2 * bits | z << bits | y) >> 2 * bits,
        ),
        f"mad.lo.cc.{u} {low}, {{a}}, {{b}}, {{c}}; madc.hi.{u} {{d}}, {{a}}, {{b}}, {{c}};": (
            b,
            lambda x, y, z: x * y + (z << bits | z) >> bits,
        ),
        f"mad.hi.cc.{u} {low}, {{a}}, {{b}}, {{c}}; madc.lo.cc.{u} {high}, {{b}}, {{c}}, {{a}}; "
        f"addc.{u} {{d}}, 0, 0;": (
            b,
            lambda x, y, z: ((y * z & mask) + x + ((x * y >> bits) + z >> bits)) >> bits,
        ),
        f"mad.hi.cc.s{bits} {{d}}, {{a}}, {{b}}, {{c}};": (b, lambda x, y, z: (s(x) * s(y) >> bits) + z),
        f"add.cc.{u} {low}, {{a}}, {{b}}; @%outside add.cc.{u} {low}, -1, -1; addc.{u} {{d}}, {{c}}, 0;": (
            b,
            lambda x, y, z: z + (x + y >> bits),
        ),
    }

    @EXAMPLES
    @given(columns(bits))
    def compare(operands: list[list[int]]) -> None:
        check(models, b, operands)

    compare()


@EXAMPLES
@given(columns(32))
def test_products_of_24_bits(operands: list[list[int]]) -> None:
    """``mul24`` and ``mad24``, upper and lower part."""

    def s(value: int) -> int:
        return signed(value, 24)

    def u(value: int) -> int:
        return value & 0xFFFFFF

    check(
        {
            "mul24.lo.u32 {d}, {a}, {b};": ("b32", lambda x, y, z: u(x) * u(y)),
            "mul24.hi.u32 {d}, {a}, {b};": ("b32", lambda x, y, z: u(x) * u(y) >> 16),
            "mul24.hi.s32 {d}, {a}, {b};": ("b32", lambda x, y, z: s(x) * s(y) >> 16),
            "mad24.lo.s32 {d}, {a}, {b}, {c};": ("b32", lambda x, y, z: s(x) * s(y) + z),
            "mad24.hi.u32 {d}, {a}, {b}, {c};": ("b32", lambda x, y, z: (u(x) * u(y) >> 16) + z),
            "mad24.hi.sat.s32 {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: clamp(signed(s(x) * s(y) >> 16, 32) + signed(z, 32), 32, sign=True),
            ),
            "mad.hi.sat.s32 {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: clamp((signed(x, 32) * signed(y, 32) >> 32) + signed(z, 32), 32, sign=True),
            ),
        },
        "b32",
        operands,
    )


@EXAMPLES
@given(columns(32))
def test_permutations(operands: list[list[int]]) -> None:
    """The modes of ``prmt``; only the default one repeats signs."""
    tables = {
        "f4e": ["3210", "4321", "5432", "6543"],
        "b4e": ["5670", "6701", "7012", "0123"],
        "rc8": ["0000", "1111", "2222", "3333"],
        "ecl": ["3210", "3211", "3222", "3333"],
        "ecr": ["0000", "1110", "2210", "3210"],
        "rc16": ["1010", "3232", "1010", "3232"],
    }

    def model(table: list[str]) -> Model:
        def permute(x: int, y: int, z: int) -> int:
            octets = parts(x, 8) + parts(y, 8)
            return word([octets[int(digit)] for digit in reversed(table[z & 3])])

        return permute

    check(
        {
            f"prmt.b32.{mode} {{d}}, {{a}}, {{b}}, {{c}};": ("b32", model(table))
            for mode, table in tables.items()
        },
        "b32",
        operands,
    )


def _nth_set(mask: int, base: int, n: int) -> int:
    n = signed(n, 32)
    places = [place for place in range(32) if mask >> place & 1]
    if base > 31:
        return -1
    if n == 0:
        return base if base in places else -1
    found = [p for p in places if p >= base] if n > 0 else [p for p in reversed(places) if p <= base]
    return found[abs(n) - 1] if abs(n) <= len(found) else -1


@EXAMPLES
@given(columns(32), st.lists(st.integers(-34, 34), min_size=16, max_size=16))
def test_bits_and_masks(operands: list[list[int]], counts: list[int]) -> None:
    """``fns bmsk szext lop3`` with a predicate, funnel shifts."""
    operands[2] = [count & WORD if place % 4 else operands[2][place] for place, count in enumerate(counts)]
    small = [operands[0], [value & 63 if value > 64 else value for value in operands[1]], operands[2]]

    def extend(x: int, bits: int, *, sign: bool) -> int:
        return 0 if bits == 0 else signed(x, bits) if sign else x & (1 << bits) - 1

    def mask(position: int, width: int) -> int:
        return (1 << width) - 1 << position

    models: dict[str, tuple[str, Model]] = {
        "fns.b32 {d}, {a}, {b}, {c};": ("b32", _nth_set),
        "bmsk.clamp.b32 {d}, {b}, {c};": ("b32", lambda x, y, z: mask(min(y, 32), min(z, 32))),
        "bmsk.wrap.b32 {d}, {b}, {c};": ("b32", lambda x, y, z: mask(y & 31, z & 31)),
        "szext.clamp.s32 {d}, {a}, {b};": ("b32", lambda x, y, z: extend(x, min(y, 32), sign=True)),
        "szext.wrap.u32 {d}, {a}, {b};": ("b32", lambda x, y, z: extend(x, y & 31, sign=False)),
        "shf.l.clamp.b32 {d}, {a}, {c}, {b};": ("b32", lambda x, y, z: (z << 32 | x) << min(y, 32) >> 32),
        "shf.r.wrap.b32 {d}, {a}, {c}, {b};": ("b32", lambda x, y, z: (z << 32 | x) >> (y & 31)),
        "lop3.or.b32 %r6|%p1, {a}, {b}, {c}, 0x80, %outside; selp.b32 {d}, %r6, -7, %p1;": (
            "b32",
            lambda x, y, z: x & y & z or -7,
        ),
        "lop3.and.b32 _|%p1, {a}, {b}, {c}, 0xFE, !%outside; selp.b32 {d}, 1, 2, %p1;": (
            "b32",
            lambda x, y, z: 1 if x | y | z else 2,
        ),
    }
    check(models, "b32", small)


@EXAMPLES
@given(columns(32))
def test_small_integers_in_words(operands: list[list[int]]) -> None:
    """``dp2a``, pairs, and SIMD video instructions."""

    def dot(x: int, y: int, z: int, *, upper: bool, sign: bool) -> int:
        octets = parts(y, 8, sign=sign)[2:] if upper else parts(y, 8, sign=sign)[:2]
        return z + sum(a * b for a, b in zip(parts(x, 16, sign=sign), octets, strict=True))

    def lanes(bits: int, function: Callable[[int, int], int], *, sign: bool = False) -> Model:
        return lambda x, y, z: word(
            [
                function(a, b)
                for a, b in zip(parts(x, bits, sign=sign), parts(y, bits, sign=sign), strict=True)
            ]
        )

    check(
        {
            "dp2a.lo.s32.s32 {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: dot(x, y, z, upper=False, sign=True),
            ),
            "dp2a.hi.u32.u32 {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: dot(x, y, z, upper=True, sign=False),
            ),
            "dp4a.u32.s32 {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: (
                    z + sum(a * b for a, b in zip(parts(x, 8), parts(y, 8, sign=True), strict=True))
                ),
            ),
            "add.u16x2 {d}, {a}, {b};": ("b32", lanes(16, lambda a, b: a + b)),
            "min.s16x2 {d}, {a}, {b};": ("b32", lanes(16, min, sign=True)),
            "max.u16x2 {d}, {a}, {b};": ("b32", lanes(16, max)),
            "max.s16x2.relu {d}, {a}, {b};": ("b32", lanes(16, lambda a, b: max(a, b, 0), sign=True)),
            "min.relu.s32 {d}, {a}, {b};": ("b32", lambda x, y, z: max(min(signed(x, 32), signed(y, 32)), 0)),
            "vabsdiff4.u32.u32.u32 {d}, {a}, {b}, {c};": ("b32", lanes(8, lambda a, b: abs(a - b))),
            "vabsdiff4.u32.s32.s32.add {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: z + sum(parts(lanes(8, lambda a, b: abs(a - b), sign=True)(x, y, z), 8)),
            ),
            "vadd2.s32.s32.s32.sat {d}, {a}, {b}, {c};": (
                "b32",
                lanes(16, lambda a, b: clamp(a + b, 16, sign=True), sign=True),
            ),
            "vsub4.u32.u32.u32.sat {d}, {a}, {b}, {c};": (
                "b32",
                lanes(8, lambda a, b: clamp(a - b, 8, sign=False)),
            ),
            "vavrg4.s32.s32.s32 {d}, {a}, {b}, {c};": (
                "b32",
                lanes(8, lambda a, b: a + b + 1 >> 1, sign=True),
            ),
            "vmax2.u32.u32.u32 {d}, {a}, {b}, {c};": ("b32", lanes(16, max)),
            "vset4.s32.s32.lt {d}, {a}, {b}, {c};": ("b32", lanes(8, lambda a, b: int(a < b), sign=True)),
        },
        "b32",
        operands,
    )


@EXAMPLES
@given(columns(32))
def test_packing(operands: list[list[int]]) -> None:
    """``cvt.pack`` saturates; ``mov`` takes words apart and puts them together, up to 128 bits."""

    def s(value: int) -> int:
        return signed(value, 32)

    def pair(x: int, y: int, bits: int, *, sign: bool) -> int:
        mask = (1 << bits) - 1
        return (clamp(s(x), bits, sign=sign) & mask) << bits | clamp(s(y), bits, sign=sign) & mask

    check(
        {
            "cvt.pack.sat.s16.s32 {d}, {a}, {b};": ("b32", lambda x, y, z: pair(x, y, 16, sign=True)),
            "cvt.pack.sat.u16.s32 {d}, {a}, {b};": ("b32", lambda x, y, z: pair(x, y, 16, sign=False)),
            "cvt.pack.sat.u8.s32.b32 {d}, {a}, {b}, {c};": (
                "b32",
                lambda x, y, z: z << 16 | pair(x, y, 8, sign=False),
            ),
            "mov.b64 %d1, {{{a}, {b}}}; mov.b64 {{%h1, %h2, %h3, %h5}}, %d1; mov.b32 {d}, {{%h5, %h2}};": (
                "b32",
                lambda x, y, z: (x >> 16) << 16 | y >> 16,
            ),
            "{{ .reg .b128 %q; cvt.u64.u32 %d1, {a}; cvt.u64.u32 %d2, {b}; mov.b128 %q, {{%d1, %d2}}; "
            "mov.b128 {{%d3, _}}, %q; mov.b128 {{_, %d1}}, %q; xor.b64 {d}, %d3, %d1; }}": (
                "b64",
                lambda x, y, z: x ^ y,
            ),
            "mov.b32 {{%h1, _}}, {a}; mov.b32 {d}, {{%h1, %h1}};": (
                "b32",
                lambda x, y, z: (x & 0xFFFF) << 16 | x & 0xFFFF,
            ),
            "slct.u64.s32 %d1, 1, 2, {c}; cvt.u32.u64 {d}, %d1;": (
                "b32",
                lambda x, y, z: 1 if s(z) >= 0 else 2,
            ),
        },
        "b32",
        operands,
    )
