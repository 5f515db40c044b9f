"""Everything about a PTX text that is not supported, and what it uses of what is."""

import re
from collections import Counter
from dataclasses import dataclass

from logv.errors import PtxError
from logv.ptx._lexer import Lexer
from logv.ptx._syntax import Instruction
from logv.ptx.compiler import parse
from logv.ptx.module import Entry, Module

# The text is parsed once for each: bounds how long a text without one supported instruction takes.
_MOST_PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Survey:
    """What :func:`survey` found.

    Attributes
    ----------
    module : Module or None
        The module without the instructions that are not supported; None if nothing could be made of the rest.
    problems : tuple of PtxError
        In the order in which the compiler meets them.
    complete : bool
        Whether the whole text was looked at. Not so behind a directive that is not supported, or too many
        problems.
    """

    module: Module | None
    problems: tuple[PtxError, ...]
    complete: bool

    @property
    def supported(self) -> bool:
        """Whether the text compiles as it is."""
        return not self.problems


def survey(text: str | bytes) -> Survey:
    """Find every instruction of a PTX text that is not supported, where :func:`parse` names the first one.

    Parameters
    ----------
    text : str or bytes
        One PTX module.
    """
    problems: list[PtxError] = []
    rest = text.encode() if isinstance(text, str) else text
    while True:
        try:
            return Survey(parse(rest), tuple(problems), True)
        except PtxError as error:
            problems.append(error)
            try:
                # Without comments, as the error's excerpt is.
                shorter = _without(Lexer(rest.decode("ascii")).text, error)
            except (PtxError, UnicodeDecodeError):
                shorter = None
            if shorter is None or len(problems) == _MOST_PROBLEMS:
                return Survey(None, tuple(problems), False)
            rest = shorter.encode()


def count_instructions(entry: Entry) -> Counter[str]:
    """Return how often each instruction, with its modifiers, stands in an entry."""
    return Counter(
        ".".join((statement.opcode, *statement.modifiers))
        for statement in entry.body.statements
        if isinstance(statement, Instruction)
    )


def _without(text: str, error: PtxError) -> str | None:
    """Return the text with blanks for the instruction that an error names; None if it names none.

    What is left reads registers that are not written any more, which means nothing, and is no error.
    """
    excerpt = error.instruction
    if excerpt.startswith(".") or not excerpt.endswith((";", "...")):
        return None
    begin = sum(len(line) + 1 for line in text.split("\n")[: error.line - 1])
    pattern = re.compile(r"\s*".join(map(re.escape, excerpt.removesuffix("...").split())))
    found = pattern.search(text, begin)
    end = text.find(";", found.start()) if found is not None else -1
    if found is None or end < 0:
        return None
    blank = re.sub(r"[^\n]", " ", text[found.start() : end])
    return text[: found.start()] + blank + text[end:]
