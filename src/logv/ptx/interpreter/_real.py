"""Floating point by its definition: exact integers, and one rounding at the end.

A finite number is ``(-1)**negative * magnitude * 2**exponent`` with integers of any size. Every operation
computes the exact result (or, for quotients and roots, enough of it to round correctly) and rounds once.
"""

import math
from dataclasses import dataclass

ROUNDINGS = frozenset({"rn", "rz", "rm", "rp"})


@dataclass(frozen=True, slots=True)
class Real:
    """A finite number; zero has a sign."""

    negative: bool
    magnitude: int
    exponent: int

    @property
    def signed(self) -> int:
        """Magnitude with its sign."""
        return -self.magnitude if self.negative else self.magnitude


@dataclass(frozen=True)
class Format:
    """A binary interchange format of IEEE 754, or one shaped like it.

    Attributes
    ----------
    exponent_bits, fraction_bits : int
    nan : int
        The bits of the NaN that operations return.
    """

    exponent_bits: int
    fraction_bits: int
    nan: int

    @property
    def bits(self) -> int:
        """Width."""
        return 1 + self.exponent_bits + self.fraction_bits

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.bits - 1)

    @property
    def infinity(self) -> int:
        """Bits of plus infinity."""
        return ((1 << self.exponent_bits) - 1) << self.fraction_bits

    @property
    def lowest(self) -> int:
        """Exponent of the last bit of a subnormal number."""
        return 2 - (1 << (self.exponent_bits - 1)) - self.fraction_bits

    @property
    def one(self) -> int:
        """Bits of 1.0."""
        return ((1 << (self.exponent_bits - 1)) - 1) << self.fraction_bits

    # -- what bits stand for ------------------------------------------------------------------------

    def is_nan(self, bits: int) -> bool:
        """Whether the bits are not a number."""
        return bits & ~self.sign > self.infinity

    def is_infinite(self, bits: int) -> bool:
        """Whether the bits are an infinity."""
        return bits & ~self.sign == self.infinity

    def is_finite(self, bits: int) -> bool:
        """Whether the bits are a finite number."""
        return bits & ~self.sign < self.infinity

    def is_zero(self, bits: int) -> bool:
        """Whether the bits are a zero."""
        return bits & ~self.sign == 0

    def is_subnormal(self, bits: int) -> bool:
        """Whether the bits are a number too small for the full precision, and not zero."""
        return 0 < bits & ~self.sign < 1 << self.fraction_bits

    def is_negative(self, bits: int) -> bool:
        """Whether the sign is set."""
        return bool(bits & self.sign)

    def decode(self, bits: int) -> Real:
        """Return a finite number."""
        fraction = bits & ((1 << self.fraction_bits) - 1)
        biased = (bits & ~self.sign) >> self.fraction_bits
        if biased == 0:
            return Real(self.is_negative(bits), fraction, self.lowest)
        return Real(self.is_negative(bits), fraction | 1 << self.fraction_bits, self.lowest + biased - 1)

    def to_float(self, bits: int) -> float:
        """Return a Python float; every format here fits one."""
        if self.is_nan(bits):
            return math.nan
        if self.is_infinite(bits):
            return -math.inf if self.is_negative(bits) else math.inf
        real = self.decode(bits)
        return math.copysign(math.ldexp(real.magnitude, real.exponent), -1.0 if real.negative else 1.0)

    # -- rounding -----------------------------------------------------------------------------------

    def encode(self, real: Real, rounding: str = "rn") -> int:
        """Round to this format.

        Parameters
        ----------
        rounding : str
            ``rn`` to nearest even, ``rna`` to nearest with ties away from zero, ``rz`` toward zero, ``rm``
            down, ``rp`` up.
        """
        sign = self.sign if real.negative else 0
        if real.magnitude == 0:
            return sign
        # The exponent of the last bit that the result keeps.
        last = max(real.magnitude.bit_length() + real.exponent - self.fraction_bits - 1, self.lowest)
        shift = last - real.exponent
        if shift <= 0:
            kept = real.magnitude << -shift
        else:
            kept, rest = divmod(real.magnitude, 1 << shift)
            kept += _rounds_up(kept, rest, 1 << (shift - 1), negative=real.negative, rounding=rounding)
        # A number with its leading bit adds 1 to the exponent field; so does a carry out of the fraction.
        bits = ((last - self.lowest) << self.fraction_bits) + kept
        if bits >= self.infinity:
            to_infinity = rounding in ("rn", "rna") or rounding == ("rm" if real.negative else "rp")
            bits = self.infinity if to_infinity else self.infinity - 1
        return sign | bits

    def from_float(self, number: float) -> int:
        """Return the bits of the nearest number."""
        if math.isnan(number):
            return self.nan
        sign = self.sign if math.copysign(1.0, number) < 0 else 0
        if math.isinf(number):
            return sign | self.infinity
        numerator, denominator = abs(number).as_integer_ratio()
        return self.encode(Real(sign != 0, numerator, 1 - denominator.bit_length()))

    # -- arithmetic ---------------------------------------------------------------------------------

    def flush(self, bits: int) -> int:
        """Return zero of the same sign for a subnormal number, and anything else as it is."""
        return bits & self.sign if self.is_subnormal(bits) else bits

    def negate(self, bits: int) -> int:
        """Return the number with the other sign."""
        return self.nan if self.is_nan(bits) else bits ^ self.sign

    def magnitude(self, bits: int) -> int:
        """Return the absolute value."""
        return self.nan if self.is_nan(bits) else bits & ~self.sign

    def add(self, a: int, b: int, rounding: str = "rn") -> int:
        """Return a + b."""
        return self.fma(a, self.one, b, rounding)

    def subtract(self, a: int, b: int, rounding: str = "rn") -> int:
        """Return a - b."""
        return self.add(a, self.negate(b), rounding)

    def multiply(self, a: int, b: int, rounding: str = "rn") -> int:
        """Return a * b."""
        if self.is_nan(a) or self.is_nan(b):
            return self.nan
        sign = (a ^ b) & self.sign
        if self.is_infinite(a) or self.is_infinite(b):
            return self.nan if self.is_zero(a) or self.is_zero(b) else sign | self.infinity
        x, y = self.decode(a), self.decode(b)
        return self.encode(Real(sign != 0, x.magnitude * y.magnitude, x.exponent + y.exponent), rounding)

    def fma(self, a: int, b: int, c: int, rounding: str = "rn") -> int:
        """Return a * b + c with one rounding."""
        if self.is_nan(a) or self.is_nan(b) or self.is_nan(c):
            return self.nan
        negative = bool((a ^ b) & self.sign)
        if self.is_infinite(a) or self.is_infinite(b):
            if self.is_zero(a) or self.is_zero(b):
                return self.nan
            if self.is_infinite(c) and self.is_negative(c) != negative:
                return self.nan
            return self.infinity | (self.sign if negative else 0)
        if self.is_infinite(c):
            return c
        x, y, z = self.decode(a), self.decode(b), self.decode(c)
        product = Real(negative, x.magnitude * y.magnitude, x.exponent + y.exponent)
        exponent = min(product.exponent, z.exponent)
        total = (product.signed << (product.exponent - exponent)) + (z.signed << (z.exponent - exponent))
        if total == 0:
            # Zeros of one sign keep it; otherwise the sum is +0, and -0 where rounding is down.
            minus = negative if negative == z.negative else rounding == "rm"
            return self.sign if minus else 0
        return self.encode(Real(total < 0, abs(total), exponent), rounding)

    def divide(self, a: int, b: int, rounding: str = "rn") -> int:
        """Return a / b."""
        if self.is_nan(a) or self.is_nan(b):
            return self.nan
        sign = (a ^ b) & self.sign
        if self.is_infinite(a):
            return self.nan if self.is_infinite(b) else sign | self.infinity
        if self.is_infinite(b):
            return sign
        if self.is_zero(b):
            return self.nan if self.is_zero(a) else sign | self.infinity
        x, y = self.decode(a), self.decode(b)
        # Bits beyond the precision, and one that says whether anything is left.
        places = y.magnitude.bit_length() + self.fraction_bits + 4
        quotient, rest = divmod(x.magnitude << places, y.magnitude)
        exact = Real(sign != 0, quotient << 1 | (rest != 0), x.exponent - y.exponent - places - 1)
        return self.encode(exact, rounding)

    def square_root(self, a: int, rounding: str = "rn") -> int:
        """Return the square root of a."""
        if self.is_zero(a):
            return a
        if self.is_nan(a) or self.is_negative(a):
            return self.nan
        if self.is_infinite(a):
            return a
        x = self.decode(a)
        places = 2 * (self.fraction_bits + 4) + (x.exponent & 1)
        square = x.magnitude << places
        root = math.isqrt(square)
        exact = Real(False, root << 1 | (root * root != square), (x.exponent - places) // 2 - 1)
        return self.encode(exact, rounding)

    def compare(self, a: int, b: int) -> int | None:
        """Return -1, 0 or 1 as a is less, equal or greater; None if they have no order."""
        if self.is_nan(a) or self.is_nan(b):
            return None
        x, y = self._rank(a), self._rank(b)
        return (x > y) - (x < y)

    def _rank(self, bits: int) -> int:
        return -(bits & ~self.sign) if self.is_negative(bits) else bits

    def minimum(self, a: int, b: int, *, propagate: bool) -> int:
        """Return the lesser, -0 before +0; a NaN is passed over, or returned if `propagate`."""
        if self.is_nan(a) or self.is_nan(b):
            if propagate or (self.is_nan(a) and self.is_nan(b)):
                return self.nan
            return b if self.is_nan(a) else a
        order = self.compare(a, b)
        return a | b if order == 0 else a if order == -1 else b

    def maximum(self, a: int, b: int, *, propagate: bool) -> int:
        """Return the greater, +0 after -0; a NaN is passed over, or returned if `propagate`."""
        if self.is_nan(a) or self.is_nan(b):
            return self.minimum(a, b, propagate=propagate)
        order = self.compare(a, b)
        return a & b if order == 0 else a if order == 1 else b

    def saturate(self, bits: int) -> int:
        """Clamp to [0, 1]; NaN and -0 become +0."""
        if self.is_nan(bits) or self.is_negative(bits):
            return 0
        return min(bits, self.one)

    def to_integer(self, bits: int, rounding: str) -> int:
        """Return a finite number rounded to an integer, by ``rni rzi rmi rpi``."""
        real = self.decode(bits)
        if real.exponent >= 0:
            return real.signed << real.exponent
        shift = -real.exponent
        kept, rest = divmod(real.magnitude, 1 << shift)
        kept += _rounds_up(kept, rest, 1 << (shift - 1), negative=real.negative, rounding=rounding[:2])
        return -kept if real.negative else kept


def _rounds_up(kept: int, rest: int, half: int, *, negative: bool, rounding: str) -> bool:
    """Whether the magnitude `kept`, with `rest` left over, is to grow by one."""
    if rest == 0 or rounding == "rz":
        return False
    if rounding == "rm":
        return negative
    if rounding == "rp":
        return not negative
    return rest > half or (rest == half and (rounding == "rna" or kept % 2 == 1))


FORMATS = {
    "f16": Format(5, 10, 0x7FFF),
    "bf16": Format(8, 7, 0x7FFF),
    "f32": Format(8, 23, 0x7FFFFFFF),
    "f64": Format(11, 52, 0x7FF8000000000000),
}
