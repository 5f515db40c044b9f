"""One operation of the intermediate representation as a line of LLVM assembly."""

import struct

from logv.ptx._ir import Value
from logv.ptx._types import VALUE_BITS

_SUFFIX = {"half": "f16", "float": "f32", "double": "f64"}
_BINARY = frozenset(
    [
        "add",
        "sub",
        "mul",
        "and",
        "or",
        "xor",
        "shl",
        "lshr",
        "ashr",
        "udiv",
        "sdiv",
        "urem",
        "srem",
        "fadd",
        "fsub",
        "fmul",
        "fdiv",
    ]
)
_CASTS = frozenset(["sext", "zext", "trunc", "bitcast", "sitofp", "uitofp", "fpext", "fptrunc"])
_FLAGGED = frozenset(["add", "sub", "mul", "shl"])
_INTRINSICS = {
    **{name: name for name in ("smin", "smax", "umin", "umax", "ctpop", "bitreverse", "fma", "sqrt", "fabs")},
    **{name: name for name in ("floor", "ceil", "roundeven", "copysign", "minimum", "maximum")},
}
_WITH_FLAG = {"abs": "i1 false", "ctlz": "i1 false"}

# CLOCK_MONOTONIC is 1; a timespec is two 64-bit words on every 64-bit Linux.
_GLOBAL_TIMER = """define internal i64 @globaltimer() noinline {
  %now = alloca [2 x i64]
  %status = call i32 @clock_gettime(i32 1, ptr %now)
  %seconds = load i64, ptr %now
  %rest_p = getelementptr i64, ptr %now, i64 1
  %rest = load i64, ptr %rest_p
  %whole = mul i64 %seconds, 1000000000
  %sum = add i64 %whole, %rest
  ret i64 %sum
}"""


def is_nan(kind: str, bits: int) -> bool:
    """Whether the bits of a float or double are those of a NaN."""
    infinity = {"float": 0x7F800000, "double": 0x7FF << 52}.get(kind)
    return infinity is not None and bits & ~(1 << (VALUE_BITS[kind] - 1)) > infinity


def constant(kind: str, bits: int) -> str:
    """Return a constant in LLVM's spelling; a NaN has none that LLVM would keep to."""
    if kind == "double":
        return f"0x{bits:016X}"
    if kind == "float":
        (number,) = struct.unpack("<f", struct.pack("<I", bits))
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if kind == "i1":
        return "true" if bits else "false"
    return str(bits - (1 << VALUE_BITS[kind]) if bits >> (VALUE_BITS[kind] - 1) else bits)


class Declarations:
    """Intrinsics that a module uses."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def use(self, name: str, result: str, arguments: str) -> None:
        """Declare an intrinsic once."""
        self._lines[f"declare {result} @{name}({arguments})"] = None

    def timer(self, name: str) -> str:
        """Return a call that reads a timer: ``clock`` in cycles, ``globaltimer`` in nanoseconds."""
        if name == "clock":
            self.use("llvm.readcyclecounter", "i64", "")
            return "call i64 @llvm.readcyclecounter()"
        self.use("clock_gettime", "i32", "i32, ptr")
        self._lines[_GLOBAL_TIMER] = None
        return "call i64 @globaltimer()"

    def text(self) -> str:
        """Return the declarations."""
        return "\n".join(self._lines)


def operation(value: Value, names: list[str], flags: str, declarations: Declarations) -> str:
    """Return the right-hand side of a pure operation.

    Parameters
    ----------
    value : Value
    names : list of str
        The arguments' names or constants.
    flags : str
        Wrap flags that are known to hold.
    """
    op, kind = value.op, value.type
    source = value.args[0].type
    if op in _BINARY:
        return f"{op}{flags if op in _FLAGGED else ''} {kind} {names[0]}, {names[1]}"
    if op in ("icmp", "fcmp"):
        return f"{op} {value.attr} {source} {names[0]}, {names[1]}"
    if op == "select":
        return f"select i1 {names[0]}, {kind} {names[1]}, {kind} {names[2]}"
    if op == "trunc" and kind in _SUFFIX:
        return _call("trunc", kind, [kind], names, declarations)
    if op in _CASTS:
        return f"{op} {source} {names[0]} to {kind}"
    if op == "fneg":
        return f"fneg {kind} {names[0]}"
    if op in ("fptosi_sat", "fptoui_sat"):
        name = f"llvm.{op.replace('_', '.')}.{kind}.{_SUFFIX[source]}"
        declarations.use(name, kind, source)
        return f"call {kind} @{name}({source} {names[0]})"
    if op in _WITH_FLAG:
        declarations.use(f"llvm.{op}.{kind}", kind, f"{kind}, i1")
        return f"call {kind} @llvm.{op}.{kind}({kind} {names[0]}, {_WITH_FLAG[op]})"
    return _call(_INTRINSICS[op], kind, [kind] * len(names), names, declarations)


def _call(name: str, kind: str, kinds: list[str], names: list[str], declarations: Declarations) -> str:
    full = f"llvm.{name}.{_SUFFIX.get(kind, kind)}"
    declarations.use(full, kind, ", ".join(kinds))
    arguments = ", ".join(f"{one} {name}" for one, name in zip(kinds, names, strict=True))
    return f"call {kind} @{full}({arguments})"
