"""What is left out is refused when the program is parsed, with its place and a reason."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logv.errors import PtxError
from logv.ptx import compile_entry, parse

_HEAD = """.version 8.3
.target sm_90
.address_size 64
.visible .entry k(.param .u64 p)
{
.reg .pred %p<4>; .reg .b16 %h<4>; .reg .b32 %r<9>; .reg .b64 %d<4>; .reg .f32 %f<9>; .reg .f64 %g<4>;
"""


def refusal(instruction: str) -> PtxError:
    """The error that an instruction causes."""
    with pytest.raises(PtxError) as caught:
        parse(f"{_HEAD}{instruction}\nret; }}")
    return caught.value


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%d1, {%f1, %f2}];", "textures"),
        ("tld4.r.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%d1, {%f1, %f2}];", "textures"),
        ("suld.b.1d.b32.trap {%r1}, [%d1, {%r2}];", "surfaces"),
        ("sust.b.1d.b32.trap [%d1, {%r2}], {%r1};", "surfaces"),
        ("sured.b.add.2d.u32.clamp [%d1, {%r1, %r2}], %r3;", "surfaces"),
        (
            "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2}, {%r3}, "
            "{%f5, %f6, %f7, %f8};",
            "tensor cores",
        ),
        ("wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1, %r2}, [%d1], %r3;", "tensor cores"),
        ("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r1}, [%d1];", "tensor cores"),
        ("wgmma.fence.sync.aligned;", "tensor cores"),
        ("mbarrier.init.shared.b64 [%d1], 1;", "barrier objects"),
        ("cp.async.mbarrier.arrive.shared.b64 [%d1];", "barrier objects"),
        ("cp.async.bulk.commit_group;", "bulk"),
        ("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.u32 [%d1], [%d2], 16;", "bulk"),
        ("fence.proxy.async;", "proxies"),
        ("barrier.cluster.arrive;", "clusters"),
        ("mapa.shared::cluster.u32 %r1, %r2, 0;", "clusters"),
        ("ld.shared::cluster.u32 %r1, [%r2];", "shared::cluster"),
        ("vadd.s32.s32.s32.sat %r1, %r2, %r3;", "scalar video"),
        ("ld.global.v8.b32 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%d1];", "v8"),
        ("atom.global.cas.b128 %d1, [%d2], %d1, %d1;", "atom.cas.b128"),
        ("atom.global.add.v2.f32 {%f1, %f2}, [%d1], {%f1, %f2};", "v2"),
        ("atom.global.add.f16 %h1, [%d1], %h2;", "noftz"),
        ("red.global.add.noftz.f32 [%d1], %f1;", "noftz"),
        ("red.global.exch.b32 [%d1], %r1;", "red.exch.b32"),
        ("atom.shared::cluster.add.u32 %r1, [%d1], 1;", "shared::cluster"),
        ("mov.u32 %r1, %total_smem_size;", "%dynamic_smem_size"),
        ("mov.u32 %r1, %cluster_ctaid.x;", "special register"),
        ("cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;", "satfinite"),
        ("cvt.rn.f16.s32 %r1, %r2;", "destination"),
        ("cvt.f16.f32 %h1, %f1;", "rounding"),
        ("cvt.rn.f32.f16 %f1, %h1;", "widening"),
        ("cvt.rn.relu.f32.f64 %f1, %g1;", "relu"),
        ("cvt.rn.f16x2.f32 %r1, %f1;", "3 operands"),
        ("add.ftz.bf16 %h1, %h2, %h3;", "ftz"),
        ("add.rz.f16 %h1, %h2, %h3;", "rz"),
        ("fma.f16 %h1, %h2, %h3, %h1;", "rounding"),
        ("fma.rn.sat.relu.f16 %h1, %h2, %h3, %h1;", "no such form"),
        ("div.rn.f16 %h1, %h2, %h3;", "not supported with div"),
        ("add.rn.ftz.f64 %g1, %g2, %g3;", "ftz"),
        ("add.rn.rz.f32 %f1, %f2, %f3;", "two roundings"),
        ("add.sat.f64 %g1, %g2, %g3;", "sat"),
        ("div.approx.f64 %g1, %g2, %g3;", "rounding"),
        ("sqrt.f32 %f1, %f2;", "rounding"),
        ("rcp.approx.f64 %g1, %g2;", "no such form"),
        ("min.xorsign.f32 %f1, %f2, %f3;", "go together"),
        ("min.NaN.f64 %g1, %g2, %g3;", "no such form"),
        ("min.relu.u32 %r1, %r2, %r3;", "relu"),
        ("add.cc.u16 %h1, %h2, %h3;", "u16"),
        ("mul.lo.cc.u32 %r1, %r2, %r3;", "carry"),
        ("mad.wide.cc.u32 %d1, %r2, %r3, %d1;", "carry"),
        ("mul24.u32 %r1, %r2, %r3;", ".lo or .hi"),
        ("sub.u16x2 %r1, %r2, %r3;", "pairs"),
        ("dp2a.s32.s32 %r1, %r2, %r3, %r4;", ".lo or .hi"),
        ("prmt.b32.f4e.rc8 %r1, %r2, %r3, %r4;", "two modes"),
        ("lop3.and.b32 %r1, %r2, %r3, %r4, 1, %p1;", r"d\|p"),
        ("lop3.b32 %r1|%p1, %r2, %r3, %r4, 1;", r"d\|p"),
        ("bmsk.b32 %r1, %r2, %r3;", ".wrap or .clamp"),
        ("shf.l.b32 %r1, %r2, %r3, %r4;", "wrap"),
        ("cp.async.ca.shared.global [%r1], [%d1], 12;", "4, 8 or 16"),
        ("cp.async.cg.shared.global [%r1], [%d1], 8;", "4, 8 or 16"),
        ("cp.async.ca.global.shared [%r1], [%d1];", "operands"),
        ("fence.sc;", "one scope"),
        ("fence.acq_rel.cta.gpu;", "one scope"),
        ("st.const.u32 [%d1], %r1;", "read-only"),
        ("st.global.nc.u32 [%d1], %r1;", "not supported"),
        ("ld.release.gpu.u32 %r1, [%d1];", "not supported"),
        ("nanosleep.u32 %d1;", "b64"),
        ("griddepcontrol.wait %r1;", "0 operands"),
        ("setp.lt.f16x2 %p1, %r1, %h1;", "b16"),
        ("set.lt.u16.f16x2 %h1, %r1, %r2;", "u16"),
        ("neg.f16 %r1, %h1;", "destination"),
    ],
)
def test_refusals_name_place_and_reason(instruction: str, reason: str) -> None:
    """The error has the line, the instruction, and words that say what is wrong."""
    error = refusal(instruction)
    text = str(error)
    with pytest.raises(PtxError, match=reason):
        raise error
    assert "line 7" in text
    assert instruction[:20] in text


_WORDS = [
    "add", "sub", "mul", "fma", "min", "max", "neg", "abs", "setp", "set", "cvt", "atom", "red", "ld", "st",
    "cp", "mov", "prmt", "lop3", "fence", "prefetch", "createpolicy", "isspacep", "ex2", "tanh", "vadd4",
    "vset2", "fns", "bmsk", "szext", "dp2a", "madc", "mad24", "div", "sqrt", "rcp", "discard", "nanosleep",
]  # fmt: skip
_MODIFIERS = [
    "f16", "f16x2", "bf16", "bf16x2", "f32", "f64", "u32", "s32", "b32", "b64", "b128", "u16", "s16x2",
    "tf32", "rn", "rz", "rm", "rp", "rzi", "ftz", "sat", "relu", "approx", "cc", "lo", "hi", "wide",
    "global", "shared", "async", "ca", "cg", "add", "cas", "exch", "noftz", "lt", "equ", "and", "or",
    "pack", "clamp", "wrap", "NaN", "xorsign", "abs", "v2", "v4", "L2::cache_hint", "gpu",
]  # fmt: skip
_OPERANDS = [
    "%p1", "%h1", "%r1", "%r2", "%d1", "%f1", "%g1", "1", "-1", "0f3F800000", "0d3FF0000000000000",
    "[%d1]", "[%r1+4]",
    "{%r1, %r2}", "{%h1, %h2}", "%p1|%p2", "_", "nothing", "%clock64", "!%p1", "p", "[p]",
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(_WORDS),
    st.lists(st.sampled_from(_MODIFIERS), max_size=5),
    st.lists(st.sampled_from(_OPERANDS), max_size=5),
)
def test_any_combination_is_compiled_or_refused(
    opcode: str, modifiers: list[str], operands: list[str]
) -> None:
    """Nonsense never becomes anything but a ``PtxError``, and what is accepted compiles."""
    instruction = f"{'.'.join([opcode, *modifiers])} {', '.join(operands)};"
    try:
        module = parse(f"{_HEAD}{instruction}\nret; }}")
    except PtxError:
        return
    compile_entry(module, "k", (32, 1, 1))


@pytest.mark.parametrize("entries", [1, 80])
def test_instructions_that_become_many_operations(entries: int) -> None:
    """A program whose instructions multiply is refused before it takes the compiler's time and memory."""
    head, _, body = _HEAD.partition(".visible")
    instructions = "fma.rp.f64 %g1, %g2, %g3, %g1; " * (20_000 // entries)
    kernels = [
        f".visible{body.replace('k(', f'k{number}(')}{instructions} ret; }}" for number in range(entries)
    ]
    with pytest.raises(PtxError, match=r"more than [0-9]+ operations"):
        parse(head + "\n".join(kernels))
