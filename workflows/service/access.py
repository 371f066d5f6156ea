"""Who may ask, and how often."""

from __future__ import annotations

import hashlib
import hmac
import math
from collections import OrderedDict

from starlette.types import ASGIApp, Receive, Scope, Send

from admf.engine.clock import Clock
from admf.workflows.service.limits import ServiceLimits
from admf.workflows.service.problems import HttpError

__all__ = ["Gate", "TokenBuckets", "is_token"]

_SCHEME = b"bearer"


class TokenBuckets:
    """Counts the requests of each client: so many at once, and so many per second for long.

    Args:
        limits: ``requests_per_s``, ``burst`` and ``clients`` of them.
        clock: Its monotonic time is used.
    """

    def __init__(self, limits: ServiceLimits, clock: Clock) -> None:
        self._rate = limits.requests_per_s
        self._burst = float(limits.burst)
        self._most = limits.clients
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str) -> float:
        """Count a request of a client; return the seconds that it is too early, or 0."""
        now = self._clock.monotonic()
        level, at = self._buckets.pop(client, (self._burst, now))
        level = min(level + (now - at) * self._rate, self._burst)
        early = max(1 - level, 0.0) / self._rate
        self._buckets[client] = (level if early else level - 1, now)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return early


class Gate:
    """Lets through those who may ask, and not too often; as ASGI middleware.

    Args:
        app: What it guards.
        token: The secret of those who may ask; None lets everybody.
        buckets: Count requests.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, buckets: TokenBuckets) -> None:
        self._app = app
        self._token = token
        self._buckets = buckets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request.

        Raises:
            HttpError: It may not be made, or not yet.
        """
        if scope["type"] == "http":
            self._check_rate(scope)
            self._check_token(scope)
        await self._app(scope, receive, send)

    def _check_rate(self, scope: Scope) -> None:
        client = scope.get("client")
        early = self._buckets.take(client[0] if client else "")
        if early:
            seconds = str(math.ceil(early))
            raise HttpError(
                429, f"too many requests: wait {seconds} s", headers={"Retry-After": seconds}
            )

    def _check_token(self, scope: Scope) -> None:
        if self._token is None:
            return
        given = [value for name, value in scope["headers"] if name.lower() == b"authorization"]
        scheme, _, secret = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
        is_right = is_token(secret.strip(b" "), self._token)
        if not (is_right and scheme.lower() == _SCHEME):
            challenge = 'Bearer realm="admf"' + (', error="invalid_token"' if given else "")
            raise HttpError(
                401,
                "this needs the header 'Authorization: Bearer <token>' with the service's token",
                headers={"WWW-Authenticate": challenge},
            )


def is_token(given: bytes, token: str) -> bool:
    """Whether a secret is the right one; that takes as long whatever is given, and how long it is.

    Digests are compared, since a comparison of secrets that differ in length ends early.
    """
    digests = (hashlib.sha256(it).digest() for it in (given, token.encode()))
    return hmac.compare_digest(*digests)
