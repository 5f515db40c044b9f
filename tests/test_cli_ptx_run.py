"""``logv ptx run``: one kernel, on the GPU and in the interpreter."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from logv.cli.ptx_run import run
from logv.errors import InvalidValueError, LogvError

_PTX = """.version 8.0
.target sm_80
.address_size 64
.visible .entry scale(.param .u32 n, .param .f32 factor, .param .u64 data)
{
  .reg .pred %p; .reg .b32 %r<4>; .reg .b64 %d<3>; .reg .f32 %f<3>;
  mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mov.u32 %r3, %tid.x; mad.lo.u32 %r1, %r1, %r2, %r3;
  ld.param.u32 %r2, [n]; setp.ge.u32 %p, %r1, %r2; @%p ret;
  ld.param.u64 %d1, [data]; mad.wide.u32 %d1, %r1, 4, %d1;
  ld.param.f32 %f1, [factor]; ld.global.f32 %f2, [%d1]; mul.f32 %f2, %f1, %f2; st.global.f32 [%d1], %f2;
  ret;
}
"""
_TWO = _PTX + ".visible .entry other() { ret; }\n"


@pytest.fixture
def ptx(tmp_path: Path) -> Path:
    """A file with one kernel."""
    path = tmp_path / "scale.ptx"
    path.write_text(_PTX)
    return path


def invoke(*arguments: object) -> Result:
    """Run the command; LoGV's own errors come through."""
    outcome = CliRunner().invoke(run, [str(argument) for argument in arguments])
    if isinstance(outcome.exception, LogvError):
        raise outcome.exception
    return outcome


_GEOMETRY = ("--grid", "3", "--block", "4")
_ARGUMENTS = ("--arg", "u32:10", "--arg", "f32:1.5", "--arg", "buf:f32:12:arange")


@pytest.mark.parametrize("where", [(), ("--interpret",)], ids=["gpu", "interpreter"])
def test_kernel_runs(ptx: Path, tmp_path: Path, where: tuple[str, ...]) -> None:
    """The array comes back, in words and in the file."""
    saved = tmp_path / "out.npz"
    outcome = invoke(ptx, *_GEOMETRY, *_ARGUMENTS, *where, "--save", saved)
    assert outcome.exit_code == 0
    assert outcome.output.startswith("data: float32[12] [ 0.   1.5  3. ")
    expected = np.arange(12, dtype=np.float32)
    expected[:10] *= np.float32(1.5)
    np.testing.assert_array_equal(np.load(saved)["data"], expected)


@pytest.mark.parametrize("kind", ["i8", "u64", "f64"])
def test_random_arrays_are_the_same_each_time(ptx: Path, kind: str) -> None:
    """Two runs can be compared."""
    arguments = (ptx, "--interpret", "--arg", "u32:0", "--arg", "f32:1", "--arg", f"buf:{kind}:8:random")
    assert invoke(*arguments).output == invoke(*arguments).output != ""


@pytest.mark.parametrize(
    "argument", ["5", "i33:5", "i8:300", "f32:x", "buf:f32", "buf:f32:0", "buf:f32:4:ones", "buf:x:4"]
)
def test_argument_that_means_nothing(ptx: Path, argument: str) -> None:
    """The message says how one is written."""
    outcome = invoke(ptx, "--arg", argument)
    assert outcome.exit_code == 2
    assert "is neither TYPE:NUMBER nor buf:TYPE:COUNT" in outcome.output


@pytest.mark.parametrize("extent", ["2x2", "", "1,1,1,1"])
def test_extent_that_means_nothing(ptx: Path, extent: str) -> None:
    """The message says how one is written."""
    assert "write X, X,Y or X,Y,Z" in invoke(ptx, "--grid", extent).output


@pytest.mark.parametrize("where", [(), ("--interpret",)], ids=["gpu", "interpreter"])
def test_argument_that_does_not_fit(ptx: Path, where: tuple[str, ...]) -> None:
    """A number wider than its parameter is refused, and named."""
    with pytest.raises(InvalidValueError, match="parameter n"):
        invoke(ptx, "--arg", "u64:99999999999", "--arg", "f32:1", "--arg", "buf:f32:1", *where)


def test_wrong_number_of_arguments(ptx: Path) -> None:
    """The message lists the parameters."""
    with pytest.raises(InvalidValueError, match=r"takes 3 arguments \(u32 n, f32 factor, u64 data\), not 1"):
        invoke(ptx, "--arg", "u32:1")


def test_entry_is_asked_for_among_several(tmp_path: Path) -> None:
    """One may be left out only if there is one."""
    path = tmp_path / "two.ptx"
    path.write_text(_TWO)
    with pytest.raises(InvalidValueError, match="say which entry, with --entry; the file has scale, other"):
        invoke(path)
    with pytest.raises(InvalidValueError, match="there is no entry 'third'"):
        invoke(path, "--entry", "third")
    assert invoke(path, "--entry", "other", "--interpret").exit_code == 0


def test_file_that_cannot_be_written(ptx: Path, tmp_path: Path) -> None:
    """The refusal is LoGV's, not a traceback."""
    with pytest.raises(InvalidValueError, match="cannot write"):
        invoke(ptx, "--interpret", *_ARGUMENTS, "--save", tmp_path / "nowhere" / "out.npz")
