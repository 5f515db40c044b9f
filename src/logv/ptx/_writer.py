"""The growing text of one kernel in LLVM assembly: names of values, and pure operations."""

from collections.abc import Iterable

from logv.ptx._ir import Value
from logv.ptx._llvm import Declarations, constant, is_nan, operation
from logv.ptx._ranges import Ranges

_SPECIAL = {"ctaid": "ctaid", "nctaid": "grid", "launch": "launch"}
# Known by a name that stands already.
_NAMED = frozenset({"param", "special", "cvta"})
_FLAGGED = frozenset({"add", "sub", "mul", "shl"})


class Writer:
    """Collects lines.

    Parameters
    ----------
    block : tuple of int
        Block dimensions.

    Attributes
    ----------
    lines : list of str
        Replaced to write into another part of the text.
    ranges : Ranges
        Kept up to date with what is written.
    parameters : dict
        Names of kernel parameters by offset and type; they are loaded at entry.
    nans : dict
        Names of constants that are no numbers, by type and bits; they are made at entry.
    thread_names : dict of str to str
        The i32 thread numbers by axis, inside a loop over threads.
    """

    def __init__(self, block: tuple[int, int, int]) -> None:
        self.lines: list[str] = []
        self.ranges = Ranges(block)
        self.declarations = Declarations()
        self.parameters: dict[tuple[int, str], str] = {}
        self.nans: dict[tuple[str, int], str] = {}
        self.thread_names: dict[str, str] = {}
        self._names: dict[Value, str] = {}
        self._counter = 0

    def put(self, line: str) -> None:
        """Append an instruction."""
        self.lines.append("  " + line)

    def label(self, name: str) -> None:
        """Begin a basic block."""
        self.lines.append(f"{name}:")

    def let(self, text: str) -> str:
        """Append an instruction and return the new name of its result."""
        self._counter += 1
        name = f"%t{self._counter}"
        self.put(f"{name} = {text}")
        return name

    def name(self, value: Value) -> str:
        """Return the name of a value, or the constant."""
        while value.op == "cvta":
            value = value.args[0]
        if value.op == "const" and isinstance(value.attr, int):
            if is_nan(value.type, value.attr):
                return self.nans.setdefault((value.type, value.attr), f"%nan{len(self.nans)}")
            return constant(value.type, value.attr)
        if value.op == "param" and isinstance(value.attr, int):
            return self.parameters.setdefault((value.attr, value.type), f"%param{value.attr}_{value.type}")
        if value.op == "special":
            register, _, axis = str(value.attr).partition(".")
            return self.thread_names[axis] if register == "tid" else f"%{_SPECIAL[register]}_{axis}"
        name = self._names.get(value)
        if name is None:
            self._counter += 1
            name = self._names[value] = f"%v{self._counter}"
        return name

    def named(self, value: Value) -> bool:
        """Whether anything has used the value so far."""
        return value in self._names

    def forget(self, values: Iterable[Value]) -> None:
        """Give new names to what is written again."""
        for value in values:
            self._names.pop(value, None)

    def pure(self, value: Value) -> None:
        """Write an operation without side effects."""
        if value.op not in _NAMED:
            names = [self.name(arg) for arg in value.args]
            flags = self.ranges.sum_flags(value) if value.op in _FLAGGED else ""
            self.put(f"{self.name(value)} = {operation(value, names, flags, self.declarations)}")
        self.ranges.note(value)
