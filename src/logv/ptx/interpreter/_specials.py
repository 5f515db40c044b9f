"""Special registers: width and value."""

from collections.abc import Callable

from logv.hw.software_gpu import WARP_SIZE
from logv.ptx.interpreter._thread import Thread

_AXES = "xyz"


def _warps(thread: Thread) -> int:
    return -(-len(thread.block.threads) // WARP_SIZE)


def _axis(number: int) -> dict[str, tuple[int, Callable[[Thread], int]]]:
    letter = _AXES[number]
    return {
        f"%tid.{letter}": (32, lambda thread: thread.index[number]),
        f"%ntid.{letter}": (32, lambda thread: thread.block.launch.block[number]),
        f"%ctaid.{letter}": (32, lambda thread: thread.block.index[number]),
        f"%nctaid.{letter}": (32, lambda thread: thread.block.launch.grid[number]),
    }


SPECIALS: dict[str, tuple[int, Callable[[Thread], int]]] = {
    **_axis(0),
    **_axis(1),
    **_axis(2),
    "%laneid": (32, lambda thread: thread.lane),
    "%warpid": (32, lambda thread: thread.warp),
    "%nwarpid": (32, _warps),
    "%smid": (32, lambda thread: 0),
    "%nsmid": (32, lambda thread: 1),
    "%gridid": (64, lambda thread: 0),
    "%lanemask_eq": (32, lambda thread: 1 << thread.lane),
    "%lanemask_lt": (32, lambda thread: (1 << thread.lane) - 1),
    "%lanemask_le": (32, lambda thread: (2 << thread.lane) - 1),
    "%lanemask_gt": (32, lambda thread: 0xFFFFFFFF & ~((2 << thread.lane) - 1)),
    "%lanemask_ge": (32, lambda thread: 0xFFFFFFFF & ~((1 << thread.lane) - 1)),
    "%clock": (32, lambda thread: thread.block.launch.executed),
    "%clock_hi": (32, lambda thread: thread.block.launch.executed >> 32),
    "%clock64": (64, lambda thread: thread.block.launch.executed),
    "%globaltimer": (64, lambda thread: thread.block.launch.executed),
    "%globaltimer_lo": (32, lambda thread: thread.block.launch.executed),
    "%globaltimer_hi": (32, lambda thread: thread.block.launch.executed >> 32),
    "%total_smem_size": (32, lambda thread: len(thread.block.shared)),
    "%dynamic_smem_size": (32, lambda thread: thread.block.launch.shared_bytes),
}
