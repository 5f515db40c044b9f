"""Splits per-thread induction variables into a uniform counter and a per-thread start.

``p = phi(start, p + u)`` with a uniform ``u`` becomes ``p = start + q``, ``q = phi(0, q + u)``: ``q`` is one
number for the whole block, so ``p`` can be recomputed after a barrier instead of being kept for each
thread.
"""

from collections.abc import Iterable

from logv.ptx._graph import Loop
from logv.ptx._ir import Value


def split_affine_phis(loops: Iterable[Loop], divergent: set[Value]) -> bool:
    """Split where possible; return whether anything changed (analyses are stale then)."""
    changed = False
    for loop in loops:
        header = loop.header
        for phi in list(header.phis):
            if phi in divergent and phi.type.startswith("i") and phi.type != "i1":
                changed |= _split(loop, phi, divergent)
    return changed


def _step(phi: Value, value: Value, divergent: set[Value]) -> tuple[str, Value] | None:
    """Return what is added to (or subtracted from) `phi` to make `value`."""
    if value.op == "add" and phi in value.args:
        step = value.args[1] if value.args[0] is phi else value.args[0]
    elif value.op == "sub" and value.args[0] is phi:
        step = value.args[1]
    else:
        return None
    return None if step in divergent or step is phi else (value.op, step)


def _split(loop: Loop, phi: Value, divergent: set[Value]) -> bool:
    header = loop.header
    starts = [
        arg for arg, before in zip(phi.args, header.predecessors, strict=True) if before not in loop.blocks
    ]
    if any(start is not starts[0] for start in starts):
        return False
    steps: dict[Value, tuple[str, Value]] = {}
    for arg, before in zip(phi.args, header.predecessors, strict=True):
        if before in loop.blocks:
            step = _step(phi, arg, divergent)
            if step is None:
                return False
            steps[arg] = step
    zero = Value("const", phi.type, [], 0)
    counter = Value("phi", phi.type, [])
    counter.block = header
    advanced: dict[Value, Value] = {}
    for arg, (op, amount) in steps.items():
        value = Value(op, phi.type, [counter, amount])
        value.block = arg.block
        assert arg.block is not None
        position = arg.block.ops.index(arg)
        arg.block.ops.insert(position, value)
        advanced[arg] = value
    counter.args = [advanced.get(arg, zero) for arg in phi.args]
    header.phis[header.phis.index(phi)] = counter
    # The phi object itself becomes the sum, so that its users need no change.
    phi.op, phi.args = "add", [starts[0], counter]
    header.ops.insert(0, phi)
    return True
