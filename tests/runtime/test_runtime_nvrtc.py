"""CUDA C++ compiled by NVRTC: options, names, headers, and what is said when it does not compile."""

import ctypes.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import logv
from logv.errors import CompileError, InvalidValueError, NotSupportedError, PtxError
from logv.runtime import Program, ProgramOptions, _nvrtc

SCALE = """
template <class T> __global__ void scale(T *x, T a, int n)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n)
        x[i] *= a;
}
"""


@pytest.fixture
def device(anywhere: logv.Device) -> logv.Device:
    """The GPU, natively and in a VM."""
    return anywhere


def run(device: logv.Device, kernel: logv.Kernel, array: np.ndarray[Any, Any], *args: object) -> None:
    """Run one block with a thread for each element; the array goes there and back."""
    stream, buffer = device.create_stream(), device.allocate(array.nbytes)
    buffer.copy_from(array, stream=stream)
    logv.launch(stream, logv.LaunchConfig(1, array.size), kernel, buffer, *args)
    buffer.copy_to(array, stream=stream)


@pytest.mark.parametrize(
    ("name", "dtype"), [("float", np.float32), ("double", np.float64), ("int", np.int32)]
)
def test_templates(device: logv.Device, name: str, dtype: type[np.generic]) -> None:
    """A name expression instantiates a kernel, and finds it."""
    expression = f"scale<{name}>"
    code = Program(SCALE, "c++").compile(name_expressions=[expression])
    kernel = code.get_kernel(expression)
    assert code.get_kernel(kernel.name) is kernel
    array = np.arange(100).astype(dtype)
    run(device, kernel, array, dtype(3), np.int32(99))
    np.testing.assert_array_equal(array, [3 * i if i < 99 else i for i in range(100)])


def test_plain_and_mangled_names() -> None:
    """C linkage keeps a name; a C++ kernel is found by its expression."""
    source = 'extern "C" __global__ void plain() {} namespace a { __global__ void in_it(int) {} }'
    code = Program(source, code_type="c++").compile(name_expressions=["a::in_it"])
    assert code.get_kernel("plain").name == "plain"
    assert code.get_kernel("a::in_it").name == "_ZN1a5in_itEi"
    with pytest.raises(InvalidValueError, match=r"it has: a::in_it, plain, _ZN1a5in_itEi"):
        code.get_kernel("in_it")


def test_macros_and_include_paths(device: logv.Device, tmp_path: Path) -> None:
    """Options reach the compiler."""
    (tmp_path / "twice.h").write_text("__device__ int twice(int x) { return 2 * x; }")
    source = """
    #include <twice.h>
    #ifdef LONE
    extern "C" __global__ void f(int *x) { x[threadIdx.x] = twice(x[threadIdx.x]) + OFFSET; }
    #endif
    """
    options = ProgramOptions(
        define_macro=["LONE", ("OFFSET", "7")], include_path=[tmp_path], extra=["--use_fast_math"]
    )
    kernel = Program(source, "c++", options).compile().get_kernel("f")
    array = np.arange(32, dtype=np.int32)
    run(device, kernel, array)
    np.testing.assert_array_equal(array, 2 * np.arange(32) + 7)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ProgramOptions(), ".target sm_80"),
        (ProgramOptions(arch="compute_90"), ".target sm_90"),
        (ProgramOptions(extra=["--use_fast_math"]), "div.approx.ftz"),
    ],
    ids=["default", "architecture", "extra"],
)
def test_options_show_in_the_ptx(options: ProgramOptions, says: str) -> None:
    """Architecture 8.0 is what is made unless told."""
    source = 'extern "C" __global__ void f(float *x) { *x = *x / x[1]; }'
    assert says in Program(source, "c++", options).compile().code


def test_the_language_version_is_an_option() -> None:
    """A concept needs C++20."""
    source = "template <class T> concept Any = true; template <Any T> __global__ void f(T) {}"
    with pytest.raises(CompileError):
        Program(source, "c++").compile()
    code = Program(source, "c++", ProgramOptions(std="c++20")).compile(name_expressions=["f<int>"])
    assert len(code.kernel_names) == 1


def test_headers_of_cuda_and_fixed_width_types() -> None:
    """Half precision's header and the C library's integer types are found."""
    source = """
    #include <cuda_fp16.h>
    #include <stdint.h>
    #include <cstdint>
    static_assert(sizeof(__half2) == 4 && sizeof(int64_t) == 8 && sizeof(std::uint16_t) == 2, "sizes");
    extern "C" __global__ void f(uint8_t *x) { x[threadIdx.x] = 1; }
    """
    assert Program(source, "c++").compile().kernel_names == ("f",)


def test_bytes_are_source_too() -> None:
    """With or without a trailing NUL."""
    assert Program(b'extern "C" __global__ void f() {}\0', "c++").compile().kernel_names == ("f",)


def test_an_error_carries_the_compilers_log() -> None:
    """With file, line and reason; each error of the program is in it."""
    with pytest.raises(CompileError) as caught:
        Program("__global__ void f(int *x)\n{\n    *x = nowhere;\n    wrong;\n}\n", "c++").compile()
    assert "program.cu(3): error" in caught.value.log
    assert '"nowhere"' in caught.value.log
    assert '"wrong"' in caught.value.log
    assert caught.value.log in str(caught.value)
    assert isinstance(caught.value, logv.LogvError)


@pytest.mark.parametrize(
    ("options", "names", "says"),
    [
        (ProgramOptions(extra=["--no-such-option"]), (), "no-such-option"),
        (ProgramOptions(arch="compute_1"), (), "gpu-architecture"),
        (ProgramOptions(), ("nothing<int>",), "nothing"),
    ],
    ids=["option", "architecture", "name"],
)
def test_impossible_requests(options: ProgramOptions, names: tuple[str, ...], says: str) -> None:
    """Options and name expressions that the compiler does not know are named."""
    with pytest.raises(CompileError, match=says):
        Program(SCALE, "c++", options).compile(name_expressions=names)


def test_ptx_that_is_not_supported_is_refused_when_it_is_compiled() -> None:
    """C++ that compiles may still use what the GPU does not have."""
    with pytest.raises(PtxError, match="frobnicate"):
        Program('extern "C" __global__ void f() { asm volatile("frobnicate.u32 1;"); }', "c++").compile()


@pytest.mark.parametrize("name", ["define_macro", "include_path", "extra"])
def test_one_string_is_no_sequence(name: str) -> None:
    """It would be taken letter by letter."""
    with pytest.raises(InvalidValueError, match=name):
        ProgramOptions(**{name: "text"})


def test_what_belongs_to_c_plus_plus_only() -> None:
    """PTX takes neither options nor name expressions."""
    with pytest.raises(InvalidValueError, match="options"):
        Program("", "ptx", ProgramOptions())
    with pytest.raises(InvalidValueError, match="ProgramOptions"):
        Program("", "c++", {"arch": "compute_80"})  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="name_expressions"):
        Program("").compile(name_expressions=["f<int>"])
    with pytest.raises(InvalidValueError, match="name_expressions"):
        Program(SCALE, "c++").compile(name_expressions="scale<int>")


@pytest.fixture
def _searched_anew() -> Iterator[None]:
    """The library and the headers are looked for again, before and after."""
    caches = (_nvrtc._load, _nvrtc._header_directories)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.usefixtures("_searched_anew")
def test_without_nvrtc_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PTX programs go on working."""
    monkeypatch.setattr(_nvrtc, "_LIBRARY_WHEELS", ())
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(_nvrtc, "_TOOLKIT", tmp_path)
    program = Program(SCALE, "c++")
    with pytest.raises(NotSupportedError, match=r"logv\[nvrtc\]"):
        program.compile()
    assert Program(".version 7.0\n.target sm_80\n.address_size 64").compile().kernel_names == ()


@pytest.mark.usefixtures("_searched_anew")
def test_the_systems_toolkit_is_used_where_no_wheel_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its library and its headers, in their usual place."""
    (wheel,) = {str(path) for path in _nvrtc._candidates() if "site-packages" in path}
    include = _nvrtc._header_directories()[0]
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libnvrtc.so").symlink_to(wheel)
    (tmp_path / "include").symlink_to(include)
    _nvrtc._header_directories.cache_clear()
    monkeypatch.setattr(_nvrtc, "_LIBRARY_WHEELS", ())
    monkeypatch.setattr(_nvrtc, "_HEADER_WHEELS", ("no-such-distribution",))
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    monkeypatch.setattr(_nvrtc, "_TOOLKIT", tmp_path)
    source = '#include <cuda_fp16.h>\nextern "C" __global__ void f(__half *x) {}'
    assert Program(source, "c++").compile().kernel_names == ("f",)
    assert _nvrtc._header_directories() == (tmp_path / "include",)
