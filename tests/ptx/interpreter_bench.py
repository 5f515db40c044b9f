"""Runs short pieces of PTX in the interpreter."""

import struct

import numpy as np

from logv.ptx._link import link
from logv.ptx._parser import Parser
from logv.ptx.interpreter import RangeMemory, interpret

BASE = 0x1000_0000
VARIABLES = BASE + (1 << 32)
_HEAD = """.version 8.0
.target sm_90
.address_size 64
"""
_REGISTERS = """
  .reg .pred %p<8>;
  .reg .b16 %h<8>;
  .reg .b32 %r<12>;
  .reg .b64 %d<12>;
  .reg .f32 %f<4>;
  .reg .f64 %g<4>;
"""


def run(
    body: str,
    words: list[int] | None = None,
    *,
    block: tuple[int, int, int] = (1, 1, 1),
    grid: tuple[int, int, int] = (1, 1, 1),
    before: str = "",
    size: int = 1024,
    shared: int = 0,
    steps: int = 100_000,
) -> list[int]:
    """Run a body on 64-bit words at [%d0] and return them; %d1 is this thread's word, %r0 its number."""
    text = f"""{_HEAD}{before}
.visible .entry k(.param .u64 words)
{{{_REGISTERS}
  ld.param.u64 %d0, [words];
  mov.u32 %r0, %tid.x;
  mad.wide.u32 %d1, %r0, 8, %d0;
{body}
}}"""
    memory = bytearray(size)
    for index, word in enumerate(words or []):
        memory[8 * index : 8 * index + 8] = (word % 2**64).to_bytes(8, "little")
    mapped = RangeMemory()
    mapped.map(BASE, memory)
    module = link(Parser(text).parse())
    params = struct.pack("<Q", BASE)
    if module.entries["k"].data_offset is not None:
        variables = bytearray(module.data.size)
        module.data.write(memoryview(variables), VARIABLES)
        mapped.map(VARIABLES, variables)
        params += struct.pack("<Q", VARIABLES)
    interpret(
        module,
        "k",
        grid=grid,
        block=block,
        params=params,
        memory=mapped,
        shared_bytes=shared,
        steps=steps,
    )
    return [int(word) for word in np.frombuffer(bytes(memory), np.uint64)]
