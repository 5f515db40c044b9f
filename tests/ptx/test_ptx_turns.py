"""Blocks that take turns at barriers: the results are those of blocks that run one after the other."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.ptx.ptx_harness import Bench

from logv.ptx import CompiledKernel, compile_entry, parse

THREADS = 32
# Adds what the mirrored thread of its block has read, plus 1, to a pixel; threads beyond a row end.
_KERNEL = """.version 8.0
.target sm_90
.address_size 64
{outside}
.visible .entry run(.param .u64 in, .param .u64 out, .param .u32 width) {{
  .reg .pred %p;
  .reg .b32 %r<10>, %x, %y, %w, %n;
  .reg .b64 %d<6>, %in, %out;
  {inside}
  ld.param.u64 %in, [in];
  ld.param.u64 %out, [out];
  ld.param.u32 %w, [width];
  mov.u32 %r0, %ctaid.x; mov.u32 %n, %tid.x;
  mad.lo.s32 %x, %r0, {threads}, %n;
  mov.u32 %r0, %ctaid.z; mov.u32 %r1, %nctaid.y; mov.u32 %r2, %ctaid.y;
  mad.lo.s32 %y, %r0, %r1, %r2;
  {before}
  sub.s32 %r1, %w, 1;
  min.s32 %r1, %x, %r1;
  mad.lo.s32 %r1, %y, %w, %r1;
  mul.wide.s32 %d0, %r1, 4;
  add.s64 %d0, %in, %d0;
  ld.global.u32 %r2, [%d0];
  mul.wide.s32 %d1, %n, 4;
  mov.u64 %d2, tile;
  add.s64 %d1, %d2, %d1;
  st.shared.u32 [%d1], %r2;
  bar.sync 0;
  setp.ge.s32 %p, %x, %w;
  @%p bra DONE;
  sub.s32 %r3, {last}, %n;
  mul.wide.s32 %d1, %r3, 4;
  add.s64 %d1, %d2, %d1;
  ld.shared.u32 %r4, [%d1];
  mad.lo.s32 %r1, %y, %w, %x;
  mul.wide.s32 %d0, %r1, 4;
  add.s64 %d0, %out, %d0;
  ld.global.u32 %r5, [%d0];
  add.u32 %r5, %r5, %r4;
  add.u32 %r5, %r5, 1;
  st.global.u32 [%d0], %r5;
DONE: ret;
}}
"""
_STATIC = f".shared .align 4 .b32 tile[{THREADS}];"


def _kernel(before: str = "", outside: str = "", inside: str = _STATIC) -> CompiledKernel:
    text = _KERNEL.format(threads=THREADS, last=THREADS - 1, before=before, outside=outside, inside=inside)
    return compile_entry(parse(text), "run", (THREADS, 1, 1))


def _takes_turns(kernel: CompiledKernel) -> bool:
    return "%turn " in kernel.llvm_ir(optimized=False)


def _mirrored(pixels: NDArray[np.uint32]) -> NDArray[np.uint32]:
    width = pixels.shape[1]
    padded = np.pad(pixels, ((0, 0), (0, -width % THREADS)), mode="edge")
    tiles = padded.reshape(len(pixels), -1, THREADS)[:, :, ::-1]
    return tiles.reshape(len(pixels), -1)[:, :width] + np.uint32(1)


def _run(
    kernel: CompiledKernel, width: int, blocks: list[tuple[int, int]] | None = None, **options: Any
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Return what the kernel writes, launched for each range of blocks, and what it should write."""
    rows, planes = 3, 2
    across = -(-width // THREADS)
    pixels = np.random.default_rng(width).integers(0, 1 << 20, (rows * planes, width), dtype=np.uint32)
    bench = Bench()
    source, out = bench.upload(pixels), bench.upload(np.zeros_like(pixels))
    for part in blocks or [(0, across * rows * planes)]:
        grid = (across, rows, planes)
        assert bench.launch(kernel, grid, source, out, np.uint32(width), blocks=part, **options) == 0
    return bench.download(out, pixels.shape, np.uint32), _mirrored(pixels)


@pytest.mark.parametrize("width", [1, 31, 32, 33, 128, 150, 160])
def test_each_block_has_shared_memory_of_its_own(width: int) -> None:
    """Each block reads what it has stored itself."""
    kernel = _kernel()
    assert _takes_turns(kernel)
    found, expected = _run(kernel, width)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("step", [1, 3, 4, 5, 7, 30])
def test_turns_end_with_a_range_of_blocks(step: int) -> None:
    """A call may end, or begin, in the middle of a group."""
    parts = [(first, min(first + step, 30)) for first in range(0, 30, step)]
    found, expected = _run(_kernel(), 5 * THREADS, [*parts, (7, 7)])
    np.testing.assert_array_equal(found, expected)


def test_dynamic_shared_memory_leaves_no_room_for_turns() -> None:
    """Its size is not known before the launch."""
    # The tile lies behind the static word, where a copy for the next block would be.
    kernel = _kernel(
        outside=".extern .shared .align 16 .b8 tile[];",
        inside=".shared .align 4 .b32 word; st.shared.u32 [word], 0;",
    )
    assert _takes_turns(kernel)
    found, expected = _run(kernel, 5 * THREADS, shared=4 * THREADS)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("setp.ge.s32 %p, %y, 4; @%p bra DONE;", id="whole blocks end"),
        pytest.param("membar.gl;", id="fence"),
        pytest.param("ld.volatile.global.u32 %r9, [%in];", id="volatile"),
        pytest.param("atom.global.add.u32 %r9, [%in], 0;", id="atomic"),
    ],
)
def test_blocks_that_end_early_or_may_wait_take_no_turns(before: str) -> None:
    """They run one after the other."""
    kernel = _kernel(before)
    assert not _takes_turns(kernel)
    found, expected = _run(kernel, 150)
    if "bra" in before:
        expected[4:] = 0
    np.testing.assert_array_equal(found, expected)
