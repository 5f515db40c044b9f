"""Work that only some threads of a block do, as said by their number: compiled and interpreted alike."""

import struct

import numpy as np
import pytest
from tests.ptx.ptx_harness import BASE, Bench

from logv.ptx import compile_entry, parse
from logv.ptx.interpreter import RangeMemory, interpret

WIDTH, HEIGHT = 16, 4
GRID = (3, 2)
IMAGE_WIDTH = GRID[0] * WIDTH
PIXELS = IMAGE_WIDTH * GRID[1] * HEIGHT

# %r0 and %r1 are the thread's numbers, %r2 and %r3 its place in the image, %r4 its number in the image;
# %d0 and %d1 are the addresses of its words of input and output, %r8 that of its word in the tile.
HEAD = """
.version 8.0
.target sm_80
.address_size 64
.visible .entry run(.param .u64 source, .param .u64 target, .param .u32 width, .param .u32 height)
{
    .reg .pred %p<8>;
    .reg .b32 %r<32>;
    .reg .b64 %d<16>;
    .shared .align 4 .b8 tile[2048];
    ld.param.u64 %d2, [source];
    ld.param.u64 %d3, [target];
    ld.param.u32 %r5, [width];
    ld.param.u32 %r6, [height];
    mov.u32 %r0, %tid.x;
    mov.u32 %r1, %tid.y;
    mov.u32 %r9, %ctaid.x;
    mov.u32 %r10, %ctaid.y;
    mad.lo.u32 %r2, %r9, 16, %r0;
    mad.lo.u32 %r3, %r10, 4, %r1;
    mad.lo.u32 %r4, %r3, 48, %r2;
    mul.wide.u32 %d4, %r4, 4;
    add.u64 %d0, %d2, %d4;
    add.u64 %d1, %d3, %d4;
    mov.u32 %r7, tile;
    mad.lo.u32 %r8, %r1, 72, %r7;
    mad.lo.u32 %r8, %r0, 4, %r8;
    ld.global.u32 %r11, [%d0];
"""
SHOW = "bar.sync 0; ld.shared.u32 %r30, [%r8+76]; st.global.u32 [%d1], %r30;"


def same_as_interpreted(body: str, width: int = IMAGE_WIDTH, height: int = GRID[1] * HEIGHT) -> None:
    """Run a kernel both ways on the same memory, and compare all of it."""
    module = parse(f"{HEAD}{body}\n    ret;\n}}\n")
    bench = Bench(1 << 16)
    source = bench.upload(np.random.default_rng(3).integers(1, 1 << 20, PIXELS).astype(np.uint32))
    target = bench.upload(np.zeros(2 * PIXELS, np.uint32))
    expected = bytearray(bench.memory.tobytes())
    mapped = RangeMemory()
    mapped.map(BASE, expected)
    parameters = struct.pack("<QQII", source, target, width, height)
    interpret(module, "run", grid=(*GRID, 1), block=(WIDTH, HEIGHT, 1), params=parameters, memory=mapped)
    kernel = compile_entry(module, "run", (WIDTH, HEIGHT, 1))
    assert bench.launch(kernel, GRID, source, target, np.uint32(width), np.uint32(height)) == 0
    assert any(expected[target - BASE :])
    np.testing.assert_array_equal(bench.memory, np.frombuffer(expected, np.uint8))


def load(name: str, x: str, y: str, offset: int) -> str:
    """Load the pixel at (x, y), clamped to the image, into a word of the tile, with registers of its own."""
    return f"""{{
        .reg .b32 %x, %y, %limit, %place, %pixel;
        .reg .b64 %far;
        add.s32 %x, %r2, {x};
        add.s32 %y, %r3, {y};
        sub.s32 %limit, %r5, 1;
        max.s32 %x, %x, 0;
        min.s32 %x, %x, %limit;
        sub.s32 %limit, %r6, 1;
        max.s32 %y, %y, 0;
        min.s32 %y, %y, %limit;
        mad.lo.s32 %place, %y, 48, %x;
        mul.wide.s32 %far, %place, 4;
        add.s64 %far, %d2, %far;
        ld.global.u32 %pixel, [%far];
        st.shared.u32 [{name}+{offset}], %pixel;
    }}"""


SIDES = "\n".join(
    f"setp.ne.u32 %p1, {own}, {edge};\n@%p1 bra skip{number};\n{load('%r8', x, y, offset)}\nskip{number}:"
    for number, (own, edge, x, y, offset) in enumerate(
        (
            ("%r0", 0, "-1", "0", 72),
            ("%r0", WIDTH - 1, "1", "0", 80),
            ("%r1", 0, "0", "-1", 4),
            ("%r1", HEIGHT - 1, "0", "1", 148),
        )
    )
)
CORNERS = "\n".join(
    f"setp.ne.u32 %p1, %r0, {column};\nsetp.ne.u32 %p2, %r1, {row};\nor.pred %p1, %p1, %p2;\n"
    f"@%p1 bra corner{number};\n{load('%r8', x, y, offset)}\ncorner{number}:"
    for number, (column, row, x, y, offset) in enumerate(
        (
            (0, 0, "-1", "-1", 0),
            (WIDTH - 1, 0, "1", "-1", 8),
            (0, HEIGHT - 1, "-1", "1", 144),
            (WIDTH - 1, HEIGHT - 1, "1", "1", 152),
        )
    )
)
AROUND = "bar.sync 0;\nmov.u32 %r30, 0;\n" + "\n".join(
    f"ld.shared.u32 %r31, [%r8+{72 * row + 4 * column}];\nmad.lo.u32 %r30, %r30, 31, %r31;"
    for row in range(3)
    for column in range(3)
)


@pytest.mark.parametrize(("width", "height"), [(48, 8), (43, 7), (17, 5), (1, 1)])
def test_a_tile_with_its_border(width: int, height: int) -> None:
    """The four sides and the corners are loaded by the threads beside them, at the image's edge as well."""
    body = f"""
        {load("%r8", "0", "0", 76)}
        {SIDES}
        {CORNERS}
        {AROUND}
        setp.ge.s32 %p1, %r2, %r5;
        setp.ge.s32 %p2, %r3, %r6;
        or.pred %p1, %p1, %p2;
        @%p1 bra done;
        st.global.u32 [%d1], %r30;
        done:"""
    same_as_interpreted(body, width, height)


GUARDS = {
    "one column": "setp.eq.u32 %p1, %r0, 5;",
    "all but the first column": "setp.ne.u32 %p1, %r0, 0;",
    "all but one in the middle": "setp.ne.u32 %p1, %r0, 7;",
    "the first": "setp.lt.s32 %p1, %r0, 3;",
    "the last": "setp.gt.u32 %p1, %r0, 11;",
    "up to": "setp.le.u32 %p1, %r1, 2;",
    "rows from": "setp.ge.s32 %p1, %r1, 3;",
    "signed and below all": "setp.gt.s32 %p1, %r0, -1;",
    "unsigned and above all": "setp.gt.u32 %p1, %r0, 0xFFFFFFFF;",
    "unsigned and below": "setp.lt.u32 %p1, %r0, 0xFFFFFFFF;",
    "nobody": "setp.eq.u32 %p1, %r0, 16;",
    "nobody between": "setp.lt.u32 %p1, %r0, 4; setp.gt.and.u32 %p1, %r0, 9, %p1;",
    "between": "setp.gt.u32 %p1, %r0, 4; setp.lt.and.u32 %p1, %r0, 9, %p1;",
    "outside": "setp.lt.u32 %p1, %r0, 4; setp.gt.or.u32 %p1, %r0, 9, %p1;",
    "a box": "setp.lt.u32 %p1, %r0, 5; setp.gt.and.u32 %p1, %r1, 1, %p1;",
    "not a box": "setp.lt.u32 %p1, %r0, 5; setp.gt.or.u32 %p1, %r1, 1, %p1;",
    "64 bits": "cvt.u64.u32 %d9, %r0; setp.lt.u64 %p1, %d9, 6;",
    "every other": "and.b32 %r20, %r0, 1; setp.eq.u32 %p1, %r20, 0;",
    "by a parameter": "setp.lt.u32 %p1, %r0, %r6;",
    "by the image": "setp.lt.u32 %p1, %r2, 20;",
}


@pytest.mark.parametrize("guard", GUARDS.values(), ids=GUARDS)
def test_who_does_it(guard: str) -> None:
    """What is done twice by some is done twice by these, and once by the others."""
    same_as_interpreted(f"""
        st.shared.u32 [%r8+76], %r11;
        {guard}
        @!%p1 bra skip;
        xor.b32 %r12, %r0, 1000;
        st.shared.u32 [%r8+76], %r12;
        skip:
        {SHOW}""")


ORDERS = {
    "stores before, inside and after": """
        st.global.u32 [%d1], %r11;
        @!%p1 bra skip;
        ld.global.u32 %r12, [%d1];
        add.u32 %r12, %r12, 7;
        st.global.u32 [%d1], %r12;
        skip:
        ld.global.u32 %r12, [%d1];
        mul.lo.u32 %r12, %r12, 3;
        st.global.u32 [%d1], %r12;""",
    "what was read before a store": """
        ld.global.u32 %r12, [%d0];
        st.global.u32 [%d0], %r4;
        @!%p1 bra skip;
        st.global.u32 [%d1], %r12;
        skip:
        st.global.u32 [%d0], %r12;""",
    "a value that the few change": """
        mov.u32 %r12, 5;
        @!%p1 bra skip;
        ld.global.u32 %r12, [%d0+4];
        skip:
        st.global.u32 [%d1], %r12;""",
    "a value that was computed before": """
        div.u32 %r12, %r11, 7;
        mad.lo.u32 %r13, %r11, 3, %r4;
        st.global.u32 [%d1], %r13;
        @!%p1 bra skip;
        st.global.u32 [%d1], %r12;
        skip:""",
    "two of them, the second on top of the first": """
        st.global.u32 [%d1], %r4;
        @!%p1 bra skip;
        st.global.u32 [%d1], 77;
        skip:
        setp.gt.u32 %p2, %r0, 3;
        @%p2 bra over;
        ld.global.u32 %r12, [%d1];
        add.u32 %r12, %r12, 1;
        st.global.u32 [%d1], %r12;
        over:""",
    "one way or the other": """
        @!%p1 bra other;
        st.global.u32 [%d1], %r11;
        bra.uni joined;
        other:
        st.global.u32 [%d1], %r4;
        joined:""",
    "a loop of the few": """
        mov.u32 %r12, 0;
        @!%p1 bra skip;
        again:
        add.u32 %r12, %r12, 1;
        atom.shared.add.u32 %r13, [tile+1024], %r12;
        setp.lt.u32 %p2, %r12, %r0;
        @%p2 bra again;
        skip:
        bar.sync 0;
        ld.shared.u32 %r13, [tile+1024];
        st.global.u32 [%d1], %r13;""",
    "a loop of all, and the few after it": """
        mov.u32 %r12, 0;
        again:
        add.u32 %r12, %r12, 1;
        st.global.u32 [%d1], %r12;
        setp.lt.u32 %p2, %r12, %r0;
        @%p2 bra again;
        @!%p1 bra skip;
        st.global.u32 [%d1], 99;
        skip:""",
    "the few within a loop": """
        mov.u32 %r12, 0;
        again:
        add.u32 %r12, %r12, 1;
        @!%p1 bra skip;
        st.global.u32 [%d1], %r12;
        skip:
        setp.lt.u32 %p2, %r12, %r0;
        @%p2 bra again;""",
    "atomics": """
        atom.shared.add.u32 %r12, [tile+1024], %r4;
        @!%p1 bra skip;
        atom.shared.add.u32 %r12, [tile+1024], 1;
        atom.shared.exch.b32 %r13, [%r8+76], %r4;
        skip:
        atom.global.add.u32 %r12, [%d3], 3;
        atom.shared.exch.b32 %r13, [%r8+76], %r11;
        bar.sync 0;
        ld.shared.u32 %r13, [tile+1024];
        st.global.u32 [%d1+1536], %r13;""",
    "what an atomic returned": """
        atom.shared.exch.b32 %r12, [%r8+76], %r11;
        atom.shared.exch.b32 %r12, [%r8+76], %r4;
        @!%p1 bra skip;
        st.global.u32 [%d1], %r12;
        skip:
        st.global.u32 [%d1+1536], %r12;""",
    "volatile": """
        st.volatile.global.u32 [%d1], %r11;
        @!%p1 bra skip;
        ld.volatile.global.u32 %r12, [%d1];
        add.u32 %r12, %r12, 5;
        st.volatile.global.u32 [%d1], %r12;
        skip:
        ld.volatile.global.u32 %r13, [%d1];
        st.volatile.global.u32 [%d1], %r13;
        @!%p1 bra over;
        st.volatile.global.u32 [%d1+1536], %r13;
        over:""",
    "the few end": """
        st.global.u32 [%d1], %r11;
        @!%p1 bra skip;
        st.global.u32 [%d1], 4;
        ret;
        skip:
        st.global.u32 [%d1+1536], %r4;""",
    "one of the few does more": """
        st.global.u32 [%d1], %r11;
        @!%p1 bra skip;
        st.global.u32 [%d1], 4;
        setp.ne.u32 %p2, %r1, 2;
        @%p2 bra skip;
        st.global.u32 [%d1+1536], 5;
        skip:""",
}


@pytest.mark.parametrize("body", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("column", [0, 9])
def test_a_thread_keeps_its_order(body: str, column: int) -> None:
    """What a thread does before, inside and after the guarded part comes in that order."""
    same_as_interpreted(f"st.shared.u32 [%r8+76], 0;\nst.shared.u32 [tile+1024], 0;\nbar.sync 0;\n"
                        f"setp.eq.u32 %p1, %r0, {column};\n{body}")  # fmt: skip


@pytest.mark.parametrize("body", ORDERS.values(), ids=ORDERS)
def test_a_thread_keeps_its_order_among_several(body: str) -> None:
    """The same where the few are a corner of the block."""
    same_as_interpreted(f"st.shared.u32 [%r8+76], 0;\nst.shared.u32 [tile+1024], 0;\nbar.sync 0;\n"
                        f"setp.gt.u32 %p1, %r0, 10;\nsetp.lt.and.u32 %p1, %r1, 2, %p1;\n{body}")  # fmt: skip


@pytest.mark.parametrize(("width", "height"), [(48, 8), (43, 7), (34, 3), (5, 1)])
@pytest.mark.parametrize("guard", ["%r0, 15", "%r0, 0", "%r0, 4", "%r1, 3", "%r1, 0"])
def test_at_the_edge_of_the_image_each_does_it_once(guard: str, width: int, height: int) -> None:
    """Blocks that the image's edge cuts run in two goes; the guarded part is in one of them."""
    same_as_interpreted(
        f"""
        {load("%r8", "0", "0", 76)}
        setp.ne.u32 %p1, {guard};
        @%p1 bra skip;
        {load("%r8", "1", "1", 1024)}
        atom.global.add.u32 %r12, [%d1], 1;
        skip:
        {SHOW.replace("st.global.u32 [%d1]", "atom.global.add.u32 %r12, [%d1]")}""",
        width,
        height,
    )


READS = {
    "before it is written": """
        ld.global.u32 %r12, [%d2];
        add.u32 %r12, %r12, %r4;
        st.global.u32 [%d1], %r12;""",
    "after the thread wrote": """
        @!%p1 bra skip;
        st.global.u32 [%d2+4], %r5;
        ld.global.u32 %r12, [%d2+4];
        st.global.u32 [%d1], %r12;
        skip:""",
    "after all wrote the same": """
        st.shared.u32 [tile+1024], 5;
        ld.shared.u32 %r12, [tile+1024];
        add.u32 %r12, %r12, %r4;
        st.global.u32 [%d1], %r12;""",
    "after an atomic": """
        atom.global.exch.b32 %r12, [%d1], %r4;
        ld.global.u32 %r13, [%d2];
        add.u32 %r13, %r13, %r12;
        st.global.u32 [%d1], %r13;""",
    "in each iteration": """
        mov.u32 %r12, 0;
        again:
        ld.shared.u32 %r13, [tile+1024];
        bar.sync 0;
        add.u32 %r13, %r13, 1;
        st.shared.u32 [tile+1024], %r13;
        bar.sync 0;
        add.u32 %r12, %r12, 1;
        setp.lt.u32 %p2, %r12, 5;
        @%p2 bra again;
        st.global.u32 [%d1], %r13;""",
    "by way of what was read": """
        ld.global.u32 %r12, [%d2];
        and.b32 %r12, %r12, 28;
        cvt.u64.u32 %d9, %r12;
        add.u64 %d9, %d2, %d9;
        ld.global.u32 %r12, [%d9];
        st.global.u32 [%d1], %r12;""",
    "only where it is": """
        mov.u64 %d9, 0x1000000000;
        setp.gt.u32 %p2, %r11, 0xFFFFFFF0;
        @%p2 bra work;
        bra.uni skip;
        work:
        ld.global.u32 %r12, [%d9];
        st.global.u32 [%d1], %r12;
        skip:
        st.global.u32 [%d1], 3;""",
}


@pytest.mark.parametrize("body", READS.values(), ids=READS)
def test_what_all_read_from_one_place(body: str) -> None:
    """Every thread sees what it would, reading by itself; what nobody reads may not exist."""
    same_as_interpreted(f"st.shared.u32 [tile+1024], 7;\nbar.sync 0;\nsetp.eq.u32 %p1, %r4, 0;\n{body}")
