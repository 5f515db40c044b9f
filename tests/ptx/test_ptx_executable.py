"""Executables: what is stored of a compiled kernel, and that it runs again."""

import gc
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from tests.ptx.ptx_harness import KERNELS, Bench

from logv import ptx
from logv.ptx import CompiledKernel, Executable, _jit, executable

SCALE = """
.version 7.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u64 x, .param .f32 a)
{
    .reg .f32 %f<4>;
    .reg .b32 %r<2>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [x];
    ld.param.f32 %f1, [a];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.f32 %f2, [%rd3];
    mul.f32 %f3, %f1, %f2;
    st.global.f32 [%rd3], %f3;
    ret;
}
"""
BLOCK = (32, 1, 1)


@pytest.fixture(scope="module")
def kernel() -> CompiledKernel:
    """A kernel with a parameter of each kind."""
    return ptx.compile_entry(ptx.parse(SCALE), "scale", BLOCK)


def run(loaded: Executable, kernel: CompiledKernel) -> list[float]:
    """Run an executable of the kernel `scale` and return what it left."""
    bench = Bench(1 << 16)
    data = np.arange(32, dtype=np.float32)
    address = bench.upload(data)
    status = bench.launch(
        # The harness reads parameters from a compiled kernel; address and sizes are the executable's.
        replace(
            kernel,
            address=loaded.address,
            shared_bytes=loaded.shared_bytes,
            scratch_bytes=loaded.scratch_bytes,
            _code=loaded._code,
        ),
        (1,),
        np.uint64(address),
        np.float32(3),
    )
    assert status == 0
    return [float(value) for value in bench.download(address, 32, np.float32)]


def test_what_was_saved_runs(kernel: CompiledKernel) -> None:
    """Loaded code is other code in memory, and does the same."""
    saved = Executable.of(kernel, "text").save()
    loaded = Executable.load(saved)
    assert loaded.address != kernel.address
    assert run(loaded, kernel) == [3.0 * number for number in range(32)]


def test_every_field_survives(kernel: CompiledKernel) -> None:
    """A loaded executable can be stored again, to the same bytes."""
    first = Executable.of(kernel, "text")
    loaded = Executable.load(first.save())
    for each in fields(Executable):
        if each.name != "_code":
            assert getattr(loaded, each.name) == getattr(first, each.name), each.name
    assert loaded.parameter_bytes == kernel.entry.parameter_bytes == 12
    assert loaded.save() == first.save()


def test_the_code_lives_as_long_as_the_executable(kernel: CompiledKernel) -> None:
    """Others that are dropped take nothing with them."""
    saved = Executable.of(kernel, "text").save()
    kept = Executable.load(saved)
    for _ in range(20):
        Executable.load(saved)
    gc.collect()
    assert run(kept, kernel)[2] == 6.0


def test_kernels_that_call_the_mathematical_library() -> None:
    """What an object needs from outside is found when it is loaded in another process."""
    script = (
        "import sys; from logv.ptx import Executable;print(Executable.load(sys.stdin.buffer.read()).name)"
    )
    for path in sorted(KERNELS.glob("*.ptx")):
        module = ptx.parse(path.read_bytes())
        name, entry = next(iter(module.entries.items()))
        compiled = ptx.compile_entry(module, name, entry.required_block or (8, 4, 1))
        done = subprocess.run(
            [sys.executable, "-c", script],
            input=Executable.of(compiled, "text").save(),
            capture_output=True,
            check=False,
        )
        assert done.stdout.decode().strip() == name, done.stderr.decode()


def test_a_missing_function_is_refused(kernel: CompiledKernel) -> None:
    """An object without the function has no address to call."""
    with pytest.raises(RuntimeError, match="'other'"):
        _jit.load_object(kernel._code.object_code, "other")


def test_the_identity_is_the_same_in_another_process() -> None:
    """Or nothing would ever be found again."""
    done = subprocess.run(
        [sys.executable, "-c", "from logv import ptx; print(ptx.identity().hex())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == ptx.identity().hex()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("target_identity", lambda: "another processor"), ("_SOURCES", b"another compiler")],
    ids=["processor", "compiler"],
)
def test_the_identity_changes(monkeypatch: pytest.MonkeyPatch, attribute: str, value: object) -> None:
    """With the processor as with the compiler."""
    before = ptx.identity()
    monkeypatch.setattr(executable, attribute, value)
    assert executable.identity.__wrapped__() != before


def test_the_identity_covers_the_compilers_sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A changed, an added and a removed file each make another digest."""
    monkeypatch.setattr(executable, "__file__", str(tmp_path / "executable.py"))
    digests = set()
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "1"), ("sub.py", "")):
        (tmp_path / name).write_text(text)
        digests.add(executable._digest_sources())
    (tmp_path / "a.py").unlink()
    digests.add(executable._digest_sources())
    assert len(digests) == 5
