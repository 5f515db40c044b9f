"""Finds kernels of which a few blocks can take turns: all run up to a barrier before the first goes on.

A block that reads from shared memory right after it has stored there waits: a vector of ``tile[x + 1]``
lies across two vectors stored to ``tile[x]``, and the processor can hand over neither before both are in
the cache. For rows of 64 threads that is more than half of the time. If other blocks store to copies of
their own in between, nobody waits. A block is a chain of stages then, and the loop over blocks walks each
group once for every stage. What a stage needs of those before is in shared memory, or is worked out again.
"""

from logv.ptx._ir import Access, Block
from logv.ptx._plan import Plan
from logv.ptx._regions import Region, RegionBuilder
from logv.ptx.module import Entry

# Blocks of a group. Measured on a filter of rows of bytes: 2 save a quarter of its time, 4 a third, 8 no
# more.
_MAX_TURNS = 4
# Of all copies together. Larger blocks have enough to do while they wait, and read better in one go: a filter
# of rows of 256 floats loses by it. The engine cleans whole pages of shared memory, of 4096 bytes, before
# another address space gets to it: the copies must not reach beyond the first.
_MAX_BYTES = 4096
_ALIGNMENT = 64
_WAITS = frozenset({"atom", "fence", "publish", "collect", "counted"})


def stride_of(entry: Entry) -> int:
    """Return how far the copies of a kernel's shared memory lie apart."""
    return -(-entry.shared_bytes // _ALIGNMENT) * _ALIGNMENT


def blocks_in_turns(entry: Entry, builder: RegionBuilder, plan: Plan) -> int:
    """Return how many blocks may take turns at the barriers of a kernel; 1 if it is not to be done."""
    if not entry.shared_bytes or entry.local_bytes or len(builder.regions) < 2:
        return 1
    classes = builder.classes
    if plan.scheduled or classes.counters or classes.spilled:
        return 1
    if any(_may_wait(block) for block in builder.graph.blocks):
        return 1
    followers = [*builder.regions[1:], None]
    for region, follower in zip(builder.regions, followers, strict=True):
        fast = plan.regions[region].fast
        if not all(_leads_to(each, follower) for each in (region, *((fast.region,) if fast else ()))):
            return 1
        if follower is not None and not _is_barrier(follower):
            return 1
    return _MAX_TURNS if _MAX_TURNS * stride_of(entry) <= _MAX_BYTES else 1


def _may_wait(block: Block) -> bool:
    """Whether a thread may wait here for one of another block, which must then be able to go on."""
    return any(
        value.op in _WAITS or (isinstance(value.attr, Access) and value.attr.volatile) for value in block.ops
    )


def _is_barrier(region: Region) -> bool:
    """Whether a region begins where the whole block waits, and does nothing else."""
    meeting = region.meeting
    return meeting is not None and meeting.is_plain and meeting.operation == "barrier"


def _leads_to(region: Region, follower: Region | None) -> bool:
    """Whether all threads go on to one region, or end there if it is None."""
    if follower is not None and region.exits:
        return False
    return all(target is follower for target in region.leaves.values())
