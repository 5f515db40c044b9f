"""LLVM assembly to machine code in memory."""

import threading
import weakref
from dataclasses import dataclass
from functools import cache

from llvmlite import binding

# Larger kernels are compiled with less effort, so that compile time stays bounded.
_FULL_EFFORT_LINES = 6_000
_SOME_EFFORT_LINES = 15_000
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class MachineCode:
    """Compiled code; `address` is valid as long as this object lives."""

    address: int
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


def _machine(effort: int) -> binding.TargetMachine:
    return _target().create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=binding.get_host_cpu_features().flatten(),
        opt=effort,
        reloc="default",
        codemodel="jitdefault",
        jit=True,
    )


def compile_assembly(text: str, symbol: str) -> MachineCode:
    """Optimise and compile one module.

    Parameters
    ----------
    text : str
        LLVM assembly.
    symbol : str
        The function wanted.
    """
    with _LOCK:
        lines = text.count("\n")
        effort = 2 if lines <= _FULL_EFFORT_LINES else 1 if lines <= _SOME_EFFORT_LINES else 0
        machine = _machine(effort)
        module = binding.parse_assembly(text, binding.create_context())
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        options = binding.create_pipeline_tuning_options(speed_level=effort)
        options.loop_vectorization = effort > 1
        options.loop_unrolling = False
        passes = binding.create_pass_builder(machine, options)
        passes.getModulePassManager().run(module, passes)
        engine = binding.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        code = MachineCode(engine.get_function_address(symbol), engine, module, machine)
        # The engine must go before its module's context. The garbage collector finalises what it finds
        # in any order; what a finaliser holds is not among it. Not at exit: the code may still run then.
        weakref.finalize(code, engine.close).atexit = False
        return code
