"""LLVM assembly to machine code in memory."""

import threading
import weakref
from dataclasses import dataclass
from functools import cache

import llvmlite
from llvmlite import binding

# Larger kernels are compiled without effort, so that compile time stays bounded.
MAX_OPTIMIZED_LINES = 6_000
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class MachineCode:
    """Compiled code; `address` is valid as long as this object lives.

    Attributes
    ----------
    address : int
        Host address of the function.
    object_code : bytes
        The same as a relocatable object file, for :func:`load_object`.
    engine : ExecutionEngine
    module : ModuleRef
        LLVM's form after optimisation; empty where an object was loaded.
    machine : TargetMachine
    """

    address: int
    object_code: bytes
    engine: binding.ExecutionEngine
    module: binding.ModuleRef
    machine: binding.TargetMachine

    @property
    def assembly(self) -> str:
        """The host's assembly language."""
        return str(self.machine.emit_assembly(self.module))


@cache
def _target() -> binding.Target:
    if binding.llvm_version_info[0] < 20:
        binding.initialize()
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    return binding.Target.from_default_triple()


@cache
def _features() -> str:
    return str(binding.get_host_cpu_features().flatten())


def _machine(effort: int) -> binding.TargetMachine:
    return _target().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=_features(),
        opt=effort,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )


def target_identity() -> str:
    """Return what the machine code is for, and what makes it: two processes with the same can share it."""
    version = ".".join(map(str, binding.llvm_version_info))
    host = f"{_machine(0).triple} {binding.get_host_cpu_name()} {_features()}"
    return f"llvmlite {llvmlite.__version__} LLVM {version} {host}"


def compile_assembly(text: str, symbol: str, *, optimize: bool) -> MachineCode:
    """Compile one module.

    Parameters
    ----------
    text : str
        LLVM assembly.
    symbol : str
        The function wanted.
    optimize : bool
        Whether to take the time that it needs to make the code as fast as can be.
    """
    with _LOCK:
        effort = (2 if optimize else 1) if text.count("\n") <= MAX_OPTIMIZED_LINES else 0
        machine = _machine(effort)
        module = _module(text, machine)
        _PIPELINES[effort](module, machine)
        engine = binding.create_mcjit_compiler(module, machine)
        objects: list[bytes] = []
        engine.set_object_cache(notify_func=lambda _, data: objects.append(bytes(data)))
        engine.finalize_object()
        return _finish(symbol, objects[0], engine, module, machine)


def _optimize(module: binding.ModuleRef, machine: binding.TargetMachine) -> None:
    """Run the pipeline of -O1, with the vectoriser.

    The code is in SSA form and its loops are simple, so that -O2's further passes find next to nothing, and
    take a sixth longer.
    """
    options = binding.create_pipeline_tuning_options(speed_level=1)
    options.loop_vectorization = True
    options.loop_unrolling = False
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)


def _tidy(module: binding.ModuleRef, machine: binding.TargetMachine) -> None:
    """Run the passes that shorten the code most, once each: a sixth of the time of -O1's many."""
    passes = binding.create_new_function_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options())
    for function in module.functions:
        if not function.is_declaration:
            passes.run(function, builder)


def _leave(module: binding.ModuleRef, machine: binding.TargetMachine) -> None:
    """Run no pass."""


# By effort, which is also that of choosing the host's instructions.
_PIPELINES = (_leave, _tidy, _optimize)


def load_object(object_code: bytes, symbol: str) -> MachineCode:
    """Link an object that :func:`compile_assembly` made on a machine of the same :func:`target_identity`.

    Parameters
    ----------
    object_code : bytes
        Trusted as the code itself is: LLVM does not survive every object that is not its own.
    symbol : str
        The function wanted.

    Raises
    ------
    RuntimeError
        The function is not in it.
    """
    with _LOCK:
        machine = _machine(0)
        module = _module("", machine)
        engine = binding.create_mcjit_compiler(module, machine)
        engine.add_object_file(binding.ObjectFileRef.from_data(object_code))
        engine.finalize_object()
        return _finish(symbol, object_code, engine, module, machine)


def _module(text: str, machine: binding.TargetMachine) -> binding.ModuleRef:
    module = binding.parse_assembly(text, binding.create_context())
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    return module


def _finish(
    symbol: str,
    object_code: bytes,
    engine: binding.ExecutionEngine,
    module: binding.ModuleRef,
    machine: binding.TargetMachine,
) -> MachineCode:
    address = engine.get_function_address(symbol)
    if not address:
        raise RuntimeError(f"the object has no function {symbol!r}")
    code = MachineCode(address, object_code, engine, module, machine)
    # The engine must go before its module's context. The garbage collector finalises what it finds
    # in any order; what a finaliser holds is not among it. Not at exit: the code may still run then.
    weakref.finalize(code, engine.close).atexit = False
    return code
