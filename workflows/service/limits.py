"""How much of the host's the service may take."""

from __future__ import annotations

import msgspec

from admf.containers.config import NonNegativeFloat, PositiveFloat, PositiveInt

__all__ = ["ServiceLimits"]


class ServiceLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much of the host's the service may take; all that it holds is bounded by these.

    Args:
        body_bytes: Longest body of a request; an experiment has a few KiB, and checking a long one
            holds up the event loop now and then.
        body_s: Seconds that a client may take to send one.
        requests_per_s: Requests per second that one client may make for long.
        burst: Requests that it may make at once.
        clients: Clients whose requests are counted; the one that was idle longest is forgotten.
        waiting_runs: Runs that are not over and wait for their turn, or are being checked.
        kept_runs: Runs that are over and whose handle is kept; results on disk stay for good.
        idempotency_keys: Keys that are remembered.
        streams: Clients that follow events at once.
        channels: Runs and choices of events that are followed, or were until a short while ago.
        messages: Messages of each that a client may be behind.
        replay_s: Seconds for which a client that lost its connection may come back and miss
            nothing.
        progress_s: Seconds between two messages on progress, at least.
        heartbeat_s: Seconds after which a silent stream shows that it is alive.
        readers: Requests whose results are read from disk at once.
    """

    body_bytes: PositiveInt = 1 << 17
    body_s: NonNegativeFloat = 30.0
    requests_per_s: PositiveFloat = 20.0
    burst: PositiveInt = 100
    clients: PositiveInt = 10_000
    waiting_runs: PositiveInt = 100
    kept_runs: PositiveInt = 100
    idempotency_keys: PositiveInt = 1_000
    streams: PositiveInt = 100
    channels: PositiveInt = 64
    messages: PositiveInt = 2_000
    replay_s: NonNegativeFloat = 60.0
    progress_s: NonNegativeFloat = 0.1
    heartbeat_s: PositiveFloat = 15.0
    readers: PositiveInt = 2
