"""What observers are told of runs: trees of spans, lines with ids, slow strategies by name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import anyio
import pytest
import structlog
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.contextvars import merge_contextvars
from structlog.testing import LogCapture, capture_logs

from admf.containers import Bar
from admf.containers.strategies import Context, Strategy
from admf.engine.errors import StorageError
from admf.engine.observers import LogContext, SpanObserver
from admf.engine.testing import FaultStorage, RecordingObserver
from tests.workflows.hosting import BARS, experiment, files_of, runner, solo, sweep, underway

pytestmark = pytest.mark.anyio


class Talking(Strategy):
    """Writes to the log."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        structlog.get_logger().info("seen")


class Failing(Strategy):
    """Raises."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        raise RuntimeError("of its own")


def own(strategy: type[Strategy]) -> dict[str, str]:
    return {"type": f"{__name__}:{strategy.__name__}"}


class Spans:
    """The spans of a provider of the host's own."""

    def __init__(self) -> None:
        self.provider = TracerProvider()
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def edges(self) -> Counter[tuple[str, str]]:
        """How often a span of a name is the child of one of another name."""
        spans = self._exporter.get_finished_spans()
        names = {span.context.span_id: span.name for span in spans}
        above = ((it.name, names[it.parent.span_id] if it.parent else "") for it in spans)
        return Counter(above)


@pytest.fixture
def spans() -> Spans:
    return Spans()


FORWARD = {
    "workflow": "forward",
    "phases": {"forward": {"sequence": "walk_forward"}},
    "walk_forward": {"train": 16, "test": 8},
    "parameter_space": {"fast": [2, 3], "slow": [4, 5]},
    "strategy": {"type": "sma_cross"},
}


async def test_a_study_is_a_tree_of_spans(tmp_path: Path, spans: Spans) -> None:
    host = runner(tmp_path, observers=[SpanObserver(spans.provider)])
    result = await host.run(experiment("a", **FORWARD))
    windows = result.phases["forward"].summary.windows
    assert windows > 2
    assert spans.edges == {
        ("admf.run", ""): 1,
        ("admf.phase", "admf.run"): 1,
        ("admf.window", "admf.phase"): windows,
        ("admf.flush", "admf.window"): windows,
    }
    (run,), (phase,) = spans.named("admf.run"), spans.named("admf.phase")
    assert dict(run.attributes) == {
        "admf.run_id": result.run_id,
        "admf.workflow": "forward",
        "admf.phases": 1,
        "admf.windows": windows,
        "admf.status": "completed",
    }
    assert phase.attributes["admf.sequence"] == "walk_forward"
    assert phase.attributes["admf.windows"] == windows
    trained = next(
        it for it in spans.named("admf.window") if it.attributes["admf.window_id"].endswith("train")
    )
    assert trained.attributes["admf.lanes"] == 4
    assert trained.attributes["admf.bars"] == 16
    assert trained.attributes["admf.topology"] == "backtest"
    assert trained.attributes["admf.events"] > 16


async def test_runs_side_by_side_have_trees_of_their_own_below_the_spans_of_their_submitters(
    tmp_path: Path, spans: Spans
) -> None:
    tracer = spans.provider.get_tracer("host")
    async with runner(tmp_path, observers=[SpanObserver(spans.provider)], max_runs=2) as host:
        runs = []
        for name in ("a", "b", "c"):
            with tracer.start_as_current_span("request"):
                runs.append(await host.submit(sweep(name)))
        for run in runs:
            await run.result()
    assert spans.edges == {
        ("request", ""): 3,
        ("admf.run", "request"): 3,
        ("admf.phase", "admf.run"): 3,
        ("admf.window", "admf.phase"): 3,
        ("admf.flush", "admf.window"): 3,
    }
    traces = {it.context.trace_id: it.attributes["admf.run_id"] for it in spans.named("admf.run")}
    assert sorted(traces.values()) == sorted(run.run_id for run in runs)


async def test_observers_change_no_byte_of_a_run(tmp_path: Path, spans: Spans) -> None:
    observers = [SpanObserver(spans.provider), LogContext(), RecordingObserver()]
    host = runner(tmp_path / "observed", observers=observers, slow_handler_ms=0)
    await host.run(experiment("a", **FORWARD))
    assert files_of(tmp_path / "observed") == await solo(
        tmp_path / "alone", experiment("a", **FORWARD)
    )


async def test_an_observer_that_raises_at_every_hook_changes_nothing_either(tmp_path: Path) -> None:
    hooks = ("opened", "closed", "enter", "container_flushed", "slow_handler", "handler_failed")
    observer = RecordingObserver(dict.fromkeys(hooks, RuntimeError("broken")))
    host = runner(tmp_path / "observed", observers=[observer], slow_handler_ms=0)
    with capture_logs() as lines:
        await host.run(sweep("a"))
    assert files_of(tmp_path / "observed") == await solo(tmp_path / "alone", sweep("a"))
    complaints = Counter(line["hook"] for line in lines if line["event"] == "observer_failed")
    assert set(complaints.values()) == {1}


async def test_a_failing_strategy_is_told_of_and_fails_its_phase_and_run(
    tmp_path: Path, spans: Spans
) -> None:
    observer = RecordingObserver()
    host = runner(tmp_path, observers=[SpanObserver(spans.provider), observer])
    result = await host.run(experiment("a", strategy=own(Failing)))
    assert result.status == "failed"
    for name in ("admf.phase", "admf.run"):
        (span,) = spans.named(name)
        assert span.status.status_code is StatusCode.ERROR
        assert "of its own" in span.status.description
    (failure,) = observer.failures
    assert "of its own" in str(failure.error)
    assert failure.activity.kind == "window"
    assert failure.activity.parent.parent.name == result.run_id


async def test_a_run_that_is_cancelled_is_told_of_as_cancelled(tmp_path: Path) -> None:
    observer = RecordingObserver()
    async with runner(tmp_path, observers=[observer]) as host:
        run = await host.submit(experiment("a"))
        await underway(run)
        run.cancel()
        await run.result()
    ends = [line for line in observer.journal if line.startswith("closed")]
    assert [line.split()[1] for line in ends] == ["flush", "window", "phase", "run"]
    assert [line.split()[-1] for line in ends] == ["completed", *["cancelled"] * 3]


async def test_a_run_that_cannot_write_is_told_of_as_failed_and_why(tmp_path: Path) -> None:
    observer = RecordingObserver()
    storage = FaultStorage(tmp_path, fail_at=12, only="fsync", dead=True)
    host = runner(tmp_path, storage=storage, observers=[observer])
    with capture_logs() as lines, pytest.raises(StorageError):
        await host.run(experiment("a"))
    run = observer.activities[0]
    assert (run.kind, run.status) == ("run", "failed")
    assert isinstance(run.errors[0], StorageError)
    assert lines[-1]["event"] == "run_closed"
    assert lines[-1]["errors"][0].startswith("StorageError: ")


@pytest.mark.parametrize(
    ("strategy", "calls"),
    [
        (own(Talking), {"strategy_001.Talking.on_bar": BARS}),
        (
            {"type": "sma_cross", "params": {"fast": 2, "slow": 4}},
            {"strategy_001.SmaCross.targets": 1},
        ),
    ],
)
async def test_slow_strategies_are_named_though_no_event_of_theirs_goes_over_the_bus(
    tmp_path: Path, strategy: dict[str, object], calls: dict[str, int]
) -> None:
    observer = RecordingObserver()
    host = runner(tmp_path, observers=[observer], slow_handler_ms=0)
    await host.run(experiment("a", strategy=strategy))
    told = Counter(it.handler for it in observer.slow if "strategy" in it.handler)
    assert {name: count for name, count in told.items() if name.count(".") == 2} == calls


async def test_lines_of_strategies_carry_the_ids_and_a_run_leaves_one_line(tmp_path: Path) -> None:
    capture = LogCapture()
    structlog.configure(processors=[merge_contextvars, capture])
    result = await runner(tmp_path, observers=[LogContext()]).run(
        experiment("a", strategy=own(Talking))
    )
    seen = [line for line in capture.entries if line["event"] == "seen"]
    assert len(seen) == BARS
    ids = {"run_id": result.run_id, "phase": "backtest", "window_id": "backtest"}
    assert all(line.items() >= ids.items() for line in seen)
    (over,) = (line for line in capture.entries if line["event"] == "run_closed")
    assert over == {
        "event": "run_closed",
        "log_level": "info",
        "run_id": result.run_id,
        "workflow": "simple_backtest",
        "status": "completed",
        "phases": 1,
        "windows": 1,
        "errors": (),
    }


async def test_windows_on_worker_processes_are_observed_from_outside(
    tmp_path: Path, spans: Spans
) -> None:
    host = runner(tmp_path, workers=2, observers=[SpanObserver(spans.provider)])
    with anyio.fail_after(50):
        result = await host.run(sweep("a", search={"batch_size": 2}))
    assert result.status == "completed"
    assert spans.edges == {
        ("admf.run", ""): 1,
        ("admf.phase", "admf.run"): 1,
        ("admf.window", "admf.phase"): 2,
    }
    assert all(it.attributes["admf.status"] == "completed" for it in spans.named("admf.window"))
    assert all(it.attributes["admf.portfolio_count"] == 2 for it in spans.named("admf.window"))
