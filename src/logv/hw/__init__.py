"""Names of the GPU's published interface: one module per manual, the vendor's spelling, no behaviour.

``setup.py`` turns every integer and every :class:`~logv.hw._bits.Field` of these modules into C
constants for the compiled engine (``gpu/_hw.pxd``), so each number stands in the project once.
"""

from logv.hw._bits import Field

__all__ = ["Field"]
