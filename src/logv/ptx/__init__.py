"""PTX to machine code of the host."""

from logv.ptx.compiler import CompiledKernel, compile_entry, parse
from logv.ptx.module import Entry, Module, Parameter

__all__ = ["CompiledKernel", "Entry", "Module", "Parameter", "compile_entry", "parse"]
