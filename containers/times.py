"""Times as they stand in results: ISO 8601 in UTC, ending in ``Z``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DAY_NS", "SECOND_NS", "days_of", "distinct", "iso_utc", "iso_utc_list"]

SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS

_SHARED = 256
"""Times from which on their texts are remembered; the lanes of a window all have the same ones."""

_UNITS = (("s", SECOND_NS), ("ms", 1_000_000), ("us", 1_000), ("ns", 1))

# A text of whole seconds as numpy lays it out, in UCS-4: two digits are one number of eight bytes.
_FIELDS = ("century", "year", "month", "day", "hour", "minute", "second")
_OFFSETS = (0, 2, 5, 8, 11, 14, 17)
_LAYOUT = np.dtype(
    {
        "names": _FIELDS,
        "formats": [np.uint64] * len(_FIELDS),
        "offsets": [4 * offset for offset in _OFFSETS],
        "itemsize": 4 * len("0000-00-00T00:00:00Z"),
    }
)
_TEMPLATE = np.array(["0000-00-00T00:00:00Z"])
_PAIRS = np.array([f"{number:02}" for number in range(100)]).view(np.uint64)


def iso_utc(ts: int) -> str:
    """Return a time as text, with as few decimals (0, 3, 6 or 9) as it needs.

    Args:
        ts: Nanoseconds since 1970-01-01 UTC.

    Returns:
        For example ``2004-10-29T00:00:00Z`` or ``2004-10-29T14:30:00.250Z``.
    """
    return _by_decimals(np.array([ts], dtype=np.int64))[0]


def iso_utc_list(ts: NDArray[np.int64]) -> list[str]:
    """Return many times as text; each is what `iso_utc` gives for it.

    Args:
        ts: int64 (n,), nanoseconds since 1970-01-01 UTC.
    """
    seconds = ts // SECOND_NS
    if np.array_equal(seconds * SECOND_NS, ts):
        if len(ts) < _SHARED:
            return _listed(_whole_seconds(seconds))
        return list(_remembered(seconds.tobytes()))
    return _by_decimals(ts)


@lru_cache(maxsize=16)
def _remembered(seconds: bytes) -> tuple[str, ...]:
    return tuple(_listed(_whole_seconds(np.frombuffer(seconds, dtype=np.int64))))


def _whole_seconds(seconds: NDArray[np.int64]) -> NDArray[np.str_]:
    """Return times in seconds as text, in a third of the time that numpy's own way takes."""
    days, second = np.divmod(seconds, DAY_NS // SECOND_NS)
    date = days.view("datetime64[D]")
    month = date.astype("datetime64[M]")
    months = month.view(np.int64) + 12 * 1970
    minute = second // 60
    years = months // 12
    numbers = (
        years // 100,
        years % 100,
        months % 12 + 1,
        (date - month.astype("datetime64[D]")).view(np.int64) + 1,
        minute // 60,
        minute % 60,
        second % 60,
    )
    texts = np.repeat(_TEMPLATE, len(seconds))
    fields = texts.view(_LAYOUT)
    for name, values in zip(_FIELDS, numbers, strict=True):
        fields[name] = _PAIRS.take(values)
    return texts


def _by_decimals(ts: NDArray[np.int64]) -> list[str]:
    texts = np.empty(len(ts), dtype=object)
    left = np.arange(len(ts))
    for unit, step_ns in _UNITS:
        fits = ts[left] % step_ns == 0
        rows = left[fits]
        texts[rows] = np.datetime_as_string(_in_unit(ts[rows], unit), timezone="UTC")
        left = left[~fits]
        if not len(left):
            break
    return _listed(texts)


def distinct(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ascending whole numbers each once; a sort or a hash would take far longer.

    Args:
        ascending: int64 (n,).
    """
    first = np.ones(len(ascending), dtype=np.bool_)
    first[1:] = ascending[1:] != ascending[:-1]
    return ascending[first]


def days_of(ts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the UTC days that have times, counted from 1970-01-01.

    Args:
        ts: int64 (n,), ns UTC, ascending.
    """
    if not len(ts):
        return ts
    first, last = int(ts[0]) // DAY_NS, int(ts[-1]) // DAY_NS
    if last - first > len(ts):
        return distinct(ts // DAY_NS)
    days = np.arange(first, last + 2)
    rows = np.searchsorted(ts, days * DAY_NS)  # with many times a day, quicker than to divide each
    return days[:-1][rows[1:] > rows[:-1]]


def _listed(texts: NDArray[Any]) -> list[str]:
    listed: list[str] = texts.tolist()
    return listed


def _in_unit(ts: NDArray[np.int64], unit: str) -> NDArray[np.datetime64]:
    return ts.view("datetime64[ns]").astype(f"datetime64[{unit}]")
