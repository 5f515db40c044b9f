"""``logv ptx``: what it prints about a file, and what it exits with."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from logv import cli, ptx
from logv.errors import PtxError

HEAD = ".version 7.0\n.target sm_80\n.address_size 64\n"
GOOD = (
    HEAD
    + """
.visible .entry good(.param .u64 x, .param .align 4 .b8 pair[8])
.maxntid 128, 1, 1
{
    .reg .b32 %r<3>;
    .reg .b64 %rd<2>;
    .shared .align 4 .b8 tile[64];
    .local .align 4 .b8 stack[20];
    ld.param.u64 %rd1, [x];
    mov.u32 %r1, 7;
    mov.u32 %r2, %r1;
    st.global.u32 [%rd1], %r2;
    ret;
}
.visible .entry other()
.reqntid 8, 4, 1
{
    ret;
}
"""
)
BAD = (
    HEAD
    + """
.visible .entry bad(.param .u64 x)
{
    .reg .b32 %r<9>;
    .reg .b64 %rd<3>;
    .reg .pred %p<3>;
    ld.param.u64 %rd1, [x];
    frobnicate.u32 %r1, [x]; frobnicate.u32 %r2, %r1;
    setp.eq.u32 %p1, %r1, %r2;
    @%p1 frobnicate.u32
        %r2, %r1;
    add.u32 %r3, %r1, %r2;
    add.f4096 %r3, %r1, %r2;
    ret;
}
"""
)


def run(*arguments: str | Path, text: str | bytes | None = None) -> Result:
    """Run ``logv ptx ...``."""
    return CliRunner().invoke(cli.main, ["ptx", *map(str, arguments)], input=text)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A file of which everything is supported."""
    path = tmp_path / "good.ptx"
    path.write_text(GOOD)
    return path


def test_a_file_that_runs(good: Path) -> None:
    """Parameters, memory, limits and instructions of each entry."""
    outcome = run(good)
    assert outcome.exit_code == 0
    for words in (
        "PTX 7.0 for sm_80",
        "u64 x, b8 pair (8 bytes)",
        "16 bytes",
        "64 bytes a block",
        "32 bytes a thread",
        "at most 128",
        "5 instructions",
        "mov.u32 2",
        "other",
        "8 x 4 x 1",
        "Everything is supported.",
    ):
        assert words in outcome.output, words
    assert "Not supported" not in outcome.output


def test_json(good: Path) -> None:
    """The same for a program to read."""
    outcome = run("--json", good)
    assert outcome.exit_code == 0
    report: dict[str, Any] = json.loads(outcome.output)
    first, second = report.pop("entries")
    assert report == {
        "supported": True,
        "complete": True,
        "version": "7.0",
        "target": "sm_80",
        "problems": [],
    }
    assert first["parameters"] == [
        {"name": "x", "type": "u64", "offset": 0, "size": 8},
        {"name": "pair", "type": "b8", "offset": 8, "size": 8},
    ]
    assert (first["parameter_bytes"], first["shared_bytes"], first["local_bytes"]) == (16, 64, 32)
    assert (first["max_threads"], first["required_block"]) == (128, None)
    assert first["instructions"] == {"mov.u32": 2, "ld.param.u64": 1, "st.global.u32": 1, "ret": 1}
    assert (second["max_threads"], second["required_block"]) == (None, [8, 4, 1])


def test_everything_that_is_not_supported(tmp_path: Path) -> None:
    """With line, instruction and reason, and status 1; the rest is counted."""
    path = tmp_path / "bad.ptx"
    path.write_text(BAD)
    outcome = run(path, "--json")
    assert outcome.exit_code == 1
    report = json.loads(outcome.output)
    assert (report["supported"], report["complete"]) == (False, True)
    lines = BAD.split("\n")
    assert [(each["line"], each["instruction"]) for each in report["problems"]] == [
        (lines.index("    frobnicate.u32 %r1, [x]; frobnicate.u32 %r2, %r1;") + 1, words)
        for words in ("frobnicate.u32 %r1, [x];", "frobnicate.u32 %r2, %r1;")
    ] + [
        (lines.index("    @%p1 frobnicate.u32") + 1, "@%p1 frobnicate.u32 %r2, %r1;"),
        (lines.index("    add.f4096 %r3, %r1, %r2;") + 1, "add.f4096 %r3, %r1, %r2;"),
    ]
    assert "frobnicate.u32 is not supported" in report["problems"][0]["reason"]
    assert report["entries"][0]["instructions"] == {
        "ld.param.u64": 1,
        "setp.eq.u32": 1,
        "add.u32": 1,
        "ret": 1,
    }


def test_the_table_of_what_is_not_supported() -> None:
    """Brackets stay what they are, and the file may come from the standard input."""
    outcome = run("-", text=BAD)
    assert outcome.exit_code == 1
    assert "Not supported" in outcome.output
    assert "frobnicate.u32 %r1, [x];" in outcome.output
    assert "4 of its statements are not supported" in outcome.output


def test_a_directive_hides_what_follows() -> None:
    """That is said, in words and in JSON."""
    text = HEAD + ".frobnicate 5;\n"
    outcome = run("-", text=text)
    assert outcome.exit_code == 1
    assert "There may be more" in outcome.output
    report = json.loads(run("--json", "-", text=text).output)
    assert (report["complete"], report["entries"], report["version"]) == (False, [], None)
    assert len(report["problems"]) == 1


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nonsense;",
        b"endless " * 100,
        b"\x00\xff\x1b[31m",
        HEAD.encode() + b"// caf\xe9\n",
        HEAD.encode() + b"\x1b[31m;",
    ],
    ids=["empty", "text", "endless", "binary", "comment", "escape"],
)
def test_what_is_no_ptx(text: bytes) -> None:
    """A line about it and status 1; nothing steers the terminal."""
    outcome = run("-", text=text)
    assert outcome.exit_code == 1
    assert "not supported" in outcome.output
    assert "\x1b" not in outcome.output


def test_many_problems_are_not_all_looked_for() -> None:
    """The search ends, and says that there may be more."""
    body = "\n".join(f"frobnicate.u32 %r{number};" for number in range(300))
    found = ptx.survey(f"{HEAD}.entry f() {{\n.reg .b32 %r<300>;\n{body}\n}}")
    assert not found.complete
    assert [error.line for error in found.problems] == list(range(6, 106))


def test_instructions_that_comments_divide() -> None:
    """A comment is no part of an instruction, whatever it says."""
    body = "frob.u32 %r1, /* why; */ %r2; /* frob.u32 %r1, %r2; */\n// frob.u32 %r1;\nfrob.u32 %r1, %r2; ret;"
    found = ptx.survey(HEAD + ".entry f() { .reg .b32 %r<3>;\n" + body + " }")
    assert [error.line for error in found.problems] == [5, 7]
    assert found.complete


def test_a_long_instruction() -> None:
    """Its excerpt is shortened, and it is left out whole all the same."""
    operands = ", ".join(f"%r{number}" for number in range(60))
    found = ptx.survey(f"{HEAD}.entry f() {{ .reg .b32 %r<99>;\nfrob.u32 {operands};\nfrob.u32 %r1;\nret; }}")
    assert [error.line for error in found.problems] == [5, 6]
    assert found.complete


def test_the_first_problem_is_the_compilers() -> None:
    """What `parse` says is what is said first."""
    with pytest.raises(PtxError) as caught:
        ptx.parse(BAD)
    first = ptx.survey(BAD).problems[0]
    assert str(first) == str(caught.value)
    assert first.reason in str(first)


def test_a_text_that_compiles_is_left_as_it_is() -> None:
    """The survey's module is the parser's."""
    found = ptx.survey(GOOD)
    assert found.supported
    assert found.module is not None
    assert found.module.entries == ptx.parse(GOOD).entries


def test_show_is_what_a_file_alone_means(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is called like a command is written with its directory."""
    assert run(good).output == run("show", good).output
    monkeypatch.chdir(good.parent)
    good.rename("show")
    assert run("show").exit_code == 2
    assert run("./show").exit_code == 0


def test_usage() -> None:
    """Help names the commands; a missing file is a wrong call."""
    assert "show" in run("--help").output
    assert "Exit status" in run("show", "--help").output
    assert run("no-such-file.ptx").exit_code == 2
