"""Random PTX programs whose result is determined, with launches and inputs, as a Hypothesis strategy."""

from dataclasses import dataclass

from hypothesis import strategies as st
from tests.ptx.program_instructions import FAMILIES
from tests.ptx.program_statements import COUNTERS, POOL, SLOTS, TYPES, Statements

WORDS = sum(POOL.values())
"""64-bit words of input for each thread, and of final registers in its output."""
SCRATCH_WORDS = 8
CELL_BYTES = (WORDS + SCRATCH_WORDS) * 8
"""Output of one thread: its scratch words, then its registers."""
COUNTER_BYTES = len(COUNTERS) * SLOTS * 8
BLOCKS = [
    (1, 1, 1), (4, 1, 1), (32, 1, 1), (8, 4, 1), (33, 1, 1), (5, 3, 2), (64, 1, 1), (7, 1, 1), (2, 1, 3),
    (16, 3, 1), (1, 9, 1), (70, 1, 1),
]  # fmt: skip
GRIDS = [(1, 1, 1), (2, 1, 1), (2, 2, 1), (1, 1, 3), (3, 1, 1)]
# For programs whose blocks may run together, which is what several in a row do.
NEIGHBOURS = [(3, 1, 1), (5, 2, 1), (9, 1, 1), (2, 1, 2)]
SMALL_BLOCKS = [(4, 1, 1), (32, 1, 1), (8, 4, 1), (33, 1, 1), (5, 3, 2), (7, 1, 1), (2, 1, 3), (1, 9, 1)]
TOGETHER = frozenset({"barriers", "warp", "barrier votes"})
_TABLE = ", ".join(str(i * 0x9E3779B97F4A7C15 % 2**64) for i in range(8))

ALL_FAMILIES = frozenset({*FAMILIES, "memory", "control", "barriers", "warp", "barrier votes", "calls"})


@dataclass(frozen=True)
class Program:
    """A program with a launch; `seed` makes the input."""

    text: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    seed: int

    def __repr__(self) -> str:
        return f"// grid={self.grid} block={self.block} seed={self.seed}\n{self.text}"


_HEAD = """.version 8.0
.target sm_90
.address_size 64
.const .align 8 .u64 __table[8] = {{{table}}};
{functions}.visible .entry run(.param .u64 input, .param .u64 output, .param .u64 counters,
                   .param .u32 scalar, .param .align 8 .b8 bytes[32])
{{
  .reg .pred %p<{p}>, %nan, %again, %is, %first;
  .reg .b16 %h<{h}>, %ha, %hb;
  .reg .b32 %r<{r}>, %i<4>, %bound<4>, %x, %y, %thread, %count, %shared, %some, %lanes, %trash, %col, %line;
  .reg .b64 %d<{d}>, %in, %own, %counters, %a, %b, %trashd;
  .reg .f32 %f<{f}>, %fn, %fm;
  .reg .f64 %g<{g}>, %gn;
{start}"""
# From %x, the number of the thread in the grid.
_CELL = """  mul.wide.u32 %a, %x, {input_bytes};
  add.u64 %in, %in, %a;
  mul.wide.u32 %a, %x, {cell_bytes};
  add.u64 %own, %own, %a;
"""
# Each thread alone knows only its place in the grid: a column and a line.
_ALONE = """  mov.u32 %x, %ctaid.x;
  mov.u32 %y, %ntid.x;
  mov.u32 %col, %tid.x;
  mad.lo.u32 %col, %x, %y, %col;
  mov.u32 %x, %nctaid.x;
  mul.lo.u32 %count, %x, %y;
  mov.u32 %x, %ctaid.z;
  mov.u32 %y, %ntid.z;
  mov.u32 %thread, %tid.z;
  mad.lo.u32 %thread, %x, %y, %thread;
  mov.u32 %x, %ctaid.y;
  mov.u32 %y, %ntid.y;
  mov.u32 %line, %tid.y;
  mad.lo.u32 %line, %x, %y, %line;
  mov.u32 %x, %nctaid.y;
  mul.lo.u32 %x, %x, %y;
  mad.lo.u32 %line, %thread, %x, %line;
  mad.lo.u32 %x, %line, %count, %col;
  ld.param.u64 %in, [input];
  ld.param.u64 %own, [output];
  cvta.to.global.u64 %in, %in;
{cell}"""
_MEETING = """  .shared .align 8 .b8 slots[{slot_bytes}];
  .shared .align 8 .b8 private[{slot_bytes}];
  .shared .align 16 .b32 sums[4];
  .local .align 8 .b8 depot[32];
  mov.u32 %x, %tid.z;
  mov.u32 %y, %ntid.y;
  mov.u32 %thread, %tid.y;
  mad.lo.u32 %x, %x, %y, %thread;
  mov.u32 %y, %ntid.x;
  mov.u32 %thread, %tid.x;
  mad.lo.u32 %thread, %x, %y, %thread;
  mov.u32 %x, %ctaid.z;
  mov.u32 %y, %nctaid.y;
  mov.u32 %count, %ctaid.y;
  mad.lo.u32 %x, %x, %y, %count;
  mov.u32 %y, %nctaid.x;
  mov.u32 %count, %ctaid.x;
  mad.lo.u32 %x, %x, %y, %count;
  mov.u32 %count, {threads};
  mad.lo.u32 %x, %x, %count, %thread;
  ld.param.u64 %in, [input];
  ld.param.u64 %own, [output];
  ld.param.u64 %counters, [counters];
  cvta.to.global.u64 %in, %in;
{cell}  shl.b32 %shared, %thread, 3;
  mov.u32 %x, slots;
  add.u32 %x, %x, %shared;
  mov.u32 %y, private;
  add.u32 %shared, %y, %shared;
  mov.u64 %a, 0;
  st.shared.u64 [%x], %a;
  st.shared.u64 [%shared], %a;
  st.local.u64 [depot], %a;
  st.local.u64 [depot+8], %a;
  st.local.u64 [depot+16], %a;
  st.local.u64 [depot+24], %a;
  setp.eq.u32 %first, %thread, 0;
  @%first st.shared.v4.u32 [sums], {{0, 0, 0, 0}};
  and.b32 %x, %thread, -32;
  sub.u32 %x, %count, %x;
  min.u32 %x, %x, 32;
  sub.u32 %x, 32, %x;
  mov.u32 %lanes, -1;
  shr.u32 %lanes, %lanes, %x;
  bar.sync 0;
"""


def _begin() -> list[str]:
    """Load the registers."""
    lines = []
    place = 0
    for letter, count in POOL.items():
        for number in range(count):
            if letter == "p":
                lines += [f"ld.global.u32 %x, [%in+{place}];", f"setp.lt.s32 %p{number}, %x, 0;"]
            else:
                lines.append(f"ld.global.{TYPES[letter]} %{letter}{number}, [%in+{place}];")
            place += 8
    return lines


def _end() -> list[str]:
    """Store the registers, every NaN as the same."""
    lines = []
    place = SCRATCH_WORDS * 8
    for letter, count in POOL.items():
        for number in range(count):
            name = f"%{letter}{number}"
            if letter == "p":
                lines += [f"selp.u32 %x, 1, 0, {name};", f"st.global.u32 [%own+{place}], %x;"]
            else:
                if letter in "fg":
                    nan = "0f7FFFFFFF" if letter == "f" else "0d7FF8000000000000"
                    kind = TYPES[letter]
                    lines += [
                        f"setp.nan.{kind} %nan, {name}, {name};",
                        f"selp.{kind} {name}, {nan}, {name}, %nan;",
                    ]
                lines.append(f"st.global.{TYPES[letter]} [%own+{place}], {name};")
            place += 8
    return lines


@st.composite
def programs(draw: st.DrawFn, families: frozenset[str] = ALL_FAMILIES, size: int = 40) -> Program:
    """Programs of about `size` statements at most, from families of instructions.

    Every thread has 64-bit words of input from which it fills its registers, and a cell of output that it may
    use for loads and stores and into which it writes its registers at the end. Threads share nothing else
    but what barriers separate, and counters that only one commuting operation changes. In some programs they
    share nothing at all, and know of themselves only where they are in the grid.
    """
    alone = draw(st.integers(0, 2)) == 2
    families = families - TOGETHER if alone else families
    block = draw(st.sampled_from(SMALL_BLOCKS if alone else BLOCKS))
    grid = draw(st.sampled_from(NEIGHBOURS if alone else GRIDS))
    threads = block[0] * block[1] * block[2]
    statements = Statements(draw, families, threads, size, alone=alone)
    statements.body()
    head = (
        _HEAD.replace("{start}", _ALONE if alone else _MEETING)
        .replace("{cell}", _CELL)
        .format(
            **POOL,
            table=_TABLE,
            functions="".join(statements.functions),
            threads=threads,
            slot_bytes=8 * threads,
            input_bytes=WORDS * 8,
            cell_bytes=CELL_BYTES,
        )
    )
    lines = [*_begin(), *statements.lines]
    if "barriers" in families:
        lines += ["bar.sync 0;", "ld.shared.v4.u32 {%x, %y, %some, %trash}, [sums];"]
        lines += [f"st.global.v4.u32 [%own+{SCRATCH_WORDS * 8 - 16}], {{%x, %y, %some, %trash}};"]
    lines += [*_end(), "ret;"]
    text = head + "".join(f"  {line}\n" for line in lines) + "}\n"
    return Program(text, grid, block, draw(st.integers(0, 2**16)))
