"""The interpreter's threads: memory, control flow, barriers, warps, and how it refuses."""

import pytest
from tests.ptx.interpreter_bench import BASE, run

from logv.errors import InvalidValueError, PtxError
from logv.ptx.interpreter import RangeMemory

_PUT = "cvt.u64.u32 %d2, %r9; st.global.u64 [%d1], %d2;"


def test_loop_and_guard() -> None:
    """A loop sums; a guarded instruction is skipped."""
    body = f"""mov.u32 %r9, 0; mov.u32 %r1, 0;
    L: add.u32 %r9, %r9, %r1; add.u32 %r1, %r1, 1; setp.le.u32 %p1, %r1, %r0; @%p1 bra L;
    @%p1 mov.u32 %r9, 99; {_PUT} ret;"""
    assert run(body, block=(5, 1, 1))[:5] == [0, 1, 3, 6, 10]


def test_indexed_branch() -> None:
    """The table's entry is gone to; an index beyond it ends the kernel."""
    body = f"""T: .branchtargets A, B; mov.u32 %r9, 5; brx.idx %r0, T;
    A: mov.u32 %r9, 6; B: {_PUT} ret;"""
    assert run(body, block=(2, 1, 1))[:2] == [6, 5]
    with pytest.raises(PtxError, match=r"line \d+: index 2 lies beyond the table"):
        run(body, block=(3, 1, 1))


def test_special_registers() -> None:
    """Threads and blocks are numbered with x fastest; a warp is 32 in a row."""
    body = f"""mov.u32 %r1, %tid.y; mad.lo.u32 %r0, %r1, 20, %r0; mul.wide.u32 %d1, %r0, 8;
    add.u64 %d1, %d1, %d0; mov.u32 %r9, %laneid; mov.u32 %r2, %warpid;
    mad.lo.u32 %r9, %r2, 100, %r9; {_PUT} ret;"""
    assert run(body, block=(20, 2, 1))[30:34] == [30, 31, 100, 101]
    body = f"mov.u32 %r9, %ctaid.y; mov.u32 %r1, %nctaid.x; mad.lo.u32 %r9, %r9, 10, %r1; {_PUT}"
    assert run(body, grid=(3, 2, 1))[0] == 13


def test_shared_memory_and_barrier() -> None:
    """What is written before a barrier is read after it, by every thread of the block."""
    body = f"""mov.u32 %r1, s; shl.b32 %r2, %r0, 2; add.u32 %r1, %r1, %r2; st.shared.u32 [%r1], %r0;
    bar.sync 0; xor.b32 %r2, %r2, 28; mov.u32 %r1, s; add.u32 %r1, %r1, %r2;
    ld.shared.u32 %r9, [%r1]; {_PUT}"""
    before = ".shared .align 4 .b8 s[32];"
    assert run(body, block=(8, 1, 1), before=before)[:8] == [7, 6, 5, 4, 3, 2, 1, 0]


def test_dynamic_shared_memory_begins_at_sixteen() -> None:
    """It lies after the static part; an access beyond it is an error."""
    body = f"mov.u32 %r9, dynamic; st.shared.u32 [s], %r9; st.shared.u32 [%r9+12], %r9; {_PUT}"
    before = ".shared .align 4 .b8 s[20]; .extern .shared .align 16 .b8 dynamic[];"
    assert run(body, before=before, shared=16)[0] == 32
    with pytest.raises(PtxError, match=r"beyond the 44 of \.shared"):
        run(body, before=before, shared=12)


def test_threads_that_ended_are_not_waited_for() -> None:
    """A barrier is complete when those that are left have come."""
    body = f"setp.lt.u32 %p1, %r0, 3; @%p1 ret; bar.red.popc.u32 %r9, 0, !%p1; {_PUT}"
    assert run(body, block=(8, 1, 1))[:8] == [0, 0, 0, 5, 5, 5, 5, 5]


def test_barrier_votes() -> None:
    """All and any, by separate barriers."""
    body = f"""setp.lt.u32 %p1, %r0, 3; bar.red.and.pred %p2, 1, %p1; bar.red.or.pred %p3, 2, %p1;
    selp.u32 %r9, 10, 0, %p2; @%p3 add.u32 %r9, %r9, 1; {_PUT}"""
    assert run(body, block=(4, 1, 1))[:4] == [1] * 4
    assert run(body, block=(3, 1, 1))[:3] == [11] * 3


def test_producers_arrive_and_consumers_wait() -> None:
    """``bar.arrive`` counts without waiting, at a barrier for some of the warps."""
    body = f"""setp.ge.u32 %p1, %r0, 32; @%p1 bra consumer;
    st.shared.u32 [s], 42; bar.arrive 1, 64; ret;
    consumer: bar.sync 1, 64; ld.shared.u32 %r9, [s]; {_PUT}"""
    assert run(body, block=(64, 1, 1), before=".shared .align 4 .b8 s[4];")[32:64] == [42] * 32


def test_threads_that_wait_for_each_other() -> None:
    """Halves at different barriers end in an error that says so."""
    body = "setp.lt.u32 %p1, %r0, 1; @%p1 bar.sync 0; bar.sync 1; ret;"
    with pytest.raises(PtxError, match="waits for ever"):
        run(body, block=(2, 1, 1))


def test_lock_is_handed_on() -> None:
    """A thread that spins lets the one on that it waits for."""
    body = """L: ld.volatile.global.u32 %r1, [%d0+8]; setp.ne.u32 %p1, %r1, %r0;
    @%p1 bra L; add.u32 %r1, %r1, 1; st.volatile.global.u32 [%d0+8], %r1;"""
    assert run(body.replace("%r0", "%r2"), block=(1, 1, 1))[1] == 1
    reverse = "sub.u32 %r2, 3, %r0;" + body.replace("%r0", "%r2")
    assert run(reverse, block=(4, 1, 1))[1] == 4


def test_atomics() -> None:
    """They return what was there; ``inc`` and ``dec`` wrap at their bound; floats add."""
    body = """atom.global.add.u32 %r1, [%d0], 5; cvt.u64.u32 %d2, %r1; st.global.u64 [%d0+8], %d2;
    atom.global.inc.u32 %r1, [%d0+16], 3; atom.global.dec.u32 %r1, [%d0+24], 9;
    red.global.max.s32 [%d0+32], 1; atom.global.cas.b32 %r1, [%d0+40], 7, 8;
    atom.global.add.f32 %f0, [%d0+48], 0f3F800000;"""
    found = run(body, [2, 0, 3, 0, 0xFFFFFFFF, 7, 0x3F800000])
    assert found[:7] == [7, 2, 0, 9, 1, 8, 0x40000000]


def test_generic_addresses() -> None:
    """One load reaches global, shared, local and constant memory, and ``isspacep`` tells which."""
    before = ".shared .align 8 .b8 s[8]; .const .align 4 .u32 c = 44;"
    body = """.local .align 8 .b8 l[8];
    st.shared.u32 [s], 11; st.local.u32 [l], 22;
    mov.u64 %d2, s; cvta.shared.u64 %d3, %d2; mov.u64 %d2, l; cvta.local.u64 %d4, %d2;
    mov.u64 %d2, c; cvta.const.u64 %d5, %d2;
    ld.u32 %r1, [%d3]; ld.u32 %r2, [%d4]; ld.u32 %r3, [%d5]; ld.u32 %r4, [%d0+32];
    st.global.v4.u32 [%d0], {%r1, %r2, %r3, %r4};
    isspacep.shared %p1, %d3; isspacep.global %p2, %d0; isspacep.local %p3, %d3;
    selp.u32 %r1, 1, 0, %p1; selp.u32 %r2, 1, 0, %p2; selp.u32 %r3, 1, 0, %p3;
    cvta.to.shared.u64 %d3, %d3; ld.shared.u32 %r4, [%d3];
    st.global.v4.u32 [%d0+16], {%r1, %r2, %r3, %r4};"""
    found = run(body, [0, 0, 0, 0, 33], before=before)
    assert found[:4] == [11 | 22 << 32, 44 | 33 << 32, 1 | 1 << 32, 0 | 11 << 32]


def test_local_memory_is_the_threads_own() -> None:
    """Threads write the same local address and read their own number."""
    body = f""".local .align 4 .b8 l[4]; st.local.u32 [l], %r0; bar.sync 0; ld.local.u32 %r9, [l]; {_PUT}"""
    assert run(body, block=(3, 1, 1))[:3] == [0, 1, 2]


@pytest.mark.parametrize(
    ("mode", "operands", "results"),
    [
        ("up", "2, 0", [0, 1, 0, 1, 2, 3]),
        ("down", "2, 0x1f", [2, 3, 4, 5, 6, 7]),
        ("bfly", "1, 0x1f", [1, 0, 3, 2, 5, 4]),
        ("idx", "3, 0x1f", [3] * 6),
        ("idx", "1, 0x1c1f", [1, 1, 1, 1, 5, 5]),
        ("up", "1, 0x1e00", [0, 0, 2, 2, 4, 4]),
        ("down", "1, 0x1c03", [1, 2, 3, 3, 5, 6]),
    ],
)
def test_shuffle(mode: str, operands: str, results: list[int]) -> None:
    """Lanes read others of their segment; at its edge they keep their own."""
    body = f"shfl.sync.{mode}.b32 %r9, %r0, {operands}, -1; {_PUT}"
    assert run(body, block=(32, 1, 1))[: len(results)] == results


def test_shuffle_says_whether_the_source_lay_inside() -> None:
    """The second destination."""
    body = f"shfl.sync.down.b32 %r1|%p1, %r0, 1, 0x1c1f, -1; selp.u32 %r9, 1, 0, %p1; {_PUT}"
    assert run(body, block=(32, 1, 1))[:32] == [1, 1, 1, 0] * 8


def test_votes_of_a_part_of_the_warp() -> None:
    """Lanes that the mask does not name, and those that ended, have no vote."""
    body = f"""setp.eq.u32 %p0, %r0, 1; @%p0 ret; setp.ge.u32 %p0, %r0, 4; @%p0 bra out;
    setp.ne.u32 %p1, %r0, 2; vote.sync.ballot.b32 %r9, %p1, 0xf; out: {_PUT}"""
    assert run(body, block=(8, 1, 1))[:8] == [0b1001, 0, 0b1001, 0b1001, 0, 0, 0, 0]


def test_match_and_reduce() -> None:
    """Equal lanes find each other; a reduction is signed where its type is."""
    body = f"and.b32 %r1, %r0, 1; match.any.sync.b32 %r9, %r1, 0xf; {_PUT}"
    assert run(body, block=(4, 1, 1))[:4] == [0b0101, 0b1010, 0b0101, 0b1010]
    body = f"sub.u32 %r1, %r0, 2; redux.sync.min.s32 %r9, %r1, 0xf; {_PUT}"
    assert run(body, block=(4, 1, 1))[:4] == [0xFFFFFFFE] * 4
    body = f"match.all.sync.b32 %r9|%p1, 7, 0xf; @!%p1 mov.u32 %r9, 0; {_PUT}"
    assert run(body, block=(4, 1, 1))[:4] == [0xF] * 4


def test_active_lanes_of_a_branch() -> None:
    """``activemask`` names the lanes that came together."""
    body = f"""setp.lt.u32 %p1, %r0, 3; @%p1 bra low; activemask.b32 %r9; bra out;
    low: activemask.b32 %r9; out: {_PUT}"""
    assert run(body, block=(5, 1, 1))[:5] == [0b00111] * 3 + [0b11000] * 2


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("ld.global.u32 %r1, [%d0+1024];", "not mapped"),
        ("ld.global.u32 %r1, [%d0+2];", "not a multiple of the 4 bytes"),
        ("st.global.v2.u32 [%d0+4], {%r1, %r1};", "not a multiple of the 8 bytes"),
        ("trap;", "trapped"),
        ("L: bra L;", "did not end after 100000 instructions"),
        ("vabsdiff4.u32.u32.u32 %r1, %r1, %r1, %r1;", "vabsdiff4.* is not known to the interpreter"),
        ("add.u32 %r1, %r1;", "3 operands expected"),
        ("add.wide.u32 %r1, %r1, %r1;", "'.wide' is not known with add"),
        ("add.u64 %r1, %d1, %d1;", "%r1 has 32 bits"),
        ("bra nowhere;", "there is no label nowhere"),
        ("shfl.sync.idx.b32 %r1, %r1, 0, 0x1f, 2;", "not in its own membermask"),
    ],
)
def test_refusals_name_line_and_instruction(body: str, reason: str) -> None:
    """Each ends the kernel in the one kind of error, with the instruction's line."""
    with pytest.raises(PtxError, match=rf"line 17: .*{reason}"):
        run(body, before=".const .align 4 .u32 c = 1;")


def test_memory_ranges_do_not_overlap() -> None:
    """What lies at an address is one thing."""
    memory = RangeMemory()
    memory.map(BASE, bytearray(16))
    with pytest.raises(InvalidValueError, match="overlap"):
        memory.map(BASE + 8, bytearray(16))
