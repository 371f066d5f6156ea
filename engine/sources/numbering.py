"""Whether numbered events come one after the other."""

from __future__ import annotations

from admf.engine.events import Event

__all__ = ["Numbering"]


_NOTHING = range(0)


class Numbering:
    """Compares the numbers that events carry with the last one seen.

    Args:
        field: Field of the events that numbers them, each one more than the one before; events
            without it, or in which it is no integer, are not looked at.

    Attributes:
        last: The greatest number so far.
        gaps: How often numbers were missing.
        missing: How many were.
        duplicates: Events whose number had been there.
    """

    def __init__(self, field: str) -> None:
        self._field = field
        self.last: int | None = None
        self.gaps = 0
        self.missing = 0
        self.duplicates = 0

    def missing_before(self, event: Event) -> range | None:
        """Take note of an event's number; return those missing before it, None for a duplicate."""
        number = getattr(event, self._field, None) if self._field else None
        if not isinstance(number, int):
            return _NOTHING
        if self.last is None:
            self.last = number
            return _NOTHING
        if number <= self.last:
            self.duplicates += 1
            return None
        missing = range(self.last + 1, number)
        self.last = number
        if missing:
            self.gaps += 1
            self.missing += missing.stop - missing.start  # len() has a limit
        return missing

    def forget(self) -> None:
        """Begin anew: the next number may be any."""
        self.last = None
