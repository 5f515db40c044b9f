"""Programs: PTX text, checked on the host, and the kernels in it."""

from functools import lru_cache
from typing import TYPE_CHECKING

from logv import ptx
from logv.errors import InvalidValueError, NotSupportedError
from logv.runtime._module_variables import ModuleVariables
from logv.runtime.kernel import Kernel

if TYPE_CHECKING:
    from logv.ptx.module import Module
    from logv.runtime.buffer import Buffer
    from logv.runtime.device import Device

_CODE_TYPES = ("ptx",)
_PARSED_PROGRAMS = 64


@lru_cache(maxsize=_PARSED_PROGRAMS)
def _parse(code: str) -> "Module":
    return ptx.parse(code)


class Program:
    """Source code for the GPU.

    Parameters
    ----------
    code : str or bytes
        PTX text.
    code_type : str
        ``"ptx"``; turn CUDA C into it with ``nvcc -ptx`` or with NVRTC.

    Raises
    ------
    NotSupportedError
        Another `code_type`.
    InvalidValueError
        `code` is not text.
    """

    def __init__(self, code: str | bytes, code_type: str = "ptx") -> None:
        if code_type not in _CODE_TYPES:
            raise NotSupportedError(
                f"code_type {code_type!r} is not supported, only {', '.join(map(repr, _CODE_TYPES))}; "
                "compile CUDA C with `nvcc -ptx` or NVRTC first"
            )
        if isinstance(code, bytes | bytearray):
            # A trailing NUL is what C interfaces such as NVRTC's give.
            code = bytes(code).rstrip(b"\0").decode("utf-8", "replace")
        if not isinstance(code, str):
            raise InvalidValueError(f"code must be PTX text, not {type(code).__name__}")
        if "\0" in code:
            raise InvalidValueError("PTX text must not contain NUL characters")
        self._code = code
        self.code_type = code_type

    def __repr__(self) -> str:
        return f"<Program {self.code_type}, {len(self._code)} characters>"

    def compile(self) -> "ObjectCode":
        """Check the program; the GPU turns a kernel into machine code when it is first launched.

        Raises
        ------
        PtxError
            The text does not parse, or uses what is not supported; says line and instruction.
        """
        return ObjectCode(self._code, _parse(self._code))


class ObjectCode:
    """A checked program, made by :meth:`Program.compile`."""

    def __init__(self, code: str, module: "Module") -> None:
        self.code = code
        self._module = module
        self._kernels: dict[str, Kernel] = {}
        self._variables = ModuleVariables(module.data)

    def __repr__(self) -> str:
        return f"<ObjectCode with kernels {', '.join(self._module.entries) or '(none)'}>"

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """The kernels' names, in the text's order."""
        return tuple(self._module.entries)

    def get_kernel(self, name: str) -> Kernel:
        """Return a kernel by its name in the PTX text; InvalidValueError lists the names there are."""
        if name not in self._kernels:
            entry = self._module.entries.get(name)
            if entry is None:
                known = ", ".join(self._module.entries) or "none"
                raise InvalidValueError(f"the program has no kernel {name!r}; it has: {known}")
            self._kernels[name] = Kernel(entry, self.code, self._variables)
        return self._kernels[name]

    def get_global(self, name: str, device: "Device") -> "Buffer":
        """Return a ``__device__`` or ``__constant__`` variable, as its kernels find it on `device`.

        What is written to it stays for the launches that follow. The program has variables of its own on
        each device, and so has each :class:`ObjectCode` of the same text.

        Parameters
        ----------
        name : str
            In the PTX text, which is where C++ names are mangled.
        device : Device

        Raises
        ------
        InvalidValueError
            There is no such variable; lists the names there are.
        ClosedError
            The device was closed.
        OutOfMemoryError
            The device has no room for the program's variables.
        """
        return self._variables.find(name, device)
