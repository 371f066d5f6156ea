"""Which entries were delivered, and which of them are acknowledged."""

from __future__ import annotations

from collections import deque

from admf.engine.errors import StateError

__all__ = ["Key", "Ledger"]

Key = tuple[str, str]
"""Stream and id of an entry."""


class Ledger:
    """The entries that were read and are not acknowledged, in the order of their delivery.

    Attributes:
        position: How many entries were delivered so far.
    """

    def __init__(self) -> None:
        self.position = 0
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
        self.position += 1
        self._delivered.append((self.position, key))

    def up_to(self, position: object) -> dict[str, list[str]]:
        """Return the ids of the unacknowledged entries up to a position, by stream.

        Raises:
            StateError: That is no position of this source, or lies ahead.
        """
        if not isinstance(position, int) or position > self.position:
            raise StateError(
                f"cannot acknowledge up to {position!r}: the source stands at {self.position}; "
                "give it a position that it had"
            )
        found: dict[str, list[str]] = {}
        for number, (stream, entry_id) in self._delivered:
            if number > position:
                break
            found.setdefault(stream, []).append(entry_id)
        return found

    def settle(self, position: int) -> None:
        """Let go of the entries up to a position: they are acknowledged."""
        while self._delivered and self._delivered[0][0] <= position:
            self._known.discard(self._delivered.popleft()[1])
