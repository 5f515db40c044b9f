"""Method headers and sequences, decoded by the manuals' fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logv.hw import clc7b5, clc7c0, clc56f
from logv.runtime import pushbuffer

METHODS = st.integers(0, 0xFFF).map(lambda number: number << 2)
SUBCHANNELS = st.integers(0, 7)
NUMBERS = st.integers(0, 0x1FFF)


@given(SUBCHANNELS, METHODS, NUMBERS)
def test_headers_decode_to_what_was_asked_for(subchannel: int, method: int, number: int) -> None:
    """Both kinds of header carry subchannel, method, and count or data."""
    for header, kind in (
        (pushbuffer.incrementing, clc56f.NVC56F_DMA_SEC_OP_INC_METHOD),
        (pushbuffer.immediate, clc56f.NVC56F_DMA_SEC_OP_IMMD_DATA_METHOD),
    ):
        word = header(subchannel, method, number)
        assert clc56f.NVC56F_DMA_SEC_OP.decode(word) == kind
        assert clc56f.NVC56F_DMA_METHOD_SUBCHANNEL.decode(word) == subchannel
        assert clc56f.NVC56F_DMA_METHOD_ADDRESS.decode(word) << 2 == method
        assert clc56f.NVC56F_DMA_METHOD_COUNT.decode(word) == number


def test_a_header_refuses_what_does_not_fit() -> None:
    """Immediate data has 13 bits."""
    with pytest.raises(ValueError, match="does not fit"):
        pushbuffer.immediate(0, 0, 1 << 13)


def test_classes_are_bound_where_their_methods_go() -> None:
    """Each class is set as the object of the subchannel that its methods use."""
    words = pushbuffer.BIND_CLASSES
    bound = {
        clc56f.NVC56F_DMA_METHOD_SUBCHANNEL.decode(header): number
        for header, number in zip(words[::2], words[1::2], strict=True)
    }
    assert bound == {
        pushbuffer.COMPUTE_SUBCHANNEL: clc7c0.AMPERE_COMPUTE_B,
        pushbuffer.COPY_SUBCHANNEL: clc7b5.AMPERE_DMA_COPY_B,
    }


def test_no_copy_asks_for_physical_addresses() -> None:
    """Physical addressing is privileged, so no launch word may set it."""
    physical = clc7b5.NVC7B5_LAUNCH_DMA_SRC_TYPE.mask | clc7b5.NVC7B5_LAUNCH_DMA_DST_TYPE.mask
    for words in (
        pushbuffer.linear_copy(0, 0, 1),
        pushbuffer.pitch_copy(0, 1, 0, 1, 1, 1),
        pushbuffer.fill(0, 0, 1, 1),
    ):
        assert clc56f.NVC56F_DMA_METHOD_ADDRESS.decode(words[-1]) << 2 == clc7b5.NVC7B5_LAUNCH_DMA
        assert not clc56f.NVC56F_DMA_IMMD_DATA.decode(words[-1]) & physical


@given(st.integers(1, 5 * pushbuffer.LINE_BYTES), st.integers(0, 1 << 40), st.integers(0, 1 << 40))
def test_large_copies_are_cut_into_lines_that_fit(size: int, target: int, source: int) -> None:
    """The lines of a copy follow each other and cover it exactly."""
    words = pushbuffer.linear_copy(target, source, size)
    per_line = len(pushbuffer.linear_copy(0, 0, 1))
    done = 0
    for at in range(0, len(words), per_line):
        _, in_upper, in_lower, out_upper, out_lower, _, length, _ = words[at : at + per_line]
        assert in_upper << 32 | in_lower == source + done
        assert out_upper << 32 | out_lower == target + done
        assert 0 < length < 1 << 32
        done += length
    assert done == size
