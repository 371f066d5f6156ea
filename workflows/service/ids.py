"""The ids of runs: their order is that of the requests, and nobody can guess one."""

from __future__ import annotations

import re
import secrets
from datetime import UTC, datetime

from admf.engine.clock import Clock

__all__ = ["RUN_ID", "RunIds", "created_at", "is_run_id"]

RUN_ID = "[0-9a-f]{32}"
"""The pattern of an id: milliseconds since 1970 in 12 digits, and 80 random bits."""

_NS_PER_MS = 1_000_000


class RunIds:
    """Makes ids, each greater than the one before.

    Args:
        clock: Tells the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._latest_ms = -1

    def make(self) -> str:
        """Return an id."""
        self._latest_ms = max(self._clock.now_ns() // _NS_PER_MS, self._latest_ms + 1)
        return f"{self._latest_ms:012x}{secrets.token_hex(10)}"


def is_run_id(text: str) -> bool:
    """Whether a text is the id of a run."""
    return re.fullmatch(RUN_ID, text) is not None


def created_at(run_id: str) -> str:
    """Return when an id was made, ISO 8601; empty if no calendar goes so far."""
    try:
        moment = datetime.fromtimestamp(int(run_id[:12], 16) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return moment.isoformat(timespec="milliseconds")
