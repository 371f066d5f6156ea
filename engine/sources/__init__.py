"""Where the events of a live window come from: any async iterator of events is a source.

The sources here hold a connection to a server. Both are made with asyncio libraries, which are
imported when a source is made: ``pip install 'admf[websocket]'``, ``'admf[redis]'``.
"""

from __future__ import annotations

from admf.engine.sources.backoff import Backoff, Jitter
from admf.engine.sources.decoding import Decode, Events
from admf.engine.sources.ledger import RedisPosition
from admf.engine.sources.redis_publisher import RedisPublisher
from admf.engine.sources.redis_settings import RedisPublisherSettings, RedisStreamSettings
from admf.engine.sources.redis_stream import RedisStreamSource
from admf.engine.sources.source import AcknowledgedSource, Source
from admf.engine.sources.websocket import (
    Subscribe,
    WebSocketSettings,
    WebSocketSource,
    WebSocketStats,
)

__all__ = [
    "AcknowledgedSource",
    "Backoff",
    "Decode",
    "Events",
    "Jitter",
    "RedisPosition",
    "RedisPublisher",
    "RedisPublisherSettings",
    "RedisStreamSettings",
    "RedisStreamSource",
    "Source",
    "Subscribe",
    "WebSocketSettings",
    "WebSocketSource",
    "WebSocketStats",
]
