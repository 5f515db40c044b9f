"""Hostile texts end in a refusal, in bounded time: no crash, no hang, no other exception."""

import faulthandler
import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ptx.mutations import damaged, probe, seeds

# A probe takes a fraction of a second. One that takes this long never ends: its stack is printed then.
_HANG = 60

_HEAD = ".version 8.0\n.target sm_80\n.address_size 64\n"


def _kernel(body: str, parameters: str = ".param .u64 p") -> str:
    registers = ".reg .pred %p<9>; .reg .b32 %r<99>;"
    return f"{_HEAD}.visible .entry k({parameters}) {{\n{registers}\n{body}\nret; }}"


@pytest.fixture(autouse=True)
def _no_hang() -> Iterator[None]:
    faulthandler.dump_traceback_later(_HANG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def test_seeds_are_accepted() -> None:
    """What is damaged below is valid to begin with."""
    assert all(probe(text) for text in seeds())


@settings(max_examples=350, derandomize=True, deadline=None)
@given(st.integers(0, 2**32))
def test_damaged_programs_are_refused_or_compiled(seed: int) -> None:
    """Tokens that are lost, moved, repeated or replaced, numbers out of bounds, texts cut short."""
    probe(damaged(random.Random(seed).randint))


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_binary_junk_is_refused(junk: bytes, after_head: bool) -> None:
    """Bytes, alone and behind a proper head."""
    assert not probe(junk) or b".version" in junk
    if after_head:
        probe(_HEAD.encode() + junk)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text(st.sampled_from('{}[]()<>,;:@!|+-="/*.%$_a1f \n'), max_size=120))
def test_punctuation_is_refused(text: str) -> None:
    """Marks of PTX in any order, as a module and as a body."""
    probe(_HEAD + text)
    probe(_kernel(text))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(_kernel("{" * 100_000), id="scopes"),
        pytest.param(_kernel("{" * 60 + "}" * 60), id="scopes that close"),
        pytest.param(_HEAD + "/*" * 100_000, id="comments"),
        pytest.param(_HEAD + '"' * 100_001, id="quotes"),
        pytest.param(_HEAD + ".const .b8 t[4] = " + "{" * 100_000, id="initialiser"),
        pytest.param(_HEAD + ".const .b8 t" + "[1]" * 100_000 + ";", id="dimensions"),
        pytest.param(_HEAD + ".const .b8 t" + "[65536]" * 4 + ";", id="a large array"),
        pytest.param(_HEAD + ".const .b8 t[" + "9" * 100_000 + "];", id="a long number"),
        pytest.param(_HEAD + ".const .align 3 .b8 t[4];", id="alignment"),
        pytest.param(_HEAD + ".const .b8 t[-4];", id="negative size"),
        pytest.param(_HEAD + ".shared .b8 t[99999999999];", id="shared"),
        pytest.param(_kernel(".local .b8 t[2147483647];"), id="local"),
        pytest.param(_kernel(".reg .b32 %q<4294967295>;"), id="registers"),
        pytest.param(_kernel(".reg .b32 %q<100000>;" * 3), id="many registers"),
        pytest.param(
            _kernel(".reg .b32 " + ",".join(f"%z{n}" for n in range(50_000)) + ";"), id="named registers"
        ),
        pytest.param(
            _kernel("", parameters=", ".join(f".param .u32 p{n}" for n in range(50_000))), id="parameters"
        ),
        pytest.param(_kernel("", parameters=".param .b8 p[99999999999999]"), id="a large parameter"),
        pytest.param(_kernel("bra " + "x" * 100_000 + ";"), id="a long name"),
        pytest.param(_kernel("mov.u32 %r1, {" + "%r2," * 50_000 + "%r2};"), id="a long vector"),
        pytest.param(_kernel("add.u32 " + "%r1, " * 50_000 + "%r1;"), id="operands"),
        pytest.param(_kernel("add" + ".u32" * 50_000 + " %r1, %r2, %r3;"), id="modifiers"),
        pytest.param(_kernel("ld.global.u32 %r1, [p" + "+1" * 100_000 + "];"), id="offsets"),
        pytest.param(
            _kernel("T: .branchtargets " + "T," * 50_000 + "T; brx.idx %r1, T;"), id="branch targets"
        ),
        pytest.param(_kernel("L: bra L;"), id="an endless loop"),
        pytest.param(_kernel("L: bra M; M: bra L; @%p1 bra L;"), id="a cycle"),
        pytest.param(
            _kernel("@%p1 bra A; B: add.u32 %r1, %r1, 1; A: add.u32 %r1, %r1, 2; bra B;"), id="irreducible"
        ),
        pytest.param(_kernel("mov.u32 %r1, %r1;" * 20_000), id="moves to itself"),
        pytest.param(_kernel("bar.sync 0;" * 3_000), id="barriers"),
        pytest.param(_kernel("@%p1 ret;" * 2_000), id="returns"),
        pytest.param(_kernel("".join(f"L{n}: @%p1 bra L{n};" for n in range(500))), id="loops"),
        pytest.param(
            _kernel(
                "".join(f"L{n}: " for n in range(40))
                + "".join(f"@%p1 bra L{n};" for n in reversed(range(40)))
            ),
            id="loops in loops",
        ),
        pytest.param(
            _kernel("".join(f"@%p{n % 9} bra L{(n * 7919) % 300}; L{n}: bar.sync 0;" for n in range(300))),
            id="tangle",
        ),
        pytest.param(_HEAD + "".join(f".entry k{n}() {{ ret; }}\n" for n in range(3_000)), id="entries"),
        pytest.param(_kernel("\0"), id="a zero byte"),
        pytest.param(_HEAD + ".entry", id="an entry cut short"),
        pytest.param(_HEAD + '.file 1 "x\n.loc 1', id="a string cut short"),
        pytest.param(".version", id="a version cut short"),
        pytest.param("", id="nothing"),
    ],
)
def test_extremes_end(text: str) -> None:
    """What is large, deep or circular is refused or compiled, whichever: it ends without another error."""
    assert probe(text) in (True, False)
