"""Barriers of the block, and what all points where threads wait have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from logv.hw.software_gpu import WARP_SIZE
from logv.ptx._ir import Block, Function, Value
from logv.ptx._lowering import Lowering
from logv.ptx._meeting import MASK, VALUE, Meeting
from logv.ptx._syntax import Instruction, Operand
from logv.ptx._types import SCALAR_TYPES

_BARRIERS = 16
_U32 = SCALAR_TYPES["u32"]


@dataclass(frozen=True, slots=True)
class _Expectation:
    """What an operand of a barrier must be; `count` if it is a number of threads."""

    instruction: Instruction
    count: bool


def wait(low: Lowering, meeting: Meeting | None, words: Sequence[tuple[int, Value]] = ()) -> None:
    """End the current block where threads wait, after each has published words (i32)."""
    for word, value in words:
        low.op("publish", "", value, attr=word)
    after = low.new_block()
    low.block.terminator = "barrier"
    low.block.meeting = meeting
    low.block.successors = [after]
    low.block = after


def barrier(low: Lowering, instruction: Instruction) -> None:
    """``bar`` and ``barrier``."""
    words = [word for word in instruction.modifiers if word not in ("cta", "aligned")]
    operands = instruction.operands
    if words == ["warp", "sync"]:
        (mask,) = low.operands(instruction, 1)
        wait(low, Meeting("sync"), [(MASK, low.value(instruction, mask, _U32))])
    elif words == ["sync"]:
        _expect(low, instruction, operands)
        wait(low, None)
    elif len(words) == 3 and words[0] == "red":
        _reduce(low, instruction, words[1], words[2])
    elif words == ["arrive"]:
        raise instruction.error(
            "a barrier where threads arrive without waiting is not supported; let all threads wait (bar.sync)"
        )
    else:
        raise instruction.error(f"{'.'.join((instruction.opcode, *instruction.modifiers))} is not supported")


def _expect(low: Lowering, instruction: Instruction, operands: Sequence[Operand]) -> None:
    """Note a barrier's number and its number of threads, to be checked once constants are known."""
    if len(operands) > 2:
        raise instruction.error("a barrier, and perhaps a number of threads, is expected")
    for operand, count in zip(operands, (False, True), strict=False):
        value = low.value(instruction, operand, _U32)
        low.op("expect", "", value, attr=_Expectation(instruction, count))


def _reduce(low: Lowering, instruction: Instruction, name: str, kind: str) -> None:
    """``bar.red``: how many threads bring a true predicate, or whether all or any do."""
    if (name, kind) not in (("popc", "u32"), ("and", "pred"), ("or", "pred")):
        raise instruction.error(f"bar.red.{name}.{kind} is not supported")
    if not 3 <= len(instruction.operands) <= 4:
        raise instruction.error(f"3 or 4 operands expected, found {len(instruction.operands)}")
    target, *numbers, source = instruction.operands
    _expect(low, instruction, numbers)
    predicate = low.predicate(instruction, source)
    if name == "and":
        # All are true if none is false.
        predicate = low.invert(predicate)
    wait(low, Meeting("count", whole_block=True), [(VALUE, low.cast("zext", "i32", predicate))])
    result = low.op("counted", "i32")
    if name != "popc":
        result = low.compare("eq" if name == "and" else "ne", result, low.const("i32", 0))
    low.assign(instruction, target, result)


def settle_barriers(function: Function, threads: int | None) -> Function:
    """Check what barriers expect, and let meetings whose mask is a constant say so.

    Parameters
    ----------
    function : Function
        Just lowered; changed in place.
    threads : int or None
        Threads of a block; None if that is not known yet.
    """
    for block in function.blocks:
        expectations = [value for value in block.ops if value.op == "expect"]
        if expectations:
            block.ops = [value for value in block.ops if value.op != "expect"]
            for value in expectations:
                _check(value, threads)
        if block.meeting is not None:
            _settle_mask(block, block.meeting)
    return function


def _check(value: Value, threads: int | None) -> None:
    expectation = value.attr
    assert isinstance(expectation, _Expectation)
    instruction = expectation.instruction
    number = value.args[0].attr if value.args[0].op == "const" else None
    if not expectation.count:
        if not isinstance(number, int) or number >= _BARRIERS:
            raise instruction.error(f"the barrier must be a constant, 0 to {_BARRIERS - 1}")
    elif not isinstance(number, int) or number % WARP_SIZE or not number:
        raise instruction.error(f"the number of threads must be a constant, a multiple of {WARP_SIZE}")
    elif threads is not None and number != -(-threads // WARP_SIZE) * WARP_SIZE:
        raise instruction.error(
            f"a barrier for some of the threads is not supported: {number}, and the block has {threads}"
        )


def _settle_mask(block: Block, meeting: Meeting) -> None:
    for value in block.ops:
        number = value.args[0].attr if value.op == "publish" and value.args[0].op == "const" else None
        if value.attr == MASK and isinstance(number, int):
            block.ops.remove(value)
            block.meeting = replace(meeting, mask=number)
            return


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {"bar": barrier, "barrier": barrier}
