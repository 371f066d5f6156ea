from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
import pytest

from admf.containers.events import (
    Bar,
    Cancel,
    Fill,
    Order,
    PortfolioUpdate,
    PositionClose,
    PositionOpen,
    Reject,
    Signal,
)
from admf.containers.metrics import Annualisation, MetricsEventTracer, history_limit
from admf.engine.block import Block
from admf.engine.errors import StateError
from admf.engine.events import Envelope, Event
from admf.engine.retention import RetentionPolicy, TracingConfig, make_policy

TRADED: tuple[type[Event], ...] = (PositionOpen, PositionClose, Fill, PortfolioUpdate)


def make_tracer(
    policy: str, traced: Iterable[type[Event]] = TRADED, *, series: bool = False
) -> MetricsEventTracer:
    tracing = TracingConfig(retention_policy=policy, sliding_window_size=3)
    return MetricsEventTracer(
        traced,
        make_policy(tracing),
        initial_capital=100.0,
        annualisation=Annualisation(),
        history=history_limit(tracing),
        policy_name=policy,
        series=series,
    )


def record(tracer: MetricsEventTracer, *published: Event | Block[PortfolioUpdate]) -> None:
    for seq, event in enumerate(published, start=1):
        tracer.record(Envelope(seq, 0, "portfolio_001", event))


@pytest.fixture
def day(
    marks: Callable[..., Block[PortfolioUpdate]], close: Callable[..., PositionClose]
) -> list[Event | Block[PortfolioUpdate]]:
    """Ten marks and five trades."""
    closes = [close(10.0 * number - 25.0, number=number) for number in range(1, 6)]
    return [marks(np.linspace(101.0, 110.0, 10)), *closes]


@pytest.mark.parametrize(
    ("policy", "points", "trades"),
    [("trade_complete", 10, 5), ("sliding_window", 3, 3), ("minimal", None, 0)],
)
def test_what_is_kept_depends_on_the_policy_and_the_metrics_do_not(
    day: list[Event | Block[PortfolioUpdate]], policy: str, points: int | None, trades: int
) -> None:
    tracer = make_tracer(policy)
    record(tracer, *day)
    results = tracer.results()
    curve = results.equity_curve
    assert (None if curve is None else len(list(curve["equity"]))) == points
    assert [trade.id for trade in results.trades] == [f"GOOG-{n}" for n in range(6 - trades, 6)]
    assert results.metrics.values["bars"] == 10
    assert results.metrics.values["trade_count"] == 5
    assert results.metrics.values["total_return"] == pytest.approx(0.1)
    assert results.tracer.policy == policy
    assert results.tracer.by_type == {"PORTFOLIO_UPDATE": 10, "POSITION_CLOSE": 5}
    assert results.tracer.observed == results.tracer.retained + results.tracer.dropped == 15


@pytest.mark.parametrize("count", range(4))
def test_metrics_are_the_same_whatever_is_traced(
    day: list[Event | Block[PortfolioUpdate]], count: int
) -> None:
    full = make_tracer("trade_complete")
    record(full, *day)
    for traced in itertools.combinations((Fill, PositionClose, PortfolioUpdate), count):
        tracer = make_tracer("trade_complete", traced)
        record(tracer, *day)
        results = tracer.results()
        assert results.metrics == full.results().metrics
        assert (results.equity_curve is not None) is (PortfolioUpdate in traced)
        assert len(list(results.trades)) == (5 if PositionClose in traced else 0)


def test_the_last_marks_of_a_sliding_window_are_the_newest(
    day: list[Event | Block[PortfolioUpdate]],
) -> None:
    tracer = make_tracer("sliding_window")
    record(tracer, *day)
    curve = tracer.results().equity_curve
    assert curve is not None
    assert list(curve["equity"]) == pytest.approx([108.0, 109.0, 110.0])
    assert list(curve["ts"])[-1] == "1970-01-14T00:00:00Z"


def test_tracing_a_base_class_keeps_curve_and_trades(
    day: list[Event | Block[PortfolioUpdate]],
) -> None:
    tracer = make_tracer("trade_complete", (Event,))
    record(tracer, *day)
    assert len(list(tracer.results().trades)) == 5
    assert tracer.results().equity_curve is not None


def test_it_asks_the_bus_for_the_traced_and_the_measured_types() -> None:
    tracer = make_tracer("minimal", (Bar,))
    counted = {Signal, Order, Cancel, Reject}
    assert tracer.types == {Bar, Fill, PositionClose, PortfolioUpdate, *counted}


def test_a_policy_of_the_application_keeps_all() -> None:
    assert history_limit(TracingConfig(retention_policy="my_policy")) is None


def test_results_can_be_asked_for_at_any_time(
    day: list[Event | Block[PortfolioUpdate]],
) -> None:
    asked, silent = make_tracer("trade_complete"), make_tracer("trade_complete")
    assert asked.results().metrics.values["final_equity"] is None
    for event in day:
        record(asked, event)
        asked.results()
    record(silent, *day)
    assert asked.results().metrics == silent.results().metrics
    assert list(asked.results().trades) == list(silent.results().trades)


def test_concluded_metrics_stay_as_they_are(
    day: list[Event | Block[PortfolioUpdate]], marks: Callable[..., Block[PortfolioUpdate]]
) -> None:
    concluded, silent = (make_tracer("trade_complete", series=True) for _ in range(2))
    record(concluded, *day)
    record(silent, *day)
    concluded.conclude()
    concluded.conclude()
    assert concluded.results().figures() == silent.results().figures()
    assert list(concluded.results().trades) == list(silent.results().trades)
    assert concluded.series()["traded_value"] == silent.series()["traded_value"]
    record(concluded, marks([1.0]))
    assert concluded.metrics() == silent.metrics()
    with pytest.raises(StateError, match="concluded"):
        concluded.metric("sharpe_ratio")


def test_the_policy_is_the_one_given() -> None:
    policy: RetentionPolicy = make_policy(TracingConfig(retention_policy="minimal"))
    tracer = MetricsEventTracer((), policy, initial_capital=1.0, annualisation=Annualisation())
    assert tracer.policy is policy


def test_the_series_holds_marks_and_trades_however_they_arrive(
    day: list[Event | Block[PortfolioUpdate]], close: Callable[..., PositionClose]
) -> None:
    found = []
    for closes in (
        [*day[1:]],
        [Block.of([event for event in day[1:] if isinstance(event, Event)])],
    ):
        tracer = make_tracer("minimal", (), series=True)
        tracer.entered("GOOG-1", 500.0)
        tracer.entered("GOOG-2", -1.0)
        record(tracer, day[0], *closes)
        found.append(tracer.series())
    single, block = found
    trades = list(single["trades"])
    assert trades == list(block["trades"])
    equity_returns = [trade.equity_return for trade in trades]
    assert equity_returns == [-15.0 / 500.0, None, None, None, None]
    assert list(single["equity"]) == pytest.approx(np.linspace(101.0, 110.0, 10).tolist())
    assert single["initial_capital"] == 100.0


def test_a_tracer_that_keeps_no_series_has_none() -> None:
    tracer = make_tracer("minimal")
    tracer.entered("GOOG-1", 500.0)
    with pytest.raises(LookupError):
        tracer.series()
