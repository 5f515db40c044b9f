"""Generic addresses: pointers that may lead to global, shared, local or constant memory."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.ptx.ptx_harness import Bench, kernel_of

from logv.errors import PtxError
from logv.ptx import compile_entry, parse
from logv.ptx._spaces import WINDOWS

THREADS = 64
LANES = np.arange(THREADS)
HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"


def _memories(values: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """What each thread finds in eight places of shared, local and global memory."""
    shared = np.tile(values[:8] + 100, (THREADS, 1))
    local = values[:THREADS, None] + 1000 * np.arange(8, dtype=np.float32)
    return [shared, local, np.tile(values[:8], (THREADS, 1))]


@pytest.mark.parametrize("how", [0, 1, 2, 3])
def test_a_pointer_to_one_of_three_memories(how: int) -> None:
    """The same load reads shared, local or global memory, thread by thread."""
    values = np.arange(THREADS, dtype=np.float32) + 1
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(THREADS, np.float32))
    kernel = kernel_of("generic_addresses", "choose", (THREADS,))
    assert bench.launch(kernel, [1], target, source, np.int32(how)) == 0
    memories = np.stack(_memories(values))
    choice = np.full(THREADS, how) if how < 3 else LANES % 3
    wanted = memories[choice, LANES, (LANES * how) & 7]
    assert (bench.download(target, THREADS, np.float32) == wanted).all()


def test_pointers_that_go_through_memory() -> None:
    """Addresses of shared and local memory are stored, loaded, and read and written through."""
    values = np.arange(THREADS, dtype=np.float32) + 1
    bench = Bench()
    source, target = bench.upload(values), bench.upload(np.zeros(2 * THREADS, np.float32))
    assert bench.launch(kernel_of("generic_addresses", "stored", (THREADS,)), [1], target, source) == 0
    found = bench.download(target, (2, THREADS), np.float32)
    shared = values + 100
    local = values[:, None] + 1000 * np.arange(8, dtype=np.float32)
    for i in range(THREADS):
        table = [shared, values, shared[8:], values[8:]][i & 3]
        own = [table, local[i], shared[i & 31 :]][i % 3]
        assert found[0, i] == own[i & 7], i
    # A third of the threads wrote to the start of their own array.
    assert (found[1] == np.where((LANES + 1) % 3 == 1, -LANES, local[:, 0])).all()
    assert bench.download(source, THREADS, np.float32)[0] <= 0


def test_a_list_in_two_memories() -> None:
    """A loop follows pointers from shared memory into global memory."""
    count = 5
    bench = Bench()
    nodes, target = bench.upload(np.zeros(2 * count, np.uint64)), bench.upload(np.zeros(THREADS, np.int32))
    assert bench.launch(kernel_of("generic_addresses", "link", (1,)), [1], nodes, np.int32(count)) == 0
    assert bench.launch(kernel_of("generic_addresses", "list", (THREADS,)), [1], target, nodes) == 0
    found = bench.download(target, THREADS, np.int32)
    for i in range(THREADS):
        first = [100 + k for k in range(i & 7, 8)]
        assert found[i] == (sum(first) + sum(range(count))) * 1000 + len(first) + count


def test_atomics_through_generic_addresses() -> None:
    """The same atomic works on shared memory in some threads and on global memory in others."""
    bench = Bench()
    out, bins = bench.upload(np.zeros(8, np.int32)), bench.upload(np.zeros(8, np.int32))
    sums = bench.upload(np.zeros(8, np.float32))
    assert bench.launch(kernel_of("generic_addresses", "count", (THREADS,)), [1], out, bins, sums) == 0
    for address, odd in ((bins, 0), (out, 1)):
        last = [THREADS - 8 + 2 * place + odd for place in range(4)]
        assert list(bench.download(address, 8, np.int32)) == [100 + odd] * 4 + last
    assert (bench.download(sums, 8, np.float32) == THREADS / 8 * 0.5).all()


def test_what_addresses_tell() -> None:
    """``isspacep`` and ``cvta.to`` on addresses that came through memory."""
    bench = Bench()
    out, data = bench.upload(np.zeros(2 * THREADS, np.int32)), bench.upload(np.zeros(4, np.int32))
    assert bench.launch(kernel_of("generic_addresses", "inquire", (THREADS,)), [1], out, data) == 0
    found = bench.download(out, (2, THREADS), np.int32)
    assert (found[0] == np.array([1, 2, 4])[LANES % 3]).all()
    assert (found[1] - LANES == 4).all()


def test_a_structure_by_value_and_by_pointer() -> None:
    """Parameters have generic addresses."""
    kind = np.dtype([("numbers", np.float64, 6), ("count", np.int32)], align=True)
    table = np.zeros((), kind)
    table["numbers"], table["count"] = np.arange(6) * 1.5, 6
    bench = Bench()
    other, out = bench.upload(np.arange(6) * -2.0), bench.upload(np.zeros(THREADS))
    kernel = kernel_of("generic_addresses", "by_value", (THREADS,))
    assert bench.launch(kernel, [1], table, other, out) == 0
    wanted = np.where(LANES & 1, (LANES % 6) * 1.5, (LANES % 6) * -2.0)
    assert (bench.download(out, THREADS, np.float64) == wanted).all()


def test_addresses_lie_in_the_windows() -> None:
    """A generic address is its window's begin plus the address in its space, whichever way it is made."""
    text = (
        HEAD
        + """.visible .entry k(.param .u64 out) { .reg .b64 %d<9>; .reg .b32 %r<4>;
    .shared .align 4 .b8 first[12]; .shared .align 4 .u32 second; .local .align 8 .b8 array[16];
    ld.param.u64 %d1, [out];
    mov.u64 %d2, second; cvta.shared.u64 %d3, %d2; cvta.to.shared.u64 %d4, %d3; sub.u64 %d4, %d4, %d2;
    mov.u64 %d5, array+8; cvta.local.u64 %d5, %d5;
    st.global.u64 [%d1], %d3; st.global.u64 [%d1+8], %d4; st.global.u64 [%d1+16], %d5;
    mov.u32 %r1, 77; st.shared.u32 [second], %r1; ld.u32 %r2, [%d3]; st.global.u32 [%d1+24], %r2;
    st.local.u32 [array+8], 78; ld.u32 %r2, [%d5]; st.global.u32 [%d1+28], %r2; ret; }"""
    )
    bench = Bench()
    out = bench.upload(np.zeros(6, np.uint64))
    assert bench.launch(compile_entry(parse(text), "k", (1, 1, 1)), [1], out) == 0
    found = [int(word) for word in bench.download(out, 3, np.uint64)]
    assert found == [WINDOWS["shared"] + 12, 0, WINDOWS["local"] + 8]
    assert list(bench.download(out + 24, 2, np.uint32)) == [77, 78]


def _choices(body: str) -> int:
    """How often a kernel chooses between pointers into different memories when it runs."""
    text = (
        HEAD
        + f""".visible .entry k(.param .u64 in, .param .u64 out) {{ .reg .b64 %d<9>; .reg .f32 %f<4>;
    .reg .b32 %r<4>; .reg .pred %p<3>; .shared .align 4 .b8 s[256]; .shared .align 8 .u64 kept;
    ld.param.u64 %d1, [in]; ld.param.u64 %d2, [out]; mov.u32 %r1, %tid.x; mul.wide.u32 %d3, %r1, 4;
    {body} ret; }}"""
    )
    code = compile_entry(parse(text), "k", (64, 1, 1)).llvm_ir(optimized=False)
    return len(re.findall(r"= select i1 [^,]*, ptr ", code))


def test_spaces_that_the_text_tells_are_not_asked_for_at_run_time() -> None:
    """A kernel pays for telling spaces apart only where it lets a pointer out of sight, and then reads it."""
    shared = "mov.u64 %d4, s; cvta.shared.u64 %d4, %d4; add.u64 %d5, %d4, %d3; "
    loop = "L: add.u64 %d5, %d5, 4; setp.lt.u64 %p1, %d5, %d6; @%p1 bra L; "
    plain = "add.u64 %d7, %d1, %d3; ld.f32 %f1, [%d7]; st.f32 [%d7], %f1;"
    static = shared + "add.u64 %d6, %d4, 64; " + loop + "ld.f32 %f2, [%d5]; " + plain
    assert _choices(static) == 0
    escaping = static + "st.shared.u64 [kept], %d5;"
    assert _choices(escaping) == 2
    # Once known to be global, it stays so.
    assert _choices(escaping.replace(plain, "cvta.to.global.u64 %d1, %d1; " + plain)) == 0


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("mov.u64 %d4, in; cvta.param.u64 %d4, %d4; st.u32 [%d4], %r1;", "read-only"),
        ("isspacep.nowhere %p1, %d1;", "nowhere"),
        ("isspacep.shared::cluster %p1, %d1;", "cluster"),
        ("cvta.shared.u32 %r1, %r1;", ".u64"),
        ("cvta.u64 %d4, %d1;", "one space"),
    ],
)
def test_what_is_refused(body: str, reason: str) -> None:
    """Stores to read-only memory and spaces that do not exist are found while parsing."""
    with pytest.raises(PtxError, match=reason):
        _choices(body)
