"""Vector, matrix, reduction and histogram kernels against NumPy."""

import numpy as np
import pytest
from tests.ptx.ptx_harness import Bench, kernel_of

RNG = np.random.default_rng(20)


@pytest.mark.parametrize("n", [1, 255, 1000, 4096])
@pytest.mark.parametrize("width", [1, 64, 256])
def test_vecadd_adds_every_element(n: int, width: int) -> None:
    """Sizes that fill the last block and sizes that do not, whole blocks and single threads."""
    a, b = RNG.random((2, n), dtype=np.float32)
    bench = Bench()
    pa, pb, pc = bench.upload(a), bench.upload(b), bench.upload(np.full(n + 8, -1, np.float32))
    assert bench.launch(kernel_of("blas", "vecadd", (width,)), [-(-n // width)], np.int32(n), pa, pb, pc) == 0
    result = bench.download(pc, n + 8, np.float32)
    np.testing.assert_array_equal(result[:n], a + b)
    np.testing.assert_array_equal(result[n:], -1)


def test_saxpy_fuses_multiply_and_add() -> None:
    """``fma.rn`` rounds once: checked in double precision."""
    n = 5000
    x, y = RNG.random((2, n), dtype=np.float32)
    bench = Bench()
    px, py = bench.upload(x), bench.upload(y)
    bench.launch(kernel_of("blas", "saxpy", (128,)), [40], np.int32(n), np.float32(0.7), px, py)
    expected = np.float64(np.float32(0.7)) * x.astype(np.float64) + y
    np.testing.assert_array_equal(bench.download(py, n, np.float32), expected.astype(np.float32))


@pytest.mark.parametrize("n", [0, 5, 700, 5000])
def test_grid_stride_loop_covers_everything_once(n: int) -> None:
    """A loop in strides of the grid, with 64-bit indices and double precision."""
    x, y = RNG.random((2, max(n, 1)))
    bench = Bench()
    px, py = bench.upload(x), bench.upload(y)
    bench.launch(kernel_of("blas", "saxpy_strided", (64,)), [7], np.int64(n), np.float64(3), px, py)
    np.testing.assert_allclose(bench.download(py, n, np.float64), 3 * x[:n] + y[:n], rtol=1e-15)


@pytest.mark.parametrize("shape", [(16, 16, 16), (70, 83, 45), (1, 100, 3), (33, 17, 64)])
@pytest.mark.parametrize("entry", ["sgemm", "matmul_plain"])
def test_matrix_product(shape: tuple[int, int, int], entry: str) -> None:
    """Tiled with barriers, and plain; sizes that tiles do not divide."""
    m, n, k = shape
    a, b = RNG.random((m, k), dtype=np.float32), RNG.random((k, n), dtype=np.float32)
    bench = Bench()
    pa, pb, pc = bench.upload(a), bench.upload(b), bench.upload(np.full((m, n), np.nan, np.float32))
    grid = [-(-n // 16), -(-m // 16)]
    bench.launch(kernel_of("blas", entry, (16, 16)), grid, np.int32(m), np.int32(n), np.int32(k), pa, pb, pc)
    np.testing.assert_allclose(bench.download(pc, (m, n), np.float32), a @ b, rtol=2e-6 * k)


@pytest.mark.parametrize("n", [0, 100, 8192, 10007])
def test_histogram_counts_exactly(n: int) -> None:
    """Atomics on shared and on global memory around barriers, in a loop that runs in lockstep."""
    x = RNG.integers(0, 256, max(n, 1)).astype(np.uint8)
    bench = Bench()
    px, ph = bench.upload(x), bench.upload(np.zeros(256, np.uint32))
    bench.launch(kernel_of("blas", "histogram", (256,)), [5], np.int32(n), px, ph)
    np.testing.assert_array_equal(bench.download(ph, 256, np.uint32), np.bincount(x[:n], minlength=256))


@pytest.mark.parametrize("width", [32, 256])
@pytest.mark.parametrize("n", [1, 1000, 6007])
def test_reduction_in_dynamic_shared_memory(width: int, n: int) -> None:
    """A tree of barriers; integers in floats, so that any order of additions is exact."""
    x = RNG.integers(0, 100, n).astype(np.float32)
    bench = Bench()
    px, po = bench.upload(x), bench.upload(np.zeros(6, np.float32))
    bench.launch(kernel_of("blas", "reduce", (width,)), [6], np.int32(n), px, po, shared=4 * width)
    partial = bench.download(po, 6, np.float32)
    index = np.arange(n) // width % 6
    np.testing.assert_array_equal(partial, np.bincount(index, x, minlength=6).astype(np.float32))


def test_transpose_through_padded_tiles() -> None:
    """A two-dimensional tile with rows of 17 doubles."""
    w, h = 53, 40
    a = RNG.random((h, w))
    bench = Bench()
    pa, po = bench.upload(a), bench.upload(np.zeros((w, h)))
    bench.launch(kernel_of("blas", "transpose", (16, 16)), [4, 4], np.int32(w), np.int32(h), pa, po)
    np.testing.assert_array_equal(bench.download(po, (w, h), np.float64), a.T)


def test_blocks_can_run_in_parts() -> None:
    """Block ranges in any order add up to the whole launch, and touch nothing else."""
    n = 1000
    a = np.arange(n, dtype=np.float32)
    bench = Bench()
    pa, pc = bench.upload(a), bench.upload(np.zeros(n, np.float32))
    kernel = kernel_of("blas", "vecadd", (64,))
    bench.launch(kernel, [16], np.int32(n), pa, pa, pc, blocks=(4, 9))
    expected = np.where((np.arange(n) >= 256) & (np.arange(n) < 576), 2 * a, 0)
    np.testing.assert_array_equal(bench.download(pc, n, np.float32), expected)
    for part in ((9, 16), (0, 4)):
        bench.launch(kernel, [16], np.int32(n), pa, pa, pc, blocks=part)
    np.testing.assert_array_equal(bench.download(pc, n, np.float32), 2 * a)
