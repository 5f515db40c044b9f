"""Launches: geometry, arguments, and the QMD and constant bank that come of them."""

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.fake_driver import FakeDriver, Launch

from logv.errors import ClosedError, InvalidValueError
from logv.hw import software_gpu
from logv.ptx import Entry, Parameter
from logv.runtime import Device, Kernel, LaunchConfig, Stream, launch

INTEGERS = {
    f"{kind}{bits}": code
    for kind, codes in (("u", "BHIQ"), ("s", "bhiq"), ("b", "BHIQ"))
    for bits, code in zip((8, 16, 32, 64), codes, strict=True)
}
FLOATS = {"f32": "f", "f64": "d"}
FLOAT_TYPES: dict[str, Any] = {"f32": np.float32, "f64": np.float64}


def make_kernel(*types: str, text: str = "text", **limits: Any) -> Kernel:
    """Return a kernel with parameters of `types`, laid out as PTX lays them out."""
    parameters, offset = [], 0
    for number, kind in enumerate(types):
        size = 12 if kind == "array" else 8 if kind == "ptr" else int(kind[1:]) // 8
        align = 4 if kind == "array" else size
        offset = -(-offset // align) * align
        parameters.append(Parameter(f"p{number}", offset, size, align, "b8" if kind == "array" else kind))
        offset += size
    options: dict[str, Any] = dict.fromkeys(("data_offset", "max_threads", "required_block", "body"))
    options |= {"shared_bytes": 0, "local_bytes": 0, **limits}
    entry = Entry("kernel", tuple(parameters), offset, **options)
    return Kernel(entry, text)


@pytest.fixture
def stream(device: Device) -> Stream:
    """A stream of the device."""
    return device.create_stream()


def launched(driver: FakeDriver, stream: Stream, config: LaunchConfig, kernel: Kernel, *args: Any) -> Launch:
    """Launch, wait, and return what the engine decoded."""
    launch(stream, config, kernel, *args)
    stream.sync()
    return driver.launches[-1]


def test_the_qmd_says_what_was_asked_for(driver: FakeDriver, device: Device, stream: Stream) -> None:
    """Grid, block, shared memory, program and constant bank reach the engine."""
    config = LaunchConfig(grid=(5, 6, 7), block=(32, 4, 2), shmem_size=100)
    kernel = make_kernel("u32", "u64", "f32", shared_bytes=20, text="the text")
    buffer = device.allocate(64)
    seen = launched(driver, stream, config, kernel, 1, buffer, 2.5)
    assert seen.version == 3
    assert (seen.grid, seen.block) == ((5, 6, 7), (32, 4, 2))
    assert seen.shared == 32 + 100
    assert (seen.kernel, seen.text) == ("kernel", "//.entry kernel\nthe text")
    assert seen.program_address % 16 == 0
    assert struct.unpack_from("<6I", seen.bank) == (32, 4, 2, 5, 6, 7)
    assert struct.unpack_from("<I4xQf", seen.parameters) == (1, buffer.handle, 2.5)
    assert launched(driver, stream, LaunchConfig(1, 1), make_kernel(shared_bytes=20)).shared == 20


@given(st.data())
def test_arguments_arrive_as_ptx_lays_them_out(data: st.DataObject) -> None:
    """Any mix of parameter types takes Python and NumPy values alike."""
    types = data.draw(st.lists(st.sampled_from([*INTEGERS, *FLOATS]), max_size=12))
    values: list[Any] = []
    for kind in types:
        if kind in FLOATS:
            value = data.draw(st.floats(width=32 if kind == "f32" else 64, allow_nan=False))
            values.append(data.draw(st.sampled_from([float, FLOAT_TYPES[kind]]))(value))
        else:
            bits = int(kind[1:])
            low = -(1 << (bits - 1)) if kind[0] == "s" else 0
            high = (1 << bits - (kind[0] == "s")) - 1
            values.append(data.draw(st.integers(low, high)))
    kernel = make_kernel(*types)
    driver = FakeDriver()
    with Device(driver) as device:
        seen = launched(driver, device.create_stream(), LaunchConfig(1, 1), kernel, *values)
    for parameter, value in zip(kernel.entry.parameters, values, strict=True):
        code = {**INTEGERS, **FLOATS}[parameter.type]
        assert struct.unpack_from(f"<{code}", seen.parameters, parameter.offset)[0] == value


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("u32", np.int32(-1), b"\xff" * 4),
        ("u32", -1, b"\xff" * 4),
        ("s32", 2**32 - 1, b"\xff" * 4),
        ("u8", True, b"\x01"),
        ("u32", np.bool_(True), b"\x01\0\0\0"),
        ("u64", np.uint64(2**63), (2**63).to_bytes(8, "little")),
        ("f32", np.float32(1.5), struct.pack("<f", 1.5)),
        ("f32", np.float64(0.1), struct.pack("<f", 0.1)),
        ("f32", 3, struct.pack("<f", 3)),
        ("f32", float("inf"), struct.pack("<f", float("inf"))),
        ("f64", np.int64(3), struct.pack("<d", 3)),
        ("ptr", 0x1234, (0x1234).to_bytes(8, "little")),
        ("array", bytes(range(12)), bytes(range(12))),
        ("array", np.arange(3, dtype=np.int32), np.arange(3, dtype=np.int32).tobytes()),
    ],
)
def test_conversions(driver: FakeDriver, stream: Stream, kind: str, value: Any, expected: bytes) -> None:
    """Numbers are converted to the parameter's type; structures go as they are."""
    seen = launched(driver, stream, LaunchConfig(1, 1), make_kernel(kind), value)
    assert seen.parameters[: len(expected)] == expected


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("u32", 2**32, "32 bits"),
        ("u32", -(2**31) - 1, "32 bits"),
        ("u8", 256, "8 bits"),
        ("u64", 2**64, "64 bits"),
        ("u32", 1.0, "integer"),
        ("u32", np.float32(1), "integer"),
        ("u32", None, "integer"),
        ("f32", 1e39, "f32"),
        ("f32", "1", "number"),
        ("f32", 1j, "number"),
        ("u64", np.zeros(4), "into a Buffer"),
        ("u64", "x", "a Buffer"),
        ("array", b"short", "12 bytes"),
        ("array", 5, "12 bytes"),
    ],
)
def test_arguments_that_do_not_fit(stream: Stream, kind: str, value: Any, message: str) -> None:
    """A wrong argument is named by its parameter, and nothing is submitted."""
    before = stream.channel.submitted
    with pytest.raises(InvalidValueError, match=message) as caught:
        launch(stream, LaunchConfig(1, 1), make_kernel(kind), value)
    assert "p0" in str(caught.value)
    assert stream.channel.submitted == before


def test_buffers_as_arguments(device: Device, stream: Stream) -> None:
    """A buffer goes where a pointer is, if it is open and of this device."""
    config, kernel = LaunchConfig(1, 1), make_kernel("u64")
    closed = device.allocate(64)
    closed.close()
    other = Device(FakeDriver())
    with pytest.raises(ClosedError):
        launch(stream, config, kernel, closed)
    with pytest.raises(InvalidValueError, match="another device"):
        launch(stream, config, kernel, other.allocate(64))
    with pytest.raises(InvalidValueError, match="integer"):
        launch(stream, config, make_kernel("u32", text="other"), device.allocate(64))
    other.close()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_number_of_arguments(stream: Stream, count: int) -> None:
    """Too few and too many are errors that say how many there should be."""
    with pytest.raises(InvalidValueError, match="takes 2 arguments"):
        launch(stream, LaunchConfig(1, 1), make_kernel("u32", "u32"), *range(count))


@pytest.mark.parametrize(
    ("grid", "block", "shmem_size"),
    [
        (0, 1, 0),
        (1, 0, 0),
        (-1, 1, 0),
        (2**31, 1, 0),
        ((1, 65536), 1, 0),
        ((1, 1, 65536), 1, 0),
        (2**64, 1, 0),
        (1, 1025, 0),
        (1, (1, 1025), 0),
        (1, (1, 1, 65), 0),
        (1, (33, 32), 0),
        ((1, 1, 1, 1), 1, 0),
        ((), 1, 0),
        (1.0, 1, 0),
        ("1", 1, 0),
        (1, None, 0),
        (1, 1, -1),
        (1, 1, software_gpu.MAX_SHARED_MEMORY_PER_BLOCK + 1),
        (1, 1, 0.5),
    ],
)
def test_impossible_geometry(grid: Any, block: Any, shmem_size: Any) -> None:
    """Dimensions that the GPU has not are refused before there is a launch."""
    with pytest.raises(InvalidValueError):
        LaunchConfig(grid, block, shmem_size)


def test_the_largest_geometry_is_possible(driver: FakeDriver, stream: Stream) -> None:
    """Each limit can be reached."""
    for grid, block in (
        ((2**31 - 1, 1, 1), (1024, 1, 1)),
        ((1, 65535, 1), (1, 1024, 1)),
        ((1, 1, 65535), (16, 1, 64)),
    ):
        seen = launched(driver, stream, LaunchConfig(grid, block), make_kernel())
        assert (seen.grid, seen.block) == (grid, block)


def test_geometry_that_does_not_suit_the_kernel(stream: Stream) -> None:
    """A kernel's own limits hold too."""
    before = stream.channel.submitted
    for kernel, config in (
        (make_kernel(required_block=(8, 8, 1)), LaunchConfig(1, 64)),
        (make_kernel(max_threads=128), LaunchConfig(1, 129)),
        (make_kernel(shared_bytes=17), LaunchConfig(1, 1, software_gpu.MAX_SHARED_MEMORY_PER_BLOCK - 16)),
    ):
        with pytest.raises(InvalidValueError, match="kernel kernel"):
            launch(stream, config, kernel)
    launch(stream, LaunchConfig(1, (8, 8)), make_kernel(required_block=(8, 8, 1)))
    launch(stream, LaunchConfig(1, 128), make_kernel(max_threads=128))
    assert stream.channel.submitted == before + 2


def test_wrong_kinds_of_things(stream: Stream) -> None:
    """Stream, config and kernel are told apart."""
    kernel, config = make_kernel(), LaunchConfig(1, 1)
    for attempt in (
        lambda: launch(None, config, kernel),  # type: ignore[arg-type]
        lambda: launch(stream, (1, 1), kernel),  # type: ignore[arg-type]
        lambda: launch(stream, [1], kernel),  # type: ignore[arg-type]
        lambda: launch(stream, config, "kernel"),  # type: ignore[arg-type]
        lambda: kernel[1],
        lambda: kernel[1, 2, 3, 4],
    ):
        with pytest.raises(InvalidValueError):
            attempt()


def test_brackets_are_a_launch(driver: FakeDriver, stream: Stream) -> None:
    """``kernel[grid, block, shmem_size](stream, ...)`` is the same launch."""
    make_kernel("u32")[(2, 3), 64, 8](stream, 5)
    stream.sync()
    seen = driver.launches[-1]
    assert (seen.grid, seen.block, seen.shared) == ((2, 3, 1), (64, 1, 1), 8)
    assert struct.unpack_from("<I", seen.parameters) == (5,)


def test_a_program_is_loaded_once(driver: FakeDriver, device: Device, stream: Stream) -> None:
    """Kernels of the same text share a place, others do not; none takes a call."""
    calls = driver.counts["calls"]
    first = launched(driver, stream, LaunchConfig(1, 1), make_kernel(text="one"))
    again = launched(driver, device.create_stream(), LaunchConfig(2, 2), make_kernel(text="one"))
    other = launched(driver, stream, LaunchConfig(1, 1), make_kernel(text="two"))
    assert first.program_address == again.program_address != other.program_address
    assert driver.counts["calls"] == calls + 4  # the second stream's channel


def test_a_program_larger_than_the_arena_gets_memory_of_its_own(driver: FakeDriver, stream: Stream) -> None:
    """It arrives whole."""
    text = "x" * (2 << 20)
    assert launched(driver, stream, LaunchConfig(1, 1), make_kernel(text=text)).text.endswith(text)
    with pytest.raises(InvalidValueError, match="exceeds"):
        make_kernel(text="x" * software_gpu.MAX_PROGRAM_BYTES)


def test_many_geometries_do_not_pile_up(driver: FakeDriver, device: Device, stream: Stream) -> None:
    """A kernel that never sees the same grid twice is launched right each time."""
    kernel = make_kernel()
    for grid in range(1, 600):
        assert launched(driver, stream, LaunchConfig(grid, 1), kernel).grid == (grid, 1, 1)
    assert sum(len(templates) for templates in device._templates.values()) < 600


def test_configs_are_values() -> None:
    """Equal geometry is the same key, however it was written."""
    config = LaunchConfig(grid=4, block=(32,), shmem_size=0)
    assert config == LaunchConfig((4, 1, 1), (32, 1, 1))
    assert hash(config) == hash(LaunchConfig([4], 32))
    assert config != LaunchConfig(4, 33)
    assert config != "config"
    assert eval(repr(config)) == config
