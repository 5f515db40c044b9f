"""Variables of a module: where they lie, their initial contents, and what kernels do with them."""

import itertools

import numpy as np
import pytest
from tests.ptx.ptx_harness import BASE, Bench, kernel_of, load_module

from logv.errors import PtxError
from logv.hw.software_gpu import MAX_PARAMETER_BYTES
from logv.ptx import compile_entry, parse

RNG = np.random.default_rng(5)
HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
REGISTERS = ".reg .pred %p<4>; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .f32 %f<9>;"


def test_kernels_use_variables_of_their_module() -> None:
    """Atomics, pointers with initial values, constants that the host writes; state stays between launches."""
    module = load_module("variables")
    symbols = module.data.symbols
    bench = Bench()
    data = bench.load(module)
    weights = RNG.standard_normal(32).astype(np.float32)
    begin = data - BASE + symbols["weights"].offset
    bench.memory[begin : begin + 128] = weights.view(np.uint8)
    values = RNG.standard_normal(100).astype(np.float32)
    source, target = bench.upload(values), bench.upload(np.zeros(100, np.float32))
    use, turn, walk = (kernel_of("variables", name, (32,)) for name in ("use", "turn", "walk"))
    turn = kernel_of("variables", "turn", (1,))
    walk = kernel_of("variables", "walk", (1,))
    i = np.arange(100)
    table = np.array([1.5, 2.5, 3.5, 4.5])
    for launches in (1, 2, 3):
        bench.launch(use, [4], np.int32(100), source, target, variables=data)
        expected = values * weights[i & 31] + table[i & 3] + (i % 3 + 7) + table[launches % 4]
        np.testing.assert_allclose(bench.download(target, 100, np.float32), expected, rtol=1e-5)
        bench.launch(turn, [1], variables=data)
        table[0] += 1
    counter = int(bench.download(data + symbols["counter"].offset, 1, np.int32)[0])
    assert counter == 3 * int((i & 3).sum())
    histogram = bench.download(data + symbols["histogram"].offset, 16, np.uint32)
    np.testing.assert_array_equal(histogram, 3 * np.bincount(i & 15))
    result = bench.upload(np.zeros(1, np.int32))
    bench.launch(walk, [1], result, variables=data)
    assert bench.download(result, 1, np.int32)[0] == 1000 + 10 * counter + 30


def test_symbols_of_a_module() -> None:
    """Name, size and space of what a host can ask for; tables of the compiler's are not among them."""
    module = load_module("variables")
    found = {name: (symbol.size, symbol.space) for name, symbol in module.data.symbols.items()}
    assert found["counter"] == (4, "global")
    assert found["weights"] == (128, "const")
    assert found["fixed"] == (12, "const")
    assert found["middle"] == (16, "global")
    assert "__cudart_i2opi_f" not in found
    places = sorted((symbol.offset, symbol.size) for symbol in module.data.symbols.values())
    assert all(offset + size <= after for (offset, size), (after, _) in itertools.pairwise(places))
    assert places[-1][0] + places[-1][1] <= module.data.size


def test_entries_say_whether_they_need_the_data() -> None:
    """The address comes last in the parameter block, 8-byte aligned, for those entries that use it."""
    entries = load_module("variables").entries
    assert (entries["use"].data_offset, entries["use"].parameter_bytes) == (24, 32)
    assert (entries["turn"].data_offset, entries["turn"].parameter_bytes) == (0, 8)
    assert (entries["sines"].data_offset, entries["sines"].parameter_bytes) == (None, 16)


def test_tables_of_the_compiler_are_compiled_in() -> None:
    """The sine of large arguments reads one; the kernel needs nothing from its loader."""
    values = (RNG.standard_normal(64) * 1e6).astype(np.float32)
    bench = Bench()
    target = bench.upload(values)
    bench.launch(kernel_of("variables", "sines", (64,)), [1], np.int32(64), target)
    expected = np.sin(values.astype(np.float64))
    np.testing.assert_allclose(bench.download(target, 64, np.float32), expected, rtol=0, atol=1e-6)


def test_shared_variables_of_the_module() -> None:
    """Static and dynamic shared memory at module level, which a function reads."""
    bench = Bench()
    target = bench.upload(np.zeros(32, np.int32))
    kernel = kernel_of("variables", "shared_by_functions", (32,))
    assert kernel.shared_bytes == 128
    bench.launch(kernel, [1], target, shared=128)
    np.testing.assert_array_equal(bench.download(target, 32, np.int32), 101 * np.arange(31, -1, -1))


# -- PTX written by hand ---------------------------------------------------------------------------------


def run(variables: str, body: str, outputs: int = 4) -> tuple[np.ndarray, int]:
    """Run one thread of an entry whose output begins at ``%rd1``; return it and the data's address."""
    text = (
        f"{HEAD}{variables}\n.entry k(.param .u64 p) {{ {REGISTERS} ld.param.u64 %rd1, [p];\n{body}\nret; }}"
    )
    module = parse(text)
    bench = Bench()
    bench.upload(np.zeros(999, np.uint8))
    target, data = bench.upload(np.zeros(outputs, np.uint64)), bench.load(module)
    kernel = compile_entry(module, "k", (1, 1, 1))
    bench.launch(kernel, [1], target, variables=None if kernel.entry.data_offset is None else data)
    return bench.download(target, outputs, np.uint64), data


def test_addresses_in_initial_values() -> None:
    """Plain and generic addresses with addends, some bytes of an address, a cycle of two variables."""
    variables = """.global .align 8 .u64 a[3] = {b, generic(a)+8, b+4-1};
        .global .align 8 .b8 b[16] = {0xFF(a), 0xFF00(a), 0xFF0000(a), 0xFF000000(a), 0xFF00000000(a), 1};
        .const .align 8 .u64 c = generic(c);"""
    body = """ld.global.u64 %rd2, [a]; st.global.u64 [%rd1], %rd2; ld.global.u64 %rd3, [a+8];
        st.global.u64 [%rd1+8], %rd3; ld.global.u64 %rd4, [%rd2]; st.global.u64 [%rd1+16], %rd4;
        ld.const.u64 %rd5, [c]; ld.u64 %rd6, [%rd5]; ld.global.u64 %rd7, [a+16]; sub.u64 %rd7, %rd7, %rd2;
        sub.u64 %rd6, %rd6, %rd5; add.u64 %rd6, %rd6, %rd7; st.global.u64 [%rd1+24], %rd6;"""
    found, data = run(variables, body)
    low = data & 0xFFFFFFFFFF | 1 << 40
    np.testing.assert_array_equal(found, [data + 24, data + 8, low, 3])


def test_addresses_of_variables_in_registers() -> None:
    """``mov`` with and without an offset, ``cvta`` to and fro, accesses to parts, through one name space."""
    variables = ".global .align 4 .b8 a[64]; .const .align 4 .u32 c[4] = {5, 6, 7, 8};"
    body = """mov.u64 %rd2, a+8; cvta.global.u64 %rd3, %rd2; mov.b32 %r1, 77; st.u32 [%rd3], %r1;
        ld.global.u32 %r2, [a+8]; cvta.to.global.u64 %rd4, %rd3; atom.global.add.u32 %r3, [%rd4], 1;
        atom.global.add.u32 %r4, [a+8], 1; ld.volatile.global.u32 %r5, [%rd2];
        mov.u64 %rd5, c; cvta.const.u64 %rd6, %rd5; ld.u32 %r6, [%rd6+4]; ld.const.u32 %r7, [%rd5+8];
        add.u32 %r6, %r6, %r7; cvt.u64.u32 %rd7, %r2; st.global.u64 [%rd1], %rd7;
        cvt.u64.u32 %rd7, %r4; st.global.u64 [%rd1+8], %rd7; cvt.u64.u32 %rd7, %r5;
        st.global.u64 [%rd1+16], %rd7; cvt.u64.u32 %rd7, %r6; st.global.u64 [%rd1+24], %rd7;"""
    np.testing.assert_array_equal(run(variables, body)[0], [77, 78, 79, 13])


@pytest.mark.parametrize(
    ("body", "compiled_in"),
    [
        ("mov.u64 %rd2, __t; add.u64 %rd2, %rd2, 4; ld.global.u32 %r1, [%rd2];", True),
        ("mov.u64 %rd2, __t; cvta.global.u64 %rd3, %rd2; ld.u32 %r1, [%rd3+4];", True),
        ("ld.global.nc.u32 %r1, [__t+4];", True),
        ("mov.u64 %rd2, __t; ld.global.u32 %r1, [%rd2+4]; @%p1 st.global.u32 [%rd2], 9;", False),
        ("mov.u64 %rd2, __t; @%p1 mov.u64 %rd2, %rd1; ld.global.u32 %r1, [%rd2+4];", False),
        (
            "mov.u64 %rd2, __t; st.global.u64 [%rd1], %rd2; ld.global.u64 %rd3, [%rd1];"
            " ld.u32 %r1, [%rd3+4];",
            False,
        ),
        ("mov.u64 %rd2, __t; selp.b64 %rd2, %rd1, %rd2, %p1; ld.u32 %r1, [%rd2+4];", False),
        ("mov.u64 %rd2, __t; atom.global.add.u32 %r1, [%rd2+4], 1;", False),
        ("mov.u64 %rd2, __u; ld.global.u64 %rd2, [%rd2]; ld.global.u32 %r1, [%rd2+4];", False),
    ],
    ids=["add", "cvta", "direct", "store", "mixed", "escape", "select", "atomic", "pointer"],
)
def test_a_table_is_compiled_in_if_it_is_only_loaded(body: str, compiled_in: bool) -> None:
    """Whatever else happens to its address, the table lies in memory; both give the same result."""
    variables = ".global .align 4 .u32 __t[2] = {41, 42};"
    if "__u" in body:
        variables += ".global .align 8 .u64 __u = __t;"
    found, _ = run(variables, body + "cvt.u64.u32 %rd4, %r1; st.global.u64 [%rd1+8], %rd4;")
    assert found[1] == 42
    text = f"{HEAD}{variables} .entry k(.param .u64 p) {{ {REGISTERS} {body} ret; }}"
    module = parse(text)
    assert ("__t" not in module.data.symbols) == compiled_in
    assert bool(module.constants) == compiled_in


def test_inner_names_hide_the_modules() -> None:
    """Parameters, local and shared variables and labels may be called as a variable of the module."""
    variables = ".global .u32 p = 5; .global .u32 l = 6; .global .u32 s = 7; .global .u32 x = 8;"
    body = """.local .u32 l; .shared .u32 s; mov.b32 %r1, 1; st.local.u32 [l], %r1; st.shared.u32 [s], %r1;
        bra x; x: ld.local.u32 %r2, [l]; ld.shared.u32 %r3, [s]; ld.global.u32 %r4, [x];
        add.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r4; cvt.u64.u32 %rd2, %r2; st.global.u64 [%rd1], %rd2;"""
    assert run(variables, body)[0][0] == 10


@pytest.mark.parametrize(
    ("variables", "body", "reason"),
    [
        (".extern .global .u32 e;", "ld.global.u32 %r1, [e];", "another module defines it"),
        (".func f() { ret; } .global .u64 a = f;", "ld.global.u64 %rd1, [a];", "holds the address of f"),
        (".shared .u32 s; .global .u64 a = s;", "ld.global.u64 %rd1, [a];", "holds the address of s"),
        (".global .u32 a;", "ld.shared.u32 %r1, [a];", "a is not in .shared memory"),
        (".global .u32 a;", "mov.u32 %r1, a;", ".b64 where"),
        (".const .u32 a;", "st.const.u32 [a], %r1;", "st"),
        (".local .u32 a;", "ld.local.u32 %r1, [a];", "a is not declared"),
        ("", "ld.global.u32 %r1, [a];", "a is not declared"),
    ],
    ids=["extern", "function", "shared", "space", "narrow", "store", "local", "none"],
)
def test_variables_that_cannot_be_used(variables: str, body: str, reason: str) -> None:
    """Refused where an entry uses them, with the line; a module that only declares them is fine."""
    parse(f"{HEAD}{variables}\n.entry k() {{ ret; }}")
    with pytest.raises(PtxError) as caught:
        parse(f"{HEAD}{variables}\n.entry k() {{ {REGISTERS}\n{body}\nret; }}")
    assert reason in str(caught.value)
    assert caught.value.line == 6


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (".global .b8 a[1073741825];", "an array too large"),
        (".global .b8 a[1073741824]; .global .b8 b[1];", "bytes of module variables"),
        ("".join(f".global .b8 a{k}[1000000000];" for k in range(50)), "bytes of module variables"),
        (".global .pred a = 1;", "predicates are registers only"),
        (".func f(.param .pred a) { ret; }", "predicates are registers only"),
        (".global .u32 a = b;", "an address takes a 64-bit integer"),
        (".global .u8 a = 0xFF0(b);", "a mask must select"),
        (".global .u8 a[2] = {1, 2, 3};", "more initial values"),
        (".global .u64 a = generic(", "variable name"),
        (".global .u64 a = {", "number"),
        (".global .u32 a; .global .u32 a;", "declared twice"),
        (".global .attribute(.managed) .u32 a;", "attributes are not supported"),
        (
            f".global .u32 a; .entry k(.param .b8 p[{MAX_PARAMETER_BYTES}]) "
            "{ .reg .b32 r; ld.global.u32 r, [a]; }",
            "leave no room",
        ),
    ],
    ids=[
        "array",
        "sum",
        "many",
        "pred",
        "pred-parameter",
        "narrow",
        "mask",
        "values",
        "cut-1",
        "cut-2",
        "twice",
        "managed",
        "parameters",
    ],
)
def test_hostile_variables(text: str, reason: str) -> None:
    """Sizes beyond all bounds, bad initial values, cut texts."""
    with pytest.raises(PtxError) as caught:
        parse(HEAD + text)
    assert reason in str(caught.value)


def test_declarations_ahead_of_definitions() -> None:
    """``.extern`` and the definition may both stand in a text, in either order."""
    variables = ".extern .global .u32 a; .global .u32 a = 3; .extern .global .u32 a;"
    body = "ld.global.u32 %r1, [a]; cvt.u64.u32 %rd2, %r1; st.global.u64 [%rd1], %rd2;"
    assert run(variables, body)[0][0] == 3
