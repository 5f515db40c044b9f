"""Programs: what is accepted, and what is said about what is not."""

import pytest

from logv.errors import InvalidValueError, NotSupportedError, PtxError
from logv.runtime import Program

PTX = """.version 7.0
.target sm_80
.address_size 64

.visible .entry first(.param .u32 n, .param .u64 x)
{
    ret;
}
.visible .entry second()
{
    ret;
}
"""


def test_kernels_by_name() -> None:
    """A program knows its kernels and their parameters; each is one object."""
    code = Program(PTX, code_type="ptx").compile()
    assert code.kernel_names == ("first", "second")
    kernel = code.get_kernel("first")
    assert kernel is code.get_kernel("first")
    assert [parameter.size for parameter in kernel.entry.parameters] == [4, 8]
    assert kernel.name in repr(kernel)
    assert "second" in repr(code)
    assert kernel.image.startswith(b"//.entry first\n")
    assert kernel.image.endswith(b"\0")


def test_an_unknown_kernel_is_answered_with_the_known_ones() -> None:
    """The error lists what there is."""
    with pytest.raises(InvalidValueError, match="first, second"):
        Program(PTX).compile().get_kernel("third")


def test_bytes_are_text_too() -> None:
    """What NVRTC returns, with its trailing NUL, is taken as it is."""
    assert Program(PTX.encode() + b"\0").compile().kernel_names == ("first", "second")


def test_ptx_errors_name_line_and_instruction() -> None:
    """What the parser finds reaches the application."""
    with pytest.raises(PtxError) as caught:
        Program(PTX.replace("    ret;", "    frobnicate.u32 %r1, %r2;", 1)).compile()
    assert caught.value.line == PTX[: PTX.index("    ret;")].count("\n") + 1
    assert "frobnicate" in caught.value.instruction


def test_text_that_the_gpu_would_refuse() -> None:
    """Letters beyond ASCII, also in comments, are found here and not at the launch."""
    with pytest.raises(PtxError, match="not ASCII") as caught:
        Program(PTX + "// a naïve kernel\n").compile()
    assert caught.value.line == PTX.count("\n") + 1


@pytest.mark.parametrize("code_type", ["cubin", "nvvm", "", None])
def test_other_kinds_of_code(code_type: str) -> None:
    """The error says what is supported."""
    with pytest.raises(NotSupportedError, match="'ptx'"):
        Program("", code_type=code_type)


@pytest.mark.parametrize("code", [None, 5, ".version\0 7.0"])
def test_code_that_is_no_text(code: str) -> None:
    """Anything but text is refused at once."""
    with pytest.raises(InvalidValueError):
        Program(code)
