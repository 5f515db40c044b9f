"""Runs the threads of a block, one at a time, until each waits or ends."""

from logv.ptx.interpreter._control import settle_barriers
from logv.ptx.interpreter._program import Program
from logv.ptx.interpreter._thread import Block, Thread, Triple
from logv.ptx.interpreter._warp import gather_warp, settle_warp

# A thread that runs this long lets the others on: it may wait for one of them.
_SLICE = 4096


def run_block(program: Program, block: Block) -> None:
    """Run a block to its end.

    Raises
    ------
    PtxError
        As ``Program.run``; also if every thread waits for another.
    """
    block.threads = [
        Thread(block, index, linear, bytearray(block.launch.local_bytes))
        for linear, index in enumerate(_indexes(block.launch.block))
    ]
    warps: dict[int, list[Thread]] = {}
    for thread in block.threads:
        warps.setdefault(thread.warp, []).append(thread)
    while alive := [thread for thread in block.threads if not thread.done]:
        for thread in alive:
            program.run(thread, _SLICE)
        if any(thread.waiting is None and not thread.done for thread in alive):
            continue
        living = [[thread for thread in warp if not thread.done] for warp in warps.values()]
        # What is complete goes first. Only then is it certain that nobody else comes to an activemask.
        if any(settle_warp(warp) for warp in living) or settle_barriers(block):
            continue
        if any(gather_warp(warp) for warp in living):
            continue
        stuck = next((thread for thread in alive if thread.waiting is not None), None)
        if stuck is not None:
            raise program.error(stuck, f"thread {stuck.index} of block {block.index} waits for ever")


def _indexes(extent: Triple) -> list[Triple]:
    return [(x, y, z) for z in range(extent[2]) for y in range(extent[1]) for x in range(extent[0])]
