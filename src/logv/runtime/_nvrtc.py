"""CUDA C++ to PTX by NVIDIA's run-time compiler, a library that needs no GPU."""

import ctypes
import ctypes.util
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from logv.errors import CompileError, NotSupportedError

_LIBRARY_WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu13", "nvidia-cuda-nvrtc-cu12")
_HEADER_WHEELS = ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12")
_TOOLKIT = Path("/usr/local/cuda")
# The compiler brings CUDA's own declarations and no C library; these types are what kernels want of one.
_HEADERS = {
    b"stdint.h": b"""
#pragma once
typedef signed char int8_t; typedef short int16_t; typedef int int32_t; typedef long int64_t;
typedef unsigned char uint8_t; typedef unsigned short uint16_t; typedef unsigned uint32_t;
typedef unsigned long uint64_t; typedef long intptr_t; typedef unsigned long uintptr_t;
""",
    b"cstdint": b"""
#pragma once
#include <stdint.h>
namespace std {
using ::int8_t; using ::int16_t; using ::int32_t; using ::int64_t; using ::intptr_t;
using ::uint8_t; using ::uint16_t; using ::uint32_t; using ::uint64_t; using ::uintptr_t;
}
""",
}


def compile_to_ptx(
    code: str, options: Sequence[str], name_expressions: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """Compile one translation unit.

    Parameters
    ----------
    code : str
        CUDA C++.
    options : sequence of str
        Of NVRTC.
    name_expressions : sequence of str
        Kernels to instantiate, such as ``"scale<float>"``.

    Returns
    -------
    tuple
        The PTX text, and for each name expression the kernel's name in it.

    Raises
    ------
    CompileError
        The compiler refuses the program; carries its log.
    NotSupportedError
        The compiler is not installed.
    """
    library = _load()
    program = ctypes.c_void_p()
    _check(
        library,
        library.nvrtcCreateProgram(
            ctypes.byref(program),
            code.encode(),
            b"program.cu",
            len(_HEADERS),
            _strings(_HEADERS.values()),
            _strings(_HEADERS),
        ),
    )
    try:
        for expression in name_expressions:
            _check(library, library.nvrtcAddNameExpression(program, expression.encode()))
        words = [word.encode() for word in (*options, *(f"-I{path}" for path in _header_directories()))]
        status = library.nvrtcCompileProgram(program, len(words), _strings(words))
        if status:
            log = _text(library, program, "ProgramLog")
            raise CompileError(f"NVRTC refuses the program ({_describe(library, status)}):\n{log}", log=log)
        return _text(library, program, "PTX"), {
            expression: _lowered_name(library, program, expression) for expression in name_expressions
        }
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def _strings(values: Iterable[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    members = list(values)
    return (ctypes.c_char_p * len(members))(*members)


def _text(library: ctypes.CDLL, program: ctypes.c_void_p, what: str) -> str:
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, f"nvrtcGet{what}")(program, buffer))
    return buffer.value.decode(errors="replace").strip()


def _lowered_name(library: ctypes.CDLL, program: ctypes.c_void_p, expression: str) -> str:
    name = ctypes.c_char_p()
    _check(library, library.nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(name)))
    return (name.value or b"").decode()


def _check(library: ctypes.CDLL, status: int) -> None:
    if status:
        raise CompileError(f"NVRTC failed: {_describe(library, status)}", log="")


def _describe(library: ctypes.CDLL, status: int) -> str:
    return str(library.nvrtcGetErrorString(status).decode())


@cache
def _load() -> ctypes.CDLL:
    """Return the library, from a wheel or else of the system."""
    for path in _candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError:
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    raise NotSupportedError(
        "CUDA C++ is compiled by NVRTC, which is not installed: `pip install logv[nvrtc]`"
    )


def _candidates() -> Iterator[str]:
    for wheel in _installed(_LIBRARY_WHEELS):
        for file in wheel.files or ():
            if file.name.startswith("libnvrtc.so."):
                yield str(wheel.locate_file(file))
    found = ctypes.util.find_library("nvrtc")
    if found is not None:
        yield found
    yield str(_TOOLKIT / "lib64" / "libnvrtc.so")


@cache
def _header_directories() -> tuple[Path, ...]:
    """Return where ``cuda_fp16.h`` and its neighbours lie; nowhere, if no wheel and no toolkit has them."""
    for wheel in _installed(_HEADER_WHEELS):
        for file in wheel.files or ():
            if file.name == "cuda_fp16.h":
                return (Path(str(wheel.locate_file(file))).parent,)
    include = _TOOLKIT / "include"
    return (include,) if (include / "cuda_fp16.h").exists() else ()


def _installed(names: Sequence[str]) -> Iterator[Distribution]:
    for name in names:
        try:
            yield distribution(name)
        except PackageNotFoundError:
            continue
