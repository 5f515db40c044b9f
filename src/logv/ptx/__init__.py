"""PTX to machine code of the host."""

from logv.ptx.compiler import CompiledKernel, compile_entry, parse
from logv.ptx.executable import Executable, identity
from logv.ptx.module import Entry, Module, Parameter
from logv.ptx.survey import Survey, survey

__all__ = [
    "CompiledKernel",
    "Entry",
    "Executable",
    "Module",
    "Parameter",
    "Survey",
    "compile_entry",
    "identity",
    "parse",
    "survey",
]
