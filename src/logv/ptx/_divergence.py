"""Which values may differ between the threads of a block."""

from collections.abc import Iterable

from logv.ptx._graph import Graph, Loop
from logv.ptx._ir import Block, Value

# Beyond this much work (branches times blocks) every merge is taken as divergent.
_MAX_WORK = 1_000_000


class Divergence:
    """Divergent values of a function.

    A value is uniform if all threads that compute it together get the same: functions of parameters
    and block numbers, and loop counters that no divergent branch disturbs.

    Parameters
    ----------
    graph : Graph
    demoted : iterable of Value
        Values to be taken as divergent in any case.

    Attributes
    ----------
    divergent : set of Value
    entangled : bool
        Threads of a block may wait at different barriers at one time; every phi is divergent then.
    areas : dict of Block to set of Block
        Where threads meet again after a branch that sent some of them to a warp operation, and the
        blocks in between. The threads that come first must wait there for the others.
    outliving : set of Value
        Used after a loop that threads leave in different iterations: the loop's counters have gone on
        when it is used.
    """

    def __init__(self, graph: Graph, demoted: Iterable[Value]) -> None:
        self.divergent: set[Value] = set()
        self.entangled = False
        self.areas: dict[Block, set[Block]] = {}
        self.outliving: set[Value] = set()
        self._graph = graph
        self._users: dict[Value, list[Value]] = {}
        self._branches: dict[Value, list[Block]] = {}
        self._pending: list[Value] = []
        self._divergent_loops: set[Loop] = set()
        self._loops_of: dict[Block, list[Loop]] = {}
        for loop in graph.loops:
            for block in loop.blocks:
                self._loops_of.setdefault(block, []).append(loop)
        waits = {block for block in graph.blocks if block.terminator == "barrier"}
        self._reaches_barrier = self._reach(waits)
        self._goes_on = self._reach(waits.union(*(loop.blocks for loop in graph.loops)))
        self._work = 0
        self._gave_up = False
        for block in graph.blocks:
            for value in (*block.phis, *block.ops):
                for arg in value.args:
                    self._users.setdefault(arg, []).append(value)
                if value.op in ("load", "atom", "collect") or (
                    value.op == "special" and str(value.attr).startswith("tid")
                ):
                    self._mark(value)
            if block.condition is not None:
                self._branches.setdefault(block.condition, []).append(block)
        for value in demoted:
            self._mark(value)
        if not graph.reducible:
            self._give_up()
        self._propagate()

    def gathers(self, block: Block) -> bool:
        """Whether all threads are there whenever a region begins at the block.

        That is so where every branch before it that parts threads leads to it in any case, and no thread
        leaves a loop around it before others.
        """
        around = self._loops_of.get(block, [])
        if self._gave_up or any(loop in self._divergent_loops for loop in around):
            return False
        pending = [block]
        seen = {block}
        while pending:
            for before in pending.pop().predecessors:
                # Not by way of a loop's back edge.
                if before in seen or before.index >= block.index:
                    continue
                seen.add(before)
                pending.append(before)
                if before.condition in self.divergent and (
                    not self._leads(before, block, around) or self._runs_ahead(before, block)
                ):
                    return False
        return True

    def _runs_ahead(self, branch: Block, block: Block) -> bool:
        """Whether threads may come to a block, and end, while others wait since they parted."""
        waits = self._reaches_barrier
        return block not in waits and any(successor in waits for successor in branch.successors)

    def _leads(self, branch: Block, block: Block, loops: list[Loop]) -> bool:
        """Whether all threads that part at a branch come to a block, in the same iteration of the loops."""
        return self._graph.post_dominates(block, branch) and not any(
            branch in loop.blocks and self._skips(loop, branch, block) for loop in loops
        )

    def _skips(self, loop: Loop, branch: Block, block: Block) -> bool:
        """Whether a thread can begin the next iteration without having passed a block."""
        pending = [branch]
        seen = {branch, block}
        while pending:
            self._work += 1
            for after in pending.pop().successors:
                if after is loop.header or self._work > _MAX_WORK:
                    return True
                if after not in seen:
                    seen.add(after)
                    pending.append(after)
        return False

    def _mark(self, value: Value) -> None:
        if value not in self.divergent:
            self.divergent.add(value)
            self._pending.append(value)

    def _give_up(self) -> None:
        self._gave_up = True
        for block in self._graph.blocks:
            for phi in block.phis:
                self._mark(phi)

    def _propagate(self) -> None:
        while self._pending:
            value = self._pending.pop()
            for user in self._users.get(value, ()):
                if user.op != "store":
                    self._mark(user)
            for block in self._branches.get(value, ()):
                self._diverge(block)

    @staticmethod
    def _reach(targets: set[Block]) -> set[Block]:
        """Blocks from which one of the targets can be reached."""
        stack = list(targets)
        found = set(stack)
        while stack:
            for before in stack.pop().predecessors:
                if before not in found:
                    found.add(before)
                    stack.append(before)
        return found

    def _diverge(self, branch: Block) -> None:
        """Handle a branch that sends threads both ways."""
        join = self._graph.post_dominator[branch.index]
        labels = {successor: successor for successor in branch.successors}
        pending = [successor for successor in labels if successor.index != join]
        both_wait = all(successor in self._reaches_barrier for successor in labels)
        both_go_on = all(successor in self._goes_on for successor in labels)
        meets = False
        while pending:
            block = pending.pop()
            self._work += 1
            if block.meeting is not None and block is not branch:
                if not block.meeting.of_warp or join < 0:
                    self.entangled |= both_wait if not block.meeting.of_warp else both_go_on
                else:
                    meets = True
            label = labels[block]
            for successor in block.successors:
                known = labels.get(successor)
                if known is None:
                    labels[successor] = label
                elif known is not label and known is not successor:
                    labels[successor] = successor
                    self._merge(successor)
                elif known is not label:
                    self._merge(successor)
                    continue
                else:
                    continue
                if successor.index != join:
                    pending.append(successor)
        if meets and (after := self._graph.blocks[join]) in self._goes_on:
            self.areas.setdefault(after, set()).update(block for block in labels if block is not after)
        if self._work > _MAX_WORK or self.entangled:
            self._give_up()
        for loop in self._loops_of.get(branch, ()):
            self._check_exits(loop, branch)

    def _merge(self, block: Block) -> None:
        for phi in block.phis:
            self._mark(phi)

    def _check_exits(self, loop: Loop, branch: Block) -> None:
        """Mark what a loop hands out if its threads may leave in different iterations."""
        if loop in self._divergent_loops:
            return
        self._work += len(loop.blocks)
        for block in loop.blocks:
            leaves = any(successor not in loop.blocks for successor in block.successors)
            if leaves and (block is branch or not self._together(loop, branch, block)):
                break
        else:
            return
        self._divergent_loops.add(loop)
        meetings = [block.meeting for block in loop.blocks if block.meeting is not None]
        if any(meeting.of_warp and meeting.mask is None for meeting in meetings):
            # Lanes that have left may have been told to meet the others from another loop: an unrolled
            # one has a rest.
            self.entangled = True
            self._give_up()
        for block in loop.blocks:
            for value in (*block.phis, *block.ops):
                users = [user.block for user in self._users.get(value, ())] + self._branches.get(value, [])
                if any(user not in loop.blocks for user in users):
                    self.outliving.add(value)
                    self._mark(value)

    def _together(self, loop: Loop, branch: Block, leaving: Block) -> bool:
        """Whether the threads that parted at `branch` are together again at `leaving`."""
        return self._leads(branch, leaving, [loop]) or self._graph.dominates(leaving, branch)
