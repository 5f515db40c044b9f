"""Loops that a compiler has unrolled, with a loop for the rest before them."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.ptx.ptx_harness import BASE, Bench

from logv.ptx import compile_entry, parse
from logv.ptx.interpreter import RangeMemory, interpret

WIDTH, BLOCKS = 32, 3
LONGEST_CHUNK = 160
ELEMENTS = BLOCKS * LONGEST_CHUNK + 8 * WIDTH

# ``for (i = start + tid; i < end; i += 32)``, unrolled by two. What is made of %r20, the thread's rest, need
# not be what is left over.
KERNEL = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry run(.param .u64 source, .param .u64 target, .param .u32 chunk, .param .u32 count,
                    .param .u64 ticket)
{
    .reg .pred %p<8>;
    .reg .b32 %r<40>;
    .reg .b64 %d<20>;
    ld.param.u64 %d1, [source];
    ld.param.u64 %d2, [target];
    ld.param.u32 %r1, [chunk];
    ld.param.u32 %r2, [count];
    ld.param.u64 %d3, [ticket];
    mov.u32 %r3, %tid.x;
    mov.u32 %r4, %ctaid.x;
    mul.lo.u32 %r5, %r4, %r1;
    add.u32 %r6, %r5, %r1;
    min.s32 %r6, %r6, %r2;
    add.u32 %r7, %r5, %r3;
    mov.u32 %r9, 0;
    <guard>
    <rest>
    setp.eq.u32 %p2, %r20, 0;
    <branch>
REST:
    mad.wide.u32 %d4, %r7, 4, %d1;
    ld.global.u32 %r8, [%d4];
    mad.lo.u32 %r9, %r9, 5, %r8;
    add.u32 %r7, %r7, 32;
    add.u32 %r20, %r20, -1;
    setp.ne.u32 %p3, %r20, 0;
    @%p3 bra REST;
MAIN:
    add.u32 %r30, %r9, %r7;
    setp.ge.s32 %p4, %r7, %r6;
    @%p4 bra END;
LOOP:
    mad.wide.u32 %d5, %r7, 4, %d1;
    mad.wide.u32 %d6, %r7, 4, %d3;
    ld.global.u32 %r10, [%d5];
    mad.lo.u32 %r9, %r9, 5, %r10;
    <each>
    ld.global.u32 %r11, [%d5+128];
    mad.lo.u32 %r9, %r9, 3, %r11;
    add.u32 %r7, %r7, 64;
    setp.lt.s32 %p5, %r7, %r6;
    @%p5 bra LOOP;
END:
    mad.lo.u32 %r13, %r4, 32, %r3;
    mad.wide.u32 %d7, %r13, 4, %d2;
    <last>
    st.global.u32 [%d7], %r9;
    ret;
}
"""
GUARD = "setp.ge.s32 %p1, %r7, %r6; @%p1 bra END;"
SKIP = "@%p2 bra MAIN;"
LEFT = "sub.u32 %r21, %r6, %r5; sub.u32 %r21, %r21, 1; sub.u32 %r21, %r21, %r3;"
ROUND = "add.u32 %r20, %r20, 1; and.b32 %r20, %r20, 1;"
SHIFT = f"{LEFT} shr.u32 %r20, %r21, 5; {ROUND}"


def run(chunk: int, count: int, rest: str, **others: str) -> NDArray[np.uint32]:
    """Run the kernel, compare with the interpreter what is the same in any order, and return the tickets."""
    text = KERNEL
    code = {"guard": GUARD, "rest": rest, "branch": SKIP, "each": "", "last": "", **others}
    for name, statements in code.items():
        text = text.replace(f"<{name}>", statements)
    module = parse(text)
    bench = Bench(1 << 16)
    source = bench.upload(np.random.default_rng(chunk).integers(1, 1 << 31, ELEMENTS).astype(np.uint32))
    target = bench.upload(np.zeros(BLOCKS * WIDTH, np.uint32))
    ticket = bench.upload(np.zeros(ELEMENTS, np.uint32))
    expected = bytearray(bench.memory.tobytes())
    kernel = compile_entry(module, "run", (WIDTH, 1, 1))
    bench.launch(
        kernel,
        (BLOCKS, 1),
        np.uint64(source),
        np.uint64(target),
        np.int32(chunk),
        np.int32(count),
        np.uint64(ticket),
    )
    if not code["each"]:
        mapped = RangeMemory()
        mapped.map(BASE, expected)
        parameters = struct.pack("<QQIIQ", source, target, chunk, count, ticket)
        interpret(module, "run", grid=(BLOCKS, 1, 1), block=(WIDTH, 1, 1), params=parameters, memory=mapped)
        assert bench.memory.tobytes() == bytes(expected)
    return bench.download(ticket, ELEMENTS, np.uint32)


@pytest.mark.parametrize(
    "rest",
    [
        SHIFT,
        f"{LEFT} div.u32 %r20, %r21, 32; {ROUND}",
        f"not.b32 %r21, %r3; add.u32 %r21, %r21, %r6; sub.u32 %r21, %r21, %r5;shr.u32 %r20, %r21, 5; {ROUND}",
        "cvt.u64.u32 %d10, %r3; cvt.u64.u32 %d11, %r1; sub.u64 %d11, %d11, 1; sub.u64 %d11, %d11, %d10;"
        f"shr.u64 %d11, %d11, 5; cvt.u32.u64 %r20, %d11; {ROUND}",
        # The numbers fall from 4 to 0 and go on below 2^32: only two quotients in between are not 0.
        "sub.u32 %r21, 4, %r3; div.u32 %r20, %r21, 4294967294;",
        # The threads' numbers are so far apart that they never agree, or not evenly apart.
        f"{LEFT} shr.u32 %r20, %r21, 3; {ROUND}",
        f"{LEFT} shl.b32 %r22, %r3, 1; sub.u32 %r21, %r21, %r22; shr.u32 %r20, %r21, 7; {ROUND}",
        f"mul.lo.u32 %r21, %r3, %r3; shr.u32 %r20, %r21, 5; {ROUND}",
        "shl.b32 %r21, %r3, 27; add.u32 %r21, %r21, %r1; shr.u32 %r20, %r21, 31;",
    ],
)
@pytest.mark.parametrize("chunk", [160, 128, 96, 100, 32, 31])
def test_threads_with_a_rest_and_without_one(rest: str, chunk: int) -> None:
    """Blocks that agree on a rest, or on none, and blocks whose threads part."""
    run(chunk, BLOCKS * chunk, rest)
    run(chunk, BLOCKS * chunk - 40, rest)


@pytest.mark.parametrize("chunk", [128, 96, 100])
def test_what_is_computed_behind_the_rest_is_used_at_the_end(chunk: int) -> None:
    """The block behind the rest is one that every thread passes: no phi merges what is computed there."""
    run(chunk, BLOCKS * chunk, SHIFT, guard="", last="add.u32 %r9, %r9, %r30;")


@pytest.mark.parametrize("chunk", [128, 96, 100])
def test_the_branch_leads_to_the_rest(chunk: int) -> None:
    """The branch's other side is the one that skips the rest."""
    run(chunk, BLOCKS * chunk, SHIFT, branch="@!%p2 bra REST; bra MAIN;")


def test_threads_without_a_rest_take_neighbouring_elements_one_after_the_other() -> None:
    """Each thread draws a ticket for each element that it reads."""
    each = "atom.global.add.u32 %r12, [%d3+4], 1; st.global.u32 [%d6+64], %r12;"
    tickets = run(128, BLOCKS * 128, SHIFT, each=each)
    for block in range(BLOCKS):
        first = tickets[block * 128 + 16 :][:WIDTH].astype(int)
        assert np.all(np.diff(first) == 1)
