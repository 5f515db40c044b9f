"""CUDA C++ to PTX by the NVRTC library of the wheel `nvidia-cuda-nvrtc`."""

import ctypes
import importlib.util
from functools import cache
from pathlib import Path


@cache
def _folder() -> Path | None:
    """Return the folder of the wheels' libraries and headers, None where they are not installed."""
    spec = importlib.util.find_spec("nvidia")
    places = [Path(place) for place in (spec and spec.submodule_search_locations) or ()]
    found = [path.parent.parent for place in places for path in place.glob("*/lib/libnvrtc.so.*")]
    return found[0] if found else None


def is_installed() -> bool:
    """Return whether there is an NVRTC."""
    return _folder() is not None


def compile_source(source: Path) -> str:
    """Return the PTX of a file."""
    folder = _folder()
    if folder is None:
        raise RuntimeError("NVRTC is missing: pip install nvidia-cuda-nvrtc nvidia-cuda-runtime")
    library = ctypes.CDLL(str(next(folder.glob("lib/libnvrtc.so.*"))))
    program, text, size = ctypes.c_void_p(), source.read_bytes(), ctypes.c_size_t()
    words = [b"-arch=compute_80", f"-I{folder / 'include'}".encode()]
    options = (ctypes.c_char_p * len(words))(*words)
    name = source.name.encode()
    status = library.nvrtcCreateProgram(ctypes.byref(program), text, name, 0, None, None)
    assert status == 0, f"nvrtcCreateProgram: {status}"
    status = library.nvrtcCompileProgram(program, len(words), options)
    what = "PTX" if status == 0 else "ProgramLog"
    getattr(library, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
    output = ctypes.create_string_buffer(size.value)
    getattr(library, f"nvrtcGet{what}")(program, output)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    assert status == 0, output.value.decode()
    return output.value.decode()
