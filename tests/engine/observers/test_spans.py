from __future__ import annotations

import sys

import anyio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from admf.engine.activity import Activity
from admf.engine.events import Event
from admf.engine.observers import SpanObserver
from admf.engine.observers.spans import MAX_ERRORS, MAX_SPAN_EVENTS
from admf.engine.observing import HandlerFailure, Observers
from admf.engine.testing import RecordingContainer
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


class Exported:
    """Spans of a provider of the host's own."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans that ended, by name, in the order of their end."""
        return {span.name: span for span in self._exporter.get_finished_spans()}

    @property
    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]

    def path(self, name: str) -> list[str]:
        """The names of a span and those above it."""
        by_id = {it.context.span_id: it for it in self._exporter.get_finished_spans()}
        span, path = self.spans.get(name), []
        while span is not None:
            path.append(span.name)
            span = by_id.get(span.parent.span_id) if span.parent else None
        return path


@pytest.fixture
def exported() -> Exported:
    return Exported()


async def test_spans_form_a_tree_below_the_span_of_the_host(make_window, chain, exported):
    tracer = exported.provider.get_tracer("host")

    async def think(_: Event) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(look_up)

    async def look_up() -> None:
        with tracer.start_as_current_span("user"):
            await anyio.lowlevel.checkpoint()

    def build(builder):
        chain()(builder)
        builder.bus.subscribe(Ping, think)

    observers = Observers([SpanObserver(exported.provider)])
    with (
        tracer.start_as_current_span("host"),
        observers.activity("run", "r1", {"run_id": "r1"}),
        observers.activity("phase", "p1"),
    ):
        async with make_window(build, observers=observers) as window:
            await window.run()
    assert exported.names == [
        *["user"] * 3, "admf.flush", "admf.window", "admf.phase", "admf.run", "host",
    ]  # fmt: skip
    above = ["admf.window", "admf.phase", "admf.run", "host"]
    assert exported.path("admf.flush") == ["admf.flush", *above]
    assert exported.path("user") == ["user", *above]
    assert not trace.get_current_span().is_recording()


async def test_a_window_started_and_closed_by_different_tasks_has_its_span(
    make_window, chain, exported, caplog
):
    window = make_window(chain(), observers=[SpanObserver(exported.provider)])
    for step in (window.start, window.run, window.aclose):
        async with anyio.create_task_group() as group:
            group.start_soon(step)
    assert exported.path("admf.flush") == ["admf.flush", "admf.window"]
    assert not caplog.records  # OpenTelemetry logs a context that is left in another task


async def test_a_span_says_what_it_is_about_and_how_it_ended(make_window, chain, exported):
    async with make_window(chain(), observers=[SpanObserver(exported.provider)]) as window:
        await window.run()
    span = exported.spans["admf.window"]
    assert dict(span.attributes) == {
        "admf.workflow_id": "study",
        "admf.phase": "phase",
        "admf.window_id": "w1",
        "admf.topology": "function",
        "admf.seed": 7,
        "admf.containers": 3,
        "admf.failed": 0,
        "admf.events": 5,
        "admf.status": "completed",
    }
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.instrumentation_scope.name == "admf"


async def test_errors_are_recorded_and_set_the_status(make_window, chain, exported):
    errors = {"strategy": {"results": ValueError("no results")}}
    with pytest.raises(ValueError, match="no results"):
        async with make_window(
            chain(errors=errors), observers=[SpanObserver(exported.provider)]
        ) as window:
            await window.run()
    for name in ("admf.flush", "admf.window"):
        span = exported.spans[name]
        assert span.status.status_code is trace.StatusCode.ERROR
        assert span.status.description == "ValueError: no results"
        (event,) = span.events
        assert event.attributes["exception.message"] == "no results"


async def test_a_cancelled_window_is_no_error(make_window, chain, exported):
    async def hang() -> None:
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        async with make_window(
            chain(data={"run": hang}), observers=[SpanObserver(exported.provider)]
        ) as window:
            scope.cancel()
            await window.run()
    span = exported.spans["admf.window"]
    assert span.status.status_code is trace.StatusCode.UNSET
    assert span.attributes["admf.status"] == "cancelled"


async def test_failing_and_slow_handlers_are_events_of_the_windows_span_up_to_a_bound(
    make_window, exported
):
    def fail(_: Event) -> None:
        raise ValueError("wrong")

    def build(builder):
        pings = [Ping(ts) for ts in range(MAX_SPAN_EVENTS)]
        data = builder.add(RecordingContainer("data", scope=builder.bus, publishes=pings))
        data.subscribe(Ping, fail, on_error="isolate")

    async with make_window(
        build, observers=[SpanObserver(exported.provider)], slow_handler_ms=0
    ) as window:
        await window.run()
    span = exported.spans["admf.window"]
    assert len(span.events) == MAX_SPAN_EVENTS
    assert span.attributes["admf.untold_events"] == MAX_SPAN_EVENTS
    slow, failed = span.events[:2]
    assert (slow.name, failed.name) == ("admf.slow_handler", "admf.handler_failed")
    assert slow.attributes["admf.handler"] == failed.attributes["admf.handler"] == "data.fail"
    assert failed.attributes["admf.error"] == "ValueError: wrong"
    assert slow.attributes["admf.held_loop"] is True


def test_errors_beyond_the_bound_are_counted(exported):
    observers = Observers([SpanObserver(exported.provider)])
    with observers.activity("phase", "p") as phase:
        phase.end("failed", [ValueError(str(it)) for it in range(MAX_ERRORS + 1)])
    with observers.activity("run", "r") as run:
        run.end("failed")
    span = exported.spans["admf.phase"]
    assert len(span.events) == MAX_ERRORS
    assert span.attributes["admf.errors"] == MAX_ERRORS + 1
    assert exported.spans["admf.run"].status.status_code is trace.StatusCode.ERROR


def test_what_began_before_it_observed_is_left_alone(exported):
    observer = SpanObserver(exported.provider)
    unknown = Activity("window", "w", Activity("run", "r"))
    with observer.within(unknown):
        observer.handler_failed(HandlerFailure("b", "h", "PING", 1, ValueError(), unknown))
        observer.handler_failed(HandlerFailure("b", "h", "PING", 1, ValueError(), None))
    observer.closed(unknown)
    assert exported.names == []
    observer.opened(unknown)
    observer.closed(unknown)
    assert exported.path("admf.window") == ["admf.window"]


def test_without_opentelemetry_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'admf\[otel\]'"):
        SpanObserver()
