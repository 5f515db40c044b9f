"""Programs: PTX text or CUDA C++, checked on the host, and the kernels in it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from logv import ptx
from logv.errors import InvalidValueError, NotSupportedError
from logv.runtime import _nvrtc
from logv.runtime.kernel import Kernel
from logv.runtime.program_options import ProgramOptions

if TYPE_CHECKING:
    from logv.ptx.module import Module

_CODE_TYPES = ("ptx", "c++")
_NO_NAMES: Mapping[str, str] = MappingProxyType({})
_PARSED_PROGRAMS = 64


@lru_cache(maxsize=_PARSED_PROGRAMS)
def _parse(code: str) -> "Module":
    # As bytes, which is how the GPU is given it.
    return ptx.parse(code.encode())


class Program:
    """Source code for the GPU.

    Parameters
    ----------
    code : str or bytes
        PTX text or CUDA C++.
    code_type : str
        ``"ptx"`` or ``"c++"``, which NVRTC compiles to PTX: ``pip install logv[nvrtc]``.
    options : ProgramOptions, optional
        Of CUDA C++.

    Raises
    ------
    NotSupportedError
        Another `code_type`.
    InvalidValueError
        `code` is not text, or there are options where none are taken.
    """

    def __init__(
        self, code: str | bytes, code_type: str = "ptx", options: ProgramOptions | None = None
    ) -> None:
        if code_type not in _CODE_TYPES:
            raise NotSupportedError(
                f"code_type {code_type!r} is not supported, only {', '.join(map(repr, _CODE_TYPES))}"
            )
        if isinstance(code, bytes | bytearray):
            # A trailing NUL is what C interfaces such as NVRTC's give.
            code = bytes(code).rstrip(b"\0").decode("utf-8", "replace")
        if not isinstance(code, str):
            raise InvalidValueError(f"code must be text, not {type(code).__name__}")
        if "\0" in code:
            raise InvalidValueError("the text of a program must not contain NUL characters")
        if options is not None and not isinstance(options, ProgramOptions):
            raise InvalidValueError(f"options must be ProgramOptions, not {type(options).__name__}")
        if options is not None and code_type == "ptx":
            raise InvalidValueError("PTX is taken as it is; options are for code_type 'c++'")
        self._code = code
        self._options = ProgramOptions() if options is None else options
        self.code_type = code_type

    def __repr__(self) -> str:
        return f"<Program {self.code_type}, {len(self._code)} characters>"

    def compile(self, *, name_expressions: Sequence[str] = ()) -> "ObjectCode":
        """Check the program; the GPU turns a kernel into machine code when it is first launched.

        Parameters
        ----------
        name_expressions : sequence of str
            Kernels of C++ as the source would write them: ``"scale<float>"`` instantiates a template, and
            names that are not ``extern "C"`` are found by it. :meth:`ObjectCode.get_kernel` takes the same.

        Raises
        ------
        InvalidValueError
            There are name expressions where none are taken, or one string in the place of a sequence.
        PtxError
            The text does not parse, or uses what is not supported; says line and instruction.
        CompileError
            The C++ does not compile; carries the compiler's log.
        NotSupportedError
            NVRTC is not installed.
        """
        if isinstance(name_expressions, str):
            raise InvalidValueError(f"name_expressions must be a sequence: [{name_expressions!r}]")
        if self.code_type == "ptx":
            if name_expressions:
                raise InvalidValueError("name_expressions are for code_type 'c++'; PTX has plain names")
            return ObjectCode(self._code, _parse(self._code))
        text, names = _nvrtc.compile_to_ptx(self._code, self._options.words(), name_expressions)
        return ObjectCode(text, _parse(text), names)


class ObjectCode:
    """A checked program, made by :meth:`Program.compile`."""

    def __init__(self, code: str, module: "Module", names: Mapping[str, str] = _NO_NAMES) -> None:
        self.code = code
        self._module = module
        self._names = names
        self._kernels: dict[str, Kernel] = {}

    def __repr__(self) -> str:
        return f"<ObjectCode with kernels {', '.join(self._module.entries) or '(none)'}>"

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """The kernels' names, in the text's order."""
        return tuple(self._module.entries)

    def get_kernel(self, name: str) -> Kernel:
        """Return a kernel by its name in the PTX text, or by its name expression.

        Raises
        ------
        InvalidValueError
            There is none; lists the names there are.
        """
        name = self._names.get(name, name)
        if name not in self._kernels:
            entry = self._module.entries.get(name)
            if entry is None:
                known = ", ".join([*self._names, *self._module.entries]) or "none"
                raise InvalidValueError(f"the program has no kernel {name!r}; it has: {known}")
            self._kernels[name] = Kernel(entry, self.code)
        return self._kernels[name]
