from collections.abc import Iterator

import pytest
from tests.gpu.gpu_rig import Rig, rig


@pytest.fixture
def gpu_rig() -> Iterator[Rig]:
    """A GPU with two windows of VRAM, one of system memory, and a port."""
    with rig() as made:
        yield made
