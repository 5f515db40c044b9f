"""Kernels written in Python, compiled to PTX by numba-cuda, which needs no GPU for that."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from logv.errors import CompileError, InvalidValueError, NotSupportedError
from logv.runtime.array_view import ArrayView
from logv.runtime.buffer import Buffer
from logv.runtime.kernel import Kernel
from logv.runtime.launcher import LaunchConfig, launch
from logv.runtime.program import Program

if TYPE_CHECKING:
    from logv.runtime.stream import Stream

_COMPUTE_CAPABILITY = (8, 0)
# Belongs to Numba's interface to the interpreter; no kernel reads it.
_ENVIRONMENT = re.compile(r"^\.common \.global [^\n]*NumbaEnv[^\n]*;$", re.MULTILINE)
_ENTRY = re.compile(r"\.visible \.entry (\w+)\(", re.ASCII)
_MISSING = "kernels in Python are compiled by numba-cuda: `pip install logv[numba]`"

# What a parameter is: a dtype, and the dimensions of an array of it; None for a scalar.
_Kind = tuple["np.dtype[Any]", int | None]


def kernel(function: Callable[..., None] | str) -> Any:
    """Make a kernel of a Python function that Numba can compile: ``@kernel`` or ``@kernel(signature)``.

    Parameters
    ----------
    function : callable or str
        The function, or the signature of the one that follows.

    Returns
    -------
    PythonKernel or decorator
    """
    if isinstance(function, str):
        return partial(PythonKernel, signature=function)
    return PythonKernel(function)


class PythonKernel:
    """A kernel written in Python. ``kernel[grid, block](stream, *args)`` launches it.

    In the function, ``numba.cuda`` is what it is for a real GPU: ``cuda.grid``, ``cuda.shared.array``,
    ``cuda.syncthreads``, ``cuda.atomic``. A function that it calls needs the decorator
    ``@cuda.jit(device=True, inline="always")``, because Numba compiles others for a GPU that it looks for.
    Shared memory needs a size in the function: Numba asks the GPU for that of a launch, which it cannot tell.

    Without a signature the kernel is compiled for the types of each launch's arguments, once for each
    combination: an :class:`ArrayView` is a C-contiguous array, NumPy's scalars keep their type, and
    Python's ``int``, ``float`` and ``bool`` are 64-bit integers, doubles and booleans. With a signature,
    a :class:`Buffer` may stand for a whole array of one dimension, and Python's numbers take the types there.

    Parameters
    ----------
    function : callable
    signature : str, optional
        As Numba writes it: ``"void(float32[::1], int32)"``.
    """

    def __init__(self, function: Callable[..., None], signature: str | None = None) -> None:
        if not callable(function) or not hasattr(function, "__code__"):
            raise InvalidValueError(f"a kernel is made of a Python function, not {type(function).__name__}")
        self.__doc__ = function.__doc__
        self.name = re.sub(r"\W", "_", function.__name__, flags=re.ASCII)
        self._function = function
        self._signature = signature
        self._fixed: tuple[_Kind, ...] | None = None
        self._kernels: dict[tuple[_Kind, ...], Kernel] = {}

    def __repr__(self) -> str:
        return f"<PythonKernel {self.name}, compiled for {len(self._kernels)} signatures>"

    def __getitem__(self, geometry: object) -> Callable[..., None]:
        if not isinstance(geometry, tuple) or not 2 <= len(geometry) <= 3:
            raise InvalidValueError("write kernel[grid, block] or kernel[grid, block, shmem_size]")
        return partial(self._launch, LaunchConfig(*geometry))

    def specialize(self, *args: object) -> Kernel:
        """Return the kernel that a launch with such arguments runs, compiled if need be.

        Raises
        ------
        InvalidValueError
            An argument is of a type that no parameter can have, or does not suit the signature.
        CompileError
            Numba refuses the function; carries what it says.
        PtxError
            What Numba made of it uses what is not supported.
        NotSupportedError
            numba-cuda is not installed.
        """
        return self._specialize(self._kinds(args))

    def _launch(self, config: LaunchConfig, stream: "Stream", *args: object) -> None:
        kinds = self._kinds(args)
        made = self._specialize(kinds)
        values = [part for kind, value in zip(kinds, args, strict=True) for part in _expand(kind, value)]
        launch(stream, config, made, *values)

    def _kinds(self, args: Sequence[object]) -> tuple[_Kind, ...]:
        if self._signature is None:
            return tuple(map(_kind_of, args))
        if self._fixed is None:
            self._fixed = tuple(map(_kind_of_type, self._types()))
        if len(args) != len(self._fixed):
            raise InvalidValueError(
                f"kernel {self.name} takes {len(self._fixed)} arguments, not {len(args)}: {self._signature}"
            )
        return self._fixed

    def _types(self) -> Sequence[Any]:
        """Return Numba's types of the signature's parameters."""
        _import("numba.cuda")
        try:
            types, _ = _import("numba.core.sigutils").normalize_signature(self._signature)
        except Exception as error:
            raise InvalidValueError(f"{self._signature!r} is not a signature of Numba: {error}") from None
        return list(types)

    def _specialize(self, kinds: tuple[_Kind, ...]) -> Kernel:
        made = self._kernels.get(kinds)
        if made is None:
            types = self._signature if self._signature is not None else tuple(map(_type_of, kinds))
            made = self._kernels[kinds] = self._compile(types)
        return made

    def _compile(self, signature: object) -> Kernel:
        cuda = _import("numba.cuda")
        try:
            text, _ = cuda.compile_ptx(self._function, signature, cc=_COMPUTE_CAPABILITY)
        except _import("cuda.pathfinder").DynamicLibNotFoundError as error:
            raise NotSupportedError(f"{_MISSING}; it lacks a library of NVIDIA's: {error}") from None
        except cuda.CudaSupportError as error:
            raise CompileError(
                f"kernel {self.name}: Numba looks for a GPU to compile a function that the kernel calls; "
                'decorate that one with @cuda.jit(device=True, inline="always")',
                log=str(error),
            ) from error
        except Exception as error:
            # Numba has errors of many kinds for a function that it cannot compile, some of them Python's.
            raise CompileError(f"kernel {self.name} does not compile: {error}", log=str(error)) from error
        text = _ENVIRONMENT.sub("", text)
        found = _ENTRY.search(text)
        if found is not None:
            # Numba's name spells out the types, at such length that no message could show it.
            text = text.replace(found[1], self.name)
        return Program(text).compile().get_kernel(self.name)


def _import(name: str) -> Any:
    try:
        # Without it, numba.cuda is an older one that needs a CUDA installation.
        import_module("numba_cuda")
        return import_module(name)
    except ImportError:
        raise NotSupportedError(_MISSING) from None


def _kind_of(value: object) -> _Kind:
    """Return the kind of parameter that an argument asks for."""
    if isinstance(value, ArrayView):
        return value.dtype, len(value.shape)
    if isinstance(value, np.bool_ | np.integer | np.floating):
        return value.dtype, None
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        if isinstance(value, kind):
            return np.dtype(dtype), None
    given = type(value).__name__
    if isinstance(value, Buffer):
        given += "; wrap it in ArrayView(buffer, dtype, shape), or give the kernel a signature"
    elif isinstance(value, np.ndarray):
        given += "; copy the array into a Buffer first"
    raise InvalidValueError(f"a kernel written in Python takes ArrayViews and numbers, not {given}")


def _kind_of_type(given: Any) -> _Kind:
    """Return the kind of parameter that a type of Numba's stands for."""
    dimensions = given.ndim if isinstance(given, _import("numba").types.Array) else None
    element = given if dimensions is None else given.dtype
    try:
        dtype = _import("numba.np.numpy_support").as_dtype(element)
    except _import("numba.core.errors").NumbaNotImplementedError:
        dtype = None
    if dtype is None or (dimensions is None and dtype.kind not in "biuf"):
        raise InvalidValueError(f"a kernel written in Python takes arrays and real numbers, not {given}")
    return dtype, dimensions


def _type_of(kind: _Kind) -> Any:
    """Return Numba's type for a kind of parameter."""
    dtype, dimensions = kind
    numba = _import("numba")
    try:
        element = numba.from_dtype(dtype)
    except _import("numba.core.errors").NumbaNotImplementedError:
        raise InvalidValueError(f"Numba has no type for {dtype}") from None
    return element if dimensions is None else numba.types.Array(element, dimensions, "C")


def _expand(kind: _Kind, value: Any) -> Sequence[object]:
    """Return the values of the parameters that Numba makes of one argument."""
    dtype, dimensions = kind
    if dimensions is None:
        # PTX has no parameters of half precision, only their bits.
        return (int(np.float16(value).view(np.uint16)) if dtype == np.float16 else value,)
    if isinstance(value, Buffer) and dimensions == 1:
        value = ArrayView(value, dtype)
    if not isinstance(value, ArrayView) or value.dtype != dtype or len(value.shape) != dimensions:
        raise InvalidValueError(
            f"the signature has an array of {dimensions} dimensions of {dtype}, not {value!r}"
        )
    # What an array is to Numba: two pointers to Python's objects, elements, their size, data, shape, strides.
    return (0, 0, value.size, value.dtype.itemsize, value.buffer, *value.shape, *value.strides)
