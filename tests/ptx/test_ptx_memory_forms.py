"""Every form of access to memory: orders, cache hints, atomics of all types, asynchronous copies, timers."""

from collections.abc import Callable
from functools import reduce
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from tests.ptx.exact_floats import FORMATS, Format
from tests.ptx.ptx_harness import Bench

from logv.ptx import compile_entry, parse

THREADS = 64
_REGISTERS = """.reg .pred %p<4>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>;
    .reg .f64 %g<9>; .shared .align 16 .b8 s[1024];
    ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out]; mov.u32 %r1, %tid.x;"""


def launch(
    body: str,
    inputs: NDArray[np.generic],
    outputs: NDArray[np.generic],
    threads: int = THREADS,
    blocks: int = 1,
) -> NDArray[Any]:
    """Run a body with ``%d1`` at the inputs, ``%d2`` at the outputs and ``%r1`` the thread's number."""
    text = f""".version 8.3\n.target sm_90\n.address_size 64
    .visible .entry k(.param .u64 in, .param .u64 out) {{ {_REGISTERS} {body} ret; }}"""
    bench = Bench(1 << 20)
    source, target = bench.upload(inputs), bench.upload(outputs)
    assert bench.launch(compile_entry(parse(text), "k", (threads, 1, 1)), [blocks], source, target) == 0
    return bench.download(target, outputs.shape, outputs.dtype.type)


@pytest.mark.parametrize(
    "form",
    [
        "volatile.global", "relaxed.cta.global", "relaxed.sys.global", "acquire.gpu.global",
        "mmio.relaxed.sys.global",
        "weak.global", "global.nc", "global.ca", "global.cg", "global.cs", "global.lu", "global.cv",
        "global.L1::no_allocate", "global.L1::evict_last.L2::128B", "global.nc.L1::no_allocate.L2::256B",
        "global.L2::evict_first", "relaxed.cluster", "",
    ],
)  # fmt: skip
def test_forms_of_loads(form: str) -> None:
    """Orders and cache hints load what is there."""
    values = np.arange(THREADS, dtype=np.uint32) * 7 + 1
    dot = f".{form}" if form else ""
    body = f"""mul.wide.u32 %d3, %r1, 4; add.u64 %d1, %d1, %d3; add.u64 %d2, %d2, %d3;
        ld{dot}.u32 %r2, [%d1]; st.global.u32 [%d2], %r2;"""
    assert (launch(body, values, np.zeros(THREADS, np.uint32)) == values).all()


@pytest.mark.parametrize(
    "form",
    [
        "volatile.global", "relaxed.cta.global", "release.sys.global", "mmio.relaxed.sys.global",
        "weak.global",
        "global.wb", "global.cg", "global.cs", "global.wt", "global.L1::no_allocate",
        "global.L1::evict_first", "",
    ],
)  # fmt: skip
def test_forms_of_stores(form: str) -> None:
    """Orders and cache hints store what is given."""
    dot = f".{form}" if form else ""
    body = f"""mul.wide.u32 %d3, %r1, 4; add.u64 %d2, %d2, %d3; mad.lo.u32 %r2, %r1, 3, 5;
        st{dot}.u32 [%d2], %r2;"""
    found = launch(body, np.zeros(1), np.zeros(THREADS, np.uint32))
    assert (found == np.arange(THREADS) * 3 + 5).all()


def test_cache_policies_and_hints_change_nothing() -> None:
    """A policy operand is taken and ignored; prefetches and the like do nothing."""
    body = """mul.wide.u32 %d3, %r1, 4; add.u64 %d1, %d1, %d3; add.u64 %d2, %d2, %d3; setp.eq.u32 %p1, %r1, 3;
        createpolicy.fractional.L2::evict_last.b64 %d4, 0.5; createpolicy.fractional.L2::evict_first.b64 %d5;
        createpolicy.range.global.L2::evict_last.L2::evict_first.b64 %d6, [%d1], 64, 128;
        prefetch.global.L1 [%d1]; prefetch.L2 [%d1]; prefetchu.L1 [%d1];
        @%p1 prefetch.global.L2::evict_last [%d1];
        discard.global.L2 [%d2], 128; applypriority.global.L2::evict_normal [%d2], 128;
        nanosleep.u32 100; @%p1 nanosleep.u32 %r1; pmevent 3; griddepcontrol.wait;
        griddepcontrol.launch_dependents;
        ld.global.L2::cache_hint.u32 %r2, [%d1], %d4; ldu.global.u32 %r3, [%d1]; add.u32 %r2, %r2, %r3;
        st.global.L2::cache_hint.u32 [%d2], %r2, %d5;
        red.global.add.L2::cache_hint.u32 [%d2], 1, %d6;
        atom.global.max.L2::cache_hint.u32 %r4, [%d2], 0, %d4;"""
    values = np.arange(THREADS, dtype=np.uint32)
    assert (launch(body, values, np.zeros(THREADS, np.uint32)) == 2 * values + 1).all()


def test_vectors_and_wide_words() -> None:
    """``v2`` and ``v4`` of every width, elements that nobody wants, and 128 bits in one register."""
    body = """mul.wide.u32 %d3, %r1, 16; add.u64 %d1, %d1, %d3; add.u64 %d2, %d2, %d3; .reg .b128 %q;
        ld.global.v4.u8 {%h1, %h2, _, %h3}, [%d1]; ld.global.v2.b16 {%h4, %h5}, [%d1+4];
        ld.global.nc.v2.f64 {_, %g1}, [%d1]; st.shared.v4.b16 [s], {%h5, %h4, %h3, %h1};
        ld.shared.v2.b32 {%r2, %r3}, [s]; st.global.v2.b32 [%d2], {%r3, %r2}; st.global.f64 [%d2+8], %g1;
        ld.global.b128 %q, [%d2]; st.global.b128 [%d2], %q;"""
    values = np.arange(16 * 4, dtype=np.uint8).reshape(4, 16)
    found = launch(body, values, np.zeros((4, 8), np.uint16), threads=4)
    narrow = values.view(np.uint16)
    for row in range(4):
        assert list(found[row, :4]) == [values[row, 3], values[row, 0], narrow[row, 3], narrow[row, 2]]
        assert (found[row, 4:] == narrow[row, 4:]).all()


_WIDTHS = {
    "u32": np.uint32,
    "s32": np.int32,
    "u64": np.uint64,
    "s64": np.int64,
    "b32": np.uint32,
    "b64": np.uint64,
}
_FOLD: dict[str, Callable[[int, int], int]] = {
    "add": lambda old, new: old + new,
    "min": min,
    "max": max,
    "and": lambda old, new: old & new,
    "or": lambda old, new: old | new,
    "xor": lambda old, new: old ^ new,
    "inc": lambda old, new: 0 if old >= new else old + 1,
    "dec": lambda old, new: new if old == 0 or old > new else old - 1,
}


@pytest.mark.parametrize("space", ["global", "shared"])
@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        *(("add", kind) for kind in ("u32", "s32", "u64", "s64")),
        *((name, kind) for name in ("min", "max") for kind in ("u32", "s32", "u64", "s64")),
        *((name, kind) for name in ("and", "or", "xor") for kind in ("b32", "b64")),
        ("inc", "u32"),
        ("dec", "u32"),
    ],
)
def test_integer_atomics(operation: str, kind: str, space: str) -> None:
    """All operators and types, with and without a result, in one order or another."""
    wide = kind.endswith("64")
    register = "%d" if wide else "%r"
    bits, size = (64, 8) if wide else (32, 4)
    place = "%d2" if space == "global" else "s"
    ordered = ".acq_rel.gpu" if operation in ("add", "min") else ".relaxed.cta"
    body = f"""mov.u64 %d7, 0; mul.wide.u32 %d3, %r1, {size}; add.u64 %d3, %d1, %d3;
        ld.global.b{bits} {register}4, [%d3]; ld.global.b{bits} {register}5, [%d1];
        setp.eq.u32 %p1, %r1, 0; @%p1 st.{space}.b{bits} [{place}], {register}5; bar.sync 0;
        setp.eq.u32 %p2, %r1, 1;
        atom{ordered}.{space}.{operation}.{kind} {register}6, [{place}], {register}4;
        @%p2 st.global.b{bits} [%d2+{size}], {register}6; bar.sync 0;
        red.{space}.{operation}.{kind} [{place}], {register}4; bar.sync 0;
        @%p1 ld.{space}.b{bits} {register}6, [{place}]; @%p1 st.global.b{bits} [%d2], {register}6;"""
    dtype = _WIDTHS[kind]
    seed = np.random.default_rng(7).integers(0, 2**bits, 4, dtype=np.uint64).astype(f"u{size}").view(dtype)
    if operation in ("inc", "dec"):
        seed = seed % 5 + 3
    found = launch(body, seed, np.zeros(2, dtype), threads=4)
    assert (int(found[0]), int(found[1])) in _outcomes(operation, [int(value) for value in seed], dtype)


def _outcomes(operation: str, values: list[int], dtype: DTypeLike) -> set[tuple[int, int]]:
    """What the word can hold after two rounds in any order of threads, and what thread 1 can have found."""

    def fold(total: int, value: int) -> int:
        return int(np.array(_FOLD[operation](total, value) & (1 << 64) - 1, np.uint64).astype(dtype))

    first = set()
    for order in permutations(range(len(values))):
        total, seen = values[0], 0
        for thread in order:
            seen = total if thread == 1 else seen
            total = fold(total, values[thread])
        first.add((total, seen))
    outcomes = set()
    for total, seen in first:
        for order in permutations(values):
            outcomes.add((reduce(fold, order, total), seen))
    return outcomes


@pytest.mark.parametrize("space", ["global", "shared", ""])
def test_exchange_and_compare(space: str) -> None:
    """``exch`` and ``cas`` of 16, 32 and 64 bits; of the 16-bit neighbours, one changes."""
    dot = f".{space}" if space else ""
    place = "%d2" if space != "shared" else "s"
    body = f"""mov.u64 %d3, 0; st{dot or ".global"}.u64 [{place}], 0x1111222233334444; mov.b16 %h1, 0x3333;
        mov.b16 %h2, 0x5555; atom{dot}.cas.b16 %h3, [{place}+2], %h1, %h2;
        atom{dot}.cas.b16 %h4, [{place}], %h1, %h2; atom{dot}.exch.b32 %r2, [{place}+4], 7;
        atom{dot}.cas.b64 %d4, [{place}], 0x755554444, 99; atom{dot}.exch.b64 %d5, [{place}], 100;
        atom{dot}.cas.b32 %r3, [{place}], 100, 101; atom{dot}.cas.b32 _, [{place}], 1, 102;
        st.global.v2.b16 [%d2+16], {{%h3, %h4}}; st.global.u32 [%d2+20], %r2; st.global.u64 [%d2+24], %d4;
        st.global.u64 [%d2+32], %d5; st.global.u32 [%d2+40], %r3; ld{dot}.u32 %r4, [{place}];
        st.global.u32 [%d2+44], %r4;"""
    found = launch(body, np.zeros(1), np.zeros(12, np.uint32), threads=1)
    assert [hex(word) for word in found[4:]] == [
        "0x44443333", "0x11112222", "0x55554444", "0x7", "0x63", "0x0", "0x64", "0x65"
    ]  # fmt: skip


@pytest.mark.parametrize("space", ["global", "shared", ""])
@pytest.mark.parametrize(("kind", "register"), [("f32", "%f"), ("f64", "%g")])
def test_atomic_addition_of_floats(kind: str, register: str, space: str) -> None:
    """Sums of numbers that are exact in any order."""
    dot = f".{space}" if space else ""
    place = "%d2" if space != "shared" else "s"
    body = f"""mov.{kind} {register}1, 0d0000000000000000; setp.eq.u32 %p1, %r1, 0;
        @%p1 st{dot or ".global"}.{kind} [{place}], {register}1; bar.sync 0;
        cvt.rn.{kind}.u32 {register}2, %r1; atom{dot}.add.{kind} {register}3, [{place}], {register}2;
        red{dot}.add.{kind} [{place}], {register}2; bar.sync 0;
        ld{dot}.{kind} {register}4, [{place}]; @%p1 st.global.{kind} [%d2], {register}4;"""
    dtype = np.float32 if kind == "f32" else np.float64
    assert launch(body, np.zeros(1), np.zeros(1, dtype))[0] == THREADS * (THREADS - 1)


@pytest.mark.parametrize("space", ["global", "shared", ""])
@pytest.mark.parametrize("kind", ["f16", "f16x2", "bf16", "bf16x2"])
def test_atomic_addition_of_halves(kind: str, space: str) -> None:
    """Each addition is rounded to a half; the old value comes back."""
    form: Format = FORMATS[kind.removesuffix("x2")]
    pair = kind.endswith("x2")
    dot = f".{space}" if space else ""
    place = "%d2" if space != "shared" else "s"
    one = form.bias << form.fraction_bits
    addend = one | (form.encode(FORMATS["f32"].decode(0x40000000)) << 16 if pair else 0)  # type: ignore[arg-type]
    register, bits = ("%r", 32) if pair else ("%h", 16)
    body = f"""mov.b{bits} {register}2, {addend}; setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r1, 9;
        mov.b32 %r7, 0; @%p1 st{dot or ".global"}.b32 [{place}], %r7; bar.sync 0;
        atom{dot}.add.noftz.{kind} {register}3, [{place}], {register}2;
        @%p2 st.global.b{bits} [%d2+4], {register}3;
        bar.sync 0; red{dot}.add.noftz.{kind} [{place}], {register}2; bar.sync 0;
        ld{dot}.b32 %r4, [{place}]; @%p1 st.global.b32 [%d2], %r4;"""
    found = [int(word) for word in launch(body, np.zeros(1), np.zeros(2, np.uint32))]
    for lane in range(2 if pair else 1):
        assert form.decode(found[0] >> 16 * lane & 0xFFFF) == 2 * THREADS * (lane + 1)
        old = form.decode(found[1] >> 16 * lane & 0xFFFF)
        assert isinstance(old, type(form.decode(one)))
        assert 0 <= old < THREADS * (lane + 1)
    if not pair:
        assert found[0] >> 16 == 0


def test_atomics_of_halves_under_divergence() -> None:
    """Threads that add to different words, and threads that do not add at all."""
    body = """and.b32 %r2, %r1, 3; mul.wide.u32 %d3, %r2, 4; add.u64 %d2, %d2, %d3; setp.lt.u32 %p1, %r1, 40;
        mov.b32 %r3, 0x3C003C00; @%p1 atom.global.add.noftz.f16x2 %r4, [%d2], %r3;
        mov.u32 %r5, 0; L: atom.global.add.noftz.f16x2 %r4, [%d2], 0x3C00; add.u32 %r5, %r5, 1;
        setp.lt.u32 %p2, %r5, %r2; @%p2 bra L;"""
    found = launch(body, np.zeros(1), np.zeros(4, np.uint32)).view(np.float16).reshape(4, 2)
    assert list(found[:, 1]) == [10] * 4
    assert list(found[:, 0]) == [10 + 16, 10 + 16, 10 + 32, 10 + 48]


@pytest.mark.parametrize(
    ("size", "limit", "copied"),
    [
        ("16", "", 16), ("16", ", 16", 16), ("16", ", 0", 0), ("16", ", 5", 5), ("8", ", %r3", 6), ("4",
        ", %r4", 0),
        ("4", "", 4), ("16", ", %p1", 0), ("8", ", %p2", 8), ("8", ", 6, %d4", 6), ("16", ", %d4", 16),
    ],
)  # fmt: skip
def test_asynchronous_copies(size: str, limit: str, copied: int) -> None:
    """What is not read of the source is zero in the destination; after waiting, the copy is there."""
    level = "cg" if size == "16" else "ca"
    hint = ".L2::cache_hint" if "%d4" in limit else ""
    body = f"""mul.wide.u32 %d3, %r1, 16; add.u64 %d1, %d1, %d3; add.u64 %d2, %d2, %d3; mov.u64 %d4, 0;
        mul.lo.u32 %r2, %r1, 16; mov.u32 %r3, 6; mov.u32 %r4, 0; setp.ge.u32 %p1, %r1, 0; not.pred %p2, %p1;
        mov.u32 %r5, s; add.u32 %r5, %r5, %r2; st.shared.v4.u32 [%r5], {{%r3, %r3, %r3, %r3}};
        cp.async.{level}.shared.global{hint}.L2::128B [%r5], [%d1], {size}{limit};
        cp.async.commit_group; cp.async.wait_group 0; cp.async.wait_all; bar.sync 0;
        xor.b32 %r2, %r2, 16; mov.u32 %r6, s; add.u32 %r6, %r6, %r2; ld.shared.v2.u64 {{%d5, %d6}}, [%r6];
        st.global.v2.u64 [%d2], {{%d5, %d6}};"""
    values = np.arange(THREADS * 16, dtype=np.uint8).reshape(THREADS, 16)
    found = launch(body, values, np.zeros((THREADS, 16), np.uint8))[np.arange(THREADS) ^ 1]
    assert (found[:, :copied] == values[:, :copied]).all()
    assert (found[:, copied : int(size)] == 0).all()
    assert (found[:, int(size) :].reshape(THREADS, -1) == np.resize([6, 0, 0, 0], 16 - int(size))).all()


def test_a_copy_of_nothing_reads_nothing() -> None:
    """A source size of 0 is how programs keep from reading beyond the end."""
    body = """mov.u64 %d3, 0x100000; mov.u32 %r2, 0; cp.async.cg.shared.global [s], [%d3], 16, %r2;
        cp.async.wait_all; ld.shared.u32 %r3, [s]; st.global.u32 [%d2], %r3;"""
    assert launch(body, np.zeros(1), np.ones(1, np.uint32), threads=1)[0] == 0


def test_timers() -> None:
    """Time goes on: within a thread no timer goes back, and the parts belong to one number."""
    body = """mov.u64 %d3, %clock64; mov.u32 %r2, %clock; mov.u32 %r3, %clock_hi; mov.u64 %d4, %globaltimer;
        mov.u32 %r4, 0; L: add.u32 %r4, %r4, 1; nanosleep.u32 1; membar.cta; setp.lt.u32 %p1, %r4, 2000;
        @%p1 bra L;
        mov.u64 %d5, %clock64; mov.u64 %d6, %globaltimer; mov.u32 %r5, %globaltimer_lo;
        mov.u32 %r6, %globaltimer_hi;
        mul.wide.u32 %d7, %r1, 64; add.u64 %d2, %d2, %d7; st.global.v2.u64 [%d2], {%d3, %d5};
        st.global.v2.u64 [%d2+16], {%d4, %d6}; st.global.v2.u32 [%d2+32], {%r2, %r3};
        st.global.v2.u32 [%d2+40], {%r5, %r6};"""
    found = launch(body, np.zeros(1), np.zeros((THREADS, 8), np.uint64))
    for row in found:
        begin, end, first, last, clock, late = (int(word) for word in row[:6])
        assert begin <= clock <= end
        assert 0 < first <= last <= late


def test_fixed_special_registers() -> None:
    """Where a kernel runs: on the only multiprocessor there is, in a warp of its block."""
    body = """mov.u32 %r2, %smid; mov.u32 %r3, %nsmid; mov.u64 %d3, %gridid; mov.u32 %r4, %warpid;
        cvt.u32.u64 %r5, %d3;
        mul.wide.u32 %d4, %r1, 16; add.u64 %d2, %d2, %d4; st.global.v4.u32 [%d2], {%r2, %r3, %r4, %r5};"""
    found = launch(body, np.zeros(1), np.zeros((THREADS, 4), np.uint32))
    assert (found[:, 0] < found[:, 1]).all()
    assert (found[:, 2] == np.arange(THREADS) // 32).all()
    assert (found[:, 3] == found[0, 3]).all()


@pytest.mark.parametrize(
    "text",
    [
        "membar.cta", "membar.gl", "membar.sys", "fence.sc.cta", "fence.sc.gpu", "fence.acq_rel.gpu",
        "fence.acq_rel.sys",
        "fence.acq_rel.cluster",
    ],
)  # fmt: skip
def test_fences(text: str) -> None:
    """Every scope; what a thread wrote before is there after."""
    body = f"st.global.u32 [%d2], 5; {text}; ld.global.u32 %r2, [%d2]; st.global.u32 [%d2+4], %r2;"
    assert list(launch(body, np.zeros(1), np.zeros(2, np.uint32), threads=1)) == [5, 5]


def test_a_branch_table() -> None:
    """``brx.idx`` goes where the index says; threads of a block go different ways."""
    body = """and.b32 %r2, %r1, 3; mul.wide.u32 %d3, %r1, 4; add.u64 %d2, %d2, %d3;
        ways: .branchtargets L0, L1, L2, L1; brx.idx %r2, ways; L0: mov.u32 %r3, 10; bra E;
        L1: add.u32 %r3, %r2, 20; bra E; L2: mov.u32 %r3, 30; E: st.global.u32 [%d2], %r3;"""
    found = launch(body, np.zeros(1), np.zeros(THREADS, np.uint32))
    assert (found == np.array([10, 21, 30, 23])[np.arange(THREADS) & 3]).all()
