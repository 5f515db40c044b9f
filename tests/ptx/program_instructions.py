"""Instructions that generated programs are made of, as templates.

A template is PTX with a letter for each operand. Capitals are destinations, small letters sources: ``h`` 16
bits, ``r`` 32, ``d`` 64, ``f`` single, ``g`` double, ``p`` predicate. ``q`` is a predicate that may be
negated, ``n`` a shift amount, ``k`` a truth table, ``x`` and ``w`` 16 and 32 bits that cannot be constants. A
digit after the letter means the same operand each time. Words with ``%`` are registers that the head of the
program declares for the templates' own use.
"""

from itertools import product

LETTERS = {"8": "h", "16": "h", "32": "r", "64": "d"}
NAN = {"f16": "0x7FFF", "bf16": "0x7FFF", "f32": "0f7FFFFFFF", "f64": "0d7FF8000000000000"}


def letter(kind: str) -> str:
    """Return the letter of a type's registers."""
    if kind in ("f32", "f64"):
        return "f" if kind == "f32" else "g"
    return {"pred": "p", "f16": "h", "bf16": "h", "f16x2": "r", "bf16x2": "r"}.get(kind) or LETTERS[kind[1:]]


def _forms(patterns: str, kinds: str) -> list[str]:
    """Fill in ``T`` by each type, and ``D``, ``S`` by its destination and source letters."""
    return [
        pattern.strip().replace("T", kind).replace("D", letter(kind).upper()).replace("S", letter(kind))
        for pattern, kind in product(patterns.split(";"), kinds.split())
    ]


def _plain_bits(kind: str, source: str) -> str:
    """Return PTX that makes every NaN of a register the same, in a register of the templates' own."""
    own = {"f32": "%fn", "f64": "%gn"}[kind]
    return f"setp.nan.{kind} %nan, {source}, {source}; selp.{kind} {own}, {NAN[kind]}, {source}, %nan"


_INTEGERS = "u16 s16 u32 s32 u64 s64"
_ROUNDINGS = ("rn", "rz", "rm", "rp")
_COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")

INTEGER = [
    *_forms("add.T D, S, S; sub.T D, S, S; mul.lo.T D, S, S; mul.hi.T D, S, S", _INTEGERS),
    *_forms("mad.lo.T D, S, S, S; mad.hi.T D, S, S, S; sad.T D, S, S, S", _INTEGERS),
    *_forms("div.T D, S, S; rem.T D, S, S; min.T D, S, S; max.T D, S, S", _INTEGERS),
    *_forms("abs.T D, S; neg.T D, S", "s16 s32 s64"),
    *_forms("add.sat.T D, S, S; sub.sat.T D, S, S; mad.hi.sat.T D, S, S, S", "s32"),
    *_forms("mul24.lo.T D, S, S; mad24.lo.T D, S, S, S", "u32 s32"),
    *[f"{name}.wide.{s}{b} {'RD'[b == 32]}, {'hr'[b == 32]}, {'hr'[b == 32]}{tail}"
      for s in "us" for b in (16, 32) for name, tail in (("mul", ""), ("mad", f", {'rd'[b == 32]}"))],
    "mov.u32 R, r", "mov.b64 D, d", "mov.b16 H, h",
]  # fmt: skip

BITS = [
    *_forms("and.T D, S, S; or.T D, S, S; xor.T D, S, S; not.T D, S; cnot.T D, S", "b16 b32 b64"),
    *_forms("shl.T D, S, n", "b16 b32 b64"),
    *_forms("shr.T D, S, n", f"b16 b32 b64 {_INTEGERS}"),
    *_forms("popc.T R, S; clz.T R, S; brev.T D, S; bfi.T D, S, S, n, n", "b32 b64"),
    *_forms("bfind.T R, S; bfind.shiftamt.T R, S; bfe.T D, S, n, n", "u32 s32 u64 s64"),
    *[f"shf.{way}.{mode}.b32 R, r, r, n" for way in "lr" for mode in ("wrap", "clamp")],
    "prmt.b32 R, r, r, r", "lop3.b32 R, r, r, r, k",
    "mov.b64 D, {r, r}", "mov.b64 {R, R}, d", "mov.b32 R, {h, h}", "mov.b32 {H, H}, r",
    "mov.b64 D, {h, h, h, h}", "mov.b64 {H, H, H, H}, d",
]  # fmt: skip

PREDICATES = [
    *_forms("setp.lt.T P, S, S; setp.ge.T P, S, S; setp.eq.T P, S, S; setp.gt.T P, S, S", _INTEGERS),
    *_forms("setp.ls.T P, S, S; setp.hi.T P, S, S; setp.lo.T P, S, S; setp.hs.T P, S, S", "u32 u64 u16"),
    *_forms("setp.ne.T P, S, S; setp.eq.T P, S, S", "b16 b32 b64"),
    *_forms("setp.le.and.T P, S, S, q; setp.ne.or.T P, S, S, q; setp.lt.xor.T P, S, S, q", _INTEGERS),
    *_forms("set.lt.u32.T R, S, S; set.ge.s32.T R, S, S; set.eq.f32.T F, S, S", _INTEGERS),
    *_forms("set.ne.and.u32.T R, S, S, q", _INTEGERS),
    *_forms("selp.T D, S, S, p", "b16 b32 b64 u16 s32 u64 f32 f64"),
    *_forms("slct.T.s32 D, S, S, r; slct.T.f32 D, S, S, f", "b32 b64 u16 s32 u64 f32 f64"),
    "and.pred P, p, p", "or.pred P, p, p", "xor.pred P, p, p", "not.pred P, p", "mov.pred P, p",
    "setp.lt.s32 P1, r, r; not.pred P, P1",
]  # fmt: skip

FLOAT = [
    *_forms("add.T D, S, S; sub.T D, S, S; mul.T D, S, S; fma.rn.T D, S, S, S", "f32 f64"),
    *_forms("add.rn.T D, S, S; sub.rn.T D, S, S; mul.rn.T D, S, S", "f32 f64"),
    *_forms("div.rn.T D, S, S; sqrt.rn.T D, S; rcp.rn.T D, S", "f32 f64"),
    *_forms("neg.T D, S; abs.T D, S; min.T D, S, S; max.T D, S, S", "f32 f64"),
    *_forms("min.NaN.T D, S, S; max.NaN.T D, S, S", "f32"),
    *_forms("add.sat.T D, S, S; mul.sat.T D, S, S; fma.rn.sat.T D, S, S, S", "f32"),
    *[f"setp.{name}{u}.{kind} P, {x}, {x}" for name in _COMPARISONS for u in ("", "u")
      for kind, x in (("f32", "f"), ("f64", "g"))],
    *_forms("setp.num.T P, S, S; setp.nan.T P, S, S; setp.lt.and.T P, S, S, q", "f32 f64"),
    *_forms("set.lt.u32.T R, S, S; set.geu.f32.T F, S, S", "f32 f64"),
    *[f"testp.{name}.{kind} P, {x}" for kind, x in (("f32", "f"), ("f64", "g"))
      for name in ("finite", "infinite", "number", "notanumber", "normal", "subnormal")],
    # The sign of a NaN is open, and copysign would tell it.
    f"{_plain_bits('f32', 'f1')}; copysign.f32 F, %fn, f",
    f"{_plain_bits('f64', 'g1')}; copysign.f64 G, %gn, g",
    f"{_plain_bits('f32', 'f1')}; mov.b32 R, %fn", f"{_plain_bits('f64', 'g1')}; mov.b64 D, %gn",
    "mov.b32 F, r", "mov.b64 G, d", "mov.f32 F, f", "mov.f64 G, g",
]  # fmt: skip

_NARROW = ["u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64"]


def _range(kind: str) -> tuple[int, int]:
    bits = int(kind[1:])
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if kind[0] == "s" else (0, (1 << bits) - 1)


def _integer_conversions() -> list[str]:
    found = []
    for to, source in product(_NARROW, _NARROW):
        operands = f" {letter(to).upper()}, {letter(source)}"
        (least, most), (low, high) = _range(to), _range(source)
        if to != source:
            found.append(f"cvt.{to}.{source}{operands}")
        # Saturation is for what may lie outside.
        if low < least or most < high:
            found.append(f"cvt.sat.{to}.{source}{operands}")
    return found


def _float_conversions() -> list[str]:
    found = []
    for integer, (real, x) in product(_NARROW, (("f32", "f"), ("f64", "g"))):
        # What a NaN becomes depends on both types: see NAN_CONVERSIONS.
        found += [
            f"setp.nan.{real} %nan, {x}1, {x}1; "
            f"@!%nan cvt.{mode}.{integer}.{real} {letter(integer).upper()}, {x}1"
            for mode in ("rni", "rzi", "rmi", "rpi")
        ]
        found += [f"cvt.{mode}.{real}.{integer} {x.upper()}, {letter(integer)}" for mode in _ROUNDINGS]
    return found


CONVERSIONS = [
    *_integer_conversions(), *_float_conversions(),
    "cvt.f64.f32 G, f", "cvt.sat.f32.f32 F, f", "cvt.rn.sat.f32.f64 F, g",
    *[f"cvt.{mode}.f32.f64 F, g" for mode in ("rn", "rz", "rm", "rp")],
    *[f"cvt.{mode}.{kind}.{kind} {x.upper()}, {x}" for mode in ("rni", "rzi", "rmi", "rpi")
      for kind, x in (("f32", "f"), ("f64", "g"))],
]  # fmt: skip

NAN_CONVERSIONS = [
    f"cvt.{mode}.{integer}.{real} {letter(integer).upper()}, {letter(real)}"
    for mode, integer, real in product(("rni", "rzi", "rmi", "rpi"), _NARROW, ("f32", "f64"))
]

SPECIAL = [
    *[f"mov.u32 R, %{name}.{axis}" for name in ("tid", "ntid", "ctaid", "nctaid") for axis in "xyz"],
    "ld.param.u32 R, [scalar]", "ld.param.u8 H, [bytes+3]", "ld.param.s16 R, [bytes+6]",
    "ld.param.u64 D, [bytes+8]", "ld.param.v2.u32 {R, R}, [bytes+16]",
]  # fmt: skip

ROUNDING = [
    *[f"{name}.{mode}.{kind} {x.upper()}, {', '.join(x * count)}"
      for name, count in (("add", 2), ("sub", 2), ("mul", 2), ("fma", 3), ("div", 2), ("sqrt", 1), ("rcp", 1))
      for mode in ("rz", "rm", "rp") for kind, x in (("f32", "f"), ("f64", "g"))],
]  # fmt: skip
FLUSH = [
    *_forms("add.ftz.T D, S, S; mul.ftz.T D, S, S; fma.rn.ftz.T D, S, S, S; div.rn.ftz.T D, S, S", "f32"),
    *_forms("min.ftz.T D, S, S; abs.ftz.T D, S; neg.ftz.T D, S; setp.lt.ftz.T P, S, S", "f32"),
    *_forms("sqrt.rn.ftz.T D, S; set.eq.ftz.u32.T R, S, S; slct.ftz.T.f32 D, S, S, S", "f32"),
    "cvt.ftz.f64.f32 G, f", "cvt.rn.ftz.f32.f64 F, g", "cvt.rpi.ftz.f32.f32 F, f",
]  # fmt: skip

CARRY = [
    *[f"{name}.cc.{kind} {x.upper()}, {x}, {x}; {name}c.cc.{kind} {x.upper()}, {x}, {x}; "
      f"{name}c.{kind} {x.upper()}, {x}, {x}"
      for name in ("add", "sub") for kind, x in (("u32", "r"), ("s32", "r"), ("u64", "d"))],
]  # fmt: skip

INTEGER_MORE = [
    *_forms("mul24.hi.T D, S, S; mad24.hi.T D, S, S, S", "u32 s32"),
    *[f"{name}.{a}.{b} R, r, r, r" for name in ("dp4a", "dp2a.lo", "dp2a.hi")
      for a in ("u32", "s32") for b in ("u32", "s32")],
    *[f"prmt.b32.{mode} R, r, r, r" for mode in ("f4e", "b4e", "rc8", "ecl", "ecr", "rc16")],
    *[f"szext.{mode}.{kind} R, r, n" for mode in ("clamp", "wrap") for kind in ("u32", "s32")],
    "bmsk.clamp.b32 R, n, n", "bmsk.wrap.b32 R, n, n", "fns.b32 R, r, n, r",
    "mad.lo.cc.u32 R, r, r, r; madc.hi.cc.u32 R, r, r, r; addc.u32 R, r, r",
    f"{_plain_bits('f32', 'f1')}; mov.f32 %fm, %fn; {_plain_bits('f32', 'f2')}; "
    "min.xorsign.abs.f32 F, %fm, %fn",
]  # fmt: skip


def _one_nan(form: str, kind: str) -> str:
    """Make every NaN of ``H1`` or of the halves of ``R1`` the same."""
    base = kind.removesuffix("x2")
    fix = "setp.nan.{0} %nan, {1}, {1}; selp.b16 {1}, 0x7FFF, {1}, %nan"
    if kind == base:
        return f"{form}; {fix.format(kind, 'H1')}"
    halves = f"{fix.format(base, '%ha')}; {fix.format(base, '%hb')}"
    return f"{form}; mov.b32 {{%ha, %hb}}, R1; {halves}; mov.b32 R1, {{%ha, %hb}}"


_HALF_OPERATIONS = {
    ("f16", "f16x2"): {
        "add": 2, "sub": 2, "mul": 2, "add.sat": 2, "fma.rn": 3, "fma.rn.ftz": 3, "fma.rn.sat": 3,
        "fma.rn.relu": 3, "neg": 1, "abs": 1, "min": 2, "max": 2, "min.NaN": 2, "max.ftz": 2,
    },
    ("bf16", "bf16x2"): {"fma.rn": 3, "fma.rn.relu": 3, "neg": 1, "abs": 1, "min": 2, "max.NaN": 2},
}  # fmt: skip
HALF = [
    *[
        _one_nan(f"{name}.{kind} {letter(kind).upper()}1, {', '.join(x * count)}", kind)
        for kinds, operations in _HALF_OPERATIONS.items()
        for kind, x in zip(kinds, "xw", strict=True)
        for name, count in operations.items()
    ],
    *[f"setp.{name}.f16 P, x, x" for name in ("lt", "geu", "eq", "nan")],
    *[_one_nan(f"cvt.{mode}.{half}.{kind} H1, {x}", half) for half in ("f16", "bf16")
      for mode, kind, x in (("rn", "f32", "f"), ("rz", "f32", "f"))],
    *[_one_nan(f"cvt.rn.f16.{kind} H1, {letter(kind)}", "f16") for kind in ("f64", *_NARROW)],
    "cvt.f32.f16 F, x", "cvt.f64.f16 G, x", "cvt.f32.bf16 F, x",
    *[f"setp.nan.f16 %nan, x1, x1; @!%nan cvt.{mode}.{kind}.f16 {letter(kind).upper()}, x1"
      for mode in ("rni", "rzi", "rmi", "rpi") for kind in ("s16", "u32", "s64")],
    _one_nan("cvt.rn.f16x2.f32 R1, f, f", "f16x2"), _one_nan("cvt.rn.relu.bf16x2.f32 R1, f, f", "bf16x2"),
]  # fmt: skip

# Need that every lane of the warp comes here, and %lanes for who that is.
WARP = [
    *[f"shfl.sync.{mode}.b32 R|P, r, n, {bounds}, %lanes" for mode in ("up", "down", "bfly", "idx")
      for bounds in (("0", "0x1800") if mode == "up" else ("0x1f", "0x181f", "7"))],
    "vote.sync.all.pred P, q, %lanes", "vote.sync.any.pred P, q, %lanes", "vote.sync.uni.pred P, q, %lanes",
    "vote.sync.ballot.b32 R, q, %lanes", "match.any.sync.b32 R, r, %lanes", "match.any.sync.b64 R, d, %lanes",
    "and.b32 %some, r, 1; match.any.sync.b32 R, %some, %lanes",
    "and.b32 %some, r, 1; match.all.sync.b32 R|P, %some, %lanes",
    *[f"redux.sync.{form} R, r, %lanes"
      for form in ("add.u32", "min.u32", "max.s32", "min.s32", "and.b32", "or.b32", "xor.b32")],
    "bar.warp.sync %lanes",
]  # fmt: skip
# Need that all threads of the block come here.
BARRIERS = [
    "barrier.sync 1",
    "bar.red.popc.u32 R, 0, q",
    "bar.red.and.pred P, 0, q",
    "bar.red.or.pred P, 2, q",
]

FAMILIES = {
    "integer": INTEGER, "bits": BITS, "predicates": PREDICATES, "float": FLOAT, "conversions": CONVERSIONS,
    "special": SPECIAL, "rounding": ROUNDING, "flush": FLUSH,
    "carry": CARRY, "integer more": INTEGER_MORE, "half": HALF, "NaN conversions": NAN_CONVERSIONS,
}  # fmt: skip
