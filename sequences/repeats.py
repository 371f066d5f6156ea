"""Parameter sets that a list names more than once, of which each is tried only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from admf.containers.report import LaneReport
from admf.sequences.outcome import Point

__all__ = ["Repeats"]


class Repeats:
    """Knows which numbered parameter sets repeat an earlier one, and keeps the reports of those.

    Samplers never give a parameter set twice, so only lists that come from elsewhere can have any.

    Args:
        points: The list, numbered from 1; None if a sampler says what is tried.
    """

    def __init__(self, points: Sequence[Point] | None) -> None:
        first: dict[bytes, int] = {}
        self._first_of: dict[int, int] = {}
        for number, point in enumerate(points or (), 1):
            earlier = first.setdefault(msgspec.json.encode(point, order="sorted"), number)
            if earlier != number:
                self._first_of[number] = earlier
        self._repeated = frozenset(self._first_of.values())
        self._reports: dict[int, LaneReport] = {}

    def first_of(self, number: int) -> int | None:
        """Return the number that a parameter set was tried under before; None if it is new."""
        return self._first_of.get(number)

    def reports(
        self, numbers: Sequence[int], tried: Mapping[int, LaneReport]
    ) -> Sequence[LaneReport]:
        """Return the report of each parameter set: its own, or that of what it repeats.

        Args:
            numbers: Of the parameter sets, following those of the call before.
            tried: Reports of those among them that are new.
        """
        self._reports |= {it: tried[it] for it in numbers if it in self._repeated}
        return [tried[it] if it in tried else self._reports[self._first_of[it]] for it in numbers]
