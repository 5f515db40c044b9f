"""The machine: its example, its VMs, their sizes and their end."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import logv
from logv.machine import parse_size

PTX = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry saxpy(.param .u32 n, .param .f32 a, .param .u64 x, .param .u64 y)
{
    .reg .pred %p<2>;
    .reg .f32 %f<5>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<6>;
    ld.param.u32 %r2, [n];
    ld.param.f32 %f1, [a];
    ld.param.u64 %rd1, [x];
    ld.param.u64 %rd2, [y];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    setp.ge.s32 %p1, %r1, %r2;
    @%p1 ret;
    mul.wide.s32 %rd3, %r1, 4;
    add.s64 %rd4, %rd1, %rd3;
    ld.global.f32 %f2, [%rd4];
    add.s64 %rd5, %rd2, %rd3;
    ld.global.f32 %f3, [%rd5];
    fma.rn.f32 %f4, %f2, %f1, %f3;
    st.global.f32 [%rd5], %f4;
    ret;
}
"""


def test_the_example() -> None:
    """The same code runs natively and in a VM, and the VM's counters tell what it did."""
    n = 5000
    a, b = np.random.default_rng(0).standard_normal((2, n), dtype=np.float32)
    with logv.Machine(vram="512MiB") as machine:
        vm = machine.create_vm("dashboard", memory="128MiB")
        for device in (machine.device(), vm.device()):
            out = np.zeros_like(b)
            with device:
                stream = device.create_stream()
                x = device.allocate(4 * n)
                y = device.allocate(4 * n)
                x.copy_from(a, stream=stream)
                y.copy_from(b, stream=stream)
                saxpy = logv.Program(PTX, code_type="ptx").compile().get_kernel("saxpy")
                config = logv.LaunchConfig(grid=(n + 255) // 256, block=256)
                logv.launch(stream, config, saxpy, np.int32(n), np.float32(2), x, y)
                y.copy_to(out, stream=stream)
                stream.sync()
            np.testing.assert_allclose(out, 2 * a + b, rtol=1e-6)
        counters = vm.counters
        assert counters.hypercalls > 0
        assert (counters.launches, counters.faults, counters.memory_used) == (1, 0, 0)
        assert counters.bytes_copied == 3 * 4 * n
        assert machine.counters.launches == 1
        assert "hypercalls" in str(counters)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (4096, 4096),
        (np.int64(5), 5),
        ("4096", 4096),
        ("64 KiB", 65536),
        ("512MiB", 512 << 20),
        ("1gib", 1 << 30),
        (" 2 TiB ", 2 << 40),
        ("7B", 7),
    ],
)
def test_sizes(text: Any, size: int) -> None:
    """Sizes are numbers, or numbers with a binary unit."""
    assert parse_size(text) == size


@pytest.mark.parametrize("size", ["", "MiB", "1.5GiB", "5 MB", "-1", 0, -5, 1.5, None, True, "0", "9" * 30])
def test_sizes_that_are_none(size: Any) -> None:
    """The error shows how to write one."""
    with pytest.raises(logv.InvalidValueError, match=r"MiB|greater than 0"):
        parse_size(size)


def test_machines_with_impossible_sizes() -> None:
    """A machine that cannot be is refused, and nothing of it stays."""
    for sizes in ({"vram": "lots"}, {"vram": 0}, {"vram": "64MiB", "system_memory": -1}):
        with pytest.raises(logv.LogvError):
            logv.Machine(**sizes)


@pytest.mark.parametrize("choice", [None, 5, b"kernels"], ids=["None", "number", "bytes"])
def test_impossible_disk_caches(choice: Any) -> None:
    """A directory, True or False; anything else is refused."""
    with pytest.raises(ValueError, match="disk_cache"):
        logv.Machine(vram="64MiB", disk_cache=choice)


def test_vms_have_names_and_quotas() -> None:
    """Names are unique, memory is reserved, and both come back."""
    with logv.Machine(vram="64MiB") as machine:
        first = machine.create_vm("first", memory="16MiB", system_memory="8MiB")
        assert machine.vms == {"first": first}
        assert first.name == "first"
        for name, memory in (("first", "1MiB"), ("", "1MiB"), ("a/b", "1MiB"), ("x" * 65, "1MiB"), ("y", 0)):
            with pytest.raises(logv.InvalidValueError):
                machine.create_vm(name, memory=memory)
        with pytest.raises(logv.OutOfMemoryError):
            machine.create_vm("large", memory="60MiB")
        assert list(machine.vms) == ["first"]
        with first.device() as device:
            with pytest.raises(logv.QuotaExceededError):
                device.allocate((16 << 20) + 1)
            with pytest.raises(logv.QuotaExceededError):
                device.allocate_pinned(8 << 20)
            device.allocate(8 << 20)
        first.close()
        first.close()
        assert machine.vms == {}
        with machine.create_vm("first", memory="60MiB") as again:
            assert again.device().memory_info[1] == 60 << 20
        assert "first" not in repr(machine)


def test_a_vm_too_small_for_a_device() -> None:
    """The device is refused, the VM holds nothing of it, and a VM without a guest does not stay."""
    with logv.Machine(vram="64MiB") as machine, machine.create_vm("tiny", memory="64KiB") as vm:
        for _ in range(3):
            with pytest.raises(logv.QuotaExceededError):
                vm.device()
        counters = vm.counters
        assert (counters.memory_used, counters.buffers, counters.vspaces, counters.channels) == (0, 0, 0, 0)


def test_a_vm_whose_guest_does_not_start_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and its memory can be had again."""

    def refuse(device: object) -> None:
        raise logv.OutOfMemoryError("no room for a guest")

    with logv.Machine(vram="16MiB") as machine:
        with monkeypatch.context() as patch:
            patch.setattr("logv.machine.GuestDriver", refuse)
            with pytest.raises(logv.OutOfMemoryError):
                machine.create_vm("vm", memory="12MiB")
        assert machine.vms == {}
        machine.create_vm("vm", memory="12MiB")


def test_closing_ends_everything_below() -> None:
    """A closed VM or machine refuses, and so does what was made from it, also under live views."""
    machine = logv.Machine(vram="64MiB")
    vm = machine.create_vm("vm", memory="16MiB")
    inside, native = vm.device(), machine.device()
    buffers = [device.allocate(4096) for device in (inside, native)]
    views = [memoryview(buffer) for buffer in buffers]
    views[0][:2] = b"ok"
    vm.close()
    assert inside.closed
    assert not native.closed
    with pytest.raises(logv.ClosedError):
        vm.device()
    machine.close()
    machine.close()
    assert machine.closed
    assert native.closed
    for attempt in (machine.device, lambda: machine.create_vm("x", memory="1MiB"), native.create_stream):
        with pytest.raises(logv.ClosedError):
            attempt()
    for device, buffer in zip((inside, native), buffers, strict=True):
        with pytest.raises(logv.ClosedError):
            device.allocate(16)
        buffer.close()
    assert bytes(views[0][:2]) == b"ok"


def test_a_vm_finds_nothing_of_the_one_before() -> None:
    """What a VM left in its memory is not in the next VM's."""
    secret = bytes(range(1, 251)) * 16
    with logv.Machine(vram="64MiB") as machine:
        with machine.create_vm("first", memory="8MiB") as vm, vm.device() as device:
            memoryview(device.allocate(len(secret)))[:] = secret
            memoryview(device.allocate_pinned(len(secret)))[:] = secret
        with machine.create_vm("second", memory="8MiB") as vm, vm.device() as device:
            for buffer in (device.allocate(4 << 20), device.allocate_pinned(2 << 20)):
                assert not np.asarray(memoryview(buffer)).any()


def test_importing_is_light() -> None:
    """``import logv`` alone brings in neither the compiler nor NumPy; every public name can be had."""
    script = (
        "import sys, logv\n"
        "heavy = {'numpy', 'llvmlite', 'logv.machine', 'logv.runtime'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert set(logv.__all__) <= set(dir(logv))\n"
        "for name in logv.__all__:\n"
        "    if name != '__version__':\n"
        "        assert getattr(logv, name).__name__ == name\n"
        "try:\n"
        "    logv.nothing\n"
        "except AttributeError as error:\n"
        "    assert 'nothing' in str(error)\n"
        "else:\n"
        "    raise SystemExit('logv.nothing exists')\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
