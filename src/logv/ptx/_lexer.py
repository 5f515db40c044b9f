"""PTX text to tokens."""

import re
import string
from bisect import bisect_right
from typing import NamedTuple

from logv.errors import PtxError

# An unterminated comment is taken to the end of the text at once: trying again at every "/*" would be
# quadratic.
_COMMENT = re.compile(r"//[^\n]*|/\*(?:.*?\*/|.*\Z)|\"[^\"\n]*\"", re.DOTALL)
# White space belongs to the token behind it, and at the end to an empty one.
_TOKEN = re.compile(
    r"""\s*(?:
    (?P<number>0[fF][0-9a-fA-F]{8}\b|0[dD][0-9a-fA-F]{16}\b|0[xX][0-9a-fA-F]+U?\b|0[bB][01]+U?\b
        |[0-9]+\.[0-9]*(?:[eE][+-]?[0-9]+)?|[0-9]+U?\b)
  | (?P<string>"[^"\n]*")
  | (?P<name>\.(?:reg|param|local|shared|global|const)(?=\.)|[%.$_A-Za-z](?:[%.$\w]|::)*)
  | (?P<mark>[-+*=@!|,;:<>(){}\[\]])
  | (?P<end>\Z))
    """,
    re.VERBOSE | re.ASCII,
)


class Token(NamedTuple):
    """A word of PTX and where it stands (character position in the text)."""

    kind: str
    text: str
    position: int


def _blank(match: re.Match[str]) -> str:
    text = match.group()
    if text.startswith('"'):
        return text
    return re.sub(r"[^\n]", " ", text)


class Lexer:
    """The tokens of a PTX text; the last is an empty one of kind ``end``.

    Parameters
    ----------
    text : str
        PTX.

    Raises
    ------
    PtxError
        A character that PTX does not know.
    """

    def __init__(self, text: str) -> None:
        self.text = _COMMENT.sub(_blank, text)
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", self.text))]
        self.tokens = self._split()

    def line(self, position: int) -> int:
        """Return the 1-based line of a character position."""
        return bisect_right(self._line_starts, position)

    def excerpt(self, begin: int, end: int) -> str:
        """Return the text between two positions on one line, shortened for a message."""
        words = " ".join(self.text[begin : min(end, begin + 400)].split())
        return words if len(words) <= 160 else words[:157] + "..."

    def _split(self) -> list[Token]:
        tokens: list[Token] = []
        position, kind, match_at, text = 0, "", _TOKEN.match, self.text
        while kind != "end":
            match = match_at(text, position)
            if match is None:
                position = len(text) - len(text[position:].lstrip(string.whitespace))
                raise PtxError(
                    f"unexpected character {text[position]!r}",
                    line=self.line(position),
                    instruction=self.excerpt(position, position + 40),
                )
            kind = str(match.lastgroup)
            tokens.append(Token(kind, match[kind], match.start(kind)))
            position = match.end()
        return tokens
