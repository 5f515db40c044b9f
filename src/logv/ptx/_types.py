"""PTX scalar types, and what the intermediate representation makes of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalarType:
    """One PTX scalar type.

    Attributes
    ----------
    name : str
        As PTX spells it, without the dot.
    kind : str
        ``b`` untyped bits, ``u`` unsigned, ``s`` signed, ``f`` floating point, ``h`` half precision (one
        or two numbers; values are their bits), ``p`` predicate.
    bits : int
        Width; 1 for a predicate.
    """

    name: str
    kind: str
    bits: int

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.bits // 8

    @property
    def value_type(self) -> str:
        """Type of a value in the intermediate representation (LLVM's spelling)."""
        if self.kind == "f":
            return "float" if self.bits == 32 else "double"
        return f"i{self.bits}"

    @property
    def signed(self) -> bool:
        """Whether the type is a signed integer."""
        return self.kind == "s"

    @property
    def floating(self) -> bool:
        """Whether the type is floating point of single or double precision."""
        return self.kind == "f"


HALF_TYPES = {
    name: ScalarType(name, "h", bits)
    for name, bits in (("f16", 16), ("f16x2", 32), ("bf16", 16), ("bf16x2", 32), ("tf32", 32))
}
SCALAR_TYPES = {
    f"{kind}{bits}": ScalarType(f"{kind}{bits}", kind, bits)
    for kind, widths in (
        ("b", (8, 16, 32, 64)),
        ("u", (8, 16, 32, 64)),
        ("s", (8, 16, 32, 64)),
        ("f", (32, 64)),
    )
    for bits in widths
}
SCALAR_TYPES["pred"] = ScalarType("pred", "p", 1)
SCALAR_TYPES["b128"] = ScalarType("b128", "b", 128)
SCALAR_TYPES.update(HALF_TYPES)

VALUE_BITS = {
    "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "i128": 128, "half": 16, "float": 32, "double": 64,
}  # fmt: skip
