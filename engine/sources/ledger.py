"""Which entries were delivered, and which of them are acknowledged."""

from __future__ import annotations

from collections import deque

import msgspec

__all__ = ["Key", "Ledger", "RedisPosition"]

Key = tuple[str, str]
"""Stream and id of an entry."""


class RedisPosition(msgspec.Struct, frozen=True):
    """Stands for all events that a source has yielded so far.

    Args:
        entries: How many entries these were, in the life of the source.
        stream: Where the last of them was; empty if there was none.
        entry_id: Its id there, which a restart does not change.
    """

    entries: int = 0
    stream: str = ""
    entry_id: str = ""


class Ledger:
    """The entries that were read and are not acknowledged, in the order of their delivery.

    Attributes:
        position: Stands for the entries that were delivered so far.
    """

    def __init__(self) -> None:
        self.position = RedisPosition()
        self._known: set[Key] = set()
        self._delivered: deque[tuple[int, Key]] = deque()

    def __len__(self) -> int:
        return len(self._known)

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def enter(self, key: Key) -> None:
        """Take note that an entry was read."""
        self._known.add(key)

    def deliver(self, key: Key) -> None:
        """Take note that all of an entry has been yielded."""
        self.position = RedisPosition(self.position.entries + 1, *key)
        self._delivered.append((self.position.entries, key))

    def up_to(self, position: RedisPosition) -> dict[str, list[str]]:
        """Return the ids of the unacknowledged entries up to a position, by stream."""
        found: dict[str, list[str]] = {}
        for number, (stream, entry_id) in self._delivered:
            if number > position.entries:
                break
            found.setdefault(stream, []).append(entry_id)
        return found

    def settle(self, position: RedisPosition) -> None:
        """Let go of the entries up to a position: they are acknowledged."""
        while self._delivered and self._delivered[0][0] <= position.entries:
            self._known.discard(self._delivered.popleft()[1])
