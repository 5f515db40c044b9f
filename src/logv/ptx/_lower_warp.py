"""Warp operations: ``shfl``, ``vote``, ``match``, ``redux``, ``activemask`` and ``elect``.

Each thread publishes its operand and waits for its warp; what needs no other thread, as the lane that it
reads from, is worked out before.
"""

from collections.abc import Callable

from logv.hw.software_gpu import WARP_SIZE
from logv.ptx._ir import Value
from logv.ptx._lower_barrier import wait
from logv.ptx._lowering import Lowering
from logv.ptx._meeting import MASK, OTHER, VALUE, Meeting, Shuffle
from logv.ptx._syntax import Instruction
from logv.ptx._types import SCALAR_TYPES

_B32 = SCALAR_TYPES["b32"]
_LANES = WARP_SIZE - 1
_SHUFFLES = {"up", "down", "bfly", "idx"}
_REDUCTIONS = {
    "add": "u32 s32", "min": "u32 s32", "max": "u32 s32", "and": "b32", "or": "b32", "xor": "b32",
}  # fmt: skip


def _mode(instruction: Instruction, allowed: set[str], types: set[str]) -> tuple[str, str]:
    """Return an instruction's operation and type after checking that it is a ``.sync`` form."""
    words = list(instruction.modifiers)
    if "sync" not in words:
        raise instruction.error(
            f"{instruction.opcode} without .sync left PTX with sm_70; use the _sync function of CUDA, "
            "with a mask of the lanes that take part"
        )
    words.remove("sync")
    if len(words) != 2 or words[0] not in allowed or words[1] not in types:
        raise instruction.error(f"{'.'.join((instruction.opcode, *instruction.modifiers))} is not supported")
    return words[0], words[1]


def shuffle(low: Lowering, instruction: Instruction) -> None:
    """``shfl.sync``: read a value of another lane of the warp."""
    mode, _ = _mode(instruction, _SHUFFLES, {"b32"})
    target, source, *rest = low.operands(instruction, 5)
    target, second = low.pair(instruction, target)
    value, b, c, mask = (low.value(instruction, operand, _B32) for operand in (source, *rest))
    other, inside = _source(low, instruction, mode, b, c)
    # With constants, nothing of this is needed; but they may have come by way of registers.
    low.op("publish", "", other, b, c, attr=Shuffle(mode))
    wait(low, instruction, Meeting("shfl"), [(VALUE, value), (MASK, mask)])
    low.assign(instruction, target, low.op("collect", "i32"))
    if second is not None:
        low.assign(instruction, second, inside)


def _source(low: Lowering, instruction: Instruction, mode: str, b: Value, c: Value) -> tuple[Value, Value]:
    """Emit what :meth:`Shuffle.source` works out."""
    lane = low.special(instruction, "%laneid")
    segment = low.int_op("and", low.int_op("lshr", c, 8), _LANES)
    first = low.int_op("and", lane, segment)
    outside = low.invert(segment)
    last = low.int_op("or", first, low.int_op("and", low.int_op("and", c, _LANES), outside))
    distance = low.int_op("and", b, _LANES)
    if mode == "idx":
        other = low.int_op("or", first, low.int_op("and", distance, outside))
    else:
        other = low.int_op({"up": "sub", "down": "add", "bfly": "xor"}[mode], lane, distance)
    inside = low.compare("sge" if mode == "up" else "sle", other, last)
    return low.select(inside, other, lane), inside


def vote(low: Lowering, instruction: Instruction) -> None:
    """``vote.sync``: compare or collect the predicates of a warp."""
    mode, kind = _mode(instruction, {"all", "any", "uni", "ballot"}, {"pred", "b32"})
    if (mode == "ballot") != (kind == "b32"):
        raise instruction.error(f"vote.sync.{mode}.{kind} is not supported")
    target, source, members = low.operands(instruction, 3)
    predicate = low.cast("zext", "i32", low.predicate(instruction, source))
    mask = low.value(instruction, members, _B32)
    wait(low, instruction, Meeting(f"vote.{mode}"), [(VALUE, predicate), (MASK, mask)])
    result = low.op("collect", "i32")
    low.assign(instruction, target, result if mode == "ballot" else _is_set(low, result))


def match(low: Lowering, instruction: Instruction) -> None:
    """``match.sync``: the lanes that bring the same value."""
    mode, kind = _mode(instruction, {"any", "all"}, {"b32", "b64"})
    target, source, members = low.operands(instruction, 3)
    target, second = low.pair(instruction, target)
    if second is not None and mode == "any":
        raise instruction.error("match.any has one destination")
    value = low.value(instruction, source, SCALAR_TYPES[kind])
    mask = low.value(instruction, members, _B32)
    words = [(VALUE, low.cast("trunc", "i32", value)), (MASK, mask)]
    if kind == "b64":
        words.append((OTHER, low.cast("trunc", "i32", low.int_op("lshr", value, 32))))
    wait(low, instruction, Meeting(f"match.{mode}.{kind}"), words)
    result = low.op("collect", "i32")
    low.assign(instruction, target, result)
    if second is not None:
        low.assign(instruction, second, _is_set(low, result))


def reduce(low: Lowering, instruction: Instruction) -> None:
    """``redux.sync``: reduce integers over a warp."""
    mode, kind = _mode(instruction, set(_REDUCTIONS), {"u32", "s32", "b32"})
    if kind not in _REDUCTIONS[mode].split():
        raise instruction.error(f"redux.sync.{mode}.{kind} is not supported")
    target, source, members = low.operands(instruction, 3)
    value = low.value(instruction, source, _B32)
    mask = low.value(instruction, members, _B32)
    name = f"{kind[0]}{mode}" if mode in ("min", "max") else mode
    wait(low, instruction, Meeting(f"redux.{name}"), [(VALUE, value), (MASK, mask)])
    low.assign(instruction, target, low.op("collect", "i32"))


def active_mask(low: Lowering, instruction: Instruction) -> None:
    """``activemask``: the lanes that run this together."""
    low.split(instruction, set(), 1)
    (target,) = low.operands(instruction, 1)
    wait(low, instruction, Meeting("activemask", mask=0))
    low.assign(instruction, target, low.op("collect", "i32"))


def elect(low: Lowering, instruction: Instruction) -> None:
    """``elect.sync``: choose one lane; it is the lowest."""
    if instruction.modifiers != ("sync",):
        raise instruction.error("elect.sync is expected")
    target, members = low.operands(instruction, 2)
    target, second = low.pair(instruction, target)
    mask = low.value(instruction, members, _B32)
    wait(low, instruction, Meeting("elect"), [(MASK, mask)])
    leader = low.op("collect", "i32")
    low.assign(instruction, target, leader)
    if second is not None:
        low.assign(instruction, second, low.compare("eq", leader, low.special(instruction, "%laneid")))


def _is_set(low: Lowering, value: Value) -> Value:
    return low.compare("ne", value, low.const("i32", 0))


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    "shfl": shuffle, "vote": vote, "match": match, "redux": reduce, "activemask": active_mask,
    "elect": elect,
}  # fmt: skip
