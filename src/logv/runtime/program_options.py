"""How CUDA C++ is compiled."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from logv.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class ProgramOptions:
    """Options of :class:`Program` for CUDA C++, named after those of cuda.core.

    Attributes
    ----------
    arch : str
        Architecture that the program may use. What LoGV runs is that of ``compute_80``.
    std : str
        Version of the language.
    define_macro : sequence of str or of (str, str)
        Names to define, alone or with a value.
    include_path : sequence of path
        Where headers are looked for, before those of CUDA itself.
    extra : sequence of str
        More of NVRTC's options, as its command line has them: ``"--use_fast_math"``.

    Raises
    ------
    InvalidValueError
        One string in the place of a sequence.
    """

    arch: str = "compute_80"
    std: str = "c++17"
    define_macro: Sequence[str | tuple[str, str]] = ()
    include_path: Sequence[str | os.PathLike[str]] = ()
    extra: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("define_macro", "include_path", "extra"):
            if isinstance(getattr(self, name), str | os.PathLike):
                raise InvalidValueError(f"{name} must be a sequence: [{getattr(self, name)!r}]")

    def words(self) -> list[str]:
        """Return the options as NVRTC takes them."""
        macros = [macro if isinstance(macro, str) else "=".join(macro) for macro in self.define_macro]
        return [
            f"--gpu-architecture={self.arch}",
            f"--std={self.std}",
            *(f"--define-macro={macro}" for macro in macros),
            *(f"--include-path={os.fspath(path)}" for path in self.include_path),
            *self.extra,
        ]
