"""The token stream that the parser reads, with the errors that name a place in it."""

import struct

from logv.errors import PtxError
from logv.ptx._lexer import Lexer, Token
from logv.ptx._syntax import Immediate


class TokenStream:
    """Tokens of a text, one after the other.

    Parameters
    ----------
    text : str
        PTX.

    Attributes
    ----------
    statement_begin : int
        Character position of the statement that errors name; the parser keeps it.
    """

    def __init__(self, text: str) -> None:
        self.lexer = Lexer(text)
        self._tokens = self.lexer.tokens
        self._next = 0
        self.statement_begin = 0

    @property
    def position(self) -> int:
        """Number of tokens taken."""
        return self._next

    def peek(self, ahead: int = 0) -> Token:
        """Return a token without taking it; an end token beyond the last."""
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def take(self) -> Token:
        """Take the next token."""
        token = self._tokens[self._next]
        if token.kind != "end":
            self._next += 1
        return token

    def accept(self, text: str) -> bool:
        """Take the next token if it is this one."""
        if self._tokens[self._next].text != text:
            return False
        self._next += 1
        return True

    def expect(self, text: str) -> Token:
        """Take the next token, which must be this one."""
        token = self.take()
        if token.text != text:
            found = repr(token.text) if token.text else "the end of the text"
            raise self.error(f"expected {text!r}, found {found}")
        return token

    def name(self, what: str) -> str:
        """Take a name."""
        token = self.take()
        if token.kind != "name":
            raise self.error(f"expected {what}")
        return token.text

    def integer(self) -> int:
        """Take an integer, which may be negative."""
        negative = self.accept("-")
        value = self.immediate(self.take())
        if value.float_bits:
            raise self.error("expected an integer")
        return -value.value if negative else value.value

    def error(self, reason: str) -> PtxError:
        """Return an error that names the current statement."""
        begin = self.statement_begin
        end = self.lexer.text.find(";", begin, begin + 400) + 1 or self.lexer.text.find("\n", begin) + 1
        return PtxError(
            reason,
            line=self.lexer.line(begin),
            instruction=self.lexer.excerpt(begin, end or begin + 400),
        )

    def immediate(self, token: Token) -> Immediate:
        """Turn a number token into a literal."""
        if token.kind != "number":
            raise self.error("expected a number")
        text = token.text
        if text[:2] in ("0f", "0F"):
            return Immediate(int(text[2:], 16), 32)
        if text[:2] in ("0d", "0D"):
            return Immediate(int(text[2:], 16), 64)
        if "." in text:
            return Immediate(struct.unpack("<Q", struct.pack("<d", float(text)))[0], 64)
        text = text.rstrip("U")
        # At most 20 digits reach int(): longer ones cannot be 64-bit numbers, and int() of very long
        # text is slow and refuses by itself.
        if len(text) > 66 or (text.isdigit() and len(text) > 22):
            raise self.error("a number beyond 64 bits")
        base = (
            16 if text[:2] in ("0x", "0X") else 2 if text[:2] in ("0b", "0B") else 8 if text[0] == "0" else 10
        )
        try:
            value = int(text, base)
        except ValueError:
            raise self.error("a malformed number") from None
        if value >= 1 << 64:
            raise self.error("a number beyond 64 bits")
        return Immediate(value)


def float_bits(value: Immediate, bits: int) -> int:
    """Return the bits of a literal as a floating point number of `bits` width."""
    if value.float_bits == bits:
        return value.value
    if value.float_bits == 0:
        return _pack(float(value.value), bits)
    if value.float_bits == 64:
        (number,) = struct.unpack("<d", value.value.to_bytes(8, "little"))
    else:
        (number,) = struct.unpack("<f", value.value.to_bytes(4, "little"))
    return _pack(number, bits)


def _pack(number: float, bits: int) -> int:
    if bits == 64:
        return int(struct.unpack("<Q", struct.pack("<d", number))[0])
    try:
        return int(struct.unpack("<I", struct.pack("<f", number))[0])
    except OverflowError:
        return 0x7F800000 | (0x80000000 if number < 0 else 0)
