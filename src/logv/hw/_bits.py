"""The one codec for bit fields, in the manuals' ``high:low`` notation."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Field:
    """Bits ``high:low`` of a register, a method's data, or a larger structure.

    Parameters
    ----------
    high, low : int
        Highest and lowest bit, both included, as the manuals write them.
    """

    high: int
    low: int

    @property
    def mask(self) -> int:
        """The field's bits, in place."""
        return ((1 << (self.high - self.low + 1)) - 1) << self.low

    def encode(self, value: int) -> int:
        """Return `value` shifted into place; raise ValueError if it does not fit."""
        word = value << self.low
        if word & ~self.mask or value < 0:
            raise ValueError(f"{value:#x} does not fit into bits {self.high}:{self.low}")
        return word

    def decode(self, word: int) -> int:
        """Return the field's value in `word`."""
        return (word & self.mask) >> self.low

    def update(self, word: int, value: int) -> int:
        """Return `word` with this field replaced by `value`."""
        return (word & ~self.mask) | self.encode(value)
