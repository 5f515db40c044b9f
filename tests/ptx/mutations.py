"""Damages valid PTX as an attacker or an accident would, and probes what becomes of it."""

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

from logv.errors import InvalidValueError, PtxError
from logv.ptx import compile_entry, parse

_KERNELS = Path(__file__).parent / "kernels"
_TOKEN = re.compile(r"[%.$_\w][%.$:\w]*|\s+|.", re.DOTALL)
# Compiling is bounded by the program's size, and a probe must be short.
_MAX_COMPILED_STATEMENTS = 150
_BOUNDS = """
0 1 -1 7 31 33 255 256 4096 65536 200001 2147483647 2147483648 4294967295 4294967296 18446744073709551615
18446744073709551616 99999999999999999999999 0x7fffffffffffffff 0xFFFFFFFFFFFFFFFFF 0b1 08 0x 1e999 1.5
0f7F800001 0d7FF0000000000001 0f3F8
"""
_VOCABULARY = """
.reg .shared .local .const .global .param .extern .align .v2 .v4 .entry .func .branchtargets .maxntid .reqntid
.section .pred .b8 .u32 .s64 .f64 .f16x2 .b128 bra ret trap call bar.sync bar.red.popc.u32 brx.idx
atom.global.add.u32 ld.param.u64 ld.shared.v4.f32 st.local.u8 cvt.rzi.s32.f64 mad.wide.u32 lop3.b32
shfl.sync.idx.b32 selp.f32 mov.b64 cvta.shared.u64 div.s64 membar.gl %tid.x %nctaid.z %laneid WARP_SZ _
"""
_NUMBERS = [*_BOUNDS.split(), "9" * 400]
_MARKS = [*"{}[]()<>,;:@!|+-=", '"', "/*", "*/", "//", "\0"]
_WORDS = _VOCABULARY.split()
_EXTRA = """.version 8.0
.target sm_80
.address_size 64
.const .align 8 .u64 table[2][2] = {{1, 2}, {3, 4}};
.visible .entry all(.param .u64 p, .param .align 8 .b8 q[16]) .maxntid 64, 1, 1
{
  .reg .pred %p<3>; .reg .b32 %r<9>; .reg .b64 %d<5>; .reg .f32 %f<3>;
  .shared .align 16 .b8 s[64];
  .local .align 4 .b8 l[32];
  ld.param.u64 %d1, [p];
  mov.u32 %r1, %tid.x;
  T: .branchtargets A, B, C;
  and.b32 %r2, %r1, 3;
  brx.idx %r2, T;
A: st.shared.v2.u32 [s+8], {%r1, %r2};
B: { .reg .b32 %r<4>; mov.b32 %r1, 5; { .reg .b64 %d; mov.b64 %d, {%r1, %r2}; } }
C: bar.sync 0;
  atom.global.add.u32 %r3, [%d1+4], %r1;
  setp.lt.and.s32 %p1|%p2, %r1, %r2, !%p0;
  @!%p1 bra A;
L: add.u32 %r1, %r1, 1;
  setp.lt.u32 %p1, %r1, 9;
  @%p1 bra L;
  ld.const.u64 %d2, [table+8];
  cvt.rn.f32.u32 %f1, %r1;
  fma.rn.f32 %f2, %f1, 0f3F800000, 1.5;
  st.local.f32 [l+4], %f2;
  ret;
}
"""

Number = Callable[[int, int], int]


@cache
def seeds() -> list[str]:
    """Return valid modules: each entry of the fixtures on its own, and one with the rarer syntax."""
    found = [_EXTRA]
    for path in sorted(_KERNELS.glob("*.ptx")):
        text = path.read_text()
        begins = [match.start() for match in re.finditer(r"^\.visible \.entry|^\.entry", text, re.MULTILINE)]
        ends = [*begins[1:], len(text)]
        found += [text[: begins[0]] + text[begin:end] for begin, end in zip(begins, ends, strict=True)]
    return [text for text in found if len(text) < 6000]


@cache
def _tokens(seed: int) -> list[str]:
    return _TOKEN.findall(seeds()[seed])


def damaged(number: Number) -> str:
    """Return a seed after some mutations; `number(least, most)` decides all of it."""
    seed = number(0, len(seeds()) - 1)
    tokens = list(_tokens(seed))
    for _ in range(number(1, 4)):
        _MUTATIONS[number(0, len(_MUTATIONS) - 1)](tokens, number)
    return "".join(tokens)


def _place(tokens: list[str], number: Number) -> int:
    return number(0, max(0, len(tokens) - 1))


def _replace(tokens: list[str], number: Number) -> None:
    words = [_NUMBERS, _MARKS, _WORDS, _tokens(number(0, len(seeds()) - 1))][number(0, 3)]
    begin = _place(tokens, number)
    tokens[begin : begin + 1] = [words[number(0, len(words) - 1)]]


def _insert(tokens: list[str], number: Number) -> None:
    words = [_NUMBERS, _MARKS, _WORDS][number(0, 2)]
    begin = _place(tokens, number)
    tokens[begin:begin] = [" ", words[number(0, len(words) - 1)], " "]


def _delete(tokens: list[str], number: Number) -> None:
    begin = _place(tokens, number)
    del tokens[begin : begin + number(1, 6)]


def _swap(tokens: list[str], number: Number) -> None:
    if tokens:
        a, b = _place(tokens, number), _place(tokens, number)
        tokens[a], tokens[b] = tokens[b], tokens[a]


def _repeat(tokens: list[str], number: Number) -> None:
    begin = _place(tokens, number)
    tokens[begin:begin] = tokens[begin : begin + number(1, 40)] * number(1, 8)


def _truncate(tokens: list[str], number: Number) -> None:
    del tokens[_place(tokens, number) :]


def _renumber(tokens: list[str], number: Number) -> None:
    """Change one number or register."""
    places = [place for place, token in enumerate(tokens) if token[-1].isdigit()]
    if places:
        place = places[number(0, len(places) - 1)]
        stem = tokens[place].rstrip("0123456789")
        tokens[place] = stem + _NUMBERS[number(0, len(_NUMBERS) - 1)]


_MUTATIONS = [_renumber, _replace, _swap, _delete, _insert, _repeat, _truncate]


def probe(text: str | bytes, block: tuple[int, int, int] = (4, 1, 1)) -> bool:
    """Parse a text and compile its short entries; return whether it was accepted.

    What is no refusal (``PtxError``, or ``InvalidValueError`` of a launch) is a finding, and goes up.
    """
    try:
        module = parse(text)
        for name, entry in module.entries.items():
            if len(entry.body.statements) <= _MAX_COMPILED_STATEMENTS:
                for optimize in (False, True):
                    compile_entry(module, name, block, optimize=optimize)
    except (PtxError, InvalidValueError):
        return False
    return True
