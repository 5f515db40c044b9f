"""Types as instructions name them, the packed ones of half precision among them."""

import re
from dataclasses import dataclass
from functools import cached_property

from logv.ptx.interpreter._real import FORMATS, Format

_TYPE = re.compile(r"(pred|tf32|bf16x2|f16x2|bf16|f16|f32|f64|[bus](?:8|16|32|64)|b128)")
_BITS = {"pred": 1, "tf32": 32, "bf16x2": 32, "f16x2": 32, "bf16": 16}


@dataclass(frozen=True)
class Kind:
    """A type.

    Attributes
    ----------
    name : str
        Without the dot.
    bits : int
        Width of the whole; 1 for a predicate.
    """

    name: str
    bits: int

    @property
    def mask(self) -> int:
        """All ones."""
        return (1 << self.bits) - 1

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.bits // 8

    @property
    def signed(self) -> bool:
        """Whether it is a signed integer."""
        return self.name[0] == "s"

    @property
    def untyped(self) -> bool:
        """Whether it is a plain pattern of bits."""
        return self.name[0] == "b" and not self.floating

    @property
    def integer(self) -> bool:
        """Whether it is a number without a fraction."""
        return self.name[0] in "us"

    @property
    def floating(self) -> bool:
        """Whether it is a floating point number, or two in one word."""
        return self.name.removesuffix("x2") in FORMATS

    @property
    def predicate(self) -> bool:
        """Whether it is one bit."""
        return self.name == "pred"

    @property
    def packed(self) -> bool:
        """Whether a word holds two numbers."""
        return self.name.endswith("x2")

    @cached_property
    def format(self) -> Format:
        """Floating point format, of each half if the type is packed."""
        return FORMATS[self.name.removesuffix("x2")]

    @property
    def least(self) -> int:
        """Least integer."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def most(self) -> int:
        """Greatest integer."""
        return (1 << (self.bits - 1)) - 1 if self.signed else self.mask

    def number(self, bits: int) -> int:
        """Return what a pattern of bits stands for: the pattern itself unless the type is signed."""
        bits &= self.mask
        return bits - (1 << self.bits) if self.signed and bits >> (self.bits - 1) else bits

    def clamp(self, number: int) -> int:
        """Return the integer of this type that is nearest."""
        return min(max(number, self.least), self.most)


def kind_of(name: str) -> Kind | None:
    """Return the type of this name; None if it is none."""
    if not _TYPE.fullmatch(name):
        return None
    return Kind(name, _BITS.get(name) or int(name.lstrip("busf")))
