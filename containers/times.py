"""Times as they stand in results: ISO 8601 in UTC, ending in ``Z``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["DAY_NS", "SECOND_NS", "distinct", "iso_utc", "iso_utc_list"]

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS

_UNITS = (("s", SECOND_NS), ("ms", 1_000_000), ("us", 1_000), ("ns", 1))


def iso_utc(ts: int) -> str:
    """Return a time as text, with as few decimals (0, 3, 6 or 9) as it needs.

    Args:
        ts: Nanoseconds since 1970-01-01 UTC.

    Returns:
        For example ``2004-10-29T00:00:00Z`` or ``2004-10-29T14:30:00.250Z``.
    """
    return iso_utc_list(np.array([ts], dtype=np.int64))[0]


def iso_utc_list(ts: NDArray[np.int64]) -> list[str]:
    """Return many times as text; each is what `iso_utc` gives for it.

    Args:
        ts: int64 (n,), nanoseconds since 1970-01-01 UTC.
    """
    texts = np.empty(len(ts), dtype=object)
    left = np.arange(len(ts))
    for unit, step_ns in _UNITS:
        fits = ts[left] % step_ns == 0
        rows = left[fits]
        texts[rows] = np.datetime_as_string(_in_unit(ts[rows], unit), timezone="UTC")
        left = left[~fits]
        if not len(left):
            break
    listed: list[str] = texts.tolist()
    return listed


def distinct(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ascending whole numbers each once; a sort or a hash would take far longer.

    Args:
        ascending: int64 (n,).
    """
    first = np.ones(len(ascending), dtype=np.bool_)
    first[1:] = ascending[1:] != ascending[:-1]
    return ascending[first]


def _in_unit(ts: NDArray[np.int64], unit: str) -> NDArray[np.datetime64]:
    return ts.view("datetime64[ns]").astype(f"datetime64[{unit}]")
