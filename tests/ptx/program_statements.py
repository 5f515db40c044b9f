"""The statements of a random program: what its instructions stand in."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import strategies as st
from tests.ptx.program_instructions import BARRIERS, FAMILIES, WARP

# Registers of each letter: 16, 32 and 64 bits, single, double, predicate.
POOL = {"h": 4, "r": 5, "d": 4, "f": 4, "g": 3, "p": 4}
TYPES = {"h": "b16", "r": "b32", "d": "b64", "f": "f32", "g": "f64"}
COUNTERS = [
    *[(name, kind) for kind in ("u32", "s32", "u64") for name in ("add", "min", "max")],
    *[(name, kind) for kind in ("b32", "b64") for name in ("and", "or", "xor")],
]
"""Operations that commute with themselves; each has counters of its own."""
SLOTS = 4
_PRIVATE = {
    "add": "u32 s32 u64", "min": "u32 s32 u64 s64", "max": "u32 s32 u64 s64", "exch": "b32 b64",
    "and": "b32 b64", "xor": "b32 b64", "cas": "b32 b64", "inc": "u32", "dec": "u32",
}  # fmt: skip
_MAX_DEPTH = 4
_EDGES = {
    "h": ["0", "1", "-1", "0x7FFF", "0x8000", "255", "5"],
    "r": ["0", "1", "-1", "0x7FFFFFFF", "0x80000000", "32", "255", "0x3F800000", "7", "-3"],
    "d": ["0", "1", "-1", "0x7FFFFFFFFFFFFFFF", "0x8000000000000000", "64", "0xFFFFFFFF", "3"],
    "f": ["0f00000000", "0f80000000", "0f3F800000", "0fBF000000", "0f7F800000", "0f7FFFFFFF", "0f00000001",
          "0f7F7FFFFF", "0f4F000000", "0f33800000"],
    "g": ["0d0000000000000000", "0d8000000000000000", "0d3FF0000000000000", "0dBFE0000000000000",
          "0d7FF0000000000000", "0d7FF8000000000000", "0d0000000000000001", "0d41E0000000000000"],
    "n": ["0", "1", "5", "8", "16", "31", "32", "33", "63", "64", "255", "-1"],
    "k": ["0x96", "0xE8", "0xCA", "0x01", "0x80", "0x7F", "0", "255"],
}  # fmt: skip
_OPERAND = re.compile(r"(?<![%\w.])([hrdfgpqnkxwHRDFGP])(\d?)(?![\w.])")


@dataclass(frozen=True)
class _Context:
    """Where a statement stands.

    Attributes
    ----------
    depth : int
        Enclosing ifs and loops.
    loops : int
        Enclosing loops; each has a counter of its own.
    uniform : bool
        All threads that have not returned come here together.
    breaks : tuple of str
        Labels that a branch may leave for.
    """

    depth: int = 0
    loops: int = 0
    uniform: bool = True
    breaks: tuple[str, ...] = ()


class Statements:
    """Draws statements and writes them down.

    Parameters
    ----------
    draw : callable
        Hypothesis's.
    families : frozenset of str
    threads : int
        Threads of a block.
    size : int
        Statements at most.
    alone : bool
        Whether threads have no memory of their block, and a place in the grid instead of one in the block.

    Attributes
    ----------
    lines : list of str
    functions : list of str
        Device functions, before the entry.
    """

    def __init__(
        self, draw: st.DrawFn, families: frozenset[str], threads: int, size: int, *, alone: bool
    ) -> None:
        self._alone = alone
        self.lines: list[str] = []
        self.functions: list[str] = []
        self._draw = draw
        self._families = families
        self._threads = threads
        self._budget = size
        self._labels = 0
        self._templates = [each for name in sorted(families & FAMILIES.keys()) for each in FAMILIES[name]]
        # Operations of a warp need all lanes: no thread may have left.
        self._exits = "control" in families and ("warp" not in families or self._number(1) == 1)
        self._warps = "warp" in families and not self._exits

    def body(self) -> None:
        """Draw the program's statements."""
        if "calls" in self._families:
            self.functions = [self._function(number) for number in range(self._number(2))]
        self._sequence(_Context())

    # -- draws --------------------------------------------------------------------------------------

    def _number(self, most: int, least: int = 0) -> int:
        return self._draw(st.integers(least, most))

    def _choose(self, among: Sequence[str]) -> str:
        return self._draw(st.sampled_from(among))

    def _label(self) -> str:
        self._labels += 1
        return f"L{self._labels}"

    def _register(self, letter: str) -> str:
        return f"%{letter}{self._number(POOL[letter] - 1)}"

    def _operand(self, letter: str) -> str:
        """Draw a register, or sometimes a constant."""
        if letter in "xw":
            return self._register("h" if letter == "x" else "r")
        if letter == "k":
            return self._choose(_EDGES[letter])
        if letter == "q":
            return ("!" if self._number(3) == 3 else "") + self._register("p")
        pool = "r" if letter == "n" else letter
        number = self._number(POOL[pool] + (4 if letter == "n" else 1))
        if number < POOL[pool]:
            return f"%{pool}{number}"
        return self._choose(_EDGES[letter])

    def _fill(self, template: str) -> str:
        known: dict[str, str] = {}

        def replace_letter(match: re.Match[str]) -> str:
            letter, digit = match.groups()
            if match.group() in known:
                return known[match.group()]
            # A constant cannot stand for two places of which one may be a destination.
            if letter.isupper() or letter == "p":
                drawn = self._register(letter.lower())
            else:
                drawn = self._operand(letter)
            if digit:
                known[match.group()] = drawn
            return drawn

        # Destinations of one instruction must differ from each other.
        while True:
            known.clear()
            filled = _OPERAND.sub(replace_letter, template)
            targets = re.match(r"\S+ (?:\{([^}]*)\}|([^,|]*\|[^,]*)),", filled)
            if targets is None:
                return filled
            names = re.split(r"[,|] ?", targets.group(1) or targets.group(2))
            if len(set(names)) == len(names):
                return filled

    # -- statements ---------------------------------------------------------------------------------

    def _sequence(self, context: _Context) -> None:
        # Drawn so that a smaller program is one with a statement left out.
        while self._budget > 0 and self._number(3 if context.depth else 20) > 0:
            self._budget -= 1
            self._statement(context)

    def _statement(self, context: _Context) -> None:
        kinds = ["instruction"] * 5
        if "memory" in self._families:
            kinds += ["cell", "table"]
            kinds += [] if self._alone else ["local", "counter", "private"]
        if self._alone:
            kinds += ["place", "place"]
        if "control" in self._families and context.depth < _MAX_DEPTH:
            kinds += ["if", "if", "loop", "loop", "switch"]
        if context.breaks:
            kinds.append("leave_loop")
        if self._exits:
            kinds.append("leave")
        if context.loops:
            kinds.append("count")
        if "barriers" in self._families:
            kinds.append("sum")
            if context.uniform:
                kinds += ["exchange", "exchange"]
        if "barrier votes" in self._families and context.uniform:
            kinds.append("vote")
        if self._warps and context.uniform:
            kinds += ["warp"] * 4
        if self.functions:
            kinds.append("call")
        getattr(self, f"_{self._choose(kinds)}")(context)

    def _write(self, text: str) -> None:
        self.lines += [f"{part};" for part in text.split("; ")]

    def _instruction(self, context: _Context) -> None:
        for _ in range(self._number(3) + 1):
            text = self._fill(self._choose(self._templates))
            if "@" not in text and self._number(5) == 5:
                guard = f"@{self._operand('q')} "
                text = "; ".join(guard + part for part in text.split("; "))
            self._write(text)

    def _if(self, context: _Context) -> None:
        inner = replace(context, depth=context.depth + 1, uniform=False)
        otherwise, end = self._label(), self._label()
        self._write(f"@{self._operand('q')} bra {otherwise}")
        self._sequence(inner)
        if self._number(1):
            self._write(f"bra.uni {end}")
            self.lines.append(f"{otherwise}:")
            self._sequence(inner)
        else:
            self.lines.append(f"{otherwise}:")
        self.lines.append(f"{end}:")

    def _loop(self, context: _Context) -> None:
        number = context.loops
        if number >= 4:
            return
        again, end = self._label(), self._label()
        together = context.uniform and bool(self._number(1))
        inner = replace(
            context,
            depth=context.depth + 1,
            loops=number + 1,
            uniform=together,
            # Who leaves a loop early does not come to its barriers.
            breaks=() if together else (*context.breaks, end),
        )
        self._write(f"mov.u32 %i{number}, 0")
        if together:
            bound = str(self._number(3, 1))
        else:
            bound = f"%bound{number}"
            self._write(f"and.b32 {bound}, {self._register('r')}, 3")
        test_first = bool(self._number(1))
        self.lines.append(f"{again}:")
        if test_first:
            self._write(f"setp.ge.u32 %again, %i{number}, {bound}; @%again bra {end}")
        self._sequence(inner)
        self._write(f"add.u32 %i{number}, %i{number}, 1")
        if test_first:
            self._write(f"bra {again}")
        else:
            self._write(f"setp.lt.u32 %again, %i{number}, {bound}; @%again bra {again}")
        self.lines.append(f"{end}:")

    def _switch(self, context: _Context) -> None:
        inner = replace(context, depth=context.depth + 1, uniform=False)
        cases, end = [self._label() for _ in range(3)], self._label()
        self._write(f"and.b32 %x, {self._register('r')}, 3")
        if self._number(1):
            self.lines.append(f"T{end}: .branchtargets {', '.join(cases)}, {end};")
            self._write(f"brx.idx %x, T{end}")
        else:
            for value, label in enumerate(cases):
                self._write(f"setp.eq.u32 %is, %x, {value}; @%is bra {label}")
            self._write(f"bra {end}")
        for label in cases:
            self.lines.append(f"{label}:")
            self._sequence(inner)
            if self._number(1):
                self._write(f"bra {end}")
        self.lines.append(f"{end}:")

    def _leave_loop(self, context: _Context) -> None:
        self._write(f"@{self._operand('q')} bra {self._choose(context.breaks)}")

    def _leave(self, context: _Context) -> None:
        self._write(
            f"st.global.u32 [%own], {self._register('r')}; "
            f"@{self._operand('q')} {self._choose(['ret', 'exit'])}"
        )

    def _count(self, context: _Context) -> None:
        self._write(f"mov.u32 {self._register('r')}, %i{self._number(context.loops - 1)}")

    def _place(self, context: _Context) -> None:
        """Let the thread's place in the grid decide something."""
        place = self._choose(["%col", "%line"])
        if self._number(1):
            comparison = (
                f"{self._choose(['lt', 'le', 'gt', 'ge', 'eq', 'ne'])}.{self._choose(['s32', 'u32'])}"
            )
            self._write(f"setp.{comparison} {self._register('p')}, {place}, {self._number(300)}")
        else:
            self._write(f"add.s32 {self._register('r')}, {place}, {self._operand('r')}")

    # -- memory -------------------------------------------------------------------------------------

    def _access(self, place: str, space: str, bytes_: int) -> None:
        """Load or store at a constant place, or at a computed one, in an array of `bytes_`."""
        letter = self._choose("rdhfg")
        kind, size = TYPES[letter], {"h": 2, "r": 4, "d": 8, "f": 4, "g": 8}[letter]
        if letter in "rh":
            kind = self._choose([kind, *{"r": ("u8", "s8", "u16", "s16"), "h": ("u8", "s8")}[letter]])
            size = int(kind[1:]) // 8
        count = bytes_ // size
        if self._number(1):
            address = f"{place}+{self._number(count - 1) * size}"
        else:
            scale = size.bit_length() - 1
            wide = place if place.startswith("%") else "%b"
            if wide == "%b":
                self._write(f"mov.u64 %b, {place}")
            self._write(f"and.b32 %x, {self._register('r')}, {count - 1}; cvt.u64.u32 %a, %x")
            self._write(f"shl.b64 %a, %a, {scale}; add.u64 %a, {wide}, %a")
            address = "%a"
        register = self._register(letter)
        if space != "const" and self._number(1):
            if letter in "fg":
                self._write(self._one_nan(letter, register))
            self._write(f"st.{space}.{kind} [{address}], {register}")
        else:
            self._write(f"ld.{space}.{kind} {register}, [{address}]")

    @staticmethod
    def _one_nan(letter: str, register: str) -> str:
        """Return PTX that makes every NaN the same, before other eyes see its bits."""
        kind, nan = TYPES[letter], "0f7FFFFFFF" if letter == "f" else "0d7FF8000000000000"
        return (
            f"setp.nan.{kind} %nan, {register}, {register}; selp.{kind} {register}, {nan}, {register}, %nan"
        )

    def _cell(self, context: _Context) -> None:
        self._access("%own", "global", 32)

    def _table(self, context: _Context) -> None:
        self._access("__table", "const", 64)

    def _local(self, context: _Context) -> None:
        self._access("depot", "local", 32)

    def _counter(self, context: _Context) -> None:
        number = self._number(len(COUNTERS) - 1)
        name, kind = COUNTERS[number]
        letter = "d" if kind.endswith("64") else "r"
        self._write(f"and.b32 %x, {self._register('r')}, {SLOTS - 1}; mul.wide.u32 %a, %x, 8")
        self._write("add.u64 %a, %a, %counters")
        place, value = f"[%a+{number * SLOTS * 8}]", self._operand(letter)
        if self._number(1):
            self._write(f"red.global.{name}.{kind} {place}, {value}")
        else:
            trash = "%trashd" if letter == "d" else "%trash"
            self._write(f"atom.global.{name}.{kind} {trash}, {place}, {value}")

    def _private(self, context: _Context) -> None:
        """Atomics whose result is known, because nobody else is there."""
        space, place = ("global", "%own+8") if self._number(1) else ("shared", "%shared")
        name = self._choose(list(_PRIVATE))
        kind = self._choose(_PRIVATE[name].split())
        letter = "d" if kind.endswith("64") else "r"
        operands = [self._operand(letter) for _ in range(1 + (name == "cas"))]
        self._write(f"atom.{space}.{name}.{kind} {self._register(letter)}, [{place}], {', '.join(operands)}")

    # -- together -----------------------------------------------------------------------------------

    def _sum(self, context: _Context) -> None:
        name = ("add.u32", "or.b32", "max.s32", "xor.b32")
        number = self._number(3)
        self._write(f"red.shared.{name[number]} [sums+{4 * number}], {self._operand('r')}")

    def _exchange(self, context: _Context) -> None:
        """Every thread reads what another wrote."""
        letter = self._choose("rdfgh")
        kind = TYPES[letter]
        source = self._register(letter)
        if letter in "fg":
            self._write(self._one_nan(letter, source))
        self._write("bar.sync 0; mov.u32 %y, slots; shl.b32 %x, %thread, 3; add.u32 %x, %x, %y")
        self._write(f"st.shared.{kind} [%x], {source}; bar.sync 0")
        if self._number(1):
            self._write(f"add.u32 %x, %thread, {self._number(self._threads)}")
        else:
            self._write(f"add.u32 %x, %thread, {self._register('r')}")
        self._write("rem.u32 %x, %x, %count; shl.b32 %x, %x, 3; add.u32 %x, %x, %y")
        self._write(f"ld.shared.{kind} {self._register(letter)}, [%x]")

    def _vote(self, context: _Context) -> None:
        self._write(self._fill(self._choose(BARRIERS)))

    def _warp(self, context: _Context) -> None:
        self._write(self._fill(self._choose(WARP)))

    # -- functions ----------------------------------------------------------------------------------

    def _function(self, number: int) -> str:
        """Draw a function of two words; it may return early."""
        integers = [each for name in ("integer", "bits") for each in FAMILIES[name]]
        fitting = [each for each in integers if not set(re.findall(_OPERAND, each)) - _WORDS_ONLY]
        lines = [self._fill(self._choose(fitting)) for _ in range(self._number(5, 1))]
        early = "setp.lt.s32 %p0, %r0, %r1; @%p0 st.param.b32 [out], %r1; @%p0 ret"
        body = "; ".join([*lines, early, *[self._fill(self._choose(fitting)) for _ in range(2)]])
        return (
            f".func (.param .b32 out) callee{number}(.param .b32 a, .param .b32 b)\n{{\n"
            f"  .reg .pred %p<1>;\n  .reg .b32 %r<{POOL['r']}>;\n"
            "  ld.param.b32 %r0, [a];\n  ld.param.b32 %r1, [b];\n"
            + "".join(f"  mov.b32 %r{each}, {each};\n" for each in range(2, POOL["r"]))
            + "".join(f"  {line};\n" for line in body.split("; "))
            + "  st.param.b32 [out], %r0;\n  ret;\n}\n"
        )

    def _call(self, context: _Context) -> None:
        name = f"callee{self._number(len(self.functions) - 1)}"
        self._write(
            "{ .param .b32 a0; .param .b32 a1; .param .b32 result"
            f"; st.param.b32 [a0], {self._operand('r')}; st.param.b32 [a1], {self._operand('r')}"
            f"; call.uni (result), {name}, (a0, a1); ld.param.b32 {self._register('r')}, [result]"
        )
        self.lines.append("}")


_WORDS_ONLY = {(letter, "") for letter in "rRnk"}
