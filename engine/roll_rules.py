"""When a live session goes on to its next execution window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta

from admf.engine.events import Event, SourceEvent, SourceHeld

__all__ = ["DailyAt", "EveryDuration", "EveryEvents", "Roll", "RollClock", "Rolls"]

RollClock: TypeAlias = Literal["event", "host"]
"""Whose time counts: that of the events, or that of the session's clock."""

_NS = 1_000_000_000


class EveryEvents(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="events"
):
    """A window takes this many events; the one after them opens the next window."""

    count: Annotated[int, Meta(gt=0)]

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a window takes at least 1 event, got {self.count}")


class EveryDuration(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="duration"
):
    """A window ends at each whole multiple of a duration, counted from 1970-01-01 UTC.

    Args:
        seconds: The duration.
        clock: Whose time counts.
    """

    seconds: Annotated[float, Meta(ge=0.001)]
    clock: RollClock = "event"

    def __post_init__(self) -> None:
        if not self.seconds >= 0.001:
            raise ValueError(f"a window lasts at least 0.001 s, got {self.seconds}")

    def border_after(self, ts: int) -> int:
        """Return the first border after a time, both ns UTC."""
        duration = round(self.seconds * _NS)
        return (ts // duration + 1) * duration


class DailyAt(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", tag="daily"
):
    """A window ends every day when the clocks of a time zone show a time.

    If they are put forward past that time, it is as much later; if they show it twice, the first
    time counts.

    Args:
        time: Hours and minutes, perhaps seconds, e.g. ``17:00``.
        timezone: Name in the IANA data base, e.g. ``America/New_York``.
        clock: Whose time counts.

    Raises:
        ValueError: There is no such time or time zone.
    """

    time: str
    timezone: str = "UTC"
    clock: RollClock = "event"

    def __post_init__(self) -> None:
        self._local_time()
        self._zone()

    def border_after(self, ts: int) -> int:
        """Return the first border after a time, both ns UTC."""
        zone, at = self._zone(), self._local_time()
        day = dt.datetime.fromtimestamp(ts // _NS, zone).date() - dt.timedelta(days=1)
        while True:
            border = dt.datetime.combine(day, at, zone).astimezone(dt.UTC)
            border_ns = round(border.timestamp()) * _NS
            if border_ns > ts:
                return border_ns
            day += dt.timedelta(days=1)

    def _local_time(self) -> dt.time:
        try:
            found = dt.time.fromisoformat(self.time)
        except ValueError:
            found = None
        if found is None or found.tzinfo is not None or found.microsecond:
            raise ValueError(f"{self.time!r} is no time of day: write it as 17:00 or 17:00:30")
        return found

    def _zone(self) -> ZoneInfo:
        try:
            return ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            message = f"no time zone {self.timezone!r}: take a name such as America/New_York"
            raise ValueError(message) from None


Roll: TypeAlias = EveryEvents | EveryDuration | DailyAt


class Rolls:
    """Rules of which any ends a window, and how far the present window is.

    Args:
        rules: The rules.
    """

    def __init__(self, rules: Iterable[Roll]) -> None:
        rules = tuple(rules)
        counts = [rule.count for rule in rules if isinstance(rule, EveryEvents)]
        self._most = min(counts, default=None)
        timed = [rule for rule in rules if not isinstance(rule, EveryEvents)]
        self._by_event = [rule for rule in timed if rule.clock == "event"]
        self._by_host = [rule for rule in timed if rule.clock == "host"]
        self._border: int | None = None
        self._begun = False
        self.taken = 0

    @property
    def uses_host_clock(self) -> bool:
        """Whether a rule looks at the session's clock."""
        return bool(self._by_host)

    def begin(self) -> None:
        """A window begins; borders by the time of events are set by its first event."""
        self._begun, self._border, self.taken = False, None, 0

    def is_due(self, event: Event) -> bool:
        """Whether this event is to open the next window.

        A source that waits for acknowledgements gets none before the window has ended. What a
        source says of itself has the time of its own clock, not that of the events.
        """
        if isinstance(event, SourceHeld) and self.taken:
            return True
        if self._most is not None and self.taken >= self._most:
            return True
        is_past = self._border is not None and event.ts >= self._border
        return is_past and not isinstance(event, SourceEvent)

    def take(self, event: Event) -> None:
        """The window has taken an event."""
        self.taken += 1
        if not (self._begun or isinstance(event, SourceEvent)):
            self._begun = True
            self._border = _first_border(self._by_event, event.ts)

    def host_border_after(self, now_ns: int) -> int | None:
        """Return when the session's clock ends the present window, ns UTC; None for never."""
        return _first_border(self._by_host, now_ns)


def _first_border(rules: Sequence[EveryDuration | DailyAt], ts: int) -> int | None:
    return min((rule.border_after(ts) for rule in rules), default=None)
