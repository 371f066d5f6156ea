"""What becomes of a container that fails while its window goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

__all__ = ["PROPAGATE", "RestartCount", "Supervision", "SupervisionPolicy"]

SupervisionPolicy: TypeAlias = Literal["propagate", "isolate", "restart"]
Seconds: TypeAlias = Annotated[float, Meta(ge=0)]


class Supervision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens when a handler of a container raises, or the `run` of a source.

    * ``propagate``: the window fails, or the scope if it contains its failures.
    * ``isolate``: it is recorded, the container is DEGRADED and goes on. A source whose `run`
      raised publishes no more.
    * ``restart``: a new instance, made by `Container.renew`, takes its place before the next event
      of its scope is delivered. If that happens too often it is FAILED, and it is as with
      ``propagate``.

    Args:
        max_restarts: Most restarts ``within_s``.
        within_s: Seconds on the window's clock.
        backoff_s: Seconds on the window's clock to wait before the first restart of such a time,
            and twice as long before each that follows. The scope delivers nothing meanwhile, so
            nothing is lost and no trace depends on how long it took. It needs a clock that goes on,
            such as `WallClock`, which windows do not have by default.
        max_backoff_s: Longest wait.
        keep_state: Whether the new instance takes over the state of the failed one.
    """

    policy: SupervisionPolicy = "propagate"
    max_restarts: Annotated[int, Meta(ge=0)] = 3
    within_s: Annotated[float, Meta(gt=0)] = 60.0
    backoff_s: Seconds = 0.0
    max_backoff_s: Seconds = 30.0
    keep_state: bool = True


PROPAGATE = Supervision()


class RestartCount:
    """Counts the restarts of one container and of those that took its place.

    Args:
        container_id: The first one; the others are named after it.
        supervision: How many are allowed.
        monotonic: Tells the time in seconds.

    Attributes:
        supervision: How many are allowed.
        under_way: Whether one has begun and is not over.
    """

    def __init__(
        self, container_id: str, supervision: Supervision, monotonic: Callable[[], float]
    ) -> None:
        self.supervision = supervision
        self.under_way = False
        self._container_id = container_id
        self._monotonic = monotonic
        self._recent: deque[float] = deque()
        self._generation = 1

    def take(self) -> bool:
        """Count one more restart, if one is allowed now."""
        now = self._monotonic()
        while self._recent and self._recent[0] <= now - self.supervision.within_s:
            self._recent.popleft()
        if len(self._recent) >= self.supervision.max_restarts:
            return False
        self._recent.append(now)
        return True

    @property
    def backoff_s(self) -> float:
        """Seconds to wait before the restart that was counted last."""
        settings = self.supervision
        doubled = settings.backoff_s * 2.0 ** (len(self._recent) - 1)
        return min(doubled, settings.max_backoff_s)

    def next_id(self) -> str:
        """Return the id of the next instance, e.g. ``worker.2``."""
        self._generation += 1
        return f"{self._container_id}.{self._generation}"
