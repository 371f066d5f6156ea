"""How long to wait before the next attempt."""

from __future__ import annotations

from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

__all__ = ["Backoff", "Jitter"]


class Jitter(Protocol):
    """A random generator, of numpy or of the standard library."""

    def random(self) -> float:
        """Return a number from 0 to below 1."""
        ...


class Backoff(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Waits that double from one attempt to the next, up to a cap.

    Args:
        first_s: The wait before the first attempt after a failure, in seconds.
        cap_s: The longest wait, in seconds.
        jitter: The part of each wait that is random, so that clients which have lost their server
            together do not come back together; 0 for none.
        max_failures: Failures in a row after which to give up; None never does.
    """

    first_s: Annotated[float, Meta(ge=0)] = 0.5
    cap_s: Annotated[float, Meta(ge=0)] = 30.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.5
    max_failures: Annotated[int, Meta(ge=1)] | None = None

    def wait_s(self, failures: int, jitter: Jitter) -> float:
        """Return the wait after so many failures in a row, in seconds."""
        doublings = min(failures - 1, 64)  # beyond that a float has no more to give
        longest = min(self.cap_s, self.first_s * 2.0**doublings)
        return longest * (1 - self.jitter * jitter.random())

    def is_over(self, failures: int) -> bool:
        """Whether to give up after so many failures in a row."""
        return self.max_failures is not None and failures >= self.max_failures
