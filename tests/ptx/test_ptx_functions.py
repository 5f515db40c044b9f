"""Functions: what they compute when they are called, and which calls are refused."""

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.ptx.ptx_harness import KERNELS, Bench, kernel_of

from logv.errors import PtxError
from logv.ptx import compile_entry, parse

RNG = np.random.default_rng(11)
HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
REGISTERS = ".reg .pred %p<4>; .reg .b16 %h<9>; .reg .b32 %r<19>; .reg .b64 %rd<9>; .reg .f32 %f<9>;"
MIXED = np.dtype(
    {
        "names": ["weights", "count", "tag", "small"],
        "formats": [(np.float64, 3), np.int32, np.int8, np.int16],
        "offsets": [0, 24, 28, 30],
        "itemsize": 32,
    }
)


def collatz(number: int, limit: int) -> int:
    """The reference of the function of that name."""
    for steps in range(limit):
        if number == 1:
            return steps
        number = (3 * number + 1 if number & 1 else number // 2) & 0xFFFFFFFF
    return -1


def test_structures_by_value_and_nested_calls() -> None:
    """Arguments and results of several words, an early return, a function that calls another twice."""
    count = 300
    vectors = RNG.standard_normal((count, 3)).astype(np.float32)
    factors = RNG.standard_normal(count).astype(np.float32)
    bench = Bench()
    source, scales = bench.upload(vectors), bench.upload(factors)
    target = bench.upload(np.zeros((count, 4), np.float32))
    kernel = kernel_of("functions", "vectors", (64,))
    assert kernel.entry.local_bytes == 0, "arguments that fit into registers take no memory"
    bench.launch(kernel, [5], np.int32(count), source, scales, target)
    found = bench.download(target, (count, 4), np.float32)
    scaled = np.where(factors[:, None] < 0, vectors, vectors * factors[:, None])
    np.testing.assert_array_equal(found[:, :3], scaled)
    lengths = np.linalg.norm(scaled.astype(np.float64) * 2, axis=1)
    np.testing.assert_allclose(found[:, 3], lengths, rtol=1e-6)


@pytest.mark.parametrize("block", [32, 50])
def test_calls_in_divergent_loops(block: int) -> None:
    """Some threads call, each as often as it likes, a function with a loop that returns from its middle."""
    numbers = RNG.integers(0, 5000, 200).astype(np.uint32)
    bench = Bench()
    source, target = bench.upload(numbers), bench.upload(np.zeros(200, np.int32))
    bench.launch(kernel_of("functions", "divergent", (block,)), [8], np.int32(200), source, target)
    expected = [
        sum(collatz(int(n) + k, 60) if (i + k) % 3 else -1 for k in range(n % 5))
        for i, n in enumerate(numbers)
    ]
    np.testing.assert_array_equal(bench.download(target, 200, np.int32), expected)


def test_narrow_arguments() -> None:
    """``char``, ``short`` and ``bool`` are passed in 32 bits, and read in 8 or 16."""
    numbers = RNG.integers(-(2**31), 2**31, 400).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(numbers), bench.upload(np.zeros(400, np.int32))
    bench.launch(kernel_of("functions", "narrow_types", (128,)), [4], np.int32(400), source, target)
    c, s = numbers.astype(np.int8).astype(np.int64), (numbers >> 3).astype(np.uint16).astype(np.int64)
    u, even = (numbers >> 5).astype(np.uint8).astype(np.int64), numbers.astype(np.int16) % 2 == 0
    expected = np.where(even, c + s * u, c - s).astype(np.int8)
    np.testing.assert_array_equal(bench.download(target, 400, np.int32), expected)


def step(values: NDArray[np.void], index: int, number: int) -> None:
    """The reference of the function of that name, on one element of an array."""
    values["weights"][index][number % 3] += 1
    values["count"][index] += number
    values["small"][index] = -number
    values["tag"][index] = number & 63


def mix(value: np.void, which: int) -> float:
    """The reference of the function of that name."""
    weights = value["weights"].copy()
    weights[which % 3] += int(value["count"]) + int(value["small"])
    return float(weights[0] + 2 * weights[1] + 3 * weights[2] + value["tag"])


def test_structures_by_pointer() -> None:
    """One function gets pointers to local, shared and global memory."""
    data = np.zeros(32, MIXED)
    data["weights"] = RNG.integers(-50, 50, (32, 3))
    data["count"] = RNG.integers(-9, 9, 32)
    data["tag"] = RNG.integers(-9, 9, 32)
    data["small"] = RNG.integers(-9, 9, 32)
    bench = Bench()
    source, target = bench.upload(data), bench.upload(np.zeros(32))
    kernel = kernel_of("functions", "structures", (32,))
    bench.launch(kernel, [1], np.int32(32), source, target)
    common = data.copy()
    own = data[(np.arange(32) + 1) % 32].copy()
    after = data.copy()
    for i in range(32):
        step(after, i, 2 * i)
        step(common, (i + 3) % 32, i)
        step(own, i, i)
    expected = [
        mix(own[i], i) + 100 * mix(common[i], i + 1) + 10000 * mix(after[i], i + 2) for i in range(32)
    ]
    np.testing.assert_allclose(bench.download(target, 32, np.float64), expected, rtol=1e-12)


def test_barriers_and_shared_memory_of_a_function() -> None:
    """A function with barriers is called twice; both copies use the same shared memory."""
    numbers = RNG.integers(0, 100, 64).astype(np.int32)
    bench = Bench()
    source, target = bench.upload(numbers), bench.upload(np.zeros(128, np.int32))
    kernel = kernel_of("functions", "sums", (64,))
    assert kernel.shared_bytes == 256
    bench.launch(kernel, [1], source, target)
    first = int(numbers.sum())
    second = int((numbers * first + np.arange(64)).sum())
    out = np.array([collatz(second & 1023, 200) if i % 2 else first for i in range(64)])
    expected = np.concatenate([out, np.roll(out, -1) + second])
    np.testing.assert_array_equal(bench.download(target, 128, np.int32), expected)


def test_local_arrays_of_callers_and_functions() -> None:
    """What a function keeps in local memory does not touch what its callers keep there."""
    bench = Bench()
    target = bench.upload(np.zeros(64, np.int32))
    bench.launch(kernel_of("functions", "local_arrays", (64,)), [1], target)
    i, k = np.arange(64)[:, None], np.arange(8)
    gathered = (i + ((k * i) & 7) ** 2).sum(axis=1)
    thread = np.arange(64)
    expected = gathered + (thread + (thread & 3) ** 2) * 1000
    np.testing.assert_array_equal(bench.download(target, 64, np.int32), expected)


# -- PTX written by hand ---------------------------------------------------------------------------------


def run(functions: str, body: str, outputs: int = 4) -> NDArray[np.uint32]:
    """Run one thread of an entry whose output begins at ``%rd1``."""
    text = (
        f"{HEAD}{functions}\n.entry k(.param .u64 p) {{ {REGISTERS} ld.param.u64 %rd1, [p];\n{body}\nret; }}"
    )
    bench = Bench()
    target = bench.upload(np.zeros(outputs, np.uint32))
    bench.launch(compile_entry(parse(text), "k", (1, 1, 1)), [1], target)
    return bench.download(target, outputs, np.uint32)


def test_parameters_in_registers() -> None:
    """``.reg`` parameters and results, of every kind, with numbers as arguments."""
    functions = """.func (.reg .b32 out, .reg .pred q) f (.reg .b32 a, .reg .f32 b, .reg .pred c) {
        .reg .f32 x; cvt.rn.f32.s32 x, a; add.f32 x, x, b; cvt.rzi.s32.f32 out, x;
        @c add.s32 out, out, 100; setp.eq.s32 q, out, 107; ret; }"""
    body = """mov.b32 %r1, 5; setp.eq.s32 %p1, %r1, 5;
        call (%r2, %p2), f, (%r1, 0f40200000, %p1); selp.b32 %r3, 1, 2, %p2;
        call.uni (%r4, %p2), f, (7, 0f3F800000, %p3); selp.b32 %r5, 1, 2, %p2;
        st.global.v4.u32 [%rd1], {%r2, %r3, %r4, %r5};"""
    np.testing.assert_array_equal(run(functions, body), [107, 1, 8, 2])


def test_calls_with_guards() -> None:
    """A call that a guard skips changes nothing, its result included; ``@p ret`` leaves the function only."""
    functions = """.func (.reg .b32 out) f (.reg .b32 a) { .reg .pred p; setp.gt.s32 p, a, 10;
        mov.b32 out, 1; @p ret; mov.b32 out, 2; @!p ret; mov.b32 out, 3; }"""
    body = """mov.b32 %r1, 50; setp.eq.s32 %p1, %r1, 50; mov.b32 %r2, 9; mov.b32 %r3, 9;
        @%p1 call (%r2), f, (%r1); @!%p1 call (%r3), f, (%r1); call (%r4), f, (3);
        st.global.v4.u32 [%rd1], {%r2, %r3, %r4, %r1};"""
    np.testing.assert_array_equal(run(functions, body), [1, 9, 2, 50])


def test_pieces_of_parameters() -> None:
    """Stores and loads of different widths in one parameter, each in part of what the other takes."""
    functions = """.func (.param .b64 out) f (.param .align 8 .b8 a[16], .param .b32 b) {
        .reg .b32 %r<9>; .reg .b16 %h<5>; .reg .b64 %rd<3>;
        ld.param.u8 %r1, [a+3]; ld.param.s16 %r2, [a+4]; ld.param.u64 %rd1, [a];
        ld.param.v2.u16 {%h1, %h2}, [b];
        cvt.u32.u16 %r3, %h2; shl.b32 %r3, %r3, 8; add.s32 %r3, %r3, %r1;
        st.param.b32 [out+4], %r2; st.param.u16 [out], %h1; st.param.b8 [out+2], %r3; st.param.b8 [out+3], 7;
        ret; }"""
    body = """{ .param .align 8 .b8 a[16]; .param .b32 b; .param .b64 r;
        st.param.b32 [a], 0x12345678; st.param.b32 [a+4], 0xFFFE; st.param.f64 [a+8], 0d3FF0000000000000;
        mov.b32 %r1, 0xCAFEBABE; st.param.b32 [b], %r1;
        call (r), f, (a, b); ld.param.v2.b32 {%r2, %r3}, [r]; }
        st.global.v2.u32 [%rd1], {%r2, %r3};"""
    np.testing.assert_array_equal(run(functions, body)[:2], [0x0712BABE, 0xFFFFFFFE])


def test_parameters_whose_address_is_taken() -> None:
    """A parameter that is indexed lies in local memory, as do pieces that fit no register."""
    functions = """.func (.param .b32 out) f (.param .align 4 .b8 a[16], .param .b32 i) {
        .reg .b32 %r<9>; .reg .b64 %rd<5>;
        mov.b64 %rd1, a; ld.param.u32 %r1, [i]; mad.wide.u32 %rd2, %r1, 4, %rd1;
        ld.param.u32 %r2, [%rd2]; cvta.local.u64 %rd3, %rd2; ld.u32 %r3, [%rd3]; add.s32 %r2, %r2, %r3;
        st.param.b32 [out], %r2; ret; }"""
    call = """{{ .param .align 4 .b8 a[16]; .param .b32 i; .param .b32 r;
        st.param.v4.b32 [a], {{10, 20, 30, 40}}; st.param.b32 [i], {0}; call (r), f, (a, i);
        ld.param.b32 %r{0}, [r]; }}"""
    body = call.format(1) + call.format(2) + call.format(3) + "st.global.v4.u32 [%rd1], {%r1, %r2, %r3, %r3};"
    np.testing.assert_array_equal(run(functions, body), [40, 60, 80, 80])


def test_names_of_copies_do_not_clash() -> None:
    """Registers, labels, variables and branch tables of a function may be called as the entry's."""
    functions = """.func (.reg .b32 %r1) f (.reg .b32 %r2) { .local .b32 p; .reg .b32 %r3; .reg .b64 %rd1;
        T: .branchtargets A, B; mov.u64 %rd1, p; st.local.b32 [p], %r2;
        brx.idx %r2, T; A: mov.b32 %r1, 70; bra C; B: ld.local.b32 %r1, [%rd1]; add.s32 %r1, %r1, 80; C: }"""
    body = """T: .branchtargets A, B; mov.b32 %r1, 1; brx.idx %r1, T; A: bra C;
        B: call (%r2), f, (0); call (%r3), f, (%r1); C: st.global.v4.u32 [%rd1], {%r1, %r2, %r3, %r1};"""
    np.testing.assert_array_equal(run(functions, body), [1, 70, 81, 1])


def test_assert_is_a_trap() -> None:
    """What ``assert`` calls ends the kernel; nothing else that the driver would bring can be called."""
    text = f"""{HEAD}.extern .func __assertfail(.param .b64 m, .param .b32 line);
        .global .align 1 .b8 $str[3] = {{110, 49}};
        .entry k(.param .u32 n) {{ {REGISTERS} ld.param.u32 %r1, [n]; setp.eq.s32 %p1, %r1, 0; @%p1 bra OK;
        {{ .param .b64 m; .param .b32 line; mov.u64 %rd1, $str; cvta.global.u64 %rd2, %rd1;
        st.param.b64 [m], %rd2; st.param.b32 [line], 9; call.uni __assertfail, (m, line); }} OK: ret; }}"""
    kernel = compile_entry(parse(text), "k", (32, 1, 1))
    assert kernel.entry.data_offset is None
    assert Bench().launch(kernel, [1], np.uint32(0)) == 0
    assert Bench().launch(kernel, [1], np.uint32(1)) == 1


@pytest.mark.parametrize(
    ("functions", "body", "reason"),
    [
        (".func f() { call f; }", "call f;", "recursion"),
        (".func g(); .func f() { call g; } .func g() { call f; }", "call f;", "recursion"),
        (".extern .func (.param .b32 r) vprintf(.param .b64 a);", "call (%r1), vprintf, (%rd1);", "declared"),
        (".func f();", "call f;", "only declared"),
        ("", "call f;", "there is no function f"),
        ("", "call (%r1), %rd1, (%r2), proto;", "calls through a register"),
        ("", "call %rd1;", "calls through a register"),
        (".func f(.reg .b32 a) { ret; }", "call f;", "takes 1 arguments"),
        (".func (.reg .b32 r) f() { ret; }", "call f;", "returns 1 values"),
        (".func f(.reg .b32 a) { ret; }", "call f, (nowhere);", "takes a register or a number"),
        (".func f(.param .b32 a) { ret; }", "call f, (%r1);", "takes a .param variable"),
        (".func f(.param .b32 a) { ret; }", "call f, (nowhere);", "not a .param variable"),
        (".func f(.param .b32 a) { ret; }", "{ .param .b64 x; call f, (x); }", "another size"),
        (
            ".func f(.param .b32 a) { .reg .b32 r; ld.param.b32 r, [a+4]; }",
            "{ .param .b32 x; call f, (x); }",
            "beyond",
        ),
        (".func f(.reg .b32 a) { ret; }", "call f, (%rd1);", ".b64"),
        (".func f() { frobnicate.b32 1; }", "call f;", "frobnicate.b32 is not supported"),
        (".func f() { ret; }", "call.foo f;", "call.foo is not supported"),
        (".func f() { ret; }", "call f, f;", "is expected"),
        (".func f() { ret; }", "call;", "calls through a register"),
        ("", "{ .param .b32 x; st.param.b32 [x]; }", "a value and an address"),
        ("", "{ .param .b32 x; ld.param.b32 %r1, [x], %r2; }", "a value and an address"),
        ("", "{ .param .b64 x; ld.param.v2.b32 %r1, [x]; }", "2 value(s) expected"),
        ("", "{ .param .b64 x; ld.param.b64 %r1, [x]; }", "too small"),
        ("", "{ .param .b32 x; ld.param.b32 5, [x]; }", "must be a register"),
        (".func f() { ret; }", "mov.u64 %rd1, f;", "pointers to functions"),
        (
            ".global .u32 s; .func f() { .reg .u32 r; ld.global.u32 r, [s]; }",
            ".shared .u32 s; call f;",
            "the module's s",
        ),
    ],
    ids=range(26),
)
def test_refused_calls(functions: str, body: str, reason: str) -> None:
    """Each with the reason, and the line of the call or of what is wrong in the function."""
    with pytest.raises(PtxError) as caught:
        parse(f"{HEAD}{functions}\n.entry k() {{ {REGISTERS}\n{body}\nret; }}")
    assert reason in str(caught.value)
    assert caught.value.line in (4, 6)


def test_functions_that_nobody_calls_are_not_looked_at() -> None:
    """What an uncalled function does is of no interest, nor whether it calls itself."""
    module = parse(HEAD + ".func f() { call f; frobnicate.b32 1; }\n.entry k() { ret; }")
    assert list(module.entries) == ["k"]


def _tree(depth: int, leaf: str) -> str:
    """Functions of which each calls the one before twice."""
    functions = [f".func f0() {{ {leaf} }}"]
    functions += [f".func f{k}() {{ call f{k - 1}; call f{k - 1}; }}" for k in range(1, depth)]
    return "\n".join(functions) + f"\n.entry k() {{ call f{depth - 1}; ret; }}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (_tree(60, ""), "inlining all calls"),
        (_tree(60, "ret;"), "inlining all calls"),
        (
            "\n".join(f".func f{k}() {{ call f{k + 1}; }}" for k in range(3000)) + ".entry k() { call f0; }",
            "no function",
        ),
        (".func f(" + ", ".join(f".reg .b32 r{k}" for k in range(100_000)) + ") { ret; }", "parameters"),
        (".func f(" + ", ".join(f".param .b8 r{k}" for k in range(100_000)) + ");", "parameters"),
        (".func f(.param .b8 a[4097]) { ret; }", "a bad parameter"),
        (
            ".func f("
            + ",".join(f".reg .b32 r{k}" for k in range(4000))
            + ") { ret; } .entry k() {"
            + ("call f, (" + "1," * 3999 + "1);") * 40
            + "}",
            "inlining all calls",
        ),
        (".func f(", "is .param or .reg"),
        (".func f(.param .b32 a", "expected"),
        (".func f() { call g, (", "expected"),
        (".func (.param .b32 r", "expected"),
    ],
    ids=[
        "tree",
        "tree-ret",
        "chain",
        "registers",
        "bytes",
        "large",
        "lists",
        "cut-1",
        "cut-2",
        "cut-3",
        "cut-4",
    ],
)
def test_hostile_functions(text: str, reason: str) -> None:
    """Call trees that explode, endless lists and cut texts end in an error."""
    with pytest.raises(PtxError) as caught:
        parse(HEAD + text)
    assert reason in str(caught.value)


def test_deep_chains_of_calls_compile() -> None:
    """Calls may nest as deep as a program likes; local memory is taken and given back as on a stack."""
    chain = "\n".join(
        f".func (.reg .b32 r) f{k} (.reg .b32 a) {{ .local .b8 l[16]; st.local.b32 [l], a; add.s32 a, a, 1;"
        f" call (r), f{k + 1}, (a); ld.local.b32 a, [l]; add.s32 r, r, a; }}"
        for k in range(1500)
    )
    last = ".func (.reg .b32 r) f1500 (.reg .b32 a) { mov.b32 r, a; }"
    found = run(chain + last, "call (%r1), f0, (3); st.global.u32 [%rd1], %r1;")
    assert found[0] == sum(range(3, 1504))
    twice = ".func f() { .local .b8 l[64]; st.local.b32 [l], 1; }"
    module = parse(f"{HEAD}{twice} .entry k() {{ call f; call f; call f; ret; }}")
    assert module.entries["k"].local_bytes == 64


@pytest.mark.parametrize("part", np.linspace(0.02, 0.98, 25).round(2).tolist())
def test_truncated_functions(part: float) -> None:
    """A program with functions that ends anywhere parses or raises PtxError."""
    text = (KERNELS / "functions.ptx").read_text()
    try:
        parse(text[: int(len(text) * part)])
    except PtxError:
        return
