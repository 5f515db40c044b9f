"""Variables of programs through the runtime: the same tests natively and in a VM."""

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from tests.ptx.ptx_harness import KERNELS

import logv
from logv.errors import BusyError, ClosedError, InvalidValueError, OutOfMemoryError
from logv.runtime import Device, LaunchConfig, ObjectCode, Program, launch

TEXT = (KERNELS / "variables.ptx").read_text()
HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
ONE = LaunchConfig(1, 1)


@pytest.fixture(scope="module")
def machine() -> Iterator[logv.Machine]:
    """A machine for all tests."""
    with logv.Machine(vram="64MiB") as machine:
        yield machine


@pytest.fixture(params=["native", "vm"])
def open_device(request: pytest.FixtureRequest, machine: logv.Machine) -> Iterator[Callable[[], Device]]:
    """Opens devices, natively or all in one VM."""
    if request.param == "native":
        yield machine.device
        return
    vm = machine.create_vm("vm", memory="16MiB")
    yield vm.device
    vm.close()


@pytest.fixture
def device(open_device: Callable[[], Device]) -> Iterator[Device]:
    """A device."""
    with open_device() as device:
        yield device


def program(text: str = TEXT) -> ObjectCode:
    """A program, loaded anew."""
    return Program(text).compile()


def read(code: ObjectCode, name: str, device: Device, dtype: type[np.generic]) -> np.ndarray:
    """A copy of a variable, after all that was submitted."""
    device.sync()
    stream = device.create_stream()
    variable = code.get_global(name, device)
    found = np.zeros(variable.size // np.dtype(dtype).itemsize, dtype)
    variable.copy_to(found, stream=stream)
    stream.close()
    return found


def test_host_and_kernels_share_variables(device: Device) -> None:
    """The host writes constants and reads what kernels count; pointers lead where they should."""
    code, stream = program(), device.create_stream()
    weights = np.linspace(-1, 1, 32, dtype=np.float32)
    code.get_global("weights", device).copy_from(weights, stream=stream)
    values = np.linspace(0, 5, 100, dtype=np.float32)
    source, target = device.allocate(400), device.allocate(400)
    source.copy_from(values, stream=stream)
    i = np.arange(100)
    for turn in range(3):
        table = np.array([1.5 + turn, 2.5, 3.5, 4.5])
        launch(stream, LaunchConfig(4, 32), code.get_kernel("use"), np.int32(100), source, target)
        found = np.zeros(100, np.float32)
        target.copy_to(found, stream=stream)
        expected = values * weights[i & 31] + table[i & 3] + (i % 3 + 7) + table[turn + 1]
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        launch(stream, ONE, code.get_kernel("turn"))
    assert read(code, "counter", device, np.int32)[0] == 3 * (i & 3).sum()
    np.testing.assert_array_equal(read(code, "histogram", device, np.uint32), 3 * np.bincount(i & 15))
    code.get_global("fixed", device).copy_from(np.array([70, 80, 90], np.int32), stream=stream)
    launch(stream, LaunchConfig(4, 32), code.get_kernel("use"), np.int32(100), source, target)
    target.copy_to(found, stream=stream)
    table = np.array([4.5, 2.5, 3.5, 4.5])
    expected = values * weights[i & 31] + table[i & 3] + np.array([70, 80, 90])[i % 3] + table[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_each_program_and_device_has_its_own(open_device: Callable[[], Device]) -> None:
    """Two loads of one text on two devices: four sets of variables, each at its initial contents."""
    codes = program(), program()
    with open_device() as first, open_device() as second:
        for device, code, launches in ((first, codes[0], 1), (first, codes[1], 2), (second, codes[0], 3)):
            stream = device.create_stream()
            for _ in range(launches):
                launch(stream, ONE, code.get_kernel("turn"))
            stream.sync()
        found = [
            float(read(code, "table", device, np.float32)[0]) for device in (first, second) for code in codes
        ]
    assert found == [2.5, 3.5, 4.5, 1.5]


def test_a_variable_is_a_buffer(device: Device) -> None:
    """It has address and size, views, fills; closing it neither frees nor changes the variable."""
    code, stream = program(), device.create_stream()
    table = code.get_global("table", device)
    assert table.size == 16
    assert code.get_global("where", device).handle % 8 == 0
    np.testing.assert_array_equal(np.asarray(table).view(np.float32), [1.5, 2.5, 3.5, 4.5])
    pointer = int(np.asarray(code.get_global("where", device)).view(np.uint64)[0])
    assert pointer == table.handle + 4
    table.fill(0, stream=stream, offset=4, size=4)
    table.close()
    assert table.closed
    with pytest.raises(ClosedError):
        table.copy_from(np.zeros(4, np.float32), stream=stream)
    np.testing.assert_array_equal(read(code, "table", device, np.float32), [1.5, 0, 3.5, 4.5])


def test_variables_are_passed_as_arguments(device: Device) -> None:
    """A variable's buffer is an argument like any other, and its memory the destination of copies."""
    code, stream = program(), device.create_stream()
    launch(stream, ONE, code.get_kernel("walk"), code.get_global("counter", device))
    assert read(code, "counter", device, np.int32)[0] == 1230
    other = device.allocate(4)
    other.copy_from(code.get_global("counter", device), stream=stream)
    launch(stream, ONE, code.get_kernel("turn"))
    found = np.zeros(1, np.int32)
    other.copy_to(found, stream=stream)
    assert found[0] == 1230
    assert read(code, "middle", device, np.int32)[0] == 1230


def test_kernels_without_variables_take_none(device: Device) -> None:
    """A kernel of the program that uses no variable needs no memory for them."""
    free = device.memory_info[0]
    stream, data = device.create_stream(), device.allocate(64)
    launch(stream, LaunchConfig(1, 16), program().get_kernel("sines"), np.int32(16), data)
    stream.sync()
    assert len(device.module_data) == 0
    data.close()
    assert device.memory_info[0] == free


def test_memory_goes_with_the_program(device: Device) -> None:
    """When program and kernels are gone, so are the variables; a variable that is held keeps its memory."""
    stream = device.create_stream()
    code = program()
    launch(stream, ONE, code.get_kernel("turn"))
    stream.sync()
    table = code.get_global("table", device)
    free = device.memory_info[0]
    del code
    gc.collect()
    assert len(device.module_data) == 0
    device.allocate(4096).close()
    assert device.memory_info[0] == free
    np.testing.assert_array_equal(np.asarray(table).view(np.float32), [2.5, 2.5, 3.5, 4.5])
    del table
    gc.collect()
    device.allocate(4096).close()
    assert device.memory_info[0] > free


def test_many_programs_leave_nothing(device: Device) -> None:
    """Loading a text again and again neither mixes up the variables nor fills the memory."""
    stream = device.create_stream()
    text = HEAD + ".global .b8 big[4000000]; .global .u32 n; .entry k() { .reg .b32 r; ld.global.u32 r, [n];"
    for _ in range(20):
        code = program(text + " add.u32 r, r, 1; st.global.u32 [n], r; ret; }")
        launch(stream, ONE, code.get_kernel("k"))
        assert read(code, "n", device, np.uint32)[0] == 1


def test_unknown_names_are_refused(device: Device) -> None:
    """The message lists what there is; shared variables and the compiler's tables are no variables."""
    code = program()
    for name in ("nothing", "kept", "__cudart_i2opi_f"):
        with pytest.raises(InvalidValueError, match=rf"{name}.*counter, table, where"):
            code.get_global(name, device)
    with pytest.raises(InvalidValueError, match="none"):
        program(HEAD + ".entry k() { ret; }").get_global("a", device)


def test_too_large_variables_are_refused(device: Device) -> None:
    """Memory is asked for at the first launch; what fails there changes nothing."""
    text = HEAD + ".global .b8 big[1000000000]; .entry k() { .reg .b32 r; ld.global.u8 r, [big]; ret; }"
    code, stream = program(text), device.create_stream()
    for _ in range(2):
        with pytest.raises(OutOfMemoryError):
            launch(stream, ONE, code.get_kernel("k"))
    with pytest.raises(OutOfMemoryError):
        code.get_global("big", device)
    launch(stream, ONE, program().get_kernel("turn"))
    stream.sync()


def test_a_closed_device_has_no_variables(open_device: Callable[[], Device]) -> None:
    """Views keep the device open; after it is closed, variables are closed too, and none is to be had."""
    code = program()
    device = open_device()
    table = code.get_global("table", device)
    view = memoryview(table)
    with pytest.raises(BusyError):
        device.close()
    view.release()
    device.close()
    assert table.closed
    with pytest.raises(ClosedError):
        code.get_global("table", device)
