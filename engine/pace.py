"""The event loop as a thing that is shared: whoever works in it does so by turns."""

from __future__ import annotations

from time import monotonic

import anyio
import anyio.lowlevel

__all__ = ["Pace"]


class Pace:
    """Keeps work in an event loop from holding it longer than a given time.

    Those who share a pace share its time: together they hold the loop no longer than one of them
    might, and take turns in the order in which they asked. So the host of fifty runs waits for one
    of them, not for all.

    Args:
        max_block_ms: Longest time between two turns of the event loop.

    Attributes:
        deadline: Time on the monotonic clock, in seconds, at which the loop is to have its turn.
    """

    __slots__ = ("_turnstile", "deadline", "max_block_s")

    def __init__(self, max_block_ms: float = 5.0) -> None:
        self.max_block_s = max_block_ms / 1000
        self.deadline = 0.0
        self._turnstile = anyio.Lock(fast_acquire=True)

    @property
    def is_over(self) -> bool:
        """Whether it is time to yield to the event loop; looks at the clock."""
        return monotonic() >= self.deadline

    async def keep(self) -> None:
        """Yield to the event loop if it is time."""
        if self.is_over:
            await self.rest()

    async def rest(self) -> None:
        """Yield to the event loop, and wait for a turn."""
        async with self._turnstile:
            await anyio.lowlevel.checkpoint()
            self.deadline = monotonic() + self.max_block_s
