"""Observers for what applications already have: OpenTelemetry, Prometheus and structlog."""

from __future__ import annotations

from admf.engine.observers.log_context import LogContext
from admf.engine.observers.prometheus import AdmfCollector
from admf.engine.observers.spans import SpanObserver

__all__ = ["AdmfCollector", "LogContext", "SpanObserver"]
