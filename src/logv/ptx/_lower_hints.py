"""Instructions that only make a difference to caches, profilers and schedulers: checked, and dropped."""

from collections.abc import Callable

from logv.ptx._lower_memory import address_of, space_of
from logv.ptx._lowering import Lowering, require_type
from logv.ptx._syntax import Immediate, Instruction
from logv.ptx._types import SCALAR_TYPES

_EVICTION = {f"L2::evict_{priority}" for priority in ("last", "normal", "first", "unchanged")}

_POLICIES = {"fractional", "range", "cvt"}


def prefetch(low: Lowering, instruction: Instruction) -> None:
    """``prefetch prefetchu discard applypriority``."""
    sized = instruction.opcode in ("discard", "applypriority")
    _, flags = low.split(instruction, {"global", "local", "L1", "L2"} | _EVICTION, 0)
    if len(flags & ({"L1", "L2"} | _EVICTION)) != 1:
        raise instruction.error("one cache level is needed")
    operands = low.operands(instruction, 2 if sized else 1)
    if sized and operands[1] != Immediate(128):
        raise instruction.error("the size must be 128")
    address_of(low, instruction, operands[0], space_of(instruction, flags))


def create_policy(low: Lowering, instruction: Instruction) -> None:
    """``createpolicy``: a policy is any number, as nothing looks at it."""
    (kind,), flags = low.split(instruction, _POLICIES | {"L2", "global"} | _EVICTION, 1)
    require_type(instruction, kind, "b64")
    if len(flags & _POLICIES) != 1 or not instruction.operands:
        raise instruction.error(".fractional, .range or .cvt and a destination are needed")
    low.assign(instruction, instruction.operands[0], low.const("i64", 0))


def sleep(low: Lowering, instruction: Instruction) -> None:
    """``nanosleep``: for no time at all."""
    low.split(instruction, set(), 1)
    (duration,) = low.operands(instruction, 1)
    low.value(instruction, duration, SCALAR_TYPES["u32"])


def profile(low: Lowering, instruction: Instruction) -> None:
    """``pmevent``."""
    low.split(instruction, {"mask"}, 0)
    (event,) = low.operands(instruction, 1)
    if not isinstance(event, Immediate):
        raise instruction.error("a constant is expected")


def order_launches(low: Lowering, instruction: Instruction) -> None:
    """``griddepcontrol``: the kernels of a stream run one after the other anyway."""
    _, flags = low.split(instruction, {"launch_dependents", "wait"}, 0)
    low.operands(instruction, 0)
    if len(flags) != 1:
        raise instruction.error(".launch_dependents or .wait is needed")


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    **dict.fromkeys(("prefetch", "prefetchu", "discard", "applypriority"), prefetch),
    "createpolicy": create_policy,
    "nanosleep": sleep,
    "pmevent": profile,
    "griddepcontrol": order_launches,
}
