"""Instructions that only make a difference to caches, profilers and schedulers: checked, and dropped."""

from collections.abc import Callable

from logv.ptx._lower_memory import address_of, space_of
from logv.ptx._lowering import Lowering
from logv.ptx._syntax import Instruction
from logv.ptx._types import SCALAR_TYPES

_EVICTION = {f"L2::evict_{priority}" for priority in ("last", "normal", "first", "unchanged")}


def prefetch(low: Lowering, instruction: Instruction) -> None:
    """``prefetch prefetchu discard applypriority``."""
    sized = instruction.opcode in ("discard", "applypriority")
    _, flags = low.split(instruction, {"global", "local", "L1", "L2"} | _EVICTION, 0)
    operands = low.operands(instruction, 2 if sized else 1)
    address_of(low, instruction, operands[0], space_of(instruction, flags))


def create_policy(low: Lowering, instruction: Instruction) -> None:
    """``createpolicy``: a policy is any number, as nothing looks at it."""
    low.split(instruction, {"fractional", "range", "cvt", "L2", "global"} | _EVICTION, 1)
    if not instruction.operands:
        raise instruction.error("a destination is needed")
    low.assign(instruction, instruction.operands[0], low.const("i64", 0))


def sleep(low: Lowering, instruction: Instruction) -> None:
    """``nanosleep``: for no time at all."""
    low.split(instruction, set(), 1)
    (duration,) = low.operands(instruction, 1)
    low.value(instruction, duration, SCALAR_TYPES["u32"])


def profile(low: Lowering, instruction: Instruction) -> None:
    """``pmevent``."""
    low.split(instruction, {"mask"}, 0)
    low.operands(instruction, 1)


def order_launches(low: Lowering, instruction: Instruction) -> None:
    """``griddepcontrol``: the kernels of a stream run one after the other anyway."""
    low.split(instruction, {"launch_dependents", "wait"}, 0)
    low.operands(instruction, 0)


HANDLERS: dict[str, Callable[[Lowering, Instruction], None]] = {
    **dict.fromkeys(("prefetch", "prefetchu", "discard", "applypriority"), prefetch),
    "createpolicy": create_policy,
    "nanosleep": sleep,
    "pmevent": profile,
    "griddepcontrol": order_launches,
}
