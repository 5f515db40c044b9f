"""Lowers the statements of an entry to the intermediate representation: control flow and dispatch."""

from collections.abc import Callable
from math import prod

from logv.ptx import (
    _lower_atomic,
    _lower_barrier,
    _lower_bits,
    _lower_convert,
    _lower_copy,
    _lower_float,
    _lower_half,
    _lower_hints,
    _lower_integer,
    _lower_memory,
    _lower_packed,
    _lower_select,
    _lower_warp,
)
from logv.ptx._ir import Block, Function, drop_unused
from logv.ptx._lowering import Lowering
from logv.ptx._syntax import Instruction, Label, Operand, Symbol
from logv.ptx._types import SCALAR_TYPES
from logv.ptx.module import Entry

_Handler = Callable[[Lowering, Instruction], None]

# Results go to registers only, so a guard can select between the new and the old value.
_PURE: dict[str, _Handler] = {
    **_lower_integer.HANDLERS,
    **_lower_bits.HANDLERS,
    **_lower_select.HANDLERS,
    **_lower_float.HANDLERS,
    **_lower_convert.HANDLERS,
    **_lower_hints.HANDLERS,
    **_lower_packed.HANDLERS,
}
_EFFECTS: dict[str, _Handler] = {
    **_lower_memory.HANDLERS,
    **_lower_atomic.HANDLERS,
    **_lower_barrier.HANDLERS,
    **_lower_copy.HANDLERS,
    **_lower_warp.HANDLERS,
}
# Bounds what one instruction can be turned into by hostile text.
_MAX_BRANCH_TARGETS = 4096


def lower(entry: Entry, block: tuple[int, int, int] | None = None) -> Function:
    """Return the entry in SSA form.

    Parameters
    ----------
    entry : Entry
    block : tuple of int, optional
        Block dimensions, which become constants; without them, what depends on them is not checked.

    Raises
    ------
    PtxError
        An instruction that is malformed or not supported.
    """
    function = _EntryLowering(entry, block or (1, 1, 1)).run()
    _lower_barrier.settle_meetings(function, prod(block) if block else None)
    drop_unused(function.blocks)
    return function


class _EntryLowering:
    def __init__(self, entry: Entry, block: tuple[int, int, int]) -> None:
        self._low = Lowering(entry, block)
        self._entry = entry

    def run(self) -> Function:
        low = self._low
        body = self._entry.body
        for statement in body.statements:
            if isinstance(statement, Label):
                low.labels[statement.name] = low.new_block()
        # The entry block stays empty, so that nothing branches to it.
        self._begin(low.new_block())
        for statement in body.statements:
            if isinstance(statement, Label):
                self._begin(low.labels[statement.name])
            else:
                self._instruction(statement)
        low.block.terminator = "exit"
        return low.finish(self._entry.name)

    def _begin(self, block: Block) -> None:
        self._low.jump(block)
        self._low.block = block

    def _instruction(self, instruction: Instruction) -> None:
        low = self._low
        opcode = instruction.opcode
        if opcode == "div":
            handler: _Handler | None = self._divide
        elif opcode in _lower_half.HANDLERS and _lower_half.has_half(instruction):
            handler = _lower_half.HANDLERS[opcode]
        else:
            handler = _PURE.get(opcode)
        if handler is not None:
            if instruction.guard is not None:
                low.guard = low.predicate(instruction, instruction.guard)
            handler(low, instruction)
            low.guard = None
            return
        handler = _EFFECTS.get(opcode) or self._control(instruction)
        if instruction.guard is None:
            handler(low, instruction)
            return
        condition = low.predicate(instruction, instruction.guard)
        if opcode == "bra":
            low.branch(condition, self._target(instruction), after := low.new_block())
            low.block = after
            return
        taken, after = low.new_block(), low.new_block()
        low.branch(condition, taken, after)
        low.block = taken
        handler(low, instruction)
        self._begin(after)

    @staticmethod
    def _divide(low: Lowering, instruction: Instruction) -> None:
        kinds = [SCALAR_TYPES[name] for name in instruction.modifiers if name in SCALAR_TYPES]
        if kinds and kinds[0].floating:
            _lower_float.divide_float(low, instruction)
        else:
            (kind,), _ = low.split(instruction, set(), 1)
            _lower_integer.divide(low, instruction, kind)

    def _control(self, instruction: Instruction) -> _Handler:
        opcode = instruction.opcode
        if opcode == "bra":
            return self._branch
        if opcode == "brx":
            return self._indexed_branch
        if opcode in ("ret", "exit", "trap"):
            return self._leave
        raise instruction.error(f"{'.'.join((opcode, *instruction.modifiers))} is not supported")

    def _target(self, instruction: Instruction) -> Block:
        (operand,) = self._low.operands(instruction, 1)
        self._low.split(instruction, {"uni"}, 0)
        return self._label(instruction, operand)

    def _label(self, instruction: Instruction, operand: Operand) -> Block:
        block = self._low.labels.get(operand.name) if isinstance(operand, Symbol) else None
        if block is None:
            raise instruction.error("the branch goes to a label that does not exist")
        return block

    def _branch(self, low: Lowering, instruction: Instruction) -> None:
        low.jump(self._target(instruction))
        low.block = low.new_block()

    def _indexed_branch(self, low: Lowering, instruction: Instruction) -> None:
        low.split(instruction, {"idx", "uni"}, 0)
        index, table = low.operands(instruction, 2)
        names = self._entry.body.branch_tables.get(table.name) if isinstance(table, Symbol) else None
        if names is None or len(names) > _MAX_BRANCH_TARGETS:
            raise instruction.error("a table declared by .branchtargets is expected")
        value = low.value(instruction, index, SCALAR_TYPES["u32"])
        for number, name in enumerate(names[:-1]):
            after = low.new_block()
            target = self._label(instruction, Symbol(name))
            low.branch(low.compare("eq", value, low.const("i32", number)), target, after)
            low.block = after
        low.jump(self._label(instruction, Symbol(names[-1])))
        low.block = low.new_block()

    def _leave(self, low: Lowering, instruction: Instruction) -> None:
        low.split(instruction, {"uni"}, 0)
        low.operands(instruction, 0)
        low.block.terminator = "trap" if instruction.opcode == "trap" else "exit"
        low.block = low.new_block()
