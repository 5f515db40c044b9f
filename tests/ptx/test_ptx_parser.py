"""What the parser tells of a module, what it refuses, and how."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.ptx_harness import KERNELS, Bench, load_module

from logv.errors import InvalidValueError, PtxError
from logv.hw.software_gpu import MAX_PROGRAM_BYTES
from logv.ptx import compile_entry, parse

HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"


def entry(body: str, parameters: str = ".param .u64 p") -> str:
    """A module with one entry, its body beginning in line 6."""
    registers = ".reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>; .reg .b16 %h<4>;"
    return f"{HEAD}.visible .entry k({parameters}) {{\n{registers}\n{body}\nret;\n}}\n"


def test_layout_of_parameters() -> None:
    """Natural alignment, arrays, pointers, and the whole block's size."""
    text = HEAD + (
        ".entry k(.param .u8 a, .param .f64 b, .param .u16 c, .param .align 16 .b8 d[20],"
        " .param .u64 .ptr .global .align 4 e) { ret; }"
    )
    parameters = parse(text).entries["k"].parameters
    assert [(p.name, p.offset, p.size, p.align, p.type) for p in parameters] == [
        ("a", 0, 1, 1, "u8"),
        ("b", 8, 8, 8, "f64"),
        ("c", 16, 2, 2, "u16"),
        ("d", 32, 20, 16, "b8"),
        ("e", 56, 8, 8, "ptr"),
    ]
    assert parse(text).entries["k"].parameter_bytes == 64


def test_memory_and_block_limits_of_an_entry() -> None:
    """Static shared memory that the entry uses, local memory, ``.maxntid`` and ``.reqntid``."""
    text = HEAD + (
        ".shared .align 4 .b8 common[10];\n.extern .shared .align 16 .b8 dynamic[];\n"
        ".entry a() .maxntid 64, 2, 1 { .shared .align 8 .b8 own[24]; .local .align 4 .b8 mine[20];"
        " .reg .b64 %rd1; mov.u64 %rd1, common; ret; }\n"
        ".entry b() .reqntid 32 { .reg .b64 %rd1; mov.u64 %rd1, dynamic; ret; }\n"
    )
    entries = parse(text).entries
    assert (entries["a"].shared_bytes, entries["a"].local_bytes, entries["a"].max_threads) == (40, 32, 128)
    assert (entries["b"].shared_bytes, entries["b"].local_bytes) == (0, 0)
    assert entries["b"].required_block == (32, 1, 1)
    with pytest.raises(PtxError, match="maxntid"):
        compile_entry(parse(text), "a", (129, 1, 1))
    with pytest.raises(PtxError, match="reqntid"):
        compile_entry(parse(text), "b", (31, 1, 1))


@pytest.mark.parametrize("block", [(0, 1, 1), (1025, 1, 1), (1, 1, 65), (32, 32, 2), (-1, 1, 1)])
def test_impossible_blocks_are_refused(block: tuple[int, int, int]) -> None:
    """Dimensions beyond the device's limits."""
    with pytest.raises(InvalidValueError):
        compile_entry(load_module("blas"), "vecadd", block)


def test_unknown_entries_are_named() -> None:
    """The message lists what there is."""
    with pytest.raises(PtxError, match=r"'nothing'.*saxpy"):
        compile_entry(load_module("blas"), "nothing", (32, 1, 1))


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        ("mma.sync.aligned.m16n8k8.row.col.f32.f32.f32.f32 %f1, %f2, %f3, %f4;", "not supported"),
        ("shfl.bfly.b32 %r1, %r2, 1, 31;", "without .sync"),
        ("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [t, {%f5, %f6}];", ""),
        ("call.uni (r), f, (a);", "there is no function f"),
        ("add.rz.f16 %h1, %h2, %h3;", "'.rz' is not supported"),
        ("add.s32 %r1, %r2;", "3 operands expected"),
        ("add.s32 %r1, %r2, %rd1;", ".b64 where .s32 is expected"),
        ("add.s32 %r1, %r2, %r9;", "%r9 is not declared"),
        ("add.s32 5, %r2, %r3;", "destination must be a register"),
        ("add.s32 %r1, %r2, nowhere;", "nowhere is not declared"),
        ("bra nowhere;", "label that does not exist"),
        ("ld.global.u32 %r1, [%r2];", "32-bit register addresses"),
        ("ld.global.u32 %r1, %rd1;", "address in brackets"),
        ("ld.param.u32 %r1, [p+8];", "beyond the parameters"),
        ("st.param.u32 [p], %r1;", "read-only"),
        ("ld.shared.u32 %r1, [p];", "p is not in .shared memory"),
        ("bar.sync 16;", "there is no barrier 16"),
        ("bar.sync 0, 33;", "not a multiple of 32"),
        ("mov.u32 %r1, %clocks;", "%clocks is not declared"),
        ("mov.u32 %r1, 99999999999999999999999;", "beyond 64 bits"),
        ("setp.foo.s32 %p1, %r1, %r2;", "'.foo' is not supported"),
        ("atom.global.min.f32 %f1, [%rd1], %f2;", "is not supported"),
        ("cvt.f32.s32 %f1, %r1;", "rounding"),
        ("@%r1 bra nowhere;", "guard must be a predicate"),
        ("add.s32 %r1, %r2, %r3", "expected ';'"),
        ("vote.any.pred %p1, %p2;", "without .sync"),
    ],
)
def test_errors_name_line_and_instruction(instruction: str, reason: str) -> None:
    """Whatever is wrong with an instruction is found while parsing."""
    with pytest.raises(PtxError) as caught:
        parse(entry(instruction))
    assert caught.value.line == 6
    assert caught.value.instruction.startswith(instruction[:8])
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not PTX"),
        ("hello", "unexpected 'hello'"),
        (HEAD.replace("64", "32"), "only .address_size 64"),
        (HEAD + ".func f() { ret; } .func f() { ret; }", "function f is defined twice"),
        (HEAD + ".entry k() { ret;", "'}' is missing"),
        (HEAD + ".entry k() { ret; } .entry k() { ret; }", "defined twice"),
        (HEAD + ".entry k(.param .b8 a[5000]) { ret; }", "bytes of parameters"),
        (HEAD + ".entry k() { .shared .b8 s[200000]; ret; }", "bytes of shared memory"),
        (HEAD + ".global .texref t;", "type '.texref'"),
        (HEAD + ".entry k() { .reg .b32 %r<999999999>; ret; }", "registers"),
        (HEAD + ".entry k() { a: a: ret; }", "defined twice"),
        (HEAD + ".entry k() {" + "{" * 100, "nest deeper"),
        (HEAD + "\x7f", "unexpected character"),
    ],
)
def test_malformed_modules(text: str, reason: str) -> None:
    """Errors outside of instructions."""
    with pytest.raises(PtxError, match=None) as caught:
        parse(text)
    assert reason in str(caught.value)


def test_text_is_bounded_and_ascii() -> None:
    """Too long, not ASCII, and the NUL that ends a program in GPU memory."""
    with pytest.raises(PtxError, match="supported"):
        parse(" " * (MAX_PROGRAM_BYTES + 1))
    with pytest.raises(PtxError) as caught:
        parse(b".version 8.0\n\xff")
    assert caught.value.line == 2
    assert list(parse(entry("").encode() + b"\0\0").entries) == ["k"]


def test_comments_scopes_and_number_formats() -> None:
    """Registers and labels of inner scopes hide the outer ones; numbers come in every base."""
    body = """
    ld.param.u64 %rd1, [p]; /* over
    two lines */ mov.u32 %r1, 0x10; // 16
    { .reg .b32 %r1; mov.u32 %r1, 010; st.global.u32 [%rd1], %r1; bra.uni end; end: }
    { bra end; end: st.global.u32 [%rd1+4], %r1; }
    mov.f32 %f1, 0f40490FDB; st.global.f32 [%rd1+8], %f1;
    mov.b32 %r2, -0b101; st.global.u32 [%rd1+0xC], %r2;
    mov.f32 %f2, 0d3FF8000000000000; st.global.f32 [%rd1+16], %f2;
    """
    bench = Bench()
    target = bench.upload(np.zeros(5, np.uint32))
    bench.launch(compile_entry(parse(entry(body)), "k", (1, 1, 1)), [1], target)
    found = bench.download(target, 5, np.uint32)
    floats = np.array([np.float32(np.pi), np.float32(1.5)]).view(np.uint32)
    np.testing.assert_array_equal(found, [8, 16, floats[0], 2**32 - 5, floats[1]])


SOURCES = {path.stem: path.read_text() for path in sorted(KERNELS.glob("*.ptx"))}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(SOURCES)), st.floats(0, 1))
def test_truncated_text_is_an_error(name: str, part: float) -> None:
    """Text that ends anywhere either parses or raises PtxError."""
    text = SOURCES[name]
    try:
        parse(text[: int(len(text) * part)])
    except PtxError:
        return


MUTATIONS = [
    "",
    "%",
    "[",
    "]",
    "{",
    "}",
    ";",
    "@",
    "0",
    "-1",
    "4294967296",
    ".",
    ".f64",
    ".u8",
    ".v4",
    "\0",
    '"',
    "/*",
    "bra ",
    "%p1 ",
]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_mutated_text_is_parsed_or_refused(data: st.DataObject) -> None:
    """Random edits of real programs raise PtxError or nothing; what parses also compiles or is refused."""
    text = SOURCES[data.draw(st.sampled_from(["blas", "control"]))]
    begin = text.index(".visible .entry", data.draw(st.integers(0, len(text) // 2)))
    end = text.find(".visible .entry", begin + 1)
    text = HEAD + ".extern .shared .align 16 .b8 s[];\n" + text[begin : end if end > 0 else len(text)]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(text) - 1))
        length = data.draw(st.integers(0, 6))
        text = text[:place] + data.draw(st.sampled_from(MUTATIONS)) + text[place + length :]
    try:
        parse(text)
    except PtxError:
        return


@pytest.mark.parametrize(
    "body",
    [
        "add.s32 %r1, %r1, 1;\n" * 5000,
        "@%p1 bra L;\n" * 1500 + "L:",
        "".join(f"L{k}: add.s32 %r1, %r1, %r2; @%p1 bra L{k};\n" for k in range(400)),
        "{" * 60 + "}" * 60,
        "bar.sync 0;\n" * 600,
        "".join(f"L{k}: bar.sync 0; @%p1 bra L{(k * 7) % 200};\n" for k in range(200)),
        "cvta.global.u64 %rd1, %rd1;\n" * 5000,
        "/*" * 20000,
        "@%p1 bra A; B: add.s32 %r1, %r1, 1; A: add.s32 %r2, %r1, 3; @%p2 bra B;",
    ],
    ids=["long", "forward", "loops", "scopes", "barriers", "barrier-maze", "chain", "comment", "irreducible"],
)
def test_awkward_text_does_not_hang(body: str) -> None:
    """Deep, long and tangled programs are compiled or refused; none exhausts stack or patience."""
    try:
        module = parse(entry(body))
        compile_entry(module, "k", (32, 1, 1))
    except PtxError:
        return
