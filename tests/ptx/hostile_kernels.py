"""Runs a kernel that writes where it should not; started by the address safety tests, not by pytest."""

import ctypes
import mmap
import random
import sys

import numpy as np

from logv.hw.software_gpu import APERTURE_GUARD_BITS, APERTURE_VA_BITS, SHARED_ARENA_BITS
from logv.ptx import compile_entry, parse

_THREADS = 64
_CANARY = 1 << 16
# MAP_NORESERVE; the mmap module names it from Python 3.13 on.
_RESERVE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000
_HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"
_REGISTERS = ".reg .pred %p<4>; .reg .b16 %rs<3>; .reg .b32 %r<9>; .reg .b64 %rd<9>;"
_BODIES = {
    # Any 64-bit address, stores and atomics.
    "scatter": """
        mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd2; ld.global.u64 %rd4, [%rd3];
        st.global.u32 [%rd4], %r1; st.global.u8 [%rd4+2147483647], %r1; st.global.u32 [%rd4+-2147483648], %r1;
        atom.global.add.u32 %r2, [%rd4+5], %r1; red.global.or.b32 [%rd4], 1; st.u32 [%rd4], %r1;
        st.global.v4.u32 [%rd4], {%r1, %r1, %r1, %r1};""",
    # A pointer that grows without bound.
    "walk": """
        mov.u64 %rd4, %rd2; mov.u32 %r2, 0;
        L: shl.b64 %rd5, %rd4, 3; add.u64 %rd4, %rd4, %rd5; add.u64 %rd4, %rd4, 0x123456789abc;
        st.global.u32 [%rd4], %r1; add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 200; @%p1 bra L;""",
    # Shared memory, with 32-bit and 64-bit addresses.
    "shared_walk": """
        mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd2; ld.global.u64 %rd4, [%rd3];
        cvt.u32.u64 %r2, %rd4; st.shared.u32 [%r2], %r1; st.shared.u32 [%r2+2147483647], %r1;
        st.shared.u32 [%rd4], %r1; st.shared.u32 [%rd4+-2147483648], %r1; atom.shared.add.u32 %r3, [%rd4], 1;
        bar.sync 0; st.shared.v2.u32 [%rd4], {%r1, %r1};""",
    # Local memory of each thread lies in scratch memory, between other things.
    "locals": """
        mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd2; ld.global.u64 %rd4, [%rd3]; mov.u64 %rd5, array;
        add.u64 %rd4, %rd4, %rd5; st.local.u32 [%rd4], 0xffffffff; bar.sync 0;
        st.local.u32 [%rd4+1000000], 0xffffffff; ld.const.u32 %r2, [%rd4];
        st.local.v4.u32 [%rd4], {%r2,%r2,%r2,%r2};
        ld.param.u32 %r3, [%rd4]; st.local.u32 [array], %r3;""",
    # Generic addresses of which nobody knows what they mean, among them those in the windows.
    "generic": """
        mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd2; ld.global.u64 %rd4, [%rd3]; mov.u64 %rd5, s;
        cvta.shared.u64 %rd5, %rd5; mov.u64 %rd6, array; cvta.local.u64 %rd6, %rd6; mov.u64 %rd7, table;
        cvta.const.u64 %rd7, %rd7; mov.u64 %rd8, input; cvta.param.u64 %rd8, %rd8;
        st.shared.v2.u64 [s], {%rd5, %rd6}; st.shared.v2.u64 [s+16], {%rd7, %rd8};
        shl.b64 %rd6, %rd4, 48; and.b64 %rd6, %rd6, 0x7000000000000; cvt.u32.u64 %r2, %rd4;
        cvt.u64.u32 %rd7, %r2; or.b64 %rd6, %rd6, %rd7; st.u32 [%rd6], %r1; st.u32 [%rd6+2147483647], %r1;
        ld.u64 %rd5, [%rd6]; st.u64 [%rd6+-2147483648], %rd4; atom.add.u32 %r2, [%rd6+3], 1;
        red.or.b64 [%rd6], 1; atom.cas.b16 %rs1, [%rd6+1], 0, 1;
        atom.add.noftz.f16x2 %r2, [%rd6+2], 0x3c003c00; atom.shared.add.noftz.bf16 %rs1, [%rd6+1], %rs1;
        st.v4.u32 [%rd4], {%r1, %r1, %r1, %r1}; ld.v4.u32 {%r3, %r4, %r5, %r6}, [%rd6+7];
        red.max.s32 [%rd4], 1;""",
    # Copies from global to shared memory.
    "copies": """
        mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd2; ld.global.u64 %rd4, [%rd3];
        cvt.u32.u64 %r2, %rd4; cp.async.cg.shared.global [%rd4], [%rd4+2147483647], 16;
        cp.async.ca.shared.global [%r2+-8], [%rd4], 8, %r2;
        cp.async.ca.shared.global [%r2], [%rd4], 4, 3; cp.async.wait_all;""",
    # Sums of bounded terms that are not bounded together, reloaded after a barrier.
    "sums": """
        mul.wide.u32 %rd3, %r1, 8; add.u64 %rd3, %rd3, %rd2; ld.global.u64 %rd4, [%rd3];
        cvt.s64.s32 %rd5, %rd4;
        shl.b64 %rd5, %rd5, 4; add.s64 %rd6, %rd5, %rd5; add.s64 %rd6, %rd6, %rd5; sub.s64 %rd6, %rd6, %rd2;
        bar.sync 0; shl.b64 %rd7, %rd6, 1; add.s64 %rd7, %rd7, %rd6; st.global.u32 [%rd7], %r1;
        mul.lo.s64 %rd8, %rd6, -1125899906842624; st.global.u32 [%rd8+64], %r1;""",
}


def _map(size: int) -> int:
    region = mmap.mmap(-1, size, flags=_RESERVE)
    _KEPT.append(region)
    return ctypes.addressof(ctypes.c_char.from_buffer(region))


_KEPT: list[mmap.mmap] = []


def main(name: str) -> None:
    """Run one kernel many times with hostile addresses and check that nothing else changed."""
    text = f"""{_HEAD}.const .align 4 .b8 table[16];
    .visible .entry k(.param .u64 input) {{ {_REGISTERS} .local .align 16 .b8 array[64];
    .shared .align 16 .b8 s[64];
    mov.u32 %r1, %tid.x; ld.param.u64 %rd2, [input]; {_BODIES[name]} ret; }}"""
    guard = 1 << APERTURE_GUARD_BITS
    aperture = _map((1 << APERTURE_VA_BITS) + 2 * guard) + guard
    arena = _map((1 << SHARED_ARENA_BITS) + 2 * guard) + guard
    # The input lies in the aperture itself; kernels may overwrite it.
    source = 0x10000
    words = (ctypes.c_uint64 * _THREADS).from_address(aperture + source)
    grid = (ctypes.c_uint32 * 4)(1, 1, 1, 0)
    parameters = (ctypes.c_uint64 * 2)(source, 0)
    signature = ctypes.CFUNCTYPE(ctypes.c_int32, *[ctypes.c_void_p] * 5, ctypes.c_uint64, ctypes.c_uint64)
    choose = random.Random(name)
    for block in ((_THREADS, 1, 1), (8, 8, 1), (1, 1, 1)):
        kernel = compile_entry(parse(text), "k", block)
        size = -(-kernel.scratch_bytes // 64) * 64
        memory = np.full(size + 2 * _CANARY + 64, 0xC5, np.uint8)
        begin = _CANARY + -(memory.ctypes.data + _CANARY) % 64
        for _ in range(20):
            for index in range(_THREADS):
                words[index] = choose.choice(
                    [
                        choose.getrandbits(64),
                        choose.getrandbits(38),
                        -choose.getrandbits(34) % 2**64,
                        2**63,
                        2**38 - 2,
                    ]
                )
            function = signature(kernel.address)
            scratch = memory.ctypes.data + begin
            function(ctypes.addressof(parameters), aperture, arena, scratch, ctypes.addressof(grid), 0, 1)
        if (memory[:begin] != 0xC5).any() or (memory[begin + size :] != 0xC5).any():
            sys.exit("canaries beside the scratch memory changed")
        if parameters[0] != source or list(grid) != [1, 1, 1, 0]:
            sys.exit("parameters or grid changed")
    print("confined")


if __name__ == "__main__":
    main(sys.argv[1])
