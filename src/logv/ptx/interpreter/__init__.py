"""PTX executed thread by thread: slow, plain, and the reference that the compiler is tested against."""

from logv.ptx.interpreter.interpret import DEFAULT_STEPS, interpret
from logv.ptx.interpreter.memory import Memory, RangeMemory

__all__ = ["DEFAULT_STEPS", "Memory", "RangeMemory", "interpret"]
