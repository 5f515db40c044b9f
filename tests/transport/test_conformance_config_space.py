"""The configuration space, as a VMM sees it.

A running daemon against the vfio-user specification, through a client that shares no code with it. What is
refused is refused with EINVAL. Where the specification names another number, or leaves the number open, the
test says so.
"""

import struct

from tests.transport import spec_client as spec
from tests.transport.conformance import ALL_ONES
from tests.transport.spec_client import SpecClient


def config(client: SpecClient, offset: int, size: int = 4) -> int:
    """Read a register of the configuration space."""
    return int.from_bytes(client.read(7, offset, size), "little")


def set_config(client: SpecClient, offset: int, value: int, size: int = 4) -> int:
    """Write a register of the configuration space; return what it then reads as."""
    client.write(7, offset, value.to_bytes(size, "little"))
    return config(client, offset, size)


def test_configuration_space_has_a_type_0_header(client: SpecClient) -> None:
    """Identity is there, and cannot be written; all of the space reads at once as it does piece by piece."""
    header = client.read(7, 0, 256)
    assert 0 < config(client, 0x00, 2) < 0xFFFF
    assert 0 < config(client, 0x02, 2) < 0xFFFF
    assert header[0x0E] & 0x7F == 0
    assert b"".join(client.read(7, offset, 4) for offset in range(0, 256, 4)) == header
    for offset in (0x00, 0x08, 0x2C):
        assert set_config(client, offset, ALL_ONES) == int.from_bytes(header[offset : offset + 4], "little")


def test_bars_tell_their_sizes(client: SpecClient) -> None:
    """After all ones, a BAR reads as its size; BAR4 is the one with 64 bits."""
    wide = False
    for bar in range(6):
        at = 0x10 + 4 * bar
        info = client.region_info(bar)
        spec.close_all(info.fds)
        if wide:
            # The upper half of the one before.
            assert info.size == 0
            wide = False
            continue
        kind = config(client, at) & 0xF
        wide = kind & 0x6 == 0x4
        assert wide == (bar == 4)
        mask = set_config(client, at, ALL_ONES)
        if not info.size:
            assert mask == 0
            continue
        assert mask & 0xF == kind
        assert not kind & 1
        mask &= ~0xF
        mask |= set_config(client, at + 4, ALL_ONES) << 32 if wide else ALL_ONES << 32
        assert (~mask & 0xFFFFFFFFFFFFFFFF) + 1 == info.size
        address = 0xE000_0000 & ~(info.size - 1)
        assert set_config(client, at, address | 0xF) & ~0xF == address
        set_config(client, at, 0)
        if wide:
            set_config(client, at + 4, 0)


def test_command_register_keeps_what_it_may(client: SpecClient) -> None:
    """Memory space, bus mastering and the interrupt's disable bit can be set; reserved bits cannot."""
    assert set_config(client, 0x04, 0x0406, 2) & 0x0406 == 0x0406
    assert set_config(client, 0x04, 0xFFFF, 2) & 0xF800 == 0
    assert set_config(client, 0x04, 0x0000, 2) & 0x0406 == 0


def test_msix_capability_points_into_bar0(client: SpecClient) -> None:
    """The capability list leads to MSI-X: one vector, its table and its pending bits in BAR0."""
    assert config(client, 0x06, 2) & 0x10
    at = config(client, 0x34, 1)
    found: dict[int, int] = {}
    while at:
        assert at >= 0x40
        assert at % 4 == 0
        assert at not in found.values(), "the list goes in a circle"
        found[config(client, at, 1)] = at
        at = config(client, at + 1, 1)
    at = found[0x11]
    assert config(client, at + 2, 2) & 0x7FF == 0
    assert config(client, at + 4) == 0x1000
    assert config(client, at + 8) == 0x1800
    assert set_config(client, at + 2, 0xC000, 2) & 0xC7FF == 0xC000
    assert set_config(client, at + 2, 0x0000, 2) & 0xC7FF == 0x0000


def test_msix_table_holds_a_vector(client: SpecClient) -> None:
    """The one entry keeps what is written, and nothing is pending."""
    entry = struct.pack("<IIII", 0xFEE0_0000, 0, 0x41, 1)
    client.write(0, 0x1000, entry)
    assert client.read(0, 0x1000, 16) == entry
    assert client.read(0, 0x1800, 8) == bytes(8)
