"""How the memory of arrays is come by."""

from __future__ import annotations

import numpy as np

__all__ = ["keep_freed_memory"]

_LARGEST = 31 * 2**20
"""The C library of GNU takes note of blocks up to 32 MiB."""


def keep_freed_memory() -> None:
    """Have the C library keep some memory of freed arrays for the next ones.

    That of GNU gives freed memory back to the system beyond twice the size of the largest block
    that was ever mapped by itself and freed, at first 256 KiB. With less than that, the arrays of
    each block of bars would be given back and asked for again, page by page, which takes longer
    than to compute them. The memory asked for here is never touched; elsewhere it has no effect.
    """
    np.empty(_LARGEST, dtype=np.uint8)
