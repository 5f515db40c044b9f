"""Runs single PTX instructions on lists of operands."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from tests.ptx.ptx_harness import Bench

from logv.ptx import CompiledKernel, compile_entry, parse

REGISTERS = {"pred": "pred", "8": "b16", "16": "b16", "32": "b32", "64": "b64"}
# A type's operands and results pass through memory as 64-bit words.
_HEAD = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry run(.param .u32 n, .param .u64 inputs, .param .u64 outputs)
{
  .reg .pred %outside, %p<8>;
  .reg .b16 %h<8>;
  .reg .b32 %r<8>, %i, %n, %block;
  .reg .b64 %d<8>, %in, %out, %word, %step;
  .reg .f32 %f<8>;
  .reg .f64 %g<8>;
  mov.u32 %i, %tid.x;
  mov.u32 %block, %ctaid.x;
  mad.lo.u32 %i, %block, 64, %i;
  ld.param.u32 %n, [n];
  setp.ge.u32 %outside, %i, %n;
  @%outside ret;
  ld.param.u64 %in, [inputs];
  ld.param.u64 %out, [outputs];
  mul.wide.u32 %word, %i, 8;
  add.u64 %in, %in, %word;
  add.u64 %out, %out, %word;
  mul.wide.u32 %step, %n, 8;
"""
WIDTH = 64


def _register(kind: str, number: int) -> str:
    if kind.startswith("f"):
        return f"%{'f' if kind == 'f32' else 'g'}{number}"
    return {"8": "%h", "16": "%h", "32": "%r", "64": "%d"}[kind[1:]] + str(number)


def _load(kind: str, number: int) -> list[str]:
    register = _register(kind, number)
    return [f"ld.global.{kind} {register}, [%in];", "add.u64 %in, %in, %step;"]


@cache
def kernel_for(sources: tuple[str, ...], instructions: tuple[tuple[str, str], ...]) -> CompiledKernel:
    """Compile instructions that all have the same source types.

    Parameters
    ----------
    sources : tuple of str
        PTX types of the operands ``{a}``, ``{b}``, ``{c}``.
    instructions : tuple of (str, str)
        Result type and text, with ``{d}`` for the result.
    """
    body: list[str] = []
    names = {}
    for number, (name, kind) in enumerate(zip("abc", sources, strict=False)):
        body += _load(kind, number)
        names[name] = _register(kind, number)
    for kind, text in instructions:
        target = _register(kind, 4)
        bits = kind[1:]
        body.append(text.format(d=target, **names))
        # Clear the word, so that the unused part of a narrow result is known.
        body += ["mov.u64 %d5, 0;", "st.global.u64 [%out], %d5;", f"st.global.b{bits} [%out], {target};"]
        body.append("add.u64 %out, %out, %step;")
    text = _HEAD + "\n".join("  " + line for line in body) + "\n  ret;\n}\n"
    return compile_entry(parse(text), "run", (WIDTH, 1, 1))


def run(
    sources: tuple[str, ...], instructions: tuple[tuple[str, str], ...], operands: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Run the instructions on bit patterns; returns one list of result bits for each instruction."""
    n = len(operands[0])
    bench = Bench((1 << 20) + 8 * n * (len(operands) + len(instructions)))
    inputs = np.array([[bits & (1 << 64) - 1 for bits in operand] for operand in operands], np.uint64)
    source = bench.upload(inputs)
    target = bench.upload(np.zeros((len(instructions), n), np.uint64))
    blocks = -(-n // WIDTH)
    assert bench.launch(kernel_for(sources, instructions), [blocks], np.uint32(n), source, target) == 0
    found = bench.download(target, (len(instructions), n), np.uint64)
    return [[int(word) for word in row] for row in found]
