"""OpenTelemetry spans of runs, phases, windows and flushes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from admf.engine.activity import Activity, Attribute
from admf.engine.failures import describe
from admf.engine.observing import HandlerFailure, Observer, SlowHandler

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

__all__ = ["MAX_ERRORS", "MAX_SPAN_EVENTS", "SpanObserver"]

MAX_ERRORS = 8
"""Errors of an activity that its span records; the others are counted."""

MAX_SPAN_EVENTS = 32
"""Failures of handlers, and slow handlers, of which the span of their window tells."""


class SpanObserver(Observer):
    """Makes a span of each run, phase, window and flush; events make none.

    A span is the child of what it is a part of, and the outermost one of the host's current span.
    Spans that handlers and strategies make are children of their window's span. Needs the extra
    ``otel``, which is OpenTelemetry's API alone; what becomes of the spans is for the host's SDK.

    Args:
        provider: Makes the tracer; the host's global provider if not given.

    Raises:
        ModuleNotFoundError: OpenTelemetry is not installed.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
        except ModuleNotFoundError as error:
            hint = "spans need OpenTelemetry: pip install 'admf[otel]'"
            raise ModuleNotFoundError(hint, name=error.name) from error
        self._trace = trace
        self._tracer = trace.get_tracer("admf", tracer_provider=provider)
        self._spans: dict[Activity, Span] = {}
        self._told: dict[Activity, int] = {}

    def opened(self, activity: Activity) -> None:
        """Start a span."""
        parent = None if activity.parent is None else self._spans.get(activity.parent)
        context = None if parent is None else self._trace.set_span_in_context(parent)
        attributes = _named(activity.attributes)
        self._spans[activity] = self._tracer.start_span(
            f"admf.{activity.kind}", context, attributes=attributes
        )

    def within(self, activity: Activity) -> AbstractContextManager[object]:
        """Make its span the current one."""
        span = self._spans.get(activity)
        if span is None:
            return nullcontext()
        return self._trace.use_span(span, record_exception=False, set_status_on_exception=False)

    def closed(self, activity: Activity) -> None:
        """End the span, with what is known of the activity by now."""
        span = self._spans.pop(activity, None)
        if span is None:
            return
        told = self._told.pop(activity, 0)
        span.set_attributes(_named(activity.attributes | {"status": activity.status}))
        if told > MAX_SPAN_EVENTS:
            span.set_attribute("admf.untold_events", told - MAX_SPAN_EVENTS)
        self._record_errors(span, activity)
        span.end()

    def handler_failed(self, failure: HandlerFailure) -> None:
        """Add an event to the span of the window."""
        facts: dict[str, Attribute] = {
            "bus": failure.bus,
            "handler": failure.handler,
            "event": failure.event,
            "seq": failure.seq,
            "error": describe(failure.error),
        }
        self._add_event("admf.handler_failed", failure.activity, facts)

    def slow_handler(self, slow: SlowHandler) -> None:
        """Add an event to the span of the window."""
        facts: dict[str, Attribute] = {
            "bus": slow.bus,
            "handler": slow.handler,
            "event": slow.event,
            "seconds": slow.seconds,
            "held_loop": slow.held_loop,
        }
        self._add_event("admf.slow_handler", slow.activity, facts)

    def _record_errors(self, span: Span, activity: Activity) -> None:
        for error in activity.errors[:MAX_ERRORS]:
            span.record_exception(error)
        if len(activity.errors) > MAX_ERRORS:
            span.set_attribute("admf.errors", len(activity.errors))
        if activity.status == "failed":
            why = activity.attributes.get("error")
            if activity.errors:
                why = describe(activity.errors[0])
            span.set_status(
                self._trace.Status(self._trace.StatusCode.ERROR, None if why is None else str(why))
            )

    def _add_event(
        self, name: str, activity: Activity | None, facts: Mapping[str, Attribute]
    ) -> None:
        if activity is None or activity not in self._spans:
            return
        told = self._told[activity] = self._told.get(activity, 0) + 1
        if told <= MAX_SPAN_EVENTS:
            self._spans[activity].add_event(name, _named(facts))


def _named(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    return {f"admf.{name}": value for name, value in attributes.items()}
