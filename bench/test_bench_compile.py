"""How long the kernels of the corpus take to compile, and to load once they have been compiled.

The bars are times on an otherwise idle machine. On a busy one, the ratio to the time that llvmlite takes for
a saxpy loop, with the same effort, says more: it stands beside them.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from llvmlite import binding
from pytest_benchmark.fixture import BenchmarkFixture
from tests.ptx.corpus import CASES, build

from logv import ptx

CORPUS = Path(__file__).parent.parent / "tests" / "ptx" / "corpus"
COMPILE_BAR_S = 0.060
LOAD_BAR_S = 0.005

SAXPY = """
define void @saxpy(i64 %n, float %a, ptr noalias %x, ptr noalias %y) {
entry:
  %any = icmp sgt i64 %n, 0
  br i1 %any, label %loop, label %done
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %xp = getelementptr float, ptr %x, i64 %i
  %yp = getelementptr float, ptr %y, i64 %i
  %xv = load float, ptr %xp
  %yv = load float, ptr %yp
  %ax = fmul float %a, %xv
  %sum = fadd float %ax, %yv
  store float %sum, ptr %yp
  %next = add nuw nsw i64 %i, 1
  %more = icmp slt i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""


def compile_saxpy() -> None:
    """Compile a loop with llvmlite, as a just-in-time compiler would."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(
        cpu=binding.get_host_cpu_name(),
        features=str(binding.get_host_cpu_features().flatten()),
        opt=2,
        jit=True,
    )
    module = binding.parse_assembly(SAXPY, binding.create_context())
    options = binding.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = True
    passes = binding.create_pass_builder(machine, options)
    passes.getModulePassManager().run(module, passes)
    machine.emit_object(module)


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def launched() -> list[tuple[str, str, tuple[int, int, int]]]:
    """Return theme, entry and block of every kernel that the corpus launches."""
    found: dict[tuple[str, str, tuple[int, int, int]], None] = {}
    for name in CASES:
        for launch in build(name).launches:
            block = launch.block if isinstance(launch.block, tuple) else (launch.block,)
            x, y, z = (*block, 1, 1)[:3]
            found[name.partition("-")[0], launch.entry, (x, y, z)] = None
    return list(found)


def note(benchmark: BenchmarkFixture, times: list[float]) -> float:
    """Note what was measured, and return the mean in seconds."""
    saxpy = statistics.median(seconds(compile_saxpy) for _ in range(50))
    mean = statistics.fmean(times)
    found = {
        "kernels": len(times),
        "mean_ms": round(1e3 * mean, 2),
        "median_ms": round(1e3 * statistics.median(times), 2),
        "worst_ms": round(1e3 * max(times), 2),
        "saxpy_ms": round(1e3 * saxpy, 2),
        "mean_over_saxpy": round(mean / saxpy, 2),
    }
    benchmark.extra_info.update(found)
    print(f"\n{found}")
    return mean


def compile_corpus(*, optimize: bool) -> list[tuple[float, ptx.CompiledKernel]]:
    """Compile every kernel; with the times, to which each adds its share of the time to parse."""
    kernels = launched()
    texts = {theme: (CORPUS / f"{theme}.ptx").read_text(encoding="ascii") for theme, _, _ in kernels}
    begin = time.perf_counter()
    modules = {theme: ptx.parse(text) for theme, text in texts.items()}
    share = (time.perf_counter() - begin) / len(kernels)
    found = []
    for theme, entry, block in kernels:
        begin = time.perf_counter()
        kernel = ptx.compile_entry(modules[theme], entry, block, optimize=optimize)
        found.append((share + time.perf_counter() - begin, kernel))
    return found


@pytest.fixture(scope="module")
def optimized() -> list[tuple[float, ptx.CompiledKernel]]:
    """Every kernel with the time that it takes to optimise."""
    return compile_corpus(optimize=True)


def compile_one(*, optimize: bool) -> Callable[[], object]:
    """Return a call that compiles one kernel, for a row of the table; the bars are about the whole corpus."""
    module = ptx.parse((CORPUS / "stencils.ptx").read_text(encoding="ascii"))
    return lambda: ptx.compile_entry(module, "hotspot", (16, 16, 1), optimize=optimize)


def test_compile(benchmark: BenchmarkFixture) -> None:
    """A kernel is ready to run, with baseline code, 60 ms after it was launched for the first time."""
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        compile_one(optimize=False), rounds=5, iterations=1
    )
    assert note(benchmark, [taken for taken, _ in compile_corpus(optimize=False)]) <= COMPILE_BAR_S


def test_optimize(benchmark: BenchmarkFixture, optimized: list[tuple[float, ptx.CompiledKernel]]) -> None:
    """How long optimised code takes; nobody waits for it, so it has no bar."""
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        compile_one(optimize=True), rounds=5, iterations=1
    )
    assert note(benchmark, [taken for taken, _ in optimized])


def test_load(benchmark: BenchmarkFixture, optimized: list[tuple[float, ptx.CompiledKernel]]) -> None:
    """A kernel that was compiled before loads in 5 ms on average."""
    records = [ptx.Executable.of(kernel, "").save() for _, kernel in optimized]
    times = []
    for record in records:
        begin = time.perf_counter()
        ptx.Executable.load(record)
        times.append(time.perf_counter() - begin)
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: ptx.Executable.load(records[0]), rounds=20, iterations=1
    )
    assert note(benchmark, times) <= LOAD_BAR_S
