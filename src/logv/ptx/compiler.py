"""The compiler's face: text to module, entry to machine code."""

from dataclasses import dataclass, field

from logv.errors import InvalidValueError, PtxError
from logv.hw.software_gpu import (
    MAX_BLOCK_DIM_X,
    MAX_BLOCK_DIM_Y,
    MAX_BLOCK_DIM_Z,
    MAX_PROGRAM_BYTES,
    MAX_THREADS_PER_BLOCK,
)
from logv.ptx._affine import split_affine_phis
from logv.ptx._cuts import choose_cuts
from logv.ptx._divergence import Divergence
from logv.ptx._emit import Assembly, Emitter
from logv.ptx._graph import Graph
from logv.ptx._ir import Block, Function, Value
from logv.ptx._jit import MAX_OPTIMIZED_LINES, MachineCode, compile_assembly
from logv.ptx._link import link
from logv.ptx._lower import lower
from logv.ptx._parser import Parser
from logv.ptx._plan import Plan
from logv.ptx._regions import RegionBuilder
from logv.ptx._rests import split_rests
from logv.ptx._schedule import Schedule
from logv.ptx._spaces import resolve_generic
from logv.ptx._stages import blocks_in_turns
from logv.ptx._widen import blocks_together, strides_over_grid
from logv.ptx.module import Entry, Module

_SYMBOL = "kernel"
# After this many rounds of cutting regions smaller, values are kept for each thread instead.
_MAX_ATTEMPTS = 6
# Bounds how long a program of many kernels can be checked.
_MAX_MODULE_OPERATIONS = 2_000_000
_LIMITS = (MAX_BLOCK_DIM_X, MAX_BLOCK_DIM_Y, MAX_BLOCK_DIM_Z)


@dataclass(frozen=True, slots=True)
class CompiledKernel:
    """Machine code of one entry for one block shape; the code lives as long as this object.

    Attributes
    ----------
    name : str
    entry : Entry
    block : tuple of int
        Threads of a block in x, y and z.
    address : int
        Host address of ``int32_t kernel(const uint8_t *params, uint8_t *global_base, uint8_t *shared,
        uint8_t *scratch, const uint32_t *grid, uint64_t block_begin, uint64_t block_end)``: runs the
        blocks whose linear numbers (x fastest) lie in [begin, end), one after the other; returns 1 if the
        kernel executed ``trap``, else 0. Behind the three dimensions of the grid lie the bytes of dynamic
        shared memory.
    shared_bytes : int
        Static shared memory of a block, in bytes.
    scratch_bytes : int
        Host memory that a call needs for spilled values and local memory; 64-byte aligned, undefined.
    optimized : bool
        Whether the code is as fast as the compiler can make it.
    """

    name: str
    entry: Entry
    block: tuple[int, int, int]
    address: int
    shared_bytes: int
    scratch_bytes: int
    optimized: bool
    _code: MachineCode = field(repr=False)
    _source: str = field(repr=False)

    def llvm_ir(self, *, optimized: bool = True) -> str:
        """Return LLVM assembly, after optimisation or as the compiler wrote it."""
        return str(self._code.module) if optimized else self._source

    def assembly(self) -> str:
        """Return the host's assembly language."""
        return self._code.assembly


def parse(text: str | bytes) -> Module:
    """Parse PTX text and check that every instruction in it is supported.

    Parameters
    ----------
    text : str or bytes
        One PTX module, at most ``MAX_PROGRAM_BYTES`` long; may end in NUL bytes.

    Raises
    ------
    PtxError
        The text is not PTX, or uses what is not supported; names line and instruction.
    """
    if len(text) > MAX_PROGRAM_BYTES:
        raise PtxError(f"the text is {len(text)} bytes long; {MAX_PROGRAM_BYTES} are supported")
    if isinstance(text, bytes):
        text = _decode(text)
    module = link(Parser(text.rstrip("\0")).parse())
    operations = 0
    for entry in module.entries.values():
        function = lower(entry)
        resolve_generic(function)
        operations += function.operations
        if operations > _MAX_MODULE_OPERATIONS:
            raise PtxError(f"the kernels of the program are more than {_MAX_MODULE_OPERATIONS} operations")
    return module


def _decode(text: bytes) -> str:
    try:
        return text.decode("ascii")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise PtxError(f"byte {text[error.start]:#x} is not ASCII", line=line) from None


def compile_entry(
    module: Module, name: str, block: tuple[int, int, int], *, optimize: bool = True
) -> CompiledKernel:
    """Compile one entry for one block shape.

    Parameters
    ----------
    module : Module
    name : str
        Name of the entry.
    block : tuple of int
        Threads in x, y and z.
    optimize : bool
        False for baseline code: it does the same, is there in a third of the time, and is up to fifteen times
        slower, as each region is written once instead of up to three times, and not vectorised.

    Raises
    ------
    PtxError
        There is no such entry, the block does not fit it, or it is too large to compile.
    InvalidValueError
        Impossible block dimensions.
    """
    entry = module.entries.get(name)
    if entry is None:
        raise PtxError(f"there is no entry {name!r}; the module has {', '.join(module.entries) or 'none'}")
    _check_block(entry, block)
    assembly = emit_assembly(module, entry, block, optimize=optimize)
    if optimize and assembly.text.count("\n") > MAX_OPTIMIZED_LINES:
        # Three copies of each region, none of them optimised, are worse than one that is.
        assembly = emit_assembly(module, entry, block, optimize=False)
    code = compile_assembly(assembly.text, _SYMBOL, optimize=optimize)
    return CompiledKernel(
        name=name,
        entry=entry,
        block=block,
        address=code.address,
        shared_bytes=entry.shared_bytes,
        scratch_bytes=assembly.scratch_bytes,
        optimized=optimize,
        _code=code,
        _source=assembly.text,
    )


def _check_block(entry: Entry, block: tuple[int, int, int]) -> None:
    x, y, z = block
    if any(not 1 <= size <= limit for size, limit in zip(block, _LIMITS, strict=True)):
        raise InvalidValueError(f"block {block} is impossible: each dimension must be 1 to {_LIMITS}")
    if x * y * z > MAX_THREADS_PER_BLOCK:
        raise InvalidValueError(f"block {block} has more than {MAX_THREADS_PER_BLOCK} threads")
    if entry.required_block is not None and entry.required_block != block:
        raise PtxError(
            f"{entry.name} requires blocks of {entry.required_block} threads (.reqntid), not {block}"
        )
    if entry.max_threads is not None and x * y * z > entry.max_threads:
        raise PtxError(f"{entry.name} allows {entry.max_threads} threads a block (.maxntid), not {x * y * z}")


def emit_assembly(module: Module, entry: Entry, block: tuple[int, int, int], *, optimize: bool) -> Assembly:
    """Run every pass but the last and return LLVM assembly."""
    function = lower(entry, block)
    resolve_generic(function)
    apart = split_rests(function, block) if optimize else set()
    together = blocks_together(function, block) if optimize and not entry.local_bytes else 1
    graph = Graph(function.blocks)
    cuts, demoted = _choose_lockstep(function, graph, block, apart)
    lockstep = {block for loop in graph.loops if loop.header in cuts for block in loop.blocks}
    after_barriers = {each.successors[0] for each in graph.blocks if each.terminator == "barrier"}
    outside = {each for each in graph.blocks if not any(each in loop.blocks for loop in graph.loops)}
    for attempt in range(len(function.blocks) + 2):
        divergence = Divergence(graph, demoted)
        cuts = cuts.union(divergence.areas).difference(after_barriers)
        builder = RegionBuilder(graph, divergence.divergent, cuts, divergence.outliving)
        plan = Plan(builder, divergence)
        if not plan.demoted and not plan.joins:
            if together > 1 and not _pays_together(function, graph, block, builder, plan):
                together = 1
            block = (together * block[0], *block[1:])
            if optimize:
                plan.specialize(block, rows_part=together > 1)
            schedule = Schedule(block, builder, divergence.areas)
            turns = blocks_in_turns(entry, builder, plan) if optimize else 1
            return Emitter(
                _SYMBOL, entry, module.constants, block, together, builder, plan, schedule, turns
            ).emit()
        joins = plan.joins & (lockstep | outside) if attempt < _MAX_ATTEMPTS else set()
        if joins:
            # What hangs on the counters merged there may come right by itself.
            cuts = cuts | joins
            continue
        demoted |= plan.demoted
        demoted |= {phi for each in plan.joins for phi in each.phis}
    raise PtxError(f"the control flow of {entry.name} is too complex")


def _choose_lockstep(
    function: Function, graph: Graph, block: tuple[int, int, int], apart: set[Block]
) -> tuple[set[Block], set[Value]]:
    """Choose loops to run in lockstep, and split the induction variables of those that are cut."""
    divergence = Divergence(graph, ())
    cuts = set() if divergence.entangled else choose_cuts(graph, divergence.divergent, block[0], apart)
    starts = cuts | {each for each in function.blocks if each.terminator == "barrier"}
    split_affine_phis([loop for loop in graph.loops if loop.blocks & starts], divergence.divergent)
    return cuts, set()


def _pays_together(
    function: Function, graph: Graph, block: tuple[int, int, int], builder: RegionBuilder, plan: Plan
) -> bool:
    """Whether blocks that may run together gain by it."""
    if builder.classes.spilled:
        # What a small block keeps for its threads stays in the first-level cache.
        return False
    if block[1] * block[2] > 1 and any(loop.header not in builder.cuts for loop in graph.loops):
        # The rows of a block walk the same memory one after the other.
        return False
    return not plan.scheduled or strides_over_grid(function)
