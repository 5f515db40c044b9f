"""Makes a module of what the parser found: calls inlined, every variable at its place."""

from types import MappingProxyType

from logv.errors import PtxError
from logv.hw.software_gpu import MAX_PARAMETER_BYTES, MAX_SCRATCH_BYTES, MAX_SHARED_MEMORY_PER_BLOCK
from logv.ptx._call_parameters import CallParameters
from logv.ptx._data import ModuleVariables
from logv.ptx._declarations import align_up
from logv.ptx._inline import BRANCHES, Flat, Inliner, symbols_of
from logv.ptx._source import Declaration, EntrySource, Source
from logv.ptx._syntax import Body, Instruction, Variable
from logv.ptx.module import Entry, Module

_POINTER_BYTES = 8
# Where the dynamic part of shared memory begins, and what a thread's local memory is a multiple of.
_ALIGNMENT = 16


def link(source: Source) -> Module:
    """Return the module.

    Parameters
    ----------
    source : Source

    Raises
    ------
    PtxError
        A call or a variable that is not supported, or more memory than there is.
    """
    inliner = Inliner(source)
    flats: dict[str, Flat] = {}
    for entry in source.entries.values():
        flats[entry.name] = inliner.flatten(entry)
        CallParameters(flats[entry.name]).resolve()
    variables = ModuleVariables(source.variables, flats.values())
    entries = {
        entry.name: _entry(entry, flats[entry.name], source, variables) for entry in source.entries.values()
    }
    return Module(
        MappingProxyType(entries), variables.constants, variables.data, source.version, source.target
    )


def _entry(entry: EntrySource, flat: Flat, source: Source, variables: ModuleVariables) -> Entry:
    own = {parameter.name for parameter in entry.parameters}
    own.update(variable.name for frame in flat.frames for variable in frame.variables)
    own.update(flat.shared)
    parameter_bytes, data_offset = entry.parameter_bytes, None
    behind = align_up(parameter_bytes, _POINTER_BYTES)
    if variables.reach(flat, own, behind):
        data_offset, parameter_bytes = behind, behind + _POINTER_BYTES
        if parameter_bytes > MAX_PARAMETER_BYTES:
            raise PtxError(
                f"the parameters of {entry.name} leave no room for the address of the module's variables"
            )
    used = sorted(flat.symbols() - own)
    if not source.functions.keys().isdisjoint(used):
        _refuse_function_pointers(flat, source.functions.keys() - own)
    body = Body(flat.statements, {}, flat.branch_tables)
    body.variables.update((name, variables.tables[name]) for name in used if name in variables.tables)
    declared = [source.variables[name] for name in used if name in source.variables]
    shared = [variable for variable in declared if variable.space == "shared"]
    shared_bytes = _place_shared(body, [*shared, *flat.shared.values()])
    local_bytes = _place_local(body, flat)
    return Entry(
        entry.name,
        entry.parameters,
        parameter_bytes,
        data_offset,
        shared_bytes,
        align_up(local_bytes, _ALIGNMENT),
        entry.max_threads,
        entry.required_block,
        body,
    )


def _refuse_function_pointers(flat: Flat, functions: set[str]) -> None:
    """Raise at the first instruction that takes the address of a function."""
    for statement in flat.statements:
        if isinstance(statement, Instruction) and statement.opcode not in BRANCHES:
            for name in (name for operand in statement.operands for name in symbols_of(operand)):
                if name in functions:
                    raise statement.error(f"{name} is a function: pointers to functions are not supported")


def _place_shared(body: Body, variables: list[Declaration]) -> int:
    size = 0
    for variable in variables:
        if variable.size:
            offset = align_up(size, variable.align)
            size = offset + variable.size
            body.variables[variable.name] = Variable(variable.name, "shared", offset, variable.size)
        if size > MAX_SHARED_MEMORY_PER_BLOCK:
            raise PtxError(
                f"more than {MAX_SHARED_MEMORY_PER_BLOCK} bytes of shared memory", line=variable.line
            )
    for variable in variables:
        if not variable.size:
            # All dynamic arrays are the same memory, behind the static ones.
            offset = align_up(size, _ALIGNMENT)
            body.variables[variable.name] = Variable(variable.name, "shared", offset, 0)
    return size


def _place_local(body: Body, flat: Flat) -> int:
    """Place local variables as on a stack: functions called one after the other take the same memory."""
    ends: list[int] = []
    for frame in flat.frames:
        end = ends[frame.caller] if frame.caller >= 0 else 0
        for variable in frame.variables:
            offset = align_up(end, variable.align)
            end = offset + variable.size
            if end > MAX_SCRATCH_BYTES:
                raise PtxError("too much local memory", line=variable.line)
            body.variables[variable.name] = Variable(variable.name, "local", offset, variable.size)
        ends.append(end)
    return max(ends)
