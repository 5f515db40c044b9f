"""The interpreter's face: a kernel run thread by thread, as the PTX manual describes it."""

from logv.errors import InvalidValueError, PtxError
from logv.hw.software_gpu import MAX_SHARED_MEMORY_PER_BLOCK, MAX_THREADS_PER_BLOCK
from logv.ptx.interpreter._program import Program
from logv.ptx.interpreter._scheduler import run_block
from logv.ptx.interpreter._thread import Block, Launch, Triple
from logv.ptx.interpreter.memory import Memory
from logv.ptx.module import Entry, Module

# Some seconds of interpretation: a kernel that does not end must end somewhere.
DEFAULT_STEPS = 10_000_000


def interpret(
    module: Module,
    name: str,
    *,
    grid: Triple,
    block: Triple,
    params: bytes,
    memory: Memory,
    shared_bytes: int = 0,
    steps: int = DEFAULT_STEPS,
) -> None:
    """Run a kernel, block after block.

    It is slow, and shares nothing with the compiler but the parser, so that the two can be compared. Threads
    of a block take turns: one runs until it waits (at a barrier, or in a warp operation), ends, or has had
    a long turn. Atomics are plain sequences; a program with a race gets one of its possible results.

    Parameters
    ----------
    module : Module
    name : str
        Name of the entry.
    grid, block : tuple of int
        Extents in x, y and z.
    params : bytes
        The parameter block, laid out as ``Entry.parameters`` says.
    memory : Memory
        Global memory.
    shared_bytes : int
        Dynamic shared memory, in bytes.
    steps : int
        Instructions that all threads together may execute.

    Raises
    ------
    PtxError
        No such entry; an instruction that the interpreter does not know, before anything runs; later an
        access to memory that is not there or misaligned, a trap, threads that wait for each other, or a
        kernel that executes more than `steps` instructions. Names line and instruction.
    InvalidValueError
        An impossible launch.
    """
    entry = module.entries.get(name)
    if entry is None:
        raise PtxError(f"there is no entry {name!r}; the module has {', '.join(module.entries) or 'none'}")
    _check(entry, grid, block, params, shared_bytes)
    program = Program(entry)
    launch = Launch(grid, block, params, module.constants, memory, shared_bytes, entry.local_bytes, steps)
    # Dynamic shared memory begins at the next multiple of 16.
    shared = -(-entry.shared_bytes // 16) * 16 + shared_bytes
    for z in range(grid[2]):
        for y in range(grid[1]):
            for x in range(grid[0]):
                run_block(program, Block(launch, (x, y, z), bytearray(shared)))


def _check(entry: Entry, grid: Triple, block: Triple, params: bytes, shared_bytes: int) -> None:
    if min(*grid, *block) < 1 or block[0] * block[1] * block[2] > MAX_THREADS_PER_BLOCK:
        raise InvalidValueError(f"a grid of {grid} blocks of {block} threads is impossible")
    if len(params) < entry.parameter_bytes:
        raise InvalidValueError(
            f"{entry.name} takes {entry.parameter_bytes} bytes of parameters, not {len(params)}"
        )
    if not 0 <= shared_bytes <= MAX_SHARED_MEMORY_PER_BLOCK - entry.shared_bytes:
        raise InvalidValueError(f"{shared_bytes} bytes of shared memory do not fit beside {entry.name}'s own")
    if entry.required_block is not None and entry.required_block != block:
        raise PtxError(
            f"{entry.name} requires blocks of {entry.required_block} threads (.reqntid), not {block}"
        )
