"""Barriers of the block, and what all points where threads wait have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from logv.hw.software_gpu import WARP_SIZE
from logv.ptx._ir import Function, Value
from logv.ptx._lowering import Lowering
from logv.ptx._meeting import MASK, OTHER, VALUE, Meeting, Shuffle
from logv.ptx._syntax import Immediate, Instruction, Operand
from logv.ptx._types import SCALAR_TYPES

_BARRIERS = 16
_U32 = SCALAR_TYPES["u32"]


@dataclass(frozen=True, slots=True)
class _Expectation:
    """What a published word must be if it is a constant; checked once constants are known."""

    instruction: Instruction
    word: int


def wait(
    low: Lowering, instruction: Instruction, meeting: Meeting, words: Sequence[tuple[int, Value]] = ()
) -> None:
    """End the current block where threads wait, after each has published words (i32)."""
    for word, value in words:
        expectation = _Expectation(instruction, word)
        low.op("publish", "", value, attr=word if word == VALUE else expectation)
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
        wait(low, instruction, Meeting("sync"), [(MASK, low.value(instruction, mask, _U32))])
    elif words == ["sync"]:
        wait(low, instruction, Meeting("barrier"), _numbers(low, instruction, operands))
    elif words == ["arrive"]:
        low.operands(instruction, 2)
        wait(low, instruction, Meeting("arrive"), _numbers(low, instruction, operands))
    elif len(words) == 3 and words[0] == "red":
        _reduce(low, instruction, words[1], words[2])
    else:
        raise instruction.error(f"{'.'.join((instruction.opcode, *instruction.modifiers))} is not supported")


def _numbers(low: Lowering, instruction: Instruction, operands: Sequence[Operand]) -> list[tuple[int, Value]]:
    """Return a barrier's number and its number of threads as words."""
    if len(operands) > 2:
        raise instruction.error("a barrier, and perhaps a number of threads, is expected")
    values = [low.value(instruction, operand, _U32) for operand in operands]
    # What the text says is checked here, what constants come to when the block is known.
    for operand, check in zip(operands, (_check_number, _check_threads), strict=False):
        if isinstance(operand, Immediate):
            check(instruction, operand.value)
    if not values:
        values = [low.const("i32", 0)]
    return list(zip((MASK, OTHER), values, strict=False))


def _reduce(low: Lowering, instruction: Instruction, name: str, kind: str) -> None:
    """``bar.red``: how many threads bring a true predicate, or whether all or any do."""
    if (name, kind) not in (("popc", "u32"), ("and", "pred"), ("or", "pred")):
        raise instruction.error(f"bar.red.{name}.{kind} is not supported")
    if not 3 <= len(instruction.operands) <= 4:
        raise instruction.error(f"3 or 4 operands expected, found {len(instruction.operands)}")
    target, *numbers, source = instruction.operands
    predicate = low.predicate(instruction, source)
    if name == "and":
        # All are true if none is false.
        predicate = low.invert(predicate)
    words = [(VALUE, low.cast("zext", "i32", predicate)), *_numbers(low, instruction, numbers)]
    wait(low, instruction, Meeting("count"), words)
    result = low.op("counted", "i32")
    if name != "popc":
        result = low.compare("eq" if name == "and" else "ne", result, low.const("i32", 0))
    low.assign(instruction, target, result)


def settle_meetings(function: Function, threads: int | None) -> None:
    """Note in each meeting what is a constant there, and check it.

    Parameters
    ----------
    function : Function
        Just lowered; changed in place.
    threads : int or None
        Threads of a block; None if that is not known yet: then constants may be others in the end.
    """
    if threads is None:
        return
    meetings = [block.meeting for block in function.blocks if block.meeting is not None]
    # Threads that arrive and go on count as well: then "all" would mean only those that wait.
    whole = -(-threads // WARP_SIZE) * WARP_SIZE
    if any(meeting.operation == "arrive" for meeting in meetings):
        whole = 0
    for block in function.blocks:
        if block.meeting is None:
            continue
        kept: list[Value] = []
        for value in block.ops:
            expectation = value.attr
            if value.op == "publish" and isinstance(expectation, Shuffle):
                other, *operands = value.args
                b, c = map(_constant, operands)
                if b is not None and c is not None:
                    block.meeting = replace(block.meeting, lanes=expectation.sources(b, c))
                    continue
                value.attr, value.args = OTHER, [other]
            elif value.op == "publish" and isinstance(expectation, _Expectation):
                value.attr = expectation.word
                block.meeting, settled = _settle(block.meeting, expectation, value.args[0], whole)
                if settled:
                    continue
            kept.append(value)
        block.ops = kept
        if block.meeting.operation == "count":
            block.successors[0].ops[0].attr = block.meeting.number


def _settle(meeting: Meeting, expectation: _Expectation, value: Value, whole: int) -> tuple[Meeting, bool]:
    """Put a word into the meeting if it is a constant; else it has to be published."""
    number = _constant(value)
    if not meeting.of_warp:
        if expectation.word == MASK:
            if number is not None:
                _check_number(expectation.instruction, number)
            elif meeting.operation == "count":
                raise expectation.instruction.error("the barrier's number must be a constant")
            return replace(meeting, number=number), number is not None
        if number is not None:
            _check_threads(expectation.instruction, number)
        return replace(meeting, threads=0 if number == whole else number), number is not None
    if expectation.word == MASK and number:
        return replace(meeting, mask=number), True
    return meeting, False


def _constant(value: Value) -> int | None:
    return value.attr if value.op == "const" and isinstance(value.attr, int) else None


def _check_number(instruction: Instruction, number: int) -> None:
    if not 0 <= number < _BARRIERS:
        raise instruction.error(f"there is no barrier {number}: they are 0 to {_BARRIERS - 1}")


def _check_threads(instruction: Instruction, number: int) -> None:
    if number % WARP_SIZE or not number:
        raise instruction.error(f"{number} threads are not a multiple of {WARP_SIZE}")


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {"bar": barrier, "barrier": barrier}
