"""The state of lowering one entry: operands to values, guards, and what instruction handlers share."""

from logv.hw.software_gpu import MAX_THREADS_PER_BLOCK, WARP_SIZE
from logv.ptx._builder import Builder
from logv.ptx._ir import Access, Block, Value
from logv.ptx._spaces import WINDOWS
from logv.ptx._syntax import Address, Group, Immediate, Instruction, Operand, Register, Symbol
from logv.ptx._tokens import float_bits
from logv.ptx._types import SCALAR_TYPES, VALUE_BITS, ScalarType
from logv.ptx.module import Entry

PREDICATE = SCALAR_TYPES["pred"]
FLOAT_TYPES = frozenset({"half", "float", "double"})
_AXES = "xyz"
# All blocks run on what looks like one multiprocessor. Launches are not numbered.
_FIXED = {"%smid": 0, "%nsmid": 1, "%gridid": 0}
# Timer, position and width of each register that shows one.
_TIMERS = {
    "%clock": ("clock", 0, 32),
    "%clock_hi": ("clock", 32, 32),
    "%clock64": ("clock", 0, 64),
    "%globaltimer": ("globaltimer", 0, 64),
    "%globaltimer_lo": ("globaltimer", 0, 32),
    "%globaltimer_hi": ("globaltimer", 32, 32),
}
# What hardware rounds up to, or reserves for itself.
_SHARED_SIZES = {"%total_smem_size", "%aggr_smem_size"}


class Lowering(Builder):
    """Turns the instructions of one entry into values.

    Parameters
    ----------
    entry : Entry
    block : tuple of int
        Block dimensions: constants of the kernel.
    """

    def __init__(self, entry: Entry, block: tuple[int, int, int]) -> None:
        super().__init__()
        self.entry = entry
        self.dimensions = block
        self.parameters = {parameter.name: parameter for parameter in entry.parameters}
        self.labels: dict[str, Block] = {}
        self.guard: Value | None = None
        # Values that ``.ftz`` has gone over already.
        self.flushed: set[Value] = set()

    # -- reading ------------------------------------------------------------------------------------

    def split(
        self, instruction: Instruction, allowed: frozenset[str] | set[str], types: int
    ) -> tuple[list[ScalarType], set[str]]:
        """Sort an instruction's modifiers into types and flags.

        Raises
        ------
        PtxError
            A modifier that is not in `allowed`, or another number of types.
        """
        found: list[ScalarType] = []
        flags: set[str] = set()
        for modifier in instruction.modifiers:
            kind = SCALAR_TYPES.get(modifier)
            if kind is not None:
                found.append(kind)
            elif modifier in allowed:
                flags.add(modifier)
            else:
                raise instruction.error(f"'.{modifier}' is not supported with {instruction.opcode}")
        if len(found) != types:
            raise instruction.error(f"{instruction.opcode} needs {types} type(s), found {len(found)}")
        return found, flags

    def operands(self, instruction: Instruction, count: int) -> list[Operand]:
        """Return the operands after checking how many there are."""
        if len(instruction.operands) != count:
            raise instruction.error(f"{count} operands expected, found {len(instruction.operands)}")
        return instruction.operands

    def value(
        self, instruction: Instruction, operand: Operand, kind: ScalarType, *, wider: bool = False
    ) -> Value:
        """Return an operand as a value of a PTX type; `wider` permits a wider register."""
        if isinstance(operand, Register):
            own = operand.type
            value = self.read(operand.name, own.value_type)
            if operand.negated:
                if own.kind != "p":
                    raise instruction.error("'!' is for predicates only")
                value = self.invert(value)
            return self._fit(instruction, value, own, kind, wider)
        if isinstance(operand, Immediate):
            if kind.kind == "p":
                return self.const("i1", int(operand.value != 0))
            if kind.floating:
                return self.const(kind.value_type, float_bits(operand, kind.bits))
            return self.const(kind.value_type, operand.value)
        if isinstance(operand, Symbol):
            value = self._symbol(instruction, operand.name)
            return self._fit(instruction, value, SCALAR_TYPES["b64"], kind, wider=True)
        if isinstance(operand, Address) and isinstance(operand.base, Symbol):
            base = self._symbol(instruction, operand.base.name)
            value = self.op("add", "i64", base, self.const("i64", operand.offset))
            return self._fit(instruction, value, SCALAR_TYPES["b64"], kind, wider=True)
        raise instruction.error("a register, number or variable is expected")

    def _fit(
        self, instruction: Instruction, value: Value, own: ScalarType, kind: ScalarType, wider: bool
    ) -> Value:
        if (own.kind == "p") != (kind.kind == "p") or own.bits < kind.bits:
            raise instruction.error(f"an operand is .{own.name} where .{kind.name} is expected")
        if own.bits > kind.bits:
            if not wider:
                raise instruction.error(f"an operand is .{own.name} where .{kind.name} is expected")
            value = self.cast("trunc", f"i{kind.bits}", self.bits(value))
        if value.type != kind.value_type:
            value = self.op("bitcast", kind.value_type, value)
        return value

    def _symbol(self, instruction: Instruction, name: str) -> Value:
        if name.startswith("%"):
            return self.cast("zext", "i64", self.special(instruction, name))
        if name == "WARP_SZ":
            return self.const("i64", WARP_SIZE)
        place = self.place(name)
        if place is None:
            raise instruction.error(f"{name} is not declared")
        space, address = place
        # What space a constant's address belongs to must be told from the value: it is generic.
        return self.op("cvta", "i64", address, attr=space) if space == "const" else address

    def place(self, name: str) -> tuple[str, Value] | None:
        """Return the space of a variable or parameter, and its address there; None if there is none.

        The addresses of constants are generic ones from the start: tables declared ``.global`` stand
        among them.
        """
        variable = self.entry.body.variables.get(name)
        if variable is not None:
            begin = WINDOWS["const"] if variable.space == "const" else 0
            return variable.space, self.const("i64", begin + variable.offset)
        parameter = self.parameters.get(name)
        return None if parameter is None else ("param", self.const("i64", parameter.offset))

    def special(self, instruction: Instruction, name: str) -> Value:
        """Return a special register as an i32, or as an i64 if it is one."""
        if name in _FIXED:
            return self.const("i32", _FIXED[name])
        if name in _TIMERS:
            return self._timer(*_TIMERS[name])
        register, _, axis = name[1:].partition(".")
        if register in ("tid", "ntid", "ctaid", "nctaid") and len(axis) == 1 and axis in _AXES:
            extent = self.dimensions[_AXES.index(axis)]
            if register == "ntid":
                return self.const("i32", extent)
            if register == "tid" and extent == 1:
                return self.const("i32", 0)
            return self.op("special", "i32", attr=f"{register}.{axis}")
        if name in ("%laneid", "%warpid"):
            thread = self.special(instruction, "%tid.x")
            below = self.dimensions[0]
            for axis, extent in zip("yz", self.dimensions[1:], strict=True):
                if extent > 1:
                    number = self.special(instruction, f"%tid.{axis}")
                    row = self.op("mul", "i32", number, self.const("i32", below))
                    thread = self.op("add", "i32", row, thread)
                below *= extent
            if name == "%laneid":
                return self.op("and", "i32", thread, self.const("i32", WARP_SIZE - 1))
            return self.op("lshr", "i32", thread, self.const("i32", WARP_SIZE.bit_length() - 1))
        if name == "%nwarpid":
            return self.const("i32", MAX_THREADS_PER_BLOCK // WARP_SIZE)
        if name.startswith("%lanemask_"):
            return self._lane_mask(instruction, name)
        if name == "%dynamic_smem_size":
            return self.op("special", "i32", attr="launch.shared")
        if name in _SHARED_SIZES:
            raise instruction.error(f"{name} is not supported; %dynamic_smem_size is")
        raise instruction.error(f"{name} is not declared, or a special register that is not supported")

    def _lane_mask(self, instruction: Instruction, name: str) -> Value:
        """Return a mask of the lanes whose number compares to the thread's own as the name says."""
        lane = self.special(instruction, "%laneid")
        kind = name.removeprefix("%lanemask_")
        if kind == "eq":
            return self.op("shl", "i32", self.const("i32", 1), lane)
        if kind not in ("lt", "le", "gt", "ge"):
            raise instruction.error(f"{name} is not a special register")
        # Shifting 2 by 31 gives 0, and all lanes are below or equal.
        next_lane = self.op("shl", "i32", self.const("i32", 1 + (kind in ("le", "gt"))), lane)
        below = self.op("sub", "i32", next_lane, self.const("i32", 1))
        return below if kind in ("lt", "le") else self.invert(below)

    def _timer(self, timer: str, shift: int, bits: int) -> Value:
        """Return part of a timer, as it stands when a thread gets here."""
        access = Access("timer", 8, 0, True, timer)
        now = self.op("load", "i64", self.const("i64", 0), attr=access)
        return self.cast("trunc", f"i{bits}", self.int_op("lshr", now, shift) if shift else now)

    def predicate(self, instruction: Instruction, operand: Operand) -> Value:
        """Return an operand as an i1."""
        return self.value(instruction, operand, PREDICATE)

    # -- writing ------------------------------------------------------------------------------------

    def assign(
        self, instruction: Instruction, operand: Operand, value: Value, *, signed: bool | None = None
    ) -> None:
        """Write a value to a destination register.

        Parameters
        ----------
        signed : bool, optional
            How to extend to a wider register; without it, a wider register is an error.
        """
        if isinstance(operand, Symbol) and operand.name == "_":
            return
        if not isinstance(operand, Register) or operand.negated:
            raise instruction.error("the destination must be a register")
        kind = operand.type
        have = VALUE_BITS[value.type]
        if have != kind.bits:
            if signed is None or have > kind.bits or kind.kind == "p":
                raise instruction.error(f"the result has {have} bits, the destination is .{kind.name}")
            value = self.cast("sext" if signed else "zext", f"i{kind.bits}", self.bits(value))
        if value.type != kind.value_type:
            if (kind.kind == "p") != (value.type == "i1"):
                raise instruction.error(f"the destination is .{kind.name}")
            value = self.op("bitcast", kind.value_type, value)
        if self.guard is not None:
            value = self.select(self.guard, value, self.read(operand.name, kind.value_type))
        self.write(operand.name, value)

    # -- small operations ---------------------------------------------------------------------------

    def bits(self, value: Value) -> Value:
        """Return a floating point value's bits; integers as they are."""
        if value.type in FLOAT_TYPES:
            return self.op("bitcast", f"i{VALUE_BITS[value.type]}", value)
        return value

    def cast(self, name: str, kind: str, value: Value) -> Value:
        """Apply a cast, unless the value has the type already."""
        if value.type == kind:
            return value
        if value.op == "const" and isinstance(value.attr, int) and name in ("sext", "zext", "trunc"):
            top = VALUE_BITS[value.type] - 1
            return self.const(
                kind, value.attr - (value.attr >> top << top + 1) if name == "sext" else value.attr
            )
        if name == "trunc" and value.op in ("sext", "zext") and value.args[0].type == kind:
            return value.args[0]
        return self.op(name, kind, value)

    def invert(self, value: Value) -> Value:
        """Return the complement of an integer or predicate."""
        return self.op("xor", value.type, value, self.const(value.type, -1))

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """Return `yes` where the condition holds, else `no`."""
        return self.op("select", yes.type, condition, yes, no)

    def compare(self, predicate: str, left: Value, right: Value) -> Value:
        """Compare with an LLVM predicate (``eq``, ``slt``, ``oge``, ...)."""
        name = "fcmp" if left.type in FLOAT_TYPES else "icmp"
        return self.op(name, "i1", left, right, attr=predicate)

    def int_op(self, name: str, left: Value, right: Value | int) -> Value:
        """Apply a binary integer operation; a Python integer stands for a constant."""
        other = self.const(left.type, right) if isinstance(right, int) else right
        return self.op(name, left.type, left, other)

    def jump(self, target: Block) -> None:
        """End the current block with a jump."""
        self.block.terminator = "jump"
        self.block.successors = [target]

    def branch(self, condition: Value, yes: Block, no: Block) -> None:
        """End the current block with a two-way branch."""
        self.block.terminator = "branch"
        self.block.condition = condition
        self.block.successors = [yes, no]

    def pair(self, instruction: Instruction, operand: Operand) -> tuple[Operand, Operand | None]:
        """Split ``p|q``; the second is None where there is none."""
        if isinstance(operand, Group):
            if operand.separator != "|":
                raise instruction.error("a destination p or p|q is expected")
            return operand.members[0], operand.members[1]
        return operand, None


def require_type(instruction: Instruction, kind: ScalarType, allowed: str) -> None:
    """Refuse a type that is not among the allowed names."""
    if kind.name not in allowed.split():
        raise instruction.error(f".{kind.name} is not a type of {instruction.opcode}")
