"""Binary floating point in exact fractions: the reference for every format and rounding."""

import math
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Format:
    """One binary format.

    Attributes
    ----------
    bits, fraction_bits : int
        Of the whole number, and of its fraction field.
    """

    bits: int
    fraction_bits: int

    @property
    def bias(self) -> int:
        """What is added to exponents."""
        return (1 << (self.bits - self.fraction_bits - 2)) - 1

    @property
    def infinity(self) -> int:
        """The bits of plus infinity."""
        return ((1 << self.bits - self.fraction_bits - 1) - 1) << self.fraction_bits

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.bits - 1)

    def is_nan(self, bits: int) -> bool:
        """Whether the bits are those of a NaN."""
        return bits & (self.sign - 1) > self.infinity

    def decode(self, bits: int) -> Fraction | float:
        """Return the number: a fraction, or a NaN or an infinity as a float."""
        magnitude = bits & (self.sign - 1)
        if magnitude >= self.infinity:
            value = math.inf if magnitude == self.infinity else math.nan
            return -value if bits & self.sign else value
        exponent = max(1, magnitude >> self.fraction_bits)
        fraction = magnitude & (1 << self.fraction_bits) - 1
        if magnitude >> self.fraction_bits:
            fraction |= 1 << self.fraction_bits
        exact = Fraction(fraction) * Fraction(2) ** (exponent - self.bias - self.fraction_bits)
        return -exact if bits & self.sign else exact

    def encode(self, exact: Fraction, mode: str = "rn") -> int:
        """Round a number that is not zero (``rn rz rm rp``), overflow included."""
        negative, size = exact < 0, abs(exact)
        up = mode == ("rm" if negative else "rp")
        exponent = size.numerator.bit_length() - size.denominator.bit_length()
        if Fraction(2) ** exponent > size:
            exponent -= 1
        exponent = max(exponent, 1 - self.bias)
        steps = size / Fraction(2) ** (exponent - self.fraction_bits)
        whole, rest = divmod(steps, 1)
        if (mode == "rn" and (rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2))) or (
            up and rest
        ):
            whole += 1
        # A carry out of the fraction makes the next exponent by itself.
        magnitude = int(whole) + ((exponent + self.bias - 1) << self.fraction_bits)
        if magnitude >= self.infinity:
            magnitude = self.infinity - (0 if up or mode == "rn" else 1)
        return magnitude | (self.sign if negative else 0)

    def flush(self, bits: int) -> int:
        """Replace a subnormal number by a zero of its sign."""
        return bits if bits & self.infinity else bits & self.sign


F16 = Format(16, 10)
BF16 = Format(16, 7)
F32 = Format(32, 23)
F64 = Format(64, 52)
FORMATS = {"f16": F16, "bf16": BF16, "f32": F32, "f64": F64}


def fused(
    name: str, form: Format, operands: tuple[int, ...], mode: str = "rn", result: Format | None = None
) -> int | None:
    """Return the bits of ``add sub mul div fma sqrt rcp`` rounded once; None stands for any NaN."""
    to = result or form
    numbers = [form.decode(bits) for bits in operands]
    signs = [bool(bits & form.sign) for bits in operands]
    if any(isinstance(number, float) and math.isnan(number) for number in numbers):
        return None
    if name in ("div", "rcp"):
        top, below = ([Fraction(1), *numbers] if name == "rcp" else numbers)[:2]
        negative = signs[0] != signs[1] if name == "div" else signs[0]
        return _quotient(to, top, below, negative, mode)
    if name == "sqrt":
        return _root(to, numbers[0], signs[0], mode)
    if name in ("add", "sub"):
        flipped = signs[1] != (name == "sub")
        return _sum(to, (numbers[0], signs[0]), (numbers[1] * (-1 if name == "sub" else 1), flipped), mode)
    negative = signs[0] != signs[1]
    if any(isinstance(number, float) for number in numbers[:2]):
        if 0 in numbers[:2]:
            return None
        product: Fraction | float = -math.inf if negative else math.inf
    else:
        product = Fraction(numbers[0]) * Fraction(numbers[1])
    if name == "mul":
        return _signed(to, product, negative, mode)
    return _sum(to, (product, negative), (numbers[2], signs[2]), mode)


def _signed(to: Format, number: Fraction | float, negative: bool, mode: str) -> int:
    sign = to.sign if negative else 0
    if isinstance(number, float):
        return to.infinity | sign
    return to.encode(number, mode) if number else sign


def _sum(
    to: Format, left: tuple[Fraction | float, bool], right: tuple[Fraction | float, bool], mode: str
) -> int | None:
    infinite = [negative for number, negative in (left, right) if isinstance(number, float)]
    if infinite:
        if len(set(infinite)) == 2:
            return None
        return to.infinity | (to.sign if infinite[0] else 0)
    exact = Fraction(left[0]) + Fraction(right[0])
    negative = left[1] if left[1] == right[1] else mode == "rm"
    return _signed(to, exact, negative, mode)


def _quotient(
    to: Format, top: Fraction | float, below: Fraction | float, negative: bool, mode: str
) -> int | None:
    sign = to.sign if negative else 0
    if isinstance(top, float) or not below:
        both = (isinstance(top, float) and isinstance(below, float)) or (not below and not top)
        return None if both else to.infinity | sign
    if isinstance(below, float) or not top:
        return sign
    return to.encode(Fraction(top) / Fraction(below), mode)


def _root(to: Format, number: Fraction | float, negative: bool, mode: str) -> int | None:
    if not number:
        return to.sign if negative else 0
    if negative:
        return None
    if isinstance(number, float):
        return to.infinity
    # Enough digits that what is cut off decides on nothing but the side.
    scale = 1 << 2400
    whole = math.isqrt(int(number * scale * scale))
    exact = Fraction(whole, scale)
    if exact * exact != number:
        exact = Fraction(2 * whole + 1, 2 * scale)
    return to.encode(exact, mode)
