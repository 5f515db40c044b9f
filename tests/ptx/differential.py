"""Runs a program compiled and interpreted, and compares all memory that it can write."""

import random
import struct

import numpy as np
from numpy.typing import NDArray
from tests.ptx.program_statements import COUNTERS, POOL, SLOTS
from tests.ptx.program_strategy import CELL_BYTES, COUNTER_BYTES, WORDS, Program
from tests.ptx.ptx_harness import BASE, Bench

from logv.ptx import Module, compile_entry, parse
from logv.ptx.interpreter import RangeMemory, interpret

Bytes = NDArray[np.uint8]

_EDGES = {
    16: [0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x3C00, 0x7C00, 0x7E01, 0x0001, 0x83FF, 0x7BFF, 0x3F80],
    32: [0, 1, 2, 31, 32, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFF, 0x8000, 0xFFFFFF],
    64: [0, 1, 63, 64, 2**63 - 1, 2**63, 2**64 - 1, 2**32, 2**32 - 1, 0x8000000000000001],
}
_SINGLES = [
    0x00000000, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000,
    0x7F800001, 0x00000001, 0x807FFFFF, 0x00800000, 0x7F7FFFFF,
    0x3F000000, 0x3FC00000, 0x40200000, 0x4F000000, 0xCF000000,
    0x4F800000, 0x5F000000, 0x5F800000, 0x437F0000, 0x46FFFE00, 0x33800000, 0x4B000001, 0xBF000000,
]  # fmt: skip
_DOUBLES = [struct.unpack("<Q", struct.pack("<d", x))[0] for x in (
    0.0, -0.0, 1.0, -1.0, float("inf"), float("-inf"), float("nan"), 5e-324, -2.2e-308, 1.7e308, 0.5, 1.5,
    2.5, 2.0**31, -(2.0**31) - 1, 2.0**32, 2.0**63, 2.0**64, 65535.5, 1 + 2.0**-24, 1e-45, 3.5e38,
    -0.5, 1 / 3,
)]  # fmt: skip


def _word(letter: str, edges: dict[str, list[int]], choose: random.Random) -> int:
    if choose.random() < 0.5:
        return choose.choice(edges[letter])
    if letter == "f":
        small = struct.unpack("<I", struct.pack("<f", choose.uniform(-300, 300)))[0]
        return choose.choice([choose.getrandbits(32), int(small)])
    if letter == "g":
        small = struct.unpack("<Q", struct.pack("<d", choose.uniform(-70000, 70000)))[0]
        return choose.choice([choose.getrandbits(64), int(small)])
    return choose.getrandbits({"h": 16, "r": 32, "d": 64, "p": 32}[letter])


def _inputs(program: Program, threads: int) -> NDArray[np.uint64]:
    """Make words for each register of each thread; often few different ones, so that they meet."""
    choose = random.Random(program.seed)
    edges = {"h": _EDGES[16], "r": _EDGES[32], "d": _EDGES[64], "p": _EDGES[32], "f": _SINGLES, "g": _DOUBLES}
    if choose.random() < 0.5:
        edges = {letter: choose.sample(values, 3) for letter, values in edges.items()}
    letters = [letter for letter, count in POOL.items() for _ in range(count)]
    return np.array([_word(letter, edges, choose) for _ in range(threads) for letter in letters], np.uint64)


def difference(program: Program) -> str | None:
    """Return where baseline or optimised code and the interpreter disagree; None if nowhere."""
    module = parse(program.text)
    blocks, threads = int(np.prod(program.grid)), int(np.prod(program.block))
    bench = Bench(1 << 20)
    sources = bench.upload(_inputs(program, blocks * threads))
    output = bench.upload(np.zeros(blocks * threads * CELL_BYTES, np.uint8))
    counters = bench.upload(np.zeros(COUNTER_BYTES, np.uint8))
    scalar, packet = np.uint32(program.seed * 2654435761 % 2**32), np.arange(200, 232, dtype=np.uint8)
    data = bench.load(module)
    before = bench.memory.copy()
    memory = bytearray(before.tobytes())
    _interpret(
        module,
        program,
        memory,
        struct.pack("<QQQII", sources, output, counters, scalar, 0)
        + packet.tobytes()
        + struct.pack("<Q", data),
    )
    expected = np.frombuffer(memory, np.uint8)
    for optimize in (False, True):
        kernel = compile_entry(module, "run", program.block, optimize=optimize)
        bench.memory[:] = before
        # In two calls, as the engine cuts a launch.
        cut = program.seed % (blocks + 1)
        status = max(
            bench.launch(
                kernel,
                program.grid,
                *(sources, output, counters, scalar, packet.view("V32")[0]),
                variables=data if kernel.entry.data_offset is not None else None,
                blocks=part,
            )
            for part in ((0, cut), (cut, blocks))
        )
        code = "optimised code" if optimize else "baseline code"
        if status:
            return f"{code} ends with status {status}"
        wrong = np.flatnonzero(bench.memory != expected)
        if wrong.size:
            place = _describe(int(wrong[0]), output - BASE, counters - BASE, bench.memory, expected)
            return f"{code}: {place}"
    return None


def _interpret(module: Module, program: Program, memory: bytearray, params: bytes) -> None:
    mapped = RangeMemory()
    mapped.map(BASE, memory)
    interpret(module, "run", grid=program.grid, block=program.block, params=params, memory=mapped)


def _describe(place: int, output: int, counters: int, found: Bytes, expected: Bytes) -> str:
    begin = place // 8 * 8
    words = [int(memory[begin : begin + 8].view(np.uint64)[0]) for memory in (found, expected)]
    if begin >= counters:
        name, kind = COUNTERS[(begin - counters) // 8 // SLOTS]
        what = f"counter of {name}.{kind}"
    else:
        thread, offset = divmod(begin - output, CELL_BYTES)
        names = [f"%{letter}{number}" for letter, count in POOL.items() for number in range(count)]
        first = CELL_BYTES - WORDS * 8
        what = f"thread {thread}: " + (
            names[(offset - first) // 8] if offset >= first else f"scratch byte {offset}"
        )
    return f"{what} is {words[0]:#x} when compiled, {words[1]:#x} when interpreted"
