"""Kernels written in Python: types, arrays, what they may do, and what is said when they do not compile."""

import importlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numba import cuda, float32, int32

import logv
from logv.errors import CompileError, InvalidValueError, NotSupportedError
from logv.runtime import python_kernel

Array = np.ndarray[Any, Any]


@pytest.fixture
def device(machine: logv.Machine) -> Iterator[logv.Device]:
    """The GPU, as the machine's own applications see it."""
    with machine.device() as device:
        yield device


class Memory:
    """Arrays on a device."""

    def __init__(self, device: logv.Device) -> None:
        self.stream = device.create_stream()
        self._device = device

    def put(self, array: Array) -> logv.ArrayView:
        """Copy an array there."""
        buffer = self._device.allocate(array.nbytes)
        buffer.copy_from(array, stream=self.stream)
        return logv.ArrayView(buffer, array.dtype, array.shape)

    def take(self, view: logv.ArrayView) -> Array:
        """Copy an array back."""
        result: Array = view.buffer.copy_to(np.zeros(view.shape, view.dtype), stream=self.stream)
        return result


def test_saxpy(anywhere: logv.Device) -> None:
    """One kernel with NumPy's types as they are, and with Python's; each is compiled once."""

    @logv.kernel
    def saxpy(x, y, n, a):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < n:
            y[i] = a * x[i] + y[i]

    memory, n = Memory(anywhere), 1000
    a, b = np.random.default_rng(1).random((2, n), dtype=np.float32)
    x, y = memory.put(a), memory.put(b)
    for _ in range(2):
        saxpy[4, 256](memory.stream, x, y, np.int32(n - 1), np.float32(2))
    saxpy[(4, 1), (256, 1, 1)](memory.stream, x, y, n - 1, 2.0)
    expected = b + np.float32(6) * a
    expected[-1] = b[-1]
    np.testing.assert_allclose(memory.take(y), expected, rtol=1e-6)
    assert "2 signatures" in repr(saxpy)
    assert saxpy.specialize(x, y, np.int32(1), np.float32(1)).name == "saxpy"
    assert "2 signatures" in repr(saxpy)


def test_dynamic_shared_memory(anywhere: logv.Device) -> None:
    """An array without a size of its own has what the launch gives it."""

    @logv.kernel
    def reverse(x, sizes):  # type: ignore[no-untyped-def]
        own = cuda.shared.array(3, np.float32)
        tile = cuda.shared.array(0, np.float32)
        i = cuda.threadIdx.x
        own[i % 3] = 0
        tile[i] = x[i]
        cuda.syncthreads()
        x[i] = tile[x.size - 1 - i] + own[i % 3]
        sizes[i] = tile.size

    memory = Memory(anywhere)
    numbers = np.arange(64, dtype=np.float32)
    for size in (64, 100):
        x, sizes = memory.put(numbers), memory.put(np.zeros(64, np.int64))
        reverse[1, 64, 4 * size](memory.stream, x, sizes)
        assert (memory.take(x) == numbers[::-1]).all()
        assert (memory.take(sizes) == size).all()


def test_two_dimensions_and_shapes(anywhere: logv.Device) -> None:
    """Shape and strides arrive; a dimension may be of any size."""

    @logv.kernel
    def transpose(source, target):  # type: ignore[no-untyped-def]
        i, j = cuda.grid(2)
        if i < source.shape[0] and j < source.shape[1]:
            target[j, i] = source[i, j] + source.size

    memory = Memory(anywhere)
    array = np.arange(35 * 18, dtype=np.int64).reshape(35, 18)
    source, target = memory.put(array), memory.put(np.zeros((18, 35), np.int64))
    transpose[(5, 3), (8, 8)](memory.stream, source, target)
    np.testing.assert_array_equal(memory.take(target), array.T + array.size)


def test_shared_memory_barriers_and_atomics(anywhere: logv.Device) -> None:
    """A block reduction, and a sum over the blocks."""

    @logv.kernel("void(int32[::1], int32[::1])")
    def total(values, result):  # type: ignore[no-untyped-def]
        part = cuda.shared.array(64, int32)
        thread = cuda.threadIdx.x
        part[thread] = values[cuda.grid(1)]
        cuda.syncthreads()
        step = 32
        while step > 0:
            if thread < step:
                part[thread] += part[thread + step]
            cuda.syncthreads()
            step //= 2
        if thread == 0:
            cuda.atomic.add(result, 0, part[0])

    memory = Memory(anywhere)
    values = np.random.default_rng(2).integers(-1000, 1000, 640).astype(np.int32)
    result = memory.put(np.zeros(1, np.int32))
    total[10, 64](memory.stream, memory.put(values).buffer, result.buffer)
    assert memory.take(result)[0] == values.sum()


@cuda.jit(device=True, inline="always")
def _collatz(number):  # type: ignore[no-untyped-def]
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def test_device_functions(device: logv.Device) -> None:
    """One that is inlined needs no GPU; the error for another says so."""

    @logv.kernel
    def collatz(x):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        x[i] = _collatz(x[i])

    memory = Memory(device)
    view = memory.put(np.arange(1, 28, dtype=np.int32))
    collatz[1, 27](memory.stream, view)
    assert memory.take(view)[26] == 111

    @cuda.jit(device=True)
    def double(x):  # type: ignore[no-untyped-def]
        return 2 * x

    @logv.kernel
    def calls(x):  # type: ignore[no-untyped-def]
        x[0] = double(x[0])

    with pytest.raises(CompileError, match='inline="always"'):
        calls[1, 1](memory.stream, view)


def test_single_precision_functions(device: logv.Device) -> None:
    """Square root and division come out as IEEE 754 has them, the exponential within its bound."""

    @logv.kernel
    def compute(x):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        x[i] = math.exp(x[i]) / math.sqrt(x[i] + float32(1))

    memory = Memory(device)
    array = np.linspace(0, 10, 64, dtype=np.float32)
    view = memory.put(array)
    compute[2, 32](memory.stream, view)
    np.testing.assert_allclose(memory.take(view), np.exp(array) / np.sqrt(array + 1), rtol=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        True,
        False,
        -5,
        2.5,
        np.bool_(True),
        np.int8(-7),
        np.uint8(200),
        np.int16(-300),
        np.uint16(65000),
        np.int32(-70000),
        np.uint32(4_000_000_000),
        np.int64(-(1 << 40)),
        np.uint64((1 << 63) + 2048),
        np.float16(0.1),
        np.float32(0.1),
        np.float64(0.1),
    ],
    ids=lambda value: f"{type(value).__name__} {value}",
)
def test_each_type_of_number(device: logv.Device, value: Any) -> None:
    """It arrives as what it is."""

    @logv.kernel
    def store(x, number):  # type: ignore[no-untyped-def]
        x[0] = number

    memory = Memory(device)
    view = memory.put(np.zeros(1, np.asarray(value).dtype))
    store[1, 1](memory.stream, view, value)
    assert memory.take(view)[0] == value


def test_a_signature_fixes_the_types(device: logv.Device) -> None:
    """Python's numbers are converted, buffers are arrays, and there is one specialisation."""

    @logv.kernel("void(float32[::1], int16, float32)")
    def shift(x, n, a):  # type: ignore[no-untyped-def]
        i = cuda.grid(1)
        if i < n:
            x[i] += a

    memory = Memory(device)
    view = memory.put(np.zeros(32, np.float32))
    shift[1, 32](memory.stream, view, 30, 1)
    shift[1, 32](memory.stream, view.buffer, np.int64(20), 0.5)
    np.testing.assert_array_equal(memory.take(view), [1.5] * 20 + [1.0] * 10 + [0.0] * 2)
    assert "1 signatures" in repr(shift)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (lambda view: (view,), "takes 2 arguments, not 1"),
        (lambda view: (view, 1 << 40), "does not fit into 32 bits"),
        (lambda view: (view, 1.5), "takes an integer"),
        (lambda view: (5, 5), "an array of 1 dimensions of float32"),
        (lambda view: (logv.ArrayView(view.buffer, "f8"), 5), "an array of 1 dimensions of float32"),
        (lambda view: (logv.ArrayView(view.buffer, "f4", (4, 4)), 5), "an array of 1 dimensions"),
    ],
    ids=["too few", "too large", "fraction", "number for array", "dtype", "dimensions"],
)
def test_arguments_that_do_not_suit_a_signature(device: logv.Device, arguments: Any, says: str) -> None:
    """They are refused before anything is launched."""

    @logv.kernel("void(float32[::1], int32)")
    def fill(x, n):  # type: ignore[no-untyped-def]
        x[0] = n

    memory = Memory(device)
    view = memory.put(np.full(16, 7, np.float32))
    with pytest.raises(InvalidValueError, match=says):
        fill[1, 1](memory.stream, *arguments(view))
    assert (memory.take(view) == 7).all()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (np.zeros(3), "copy the array into a Buffer"),
        (None, "NoneType"),
        ("text", "str"),
        (1j, "complex"),
        (np.complex64(1), "complex64"),
        (np.datetime64(1, "s"), "datetime64"),
        (np.longdouble(1), "float128"),
        (1 << 70, "does not fit"),
    ],
    ids=["array", "None", "text", "complex", "complex64", "date", "long double", "large"],
)
def test_arguments_that_no_kernel_takes(device: logv.Device, value: object, says: str) -> None:
    """The error says what is taken."""

    @logv.kernel
    def nothing(x):  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(InvalidValueError, match=says):
        nothing[1, 1](device.create_stream(), value)


def test_a_buffer_has_no_type(device: logv.Device) -> None:
    """Without a signature, an ArrayView says what is in it."""

    @logv.kernel
    def nothing(x):  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(InvalidValueError, match="ArrayView"):
        nothing[1, 1](device.create_stream(), device.allocate(64))


def test_functions_that_do_not_compile() -> None:
    """The error carries what Numba says: the line, or that a kernel returns nothing."""

    @logv.kernel
    def wrong(n):  # type: ignore[no-untyped-def]
        n.frobnicate()

    with pytest.raises(CompileError, match="frobnicate") as caught:
        wrong.specialize(1)
    assert "frobnicate" in caught.value.log

    @logv.kernel
    def returns(n):  # type: ignore[no-untyped-def]
        return n

    with pytest.raises(CompileError, match="void"):
        returns.specialize(1)


@pytest.mark.parametrize(
    "signature", ["void(nothing)", "void(int32", "(complex64,)", "void(UniTuple(int32, 2))", ""]
)
def test_signatures_that_are_none(signature: str) -> None:
    """What Numba does not know, or a kernel cannot take."""

    @logv.kernel(signature)
    def nothing(x):  # type: ignore[no-untyped-def]
        pass

    with pytest.raises(InvalidValueError):
        nothing.specialize(1)


@pytest.mark.parametrize("thing", [5, None, len, object()], ids=["number", "None", "builtin", "object"])
def test_only_python_functions_are_kernels(thing: Any) -> None:
    """Anything else is refused where it is decorated."""
    with pytest.raises(InvalidValueError, match="Python function"):
        logv.kernel(thing)


def test_a_fault_names_the_function(machine: logv.Machine) -> None:
    """Not the name that Numba makes of it."""

    @logv.kernel
    def far_away(x):  # type: ignore[no-untyped-def]
        x[1 << 32] = 1

    with machine.create_vm("vm", memory="16MiB") as vm, vm.device() as device:
        memory = Memory(device)
        far_away[1, 1](memory.stream, memory.put(np.zeros(4, np.float32)))
        with pytest.raises(logv.GpuFaultError) as caught:
            memory.stream.sync()
    assert caught.value.kernel == "far_away"


def test_without_numba_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes when the kernel is first needed."""

    def refuse(name: str) -> Any:
        raise ImportError(name)

    @logv.kernel
    def nothing(x):  # type: ignore[no-untyped-def]
        pass

    monkeypatch.setattr(python_kernel, "import_module", refuse)
    with pytest.raises(NotSupportedError, match=r"logv\[numba\]"):
        nothing.specialize(1)


def test_without_nvidias_libraries_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """numba-cuda alone has none of them."""
    missing = importlib.import_module("cuda.pathfinder").DynamicLibNotFoundError

    def refuse(*_: object, **__: object) -> None:
        raise missing("libnvvm.so")

    @logv.kernel
    def nothing(x):  # type: ignore[no-untyped-def]
        pass

    monkeypatch.setattr(cuda, "compile_ptx", refuse)
    with pytest.raises(NotSupportedError, match=r"logv\[numba\].*libnvvm"):
        nothing.specialize(1)


def test_another_devices_memory_is_refused(machine: logv.Machine, device: logv.Device) -> None:
    """As for every kernel."""

    @logv.kernel
    def nothing(x):  # type: ignore[no-untyped-def]
        pass

    with machine.device() as other:
        view = Memory(other).put(np.zeros(4, np.float32))
        with pytest.raises(InvalidValueError, match="another device"):
            nothing[1, 1](device.create_stream(), view)
