"""The interpreter against known values: it is what compiled code is measured by."""

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.interpreter_bench import run


def evaluate(instruction: str, kind: str, *operands: int) -> int:
    """Return the result of one instruction on registers of a type: ``$d`` of ``$0``, ``$1``, ``$2``."""
    letter = {"b16": "h", "b32": "r", "b64": "d"}[kind]
    size = kind[1:]
    loads = "".join(
        f"ld.global.u{size} %{letter}{4 + number}, [%d0+{8 * number}];\n" for number in range(len(operands))
    )
    text = instruction.replace("$d", f"%{letter}3")
    for number in range(len(operands)):
        text = text.replace(f"${number}", f"%{letter}{4 + number}")
    found = run(f"{loads}{text}\nst.global.u{size} [%d0+64], %{letter}3;\nret;", list(operands))
    return found[8]


def single(number: float) -> int:
    """Return the bits of a single."""
    return int(struct.unpack("<I", struct.pack("<f", number))[0])


def double(number: float) -> int:
    """Return the bits of a double."""
    return int(struct.unpack("<Q", struct.pack("<d", number))[0])


NAN = 0x7FFFFFFF
INF = 0x7F800000


@pytest.mark.parametrize(
    ("instruction", "kind", "operands", "result"),
    [
        # Integers.
        ("add.s32 $d, $0, $1;", "b32", (0xFFFFFFFF, 2), 1),
        ("add.sat.s32 $d, $0, $1;", "b32", (0x7FFFFFFF, 1), 0x7FFFFFFF),
        ("sub.sat.s32 $d, $0, $1;", "b32", (0x80000000, 1), 0x80000000),
        ("mul.hi.u32 $d, $0, $1;", "b32", (0xFFFFFFFF, 0xFFFFFFFF), 0xFFFFFFFE),
        ("mul.hi.s32 $d, $0, $1;", "b32", (0xFFFFFFFF, 0xFFFFFFFF), 0),
        ("mul24.lo.u32 $d, $0, $1;", "b32", (0xFF000010, 0x10), 0x100),
        ("mul24.hi.s32 $d, $0, $1;", "b32", (0x7FFFFF, 0x7FFFFF), 0x3FFFFF00),
        ("mad.hi.s32 $d, $0, $1, $2;", "b32", (0x40000000, 8, 5), 7),
        ("div.s32 $d, $0, $1;", "b32", (0xFFFFFFF9, 2), 0xFFFFFFFD),
        ("rem.s32 $d, $0, $1;", "b32", (0xFFFFFFF9, 2), 0xFFFFFFFF),
        ("div.u32 $d, $0, $1;", "b32", (7, 0), 0xFFFFFFFF),
        ("div.s32 $d, $0, $1;", "b32", (0x80000000, 0xFFFFFFFF), 0x80000000),
        ("abs.s32 $d, $0;", "b32", (0x80000000,), 0x80000000),
        ("min.s32 $d, $0, $1;", "b32", (0xFFFFFFFF, 1), 0xFFFFFFFF),
        ("min.u32 $d, $0, $1;", "b32", (0xFFFFFFFF, 1), 1),
        ("sad.s32 $d, $0, $1, $2;", "b32", (0xFFFFFFFF, 2, 10), 13),
        ("dp4a.s32.s32 $d, $0, $1, $2;", "b32", (0xFF01FF01, 0x02020202, 5), 5),
        ("dp4a.u32.u32 $d, $0, $1, $2;", "b32", (0xFF01FF01, 0x02020202, 5), 1029),
        ("dp2a.lo.u32.u32 $d, $0, $1, $2;", "b32", (0x00020003, 0x0A0B0504, 1), 23),
        ("dp2a.hi.u32.u32 $d, $0, $1, $2;", "b32", (0x00020003, 0x0A0B0504, 1), 54),
        ("add.cc.u32 $d, $0, $1; addc.u32 $d, 0, 0;", "b32", (0xFFFFFFFF, 1), 1),
        ("sub.cc.u32 $d, $0, $1; subc.u32 $d, 5, 0;", "b32", (1, 2), 4),
        ("mad.lo.cc.u32 $d, $0, $1, $2; madc.hi.u32 $d, $0, $1, 0;", "b32", (0x10000, 0x10000, 7), 1),
        ("mad.lo.cc.u32 $d, $0, $1, $2; addc.u32 $d, 0, 0;", "b32", (0xFFFF, 0x10001, 1), 1),
        # Bits.
        ("shl.b32 $d, $0, $1;", "b32", (1, 32), 0),
        ("shr.s32 $d, $0, $1;", "b32", (0x80000000, 200), 0xFFFFFFFF),
        ("shf.l.wrap.b32 $d, $0, $1, $2;", "b32", (0x80000000, 1, 33), 3),
        ("shf.r.clamp.b32 $d, $0, $1, $2;", "b32", (0xAAAAAAAA, 0x12345678, 40), 0x12345678),
        ("bfe.u32 $d, $0, $1, $2;", "b32", (0x12345678, 8, 8), 0x56),
        ("bfe.s32 $d, $0, $1, $2;", "b32", (0x80000000, 31, 1), 0xFFFFFFFF),
        ("bfe.s32 $d, $0, $1, $2;", "b32", (0x80000000, 28, 100), 0xFFFFFFF8),
        ("bfi.b32 $d, $0, $1, $2, 8;", "b32", (0xAB, 0xFFFFFFFF, 8), 0xFFFFABFF),
        ("brev.b32 $d, $0;", "b32", (1,), 0x80000000),
        ("bfind.u32 $d, $0;", "b32", (0,), 0xFFFFFFFF),
        ("bfind.s32 $d, $0;", "b32", (0xFFFFFFF0,), 3),
        ("bfind.shiftamt.u32 $d, $0;", "b32", (1,), 31),
        ("clz.b32 $d, $0;", "b32", (0,), 32),
        ("popc.b32 $d, $0;", "b32", (0xF0F0,), 8),
        ("prmt.b32 $d, $0, $1, $2;", "b32", (0x33221180, 0x77665544, 0x0874), 0x80FF7744),
        ("prmt.b32.f4e $d, $0, $1, $2;", "b32", (0x33221100, 0x77665544, 1), 0x44332211),
        ("prmt.b32.b4e $d, $0, $1, $2;", "b32", (0x33221100, 0x77665544, 1), 0x66770011),
        ("prmt.b32.rc8 $d, $0, $1, $2;", "b32", (0x33221100, 0, 2), 0x22222222),
        ("prmt.b32.ecl $d, $0, $1, $2;", "b32", (0x33221100, 0, 1), 0x33221111),
        ("prmt.b32.ecr $d, $0, $1, $2;", "b32", (0x33221100, 0, 1), 0x11111100),
        ("prmt.b32.rc16 $d, $0, $1, $2;", "b32", (0x33221100, 0, 1), 0x33223322),
        ("lop3.b32 $d, $0, $1, $2, 0xE8;", "b32", (0b1100, 0b1010, 0b1001), 0b1000),
        ("fns.b32 $d, $0, $1, 2;", "b32", (0b101100, 0), 3),
        ("fns.b32 $d, $0, $1, -1;", "b32", (0b101100, 4), 3),
        ("bmsk.clamp.b32 $d, $0, $1;", "b32", (4, 8), 0xFF0),
        ("szext.clamp.s32 $d, $0, $1;", "b32", (0x1F, 5), 0xFFFFFFFF),
        ("cnot.b32 $d, $0;", "b32", (0,), 1),
        # Conversions.
        ("cvt.s32.s8 $d, $0;", "b32", (0x180,), 0xFFFFFF80),
        ("cvt.sat.u8.s32 $d, $0;", "b32", (300,), 255),
        ("cvt.sat.u8.s32 $d, $0;", "b32", (0xFFFFFFFF,), 0),
        ("cvt.rni.s32.f32 $d, $0;", "b32", (single(2.5),), 2),
        ("cvt.rpi.s32.f32 $d, $0;", "b32", (single(2.1),), 3),
        ("cvt.rzi.u32.f32 $d, $0;", "b32", (single(-3.0),), 0),
        ("cvt.rzi.s32.f32 $d, $0;", "b32", (single(3e9),), 0x7FFFFFFF),
        ("cvt.rzi.s32.f32 $d, $0;", "b32", (NAN,), 0),
        ("cvt.rzi.s64.f64 $d, $0;", "b64", (double(math.nan),), 1 << 63),
        ("cvt.rn.f32.u32 $d, $0;", "b32", (0xFFFFFFFF,), single(2.0**32)),
        ("cvt.rz.f32.u32 $d, $0;", "b32", (0xFFFFFFFF,), single(2.0**32) - 1),
        ("cvt.rmi.f32.f32 $d, $0;", "b32", (single(-1.5),), single(-2.0)),
        ("cvt.rna.tf32.f32 $d, $0;", "b32", (single(1 + 2.0**-11),), single(1 + 2.0**-10)),
        ("cvt.rn.f16x2.f32 $d, $0, $1;", "b32", (single(1.0), single(-2.0)), 0x3C00C000),
        ("cvt.rn.relu.f16x2.f32 $d, $0, $1;", "b32", (single(1.0), single(-2.0)), 0x3C000000),
        # Floating point.
        ("add.f32 $d, $0, $1;", "b32", (INF, INF | 1 << 31), NAN),
        ("add.rm.f32 $d, $0, $1;", "b32", (single(1.0), single(-1.0)), 0x80000000),
        ("mul.rz.f32 $d, $0, $1;", "b32", (0x80000001, single(0.5)), 0x80000000),
        ("add.ftz.f32 $d, $0, $1;", "b32", (1, 0x80000000), 0),
        ("add.sat.f32 $d, $0, $1;", "b32", (single(0.75), single(0.5)), single(1.0)),
        ("fma.rn.sat.f32 $d, $0, $1, $2;", "b32", (NAN, 0, 0), 0),
        ("sqrt.rn.f32 $d, $0;", "b32", (0x80000000,), 0x80000000),
        ("sqrt.rp.f32 $d, $0;", "b32", (single(2.0),), 0x3FB504F4),
        ("sqrt.rm.f32 $d, $0;", "b32", (single(2.0),), 0x3FB504F3),
        ("rcp.rn.f32 $d, $0;", "b32", (0x80000000,), INF | 1 << 31),
        ("min.f32 $d, $0, $1;", "b32", (0, 0x80000000), 0x80000000),
        ("min.f32 $d, $0, $1;", "b32", (NAN, single(3.0)), single(3.0)),
        ("min.NaN.f32 $d, $0, $1;", "b32", (NAN, single(3.0)), NAN),
        ("min.xorsign.abs.f32 $d, $0, $1;", "b32", (single(-3.0), single(2.0)), single(-2.0)),
        ("copysign.f32 $d, $0, $1;", "b32", (single(-1.0), single(2.0)), single(-2.0)),
        ("neg.f16 $d, $0;", "b16", (0x3C00,), 0xBC00),
        ("fma.rn.relu.f16 $d, $0, $1, $2;", "b16", (0x3C00, 0xC000, 0x3C00), 0),
        ("add.f16x2 $d, $0, $1;", "b32", (0x3C004000, 0x3C003C00), 0x40004200),
        ("fma.rn.bf16 $d, $0, $1, $2;", "b16", (0x3F80, 0x4000, 0x3F80), 0x4040),
        # Comparison and selection.
        ("set.lt.u32.s32 $d, $0, $1;", "b32", (0xFFFFFFFF, 0), 0xFFFFFFFF),
        ("set.gtu.f32.f32 $d, $0, $1;", "b32", (NAN, 0), single(1.0)),
        ("slct.b32.s32 $d, 1, 2, $0;", "b32", (0xFFFFFFFF,), 2),
        ("slct.b32.f32 $d, 1, 2, $0;", "b32", (0x80000000,), 1),
        ("setp.lt.s32 %p1|%p2, $0, $1; selp.b32 $d, 1, 2, %p2;", "b32", (5, 3), 1),
        ("testp.subnormal.f32 %p1, $0; selp.b32 $d, 1, 2, %p1;", "b32", (1,), 1),
        ("mov.b32 {%h1, %h2}, $0; mov.b32 $d, {%h2, %h1};", "b32", (0x12345678,), 0x56781234),
    ],
)  # fmt: skip
def test_known_values(instruction: str, kind: str, operands: tuple[int, ...], result: int) -> None:
    """One instruction on operands whose result the manual settles."""
    assert evaluate(instruction, kind, *operands) == result


_FLOATS = st.one_of(
    st.sampled_from([0, 1 << 31, INF, INF | 1 << 31, 1, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, single(1.0)]),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=60)
@given(_FLOATS, _FLOATS)
def test_single_precision_is_numpys(a: int, b: int) -> None:
    """The four operations, rounded to nearest, on any bits."""
    body = "ld.global.f32 %f0, [%d0]; ld.global.f32 %f1, [%d0+8];"
    for number, name in enumerate(("add.rn", "sub.rn", "mul.rn", "div.rn")):
        body += f"{name}.f32 %f2, %f0, %f1; st.global.f32 [%d0+{16 + 8 * number}], %f2;"
    body += "sqrt.rn.f32 %f2, %f0; st.global.f32 [%d0+48], %f2;"
    found = run(body, [a, b])[2:7]
    with np.errstate(all="ignore"):
        x, y = (np.array(bits, np.uint32).view(np.float32) for bits in (a, b))
        expected = [x + y, x - y, x * y, x / y, np.sqrt(x)]
    for bits, value in zip(found, expected, strict=True):
        assert bits == (NAN if np.isnan(value) else int(np.float32(value).view(np.uint32)))


@settings(max_examples=60)
@given(*[st.integers(0, 0x7BFF) | st.integers(0x8000, 0xFBFF)] * 3)
def test_half_precision_is_rounded_once(a: int, b: int, c: int) -> None:
    """A fused multiply-add of halves is exact before its one rounding."""
    found = evaluate("fma.rn.f16 $d, $0, $1, $2;", "b16", a, b, c)
    x, y, z = (Fraction(float(np.array(bits, np.uint16).view(np.float16))) for bits in (a, b, c))
    exact = x * y + z
    if exact == 0:
        return
    got = float(np.array(found, np.uint16).view(np.float16))
    if math.isinf(got):
        assert abs(exact) >= 65520
        return
    neighbours = (found - 1 if found & 0x7FFF else found ^ 0x8001, found + 1)
    for other in neighbours:
        near = float(np.array(other & 0xFFFF, np.uint16).view(np.float16))
        if math.isfinite(near):
            assert abs(exact - Fraction(got)) <= abs(exact - Fraction(near))


@settings(max_examples=60)
@given(*[st.floats(width=32, allow_nan=False, allow_infinity=False)] * 2)
def test_directed_rounding_encloses_the_exact_result(x: float, y: float) -> None:
    """Down and up are neighbours around the exact sum, or equal it; toward zero is one of them."""
    exact = Fraction(x) + Fraction(y)
    down, up, zero = (
        evaluate(f"add.{mode}.f32 $d, $0, $1;", "b32", single(x), single(y)) for mode in ("rm", "rp", "rz")
    )
    low, high, toward = (struct.unpack("<f", struct.pack("<I", bits))[0] for bits in (down, up, zero))
    if math.isinf(low) or math.isinf(high):
        return
    assert Fraction(low) <= exact <= Fraction(high)
    assert np.nextafter(np.float32(low), np.float32(np.inf)) >= np.float32(high)
    assert toward == (low if exact > 0 else high)
