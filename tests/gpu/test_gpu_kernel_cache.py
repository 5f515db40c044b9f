"""Kernels by what they were compiled from: in memory, and behind that on disk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from logv import ptx
from logv.errors import PtxError
from logv.gpu import DiskCache
from logv.gpu.kernel_cache import KernelCache

ENTRY = ".visible .entry {}(.param .u64 x) {{ ret; }}\n"
HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"
ONE = (HEAD + ENTRY.format("one")).encode()
TWO = (HEAD + ENTRY.format("one") + ENTRY.format("two")).encode()
BLOCK = (32, 1, 1)


class Compiler:
    """Counts what is compiled."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.compiled: list[tuple[str, Any]] = []
        self._compile = ptx.compile_entry
        monkeypatch.setattr(ptx, "compile_entry", self)

    def __call__(
        self, module: ptx.Module, name: str, block: tuple[int, int, int], *, optimize: bool
    ) -> ptx.CompiledKernel:
        """Compile and take note."""
        self.compiled.append((name, block))
        return self._compile(module, name, block, optimize=optimize)


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Compiler:
    """A compiler that counts."""
    return Compiler(monkeypatch)


@pytest.fixture
def disk(tmp_path: Path) -> DiskCache:
    """An empty cache on disk."""
    return DiskCache(tmp_path / "kernels")


def test_a_kernel_is_compiled_once_for_each_block(compiler: Compiler) -> None:
    """Text and block dimensions tell kernels apart."""
    cache = KernelCache()
    first = cache.get(ONE, BLOCK)
    assert cache.get(ONE, BLOCK) is first
    assert cache.get(ONE, (64, 1, 1)) is not first
    assert compiler.compiled == [("one", BLOCK), ("one", (64, 1, 1))]


def test_baseline_code_comes_first_where_it_will_do(compiler: Compiler, disk: DiskCache) -> None:
    """Optimised code takes its place once it is there, on disk as well."""
    cache = KernelCache()
    baseline = cache.get(ONE, BLOCK, disk, tiered=True)
    assert not baseline.optimized
    assert cache.get(ONE, BLOCK, disk, tiered=True) is baseline
    assert not KernelCache().get(ONE, BLOCK, disk, tiered=True).optimized
    assert compiler.compiled == [("one", BLOCK)]
    optimized = cache.optimize(baseline, ONE, BLOCK, disk)
    assert optimized.optimized
    assert cache.get(ONE, BLOCK, disk, tiered=True) is optimized
    assert cache.get(ONE, BLOCK, disk) is optimized
    assert KernelCache().get(ONE, BLOCK, disk, tiered=True).optimized
    assert compiler.compiled == [("one", BLOCK)] * 2


@pytest.mark.parametrize("text", [None, ONE + b" "], ids=["gone", "another"])
def test_only_the_program_itself_is_optimised(compiler: Compiler, text: bytes | None) -> None:
    """Where its text is no longer what it was compiled from, the code stays as it is."""
    cache = KernelCache()
    baseline = cache.get(ONE, BLOCK, tiered=True)
    assert cache.optimize(baseline, text, BLOCK) is baseline
    assert len(compiler.compiled) == 1


def test_memory_holds_what_was_asked_for_last(compiler: Compiler) -> None:
    """The number of kernels is bounded; the one unused for longest goes."""
    cache = KernelCache(size=2)
    for x in (1, 2, 1, 3, 1, 2):
        cache.get(ONE, (x, 1, 1))
    assert [block[0] for _, block in compiler.compiled] == [1, 2, 3, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "no NUL-terminated program"),
        (TWO, "2 entries"),
        (b"//.entry three\n" + TWO, "'three'"),
        (HEAD.encode(), "0 entries"),
        (b"nonsense", "unexpected"),
    ],
    ids=["nothing", "two entries", "unknown entry", "no entry", "no PTX"],
)
def test_programs_that_do_not_compile(disk: DiskCache, text: bytes | None, says: str) -> None:
    """They are refused each time, with or without a disk, and nothing of them is kept."""
    cache = KernelCache()
    for where in (None, disk, disk):
        with pytest.raises(PtxError, match=says):
            cache.get(text, BLOCK, where)
    assert not list(disk._directory.parent.iterdir())


def test_the_next_process_need_not_compile(compiler: Compiler, disk: DiskCache) -> None:
    """An empty memory, as a new process has it, is filled from disk."""
    made = KernelCache().get(b"//.entry two\n" + TWO, BLOCK, disk)
    cache = KernelCache()
    found = cache.get(b"//.entry two\n" + TWO, BLOCK, disk)
    assert compiler.compiled == [("two", BLOCK)]
    assert (found.name, found.parameter_bytes) == (made.name, made.parameter_bytes) == ("two", 8)
    assert cache.get(b"//.entry two\n" + TWO, BLOCK, disk) is found


def test_what_the_code_depends_on_is_in_the_key(
    compiler: Compiler, disk: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another text, entry, block, processor or compiler finds nothing."""
    variants = [
        (ONE, BLOCK),
        (ONE + b" ", BLOCK),
        (b"//.entry one\n" + TWO, BLOCK),
        (b"//.entry two\n" + TWO, BLOCK),
        (ONE, (1, 32, 1)),
        (ONE, (1, 1, 32)),
    ]
    for text, block in variants:
        KernelCache().get(text, block, disk)
    monkeypatch.setattr(ptx, "identity", lambda: b"of another processor or compiler")
    for text, block in variants:
        KernelCache().get(text, block, disk)
    assert len(compiler.compiled) == 2 * len(variants)
    for text, block in variants:
        KernelCache().get(text, block, disk)
    assert len(compiler.compiled) == 2 * len(variants)


def test_a_damaged_file_is_compiled_anew(compiler: Compiler, disk: DiskCache) -> None:
    """And stored again."""
    KernelCache().get(ONE, BLOCK, disk)
    (path,) = disk._directory.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    KernelCache().get(ONE, BLOCK, disk)
    assert len(compiler.compiled) == 2
    KernelCache().get(ONE, BLOCK, disk)
    assert len(compiler.compiled) == 2


APPLICATION = """
import sys
import numpy as np
import logv
from logv import ptx

directory, may_compile = sys.argv[1:]
if may_compile == "no":
    ptx.compile_entry = None  # a call fails
PTX = '''
.version 7.0
.target sm_80
.address_size 64
.visible .entry numbers(.param .u64 x)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [x];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    st.global.u32 [%rd3], %r1;
    ret;
}
'''
with logv.Machine(vram="64MiB", disk_cache=directory or False) as machine:
    vm = machine.create_vm("vm", memory="16MiB")
    for device in (machine.device(), vm.device()):
        with device:
            stream, buffer = device.create_stream(), device.allocate(4 * 64)
            kernel = logv.Program(PTX).compile().get_kernel("numbers")
            logv.launch(stream, logv.LaunchConfig(1, 64), kernel, buffer)
            assert (buffer.copy_to(np.zeros(64, np.uint32), stream=stream) == np.arange(64)).all()
"""


def run_application(directory: Path | str, *, may_compile: bool) -> subprocess.CompletedProcess[str]:
    """Run a program that launches a kernel natively and in a VM, in a process of its own."""
    arguments = [str(directory), "yes" if may_compile else "no"]
    return subprocess.run(
        [sys.executable, "-c", APPLICATION, *arguments], capture_output=True, text=True, check=False
    )


def test_an_application_starts_without_compiling(tmp_path: Path) -> None:
    """The second process with a directory runs its kernel although it could not compile it."""
    directory = tmp_path / "kernels"
    assert run_application(directory, may_compile=False).returncode != 0
    first = run_application(directory, may_compile=True)
    assert first.returncode == 0, first.stderr
    assert len(list(directory.iterdir())) == 1
    second = run_application(directory, may_compile=False)
    assert second.returncode == 0, second.stderr


def test_a_machine_without_a_cache_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`disk_cache=False` leaves the user's cache directory alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = run_application("", may_compile=True)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
