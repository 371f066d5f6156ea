"""Where two values that stand in JSON are not the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import msgspec

__all__ = ["Difference", "briefly", "differences", "shown"]

_LONGEST_SHOWN = 60


class Difference(NamedTuple):
    """A member in which two values differ.

    Attributes:
        path: Where it is, e.g. ``trades[3].pnl``.
        before: What it is in the first; `msgspec.UNSET` if that has no such member.
        now: What it is in the second, likewise.
    """

    path: str
    before: object
    now: object


def differences(
    before: object, now: object, path: str = "", *, into_lists: bool = True
) -> Iterator[Difference]:
    """Yield the members of two values that would be written differently.

    Args:
        before: A value of plain data.
        now: Another.
        path: Where the two are.
        into_lists: Of two lists, yield the first members that differ, and the lists themselves only
            if they are not of one length; otherwise always the lists.
    """
    if _encoded(before) == _encoded(now):
        return
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        old, new = cast("Mapping[str, object]", before), cast("Mapping[str, object]", now)
        for name in dict.fromkeys((*old, *new)):
            one, other = old.get(name, msgspec.UNSET), new.get(name, msgspec.UNSET)
            place = f"{path}.{name}" if path else name
            yield from differences(one, other, place, into_lists=into_lists)
    elif into_lists and isinstance(before, list) and isinstance(now, list):
        yield from _in_lists(cast("list[object]", before), cast("list[object]", now), path)
    else:
        yield Difference(path, before, now)


def _in_lists(before: list[object], now: list[object], path: str) -> Iterator[Difference]:
    for row, (old, new) in enumerate(zip(before, now, strict=False)):
        if found := next(differences(old, new, f"{path}[{row}]"), None):
            yield found
            break
    if len(before) != len(now):
        yield Difference(path, before, now)


def shown(value: object) -> str:
    """Return a value as JSON, cut to what fits into a line; ``nothing`` for one that is not."""
    text = _encoded(value).decode() or "nothing"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def briefly(value: object) -> str:
    """Return a value as `shown` does, but of a list how many entries it has."""
    if isinstance(value, list):
        return f"{len(cast('list[object]', value)):,} entries"
    return shown(value)


def _encoded(value: object) -> bytes:
    return b"" if value is msgspec.UNSET else msgspec.json.encode(value)
