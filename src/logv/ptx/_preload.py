"""Finds what the threads of a loop read from one place, so that it is read once for all of them.

Filter weights and the like are read by every thread, and LLVM reads them for every vector, as it cannot know
that they do not change. Between two barriers nobody may write what another thread reads.
"""

from logv.ptx._ir import EFFECTS, IMPURE, Access, Block, Value
from logv.ptx._regions import PER_THREAD, Region

# Neither memory nor the order of what others do changes by these.
_HARMLESS = frozenset({"spill", "update", "pend"})


def common_reads(region: Region) -> list[Value]:
    """Return operations that are the same for all threads, in order, loads among them.

    Only what every thread comes to, and before it writes: a place that only some would read may not exist.

    Parameters
    ----------
    region : Region
        Its operations that need no load are out of the loop already.
    """
    own = {value for block in region.blocks for value in (*block.phis, *block.ops)}
    found: dict[Value, None] = {}
    block: Block | None = region.blocks[0]
    while block is not None:
        for value in block.ops:
            if _orders(value):
                return list(found)
            if _is_same(value) and all(arg not in own or arg in found for arg in value.args):
                found[value] = None
        after = block.successors[0] if block.terminator == "jump" else None
        block = after if after is not None and len(after.predecessors) == 1 else None
    return list(found)


def _orders(value: Value) -> bool:
    """Whether what follows may read something else than before."""
    return (value.op in EFFECTS and value.op not in _HARMLESS) or (
        isinstance(value.attr, Access) and value.attr.volatile
    )


def _is_same(value: Value) -> bool:
    """Whether an operation gives all threads the same if its arguments do."""
    if value.op == "load":
        return isinstance(value.attr, Access) and value.attr.space not in ("local", "timer", "generic")
    return (
        value.op not in IMPURE
        and value.op not in PER_THREAD
        and not (value.op == "special" and str(value.attr).startswith("tid"))
    )
