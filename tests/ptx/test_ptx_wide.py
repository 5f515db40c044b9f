"""Blocks that run together with their neighbours: the results are those of blocks on their own."""

import math
import struct
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.ptx.ptx_harness import BASE, Bench

from logv.ptx import CompiledKernel, compile_entry, parse
from logv.ptx._lower import lower
from logv.ptx._widen import blocks_together
from logv.ptx.interpreter import RangeMemory, interpret

_HEAD = """.version 8.0
.target sm_90
.address_size 64
.visible .entry run(.param .u64 out, .param .u32 width, .param .u32 height) {
  .reg .pred %p, %q;
  .reg .b32 %r<10>, %x, %y, %w, %h;
  .reg .b64 %d<6>, %out, %row, %table;
  .shared .align 4 .b32 word[1];
  ld.param.u64 %out, [out];
  ld.param.u32 %w, [width];
  ld.param.u32 %h, [height];
"""
# %x and %y are the thread's place in the grid; z goes to %y as well.
_PLACE = """
  mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;
  mad.lo.s32 %x, %r1, %r0, %r2;
"""
_PLACE_Y = """
  mov.u32 %r0, %ctaid.y; mov.u32 %r1, %ntid.y; mov.u32 %r2, %tid.y;
  mad.lo.s32 %y, %r0, %r1, %r2;
  mov.u32 %r0, %ctaid.z; mov.u32 %r1, %ntid.z; mov.u32 %r2, %tid.z;
  mad.lo.s32 %r3, %r0, %r1, %r2;
  mov.u32 %r0, %nctaid.y; mov.u32 %r1, %ntid.y; mul.lo.s32 %r0, %r0, %r1;
  mad.lo.s32 %y, %r3, %r0, %y;
"""
_GUARD = """
  setp.ge.s32 %p, %x, %w;
  setp.ge.s32 %q, %y, %h;
  or.pred %p, %p, %q;
  @%p bra DONE;
"""
# Adds %r9 to the word that belongs to (%x, %y), so that a thread that runs twice shows.
_ADD = """
  mad.lo.s32 %r8, %y, %w, %x;
  mul.wide.s32 %d0, %r8, 4;
  add.s64 %d0, %out, %d0;
  ld.global.u32 %r7, [%d0];
  add.u32 %r7, %r7, %r9;
  st.global.u32 [%d0], %r7;
"""
_TAIL = "DONE: ret; }\n"
# What the thread at (%x, %y) adds.
_VALUE = "mad.lo.s32 %r9, %y, 1000, %x; add.u32 %r9, %r9, 1;"


def _kernel(body: str, block: tuple[int, int, int], *, together: bool) -> CompiledKernel:
    """Compile a kernel, and check that its blocks run together with others or not."""
    module = parse(_HEAD + body + _TAIL)
    assert (blocks_together(lower(module.entries["run"], block), block) > 1) is together
    return compile_entry(module, "run", block)


def _run(
    kernel: CompiledKernel,
    grid: tuple[int, int, int],
    words: int,
    sizes: tuple[int, int],
    cuts: tuple[int, ...] = (),
) -> NDArray[np.uint32]:
    """Return what the kernel leaves in memory that begins as zeros, called for ranges of blocks."""
    bench = Bench()
    out = bench.upload(np.zeros(words, np.uint32))
    ends = [0, *cuts, grid[0] * grid[1] * grid[2]]
    for begin, end in pairwise(ends):
        status = bench.launch(
            kernel, grid, out, np.uint32(sizes[0]), np.uint32(sizes[1]), blocks=(begin, end)
        )
        assert status == 0
    found: NDArray[np.uint32] = bench.download(out, words, np.uint32)
    return found


def _places(width: int, height: int) -> NDArray[np.uint32]:
    """Return what `_VALUE` is by row and column."""
    y, x = np.mgrid[:height, :width]
    found: NDArray[np.uint32] = (1000 * y + x + 1).astype(np.uint32)
    return found


@pytest.mark.parametrize(
    ("block", "grid", "width", "height"),
    [
        ((32, 1, 1), (1, 1, 1), 20, 1),
        ((64, 1, 1), (7, 3, 1), 447, 3),
        ((32, 1, 1), (600, 1, 1), 19_170, 1),  # more than one group in a row
        ((32, 8, 1), (5, 3, 1), 130, 21),
        ((32, 8, 1), (5, 3, 1), 160, 24),
        ((32, 4, 2), (3, 2, 2), 95, 29),
        ((3, 5, 2), (11, 2, 3), 30, 50),
        ((32, 8, 1), (5, 3, 1), 3, 2),
        ((32, 8, 1), (5, 3, 1), -5, 9),
    ],
)
def test_guarded(block: tuple[int, int, int], grid: tuple[int, int, int], width: int, height: int) -> None:
    """Every thread within bounds runs once, wherever calls end."""
    kernel = _kernel(_PLACE + _PLACE_Y + _GUARD + _VALUE + _ADD, block, together=True)
    expected = np.zeros(1 << 17, np.uint32)
    if width > 0:
        expected[: width * height] = _places(width, height).reshape(-1)
    count = grid[0] * grid[1] * grid[2]
    sizes = (width % 2**32, height)
    for cuts in [(), (1,), (count // 2,), tuple(range(1, min(count, 40)))]:
        cut = tuple(each for each in cuts if 0 < each < count)
        np.testing.assert_array_equal(_run(kernel, grid, expected.size, sizes, cut), expected)


@pytest.mark.parametrize("width", [1, 31, 32, 33, 1000, 1024, 16_384, 20_001, 65_536])
@pytest.mark.parametrize("block", [32, 256])
def test_strides_of_the_grid(width: int, block: int) -> None:
    """Threads leave a loop in strides of the grid in different iterations; some never enter it."""
    body = """
  mov.u32 %y, 0;
  setp.ge.s32 %p, %x, %w;
  @%p bra DONE;
  mov.u32 %r4, %nctaid.x; mov.u32 %r5, %ntid.x; mul.lo.s32 %r4, %r4, %r5;
LOOP:
  add.u32 %r9, %x, 1;
  mul.wide.s32 %d0, %x, 4;
  add.s64 %d0, %out, %d0;
  ld.global.u32 %r7, [%d0];
  add.u32 %r7, %r7, %r9;
  st.global.u32 [%d0], %r7;
  add.s32 %x, %x, %r4;
  setp.lt.s32 %p, %x, %w;
  @%p bra LOOP;
"""
    kernel = _kernel(_PLACE + body, (block, 1, 1), together=True)
    expected = np.zeros(1 << 17, np.uint32)
    expected[:width] = np.arange(width) + 1
    for grid, cuts in [(1, ()), (5, ()), (64, ()), (64, (1, 2, 40)), (700, ())]:
        found = _run(kernel, (grid, 1, 1), expected.size, (width, 0), cuts)
        np.testing.assert_array_equal(found, expected)


def test_strides_down() -> None:
    """The last threads of a row stay in a loop when the first have left it."""
    body = """
  mov.u32 %r4, %nctaid.x; mov.u32 %r5, %ntid.x; mul.lo.s32 %r4, %r4, %r5;
  add.s32 %x, %x, 1000;
LOOP:
  mul.wide.s32 %d0, %x, 4;
  add.s64 %d0, %out, %d0;
  st.global.u32 [%d0], %x;
  sub.s32 %x, %x, %r4;
  setp.gt.s32 %p, %x, %w;
  @%p bra LOOP;
"""
    kernel = _kernel(_PLACE + body, (32, 1, 1), together=True)
    x = np.arange(1160)
    expected = np.where(x > 30, x, 0)
    np.testing.assert_array_equal(_run(kernel, (5, 1, 1), x.size, (30, 0)), expected)


def test_condition_of_a_loop_decides_something_else_as_well() -> None:
    """What threads store that leave a loop in strides of the grid differs from what the others store."""
    body = """
  mov.u32 %r4, %nctaid.x; mov.u32 %r5, %ntid.x; mul.lo.s32 %r4, %r4, %r5;
  setp.ge.s32 %p, %x, %w;
  @%p bra DONE;
LOOP:
  mul.wide.s32 %d0, %x, 4;
  add.s64 %d0, %out, %d0;
  add.s32 %x, %x, %r4;
  setp.lt.s32 %p, %x, %w;
  selp.u32 %r9, 1, 2, %p;
  st.global.u32 [%d0], %r9;
  @%p bra LOOP;
"""
    kernel = _kernel(_PLACE + body, (32, 1, 1), together=True)
    expected = np.where(np.arange(1000) + 160 < 1000, 1, 2)
    np.testing.assert_array_equal(_run(kernel, (5, 1, 1), 1000, (1000, 0)), expected)


@pytest.mark.parametrize("grid", [1, 2, 9])
def test_clamped_and_chosen_by_place(grid: int) -> None:
    """Threads at both edges of the image and in both halves of it differ from their neighbours."""
    body = """
  sub.s32 %r4, %x, 1; max.s32 %r4, %r4, 0;
  add.s32 %r5, %x, 2; sub.s32 %r6, %w, 1; min.s32 %r5, %r5, %r6;
  mad.lo.s32 %r9, %r4, 100, %r5;
  shr.s32 %r6, %w, 1;
  setp.lt.s32 %p, %x, %r6;
  selp.u32 %r6, 7, 8, %p;
  mad.lo.s32 %r9, %r9, 10, %r6;
"""
    width, height = 32 * grid - 3, 13
    kernel = _kernel(_PLACE + _PLACE_Y + _GUARD + body + _ADD, (32, 8, 1), together=True)
    x = np.arange(width)
    row = 10 * (100 * np.maximum(x - 1, 0) + np.minimum(x + 2, width - 1)) + np.where(x < width // 2, 7, 8)
    found = _run(kernel, (grid, 2, 1), width * height, (width, height))
    np.testing.assert_array_equal(found.reshape(height, width), np.tile(row, (height, 1)))


# Sums of 64 * ctaid.x + tid.x, as compilers write them.
_SUMS = {
    "or": "shl.b32 %x, %r0, 6; or.b32 %x, %r2, %x;",
    "shl": "shl.b32 %x, %r0, 6; add.u32 %x, %x, %r2;",
    "wide": "mul.wide.u32 %d0, %r0, %r1; cvt.u64.u32 %d1, %r2; add.u64 %d0, %d1, %d0; cvt.u32.u64 %x, %d0;",
    "difference": "neg.s32 %x, %r2; mul.lo.u32 %r3, %r0, -64; add.s32 %x, %x, %r3; neg.s32 %x, %x;",
}


@pytest.mark.parametrize("form", sorted(_SUMS))
def test_forms_of_sums(form: str) -> None:
    """Other ways to ask for the place in x."""
    place = "mov.u32 %r0, %ctaid.x; mov.u32 %r1, %ntid.x; mov.u32 %r2, %tid.x;" + _SUMS[form]
    kernel = _kernel(place + _PLACE_Y + _GUARD + _VALUE + _ADD, (64, 1, 1), together=True)
    found = _run(kernel, (5, 2, 1), 600, (300, 2))
    np.testing.assert_array_equal(found, _places(300, 2).reshape(-1))


# With blocks of 48 threads, what is not a sum, and what blocks and threads may not do together. Each adds
# %r9 at %x.
_Integers = NDArray[np.int64]
_ALONE: dict[str, tuple[str, Callable[[_Integers, _Integers], _Integers]]] = {
    "tid": ("mov.u32 %r9, %r2;", lambda block, thread: thread),
    "ctaid": ("mov.u32 %r9, %r0;", lambda block, thread: block),
    "tid decides": ("setp.lt.u32 %p, %r2, 5; selp.u32 %r9, 1, 2, %p;", lambda b, t: 2 - (t < 5)),
    "or": ("shl.b32 %r9, %r0, 5; or.b32 %r9, %r9, %r2;", lambda block, thread: block << 5 | thread),
    "other width": ("mad.lo.u32 %r9, %r0, 47, %r2;", lambda block, thread: 47 * block + thread),
    "narrow": (
        "mul.lo.u32 %r9, %r0, %r1; cvt.u64.u32 %d0, %r9; cvt.u64.u32 %d1, %r2;"
        "add.u64 %d0, %d0, %d1; cvt.u32.u64 %r9, %d0;",
        lambda block, thread: 48 * block + thread,
    ),
    "laneid": ("mov.u32 %r9, %laneid;", lambda block, thread: thread % 32),
    "vote": (
        "and.b32 %r3, %x, 1; setp.eq.u32 %p, %r3, 0; vote.sync.ballot.b32 %r9, %p, -1;",
        lambda block, thread: np.where(thread < 32, 0x55555555, 0x5555),
    ),
    "shared": (
        "st.shared.u32 [word], %y; bar.sync 0; atom.shared.add.u32 %r9, [word], 1; bar.sync 0;"
        "ld.shared.u32 %r9, [word];",
        lambda block, thread: 48 + 0 * thread,
    ),
}


@pytest.mark.parametrize("what", sorted(_ALONE))
def test_blocks_that_stay_alone(what: str) -> None:
    """Kernels that can tell a block from its neighbour."""
    body, value = _ALONE[what]
    kernel = _kernel(_PLACE + "mov.u32 %y, 0;" + body + _ADD, (48, 1, 1), together=False)
    x = np.arange(48 * 7)
    found = _run(kernel, (7, 1, 1), x.size, (x.size, 1))
    np.testing.assert_array_equal(found, value(x // 48, x % 48))


def test_waiting_for_a_block_before() -> None:
    """Each block waits for all threads of those before it, in two rows."""
    body = """
  mov.u32 %y, %tid.y;
  mov.u32 %r4, 0;
  mad.lo.u32 %r5, %x, 2, %y;
  and.b32 %r5, %r5, -16;
WAIT:
  ld.volatile.global.u32 %r4, [%out];
  setp.lt.u32 %p, %r4, %r5;
  @%p bra WAIT;
  atom.global.add.u32 %r4, [%out], 1;
"""
    kernel = _kernel(_PLACE + body, (8, 2, 1), together=False)
    assert _run(kernel, (9, 1, 1), 1, (0, 0))[0] == 9 * 16


@pytest.mark.parametrize("block", [32, 1024])
def test_guard_that_wraps(block: int) -> None:
    """The first thread of a block leaves; the index of the others has wrapped, so they do not."""
    body = """
  mov.u32 %y, 0;
  add.s32 %r2, %x, 0x7FFFFFFF;
  setp.gt.s32 %p, %r2, %w;
  @%p bra DONE;
"""
    kernel = _kernel(_PLACE + body + _VALUE + _ADD, (block, 1, 1), together=True)
    expected = np.arange(2 * block) + 1
    expected[0] = 0
    np.testing.assert_array_equal(_run(kernel, (2, 1, 1), 2 * block, (0, 0)), expected)


@pytest.mark.parametrize(
    ("grid", "begin", "end"),
    [
        ((2**31 - 1, 2, 1), 2**31 - 4, 2**31 + 3),  # over the end of a row
        ((2**31 - 1, 1, 1), 2**26 - 2, 2**26 + 3),  # 64 * ctaid.x wraps
        ((2**31 - 1, 1, 1), 2**25 - 2, 2**25 + 3),  # and changes its sign
        ((5, 60_000, 60_000), 5 * 60_000 * 59_999 - 7, 5 * 60_000 * 59_999 + 7),
    ],
)
def test_far_blocks(grid: tuple[int, int, int], begin: int, end: int) -> None:
    """Block numbers of more than 32 bits, and places in x that wrap."""
    body = """
  mov.u32 %r4, %ctaid.y; mov.u32 %r5, %ctaid.z;
  setp.lt.s32 %p, %x, %w;
  selp.u32 %r9, 1, 3, %p;
  mad.lo.u32 %r4, %r4, 320, %x;
  mad.lo.u32 %r4, %r5, 7, %r4;
  and.b32 %r4, %r4, 1023;
  mul.wide.u32 %d0, %r4, 4;
  add.u64 %d0, %d0, %out;
  ld.global.u32 %r7, [%d0];
  add.u32 %r7, %r7, %r9;
  st.global.u32 [%d0], %r7;
"""
    kernel = _kernel(_PLACE + body, (64, 1, 1), together=True)
    bench = Bench()
    out = bench.upload(np.zeros(1024, np.uint32))
    assert bench.launch(kernel, grid, out, np.uint32(128), np.uint32(0), blocks=(begin, end)) == 0
    expected = np.zeros(1024, np.uint32)
    for block in range(begin, end):
        x = (block % grid[0] * 64 + np.arange(64)) % 2**32
        y, z = block // grid[0] % grid[1], block // grid[0] // grid[1]
        np.add.at(
            expected,
            (x + 320 * y + 7 * z) % 1024,
            np.where(x.astype(np.uint32).view(np.int32) < 128, 1, 3),
        )
    np.testing.assert_array_equal(bench.download(out, 1024, np.uint32), expected)


@st.composite
def _programs(draw: st.DrawFn) -> str:
    """Kernels that use their place for guards, clamps, choices, and loops in strides of the grid."""

    def maybe(text: str) -> str:
        return text if draw(st.booleans()) else ""

    def some(*texts: str) -> str:
        return draw(st.sampled_from(texts))

    number = st.sampled_from([-1, 0, 1, 2, 5, 31, 32, 33, 60, 100, 2**31 - 1, -(2**31)])

    def condition(to: str) -> str:
        compare = some("lt", "le", "gt", "ge", "eq", "ne") + some(".s32", ".u32")
        left, right = some("%x", "%x", "%y", "%r2"), some("%w", "%h", str(draw(number)))
        return f"add.s32 %r2, %x, {draw(number)}; setp.{compare} {to}, {left}, {right};"

    def statement() -> str:
        return some(
            f"{condition('%p')} selp.u32 %r9, %r9, {draw(number)}, %p;",
            f"add.s32 %r3, %x, {draw(number)}; max.s32 %r3, %r3, 0; min.s32 %r3, %r3, 63;"
            "mul.wide.s32 %d1, %r3, 4; add.s64 %d1, %d1, %table; ld.global.u32 %r3, [%d1];"
            "mad.lo.u32 %r9, %r9, 3, %r3;",
            f"{condition('%p')} @%p add.u32 %r9, %r9, %y;",
            f"{condition('%p')} @%p bra SKIP{{0}}; mad.lo.u32 %r9, %r9, 5, %x; SKIP{{0}}:",
            "xor.b32 %r9, %r9, %x;",
        )

    def statements(first: int) -> str:
        return "".join(statement().format(first + i) + "\n" for i in range(draw(st.integers(0, 3))))

    def leave() -> str:
        return maybe(condition("%p") + maybe(condition("%q") + "and.pred %p, %p, %q;") + "@%p bra DONE;\n")

    store = "mul.wide.s32 %d0, %x, 4; add.s64 %d0, %out, %d0; add.s64 %d0, %d0, %row;\n"
    store += "ld.global.u32 %r3, [%d0]; add.u32 %r3, %r3, %r9; st.global.u32 [%d0], %r3;\n"
    work = f"{leave()}{statements(0)}{maybe(store + leave())}{statements(5)}{store}"
    kind = some("once", "do", "while")
    if kind == "once":
        return work
    stride = "mov.u32 %r4, %nctaid.x; mov.u32 %r5, %ntid.x; mul.lo.s32 %r4, %r4, %r5;\n"
    limit = some("%w", "%h")
    on = f"add.s32 %x, %x, %r4; setp.lt.s32 %p, %x, {limit};\n"
    if kind == "do":
        return f"{stride}{leave()}LOOP: {work}{on}{maybe('selp.u32 %r9, 1, 2, %p;' + store)}@%p bra LOOP;\n"
    return f"{stride}LOOP: setp.ge.s32 %p, %x, {limit}; @%p bra DONE;\n{work}{on}bra LOOP;\n"


_COLUMNS = 1024
_SHAPES = [
    ((32, 1, 1), (9, 1, 1)), ((32, 4, 1), (5, 2, 1)), ((8, 2, 2), (7, 1, 2)), ((5, 3, 1), (13, 2, 1)),
    ((64, 1, 1), (3, 4, 1)),
]  # fmt: skip


@given(
    body=_programs(),
    shape=st.sampled_from(_SHAPES),
    sizes=st.tuples(*[st.sampled_from([0, 1, 30, 64, 100, 287, 288, 700, 2**32 - 3])] * 2),
    cuts=st.sets(st.integers(1, 11)),
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_random_places(
    body: str,
    shape: tuple[tuple[int, int, int], tuple[int, int, int]],
    sizes: tuple[int, int],
    cuts: set[int],
) -> None:
    """What each thread does by its place is what the interpreter says, wherever calls end."""
    block, grid = shape
    head = "mul.wide.u32 %row, %y, 4096; add.s64 %table, %out, -256; mov.u32 %r9, 1;\n"
    text = _HEAD + _PLACE + _PLACE_Y + head + body + _TAIL
    module = parse(text)
    kernel = compile_entry(module, "run", block)
    rows = grid[1] * grid[2] * block[1] * block[2]
    bench = Bench(1 << 17)
    table = bench.upload(np.arange(64, dtype=np.uint32) * 77)
    out = bench.upload(np.zeros(_COLUMNS * rows, np.uint32))
    assert out == table + 256
    expected = bytearray(bench.memory.tobytes())
    memory = RangeMemory()
    memory.map(BASE, expected)
    interpret(module, "run", grid=grid, block=block, params=struct.pack("<QII", out, *sizes), memory=memory)
    ends = [0, *sorted(cuts), math.prod(grid)]
    for begin, end in pairwise(each for each in ends if each <= math.prod(grid)):
        bench.launch(kernel, grid, out, *map(np.uint32, sizes), blocks=(begin, end))
    np.testing.assert_array_equal(bench.memory, np.frombuffer(expected, np.uint8))
