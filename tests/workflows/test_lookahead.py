"""No look-ahead: bars after a window change nothing in it, and what looks ahead is caught."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest

from admf.containers.backtest import BacktestTopology
from admf.containers.market_data import Bars, MarketData
from admf.engine.errors import ConfigError, DataError, WindowError
from admf.workflows.lookahead import LookaheadReport, check_lookahead
from admf.workflows.lookahead_findings import LookaheadFinding
from admf.workflows.lookahead_runs import CheckedRuns, Ran, corrupted
from admf.workflows.plugins import installed_plugins
from admf.workflows.runner import Runner

DAY_NS = 86_400 * 10**9
FIRST_NS = 18_262 * DAY_NS
"""2020-01-01."""

BUILT_IN = installed_plugins().names("strategies")
REQUIRED = {
    "random_entry": {"probability": 0.2, "hold_bars": 3},
    "momentum": {"lookback": 10},
}


def _frame(count: int = 200, seed: int = 1) -> pl.DataFrame:
    """Return daily bars of a random walk."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, count)))
    opens = close * np.exp(rng.normal(0, 0.005, count))
    return pl.DataFrame(
        {
            "timestamp": pl.Series(FIRST_NS + DAY_NS * np.arange(count)).cast(pl.Datetime("ns")),
            "open": opens,
            "high": np.maximum(opens, close) * 1.01,
            "low": np.minimum(opens, close) * 0.99,
            "close": close,
            "volume": rng.uniform(1e3, 1e5, count),
        }
    )


FRAMES = {"AAA": _frame(), "BBB": _frame(seed=2), "INDEX": _frame(seed=3)}


def _check(strategy: str, params: dict[str, Any] | None = None, **fields: Any) -> LookaheadReport:
    experiment = {
        "workflow": "simple_backtest",
        "data": {"source": "frames", "symbols": ["AAA"]},
        "strategy": {"type": strategy, "params": params or {}},
        **fields,
    }
    frames = fields.pop("frames", FRAMES)
    experiment.pop("frames", None)
    loaded = Runner(frames=frames).load(experiment)
    return anyio.run(partial(check_lookahead, loaded, frames=frames))


def _findings(report: LookaheadReport) -> list[LookaheadFinding | None]:
    return [cut.finding for check in report.checks for cut in check.cuts]


# -- no look-ahead --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_look_ahead_in_built_in_strategies(name):
    report = _check(
        name,
        REQUIRED.get(name),
        data={"source": "frames", "symbols": ["AAA", "BBB"]},
        benchmark="INDEX",
        risk={"stop_loss_pct": 4, "take_profit_pct": 9, "max_drawdown_pct": 40},
    )
    assert report.clean
    (check,) = report.checks
    assert check.strategy == name
    assert check.phases == ("backtest",)
    assert (check.symbols, check.steps) == (("AAA", "BBB"), 200)
    assert [cut.steps for cut in check.cuts] == sorted({cut.steps for cut in check.cuts})
    assert check.cuts[0].steps >= 100
    assert check.cuts[-1].steps < 200


@pytest.mark.parametrize(
    "fields",
    [
        {"execution": {"fill_on": "close", "slippage_bps": 5, "commission": {"value": 0.001}}},
        {"execution": {"close_at_end": True}},
        {"portfolio": {"sizing": {"type": "volatility_target", "value": 0.2}}},
        {"risk": {"trailing_stop_pct": 3}},
        {"block_size": 7},
        {"data_range": {"start": 0.2, "end": 0.8}},
        {"data_range": {"start": "2020-02-01"}},
    ],
    ids=str,
)
def test_no_look_ahead_whatever_the_settings(fields):
    assert _check("sma_cross", {"fast": 2, "slow": 5}, **fields).clean


# -- what looks ahead is caught -------------------------------------------------------------------

CHEATS = """\
import numpy as np
from admf.containers.strategies.base import Strategy


class Shift(Strategy):
    '''Knows the next close.'''

    def targets(self, bars, features):
        wanted = np.full(len(bars), np.nan)
        wanted[:-1] = np.sign(bars.close[1:] - bars.close[:-1])
        return wanted


class Normalised(Strategy):
    '''Compares with the highest close of the whole window.'''

    level: float = 0.5

    def targets(self, bars, features):
        return (bars.close > self.level * bars.close.max()) * 1.0


class Beyond(Strategy):
    '''Looks up bars after its window in what the indicators are made from.'''

    def targets(self, bars, features):
        later = features._store.market_data.bars(bars.symbol).close[len(bars):]
        rises = len(later) and later[0] > bars.close[-1]
        return np.where(np.arange(len(bars)) < 50, 0.0, 1.0 if rises else 0.5)


class Whim(Strategy):
    def targets(self, bars, features):
        return np.random.default_rng().integers(-1, 2, len(bars)).astype(float)


class PerBar(Strategy):
    '''Sees a bar at a time, and so cannot cheat.'''

    def on_bar(self, bar, ctx):
        if ctx.bar_index % 7 == 0 and not ctx.position:
            ctx.buy(10, stop_loss=bar.close * 0.97)
        elif ctx.bar_index % 7 == 5:
            ctx.close()


class Peeking(Strategy):
    '''Sees a bar at a time, but looks up the next one.'''

    def on_bar(self, bar, ctx):
        closes = ctx._market.data.bars(bar.symbol).close
        following = closes[ctx.bar_index + 1:ctx.bar_index + 2]
        if len(following) and following[0] > 1.015 * bar.close and not ctx.position:
            ctx.buy(10)
        elif ctx.position:
            ctx.close()


class Startled(Strategy):
    '''Does nothing but look up later bars, and fails if they are lower.'''

    def targets(self, bars, features):
        later = features._store.market_data.bars(bars.symbol).close[len(bars):]
        if len(later) and later.max() < 0.75 * bars.close[-1]:
            raise ValueError("crash ahead")
        return np.zeros(len(bars))


class Fails(Strategy):
    after: int = 150

    def targets(self, bars, features):
        if len(bars) > self.after:
            raise ValueError("no good")
        return np.zeros(len(bars))
"""


@pytest.fixture
def cheat(tmp_path: Path) -> Callable[..., LookaheadReport]:
    """Return a function that checks one of the strategies above."""
    (tmp_path / "cheats.py").write_text(CHEATS)

    def cheat(name: str, text: str = "", frame: pl.DataFrame = FRAMES["AAA"]) -> LookaheadReport:
        frame.write_csv(tmp_path / "AAA.csv", datetime_format="%Y-%m-%d")
        file = tmp_path / "experiment.yaml"
        text = text or "workflow: simple_backtest\n"
        file.write_text(
            f'{text}data: {{path: ., symbols: [AAA]}}\nstrategy: {{type: "cheats:{name}"}}\n'
        )
        return anyio.run(check_lookahead, Runner().load(file))

    return cheat


def _spiked() -> pl.DataFrame:
    """Return bars of which one of the last, which no cut includes, is far above all others."""
    frame = FRAMES["AAA"]
    close = frame["close"].to_numpy().copy()
    close[-2] = 3 * close.max()
    return frame.with_columns(close=close, high=np.maximum(frame["high"], close))


def test_a_negative_shift_is_caught_at_the_last_bar_of_windows_that_end_with_a_decision(cheat):
    report = cheat("Shift")
    assert not report.clean
    close = FRAMES["AAA"]["close"].to_numpy()
    cuts = [cut for cut in report.checks[0].cuts if cut.steps not in (100, 140, 180)]
    assert len(cuts) >= 5
    for cut in cuts:
        assert cut.finding is not None
        assert cut.finding.kind == "decision"
        assert cut.finding.time == cut.last
        sign = 1 if close[cut.steps] > close[cut.steps - 1] else -1
        day = cut.last[:10]
        assert cut.finding.message == (
            f"on {day} the strategy does nothing if the data ends on {day}, "
            f"but asks for a target of {sign} in AAA if later bars follow"
        )


def test_normalising_by_the_maximum_of_the_window_is_caught_where_it_first_matters(cheat):
    report = cheat("Normalised", frame=_spiked())
    cuts = [cut for cut in report.checks[0].cuts if cut.steps < 199]
    assert len(cuts) >= 3
    for cut in cuts:
        assert cut.finding is not None
        assert cut.finding.kind == "decision"
        assert cut.finding.time == "2020-01-01T00:00:00Z"
        assert "asks for a target of 1 in AAA if the data ends" in cut.finding.message
        assert cut.finding.message.endswith("but does nothing if later bars follow")


def test_bars_beyond_the_window_are_caught_as_their_corruption_changes_it(cheat):
    report = cheat("Beyond")
    found = [it for it in _findings(report) if it is not None]
    assert found
    for finding in found:
        assert finding.kind == "decision"
        assert finding.time == "2020-02-20T00:00:00Z"
    changed = [it for it in found if it.message.endswith("if the later ones are changed")]
    assert changed
    assert "with the real bars, but asks for a target of" in changed[0].message


def test_a_strategy_that_sees_one_bar_at_a_time_is_clean(cheat):
    assert cheat("PerBar").clean


def test_a_bar_strategy_that_looks_up_the_next_bar_is_caught(cheat):
    report = cheat("Peeking")
    found = [it for it in _findings(report) if it is not None]
    assert found
    assert {it.kind for it in found} == {"decision"}
    assert all(it.message.endswith("if the later ones are changed") for it in found)


def test_results_that_differ_from_run_to_run_are_told_apart(cheat):
    report = cheat("Whim")
    assert not report.clean
    assert {it.kind for it in _findings(report) if it is not None} == {"chance"}


def test_a_strategy_that_fails_cannot_be_checked(cheat):
    with pytest.raises(WindowError, match="no good"):
        cheat("Fails")


def test_a_strategy_that_fails_on_corrupted_bars_alone_looks_at_them(cheat):
    found = [it for it in _findings(cheat("Startled")) if it is not None]
    assert found
    assert {it.kind for it in found} == {"failure"}
    assert "crash ahead" in found[0].message


def test_a_file_that_differs_in_a_byte_is_told(cheat, monkeypatch):
    run = CheckedRuns.with_later_bars_corrupted

    async def with_another_byte(self: CheckedRuns, start: int, stop: int) -> list[Ran]:
        first, second = await run(self, start, stop)
        path = "check/backtest/phase_summary.json"
        return [first, Ran({**second.files, path: second.files[path] + b" "}, second.trails)]

    monkeypatch.setattr(CheckedRuns, "with_later_bars_corrupted", with_another_byte)
    found = _findings(cheat("PerBar"))
    assert {it.kind for it in found if it is not None} == {"file"}
    assert all(it is not None and "phase_summary.json" in it.message for it in found)


# -- what is checked ------------------------------------------------------------------------------


def test_phases_with_the_same_settings_are_checked_once_with_a_few_parameter_sets():
    report = _check(
        "sma_cross",
        workflow="train_test_optimization",
        parameter_space={"fast": [2, 3, 4, 5], "slow": [6, 9, 12]},
    )
    (check,) = report.checks
    assert check.phases == ("parameter_search", "validation")
    assert len(check.parameter_sets) == 3
    assert report.clean


def test_phases_that_differ_are_checked_each(cheat):
    text = (
        "workflow: mine\n"
        "phases:\n"
        "  plain: {sequence: single_pass}\n"
        "  stopped: {sequence: single_pass, risk: {stop_loss_pct: 3}}\n"
    )
    report = cheat("PerBar", text)
    assert [check.phases for check in report.checks] == [("plain",), ("stopped",)]


def test_the_parameter_set_that_does_not_pass_is_named(cheat):
    text = (
        "workflow: mine\n"
        "phases: {sweep: {sequence: parameter_sweep}}\n"
        "parameter_space: {level: [0.0, 0.99]}\n"
    )
    report = cheat("Normalised", text, _spiked())
    named = {cut.parameters["level"] for cut in report.checks[0].cuts if cut.parameters}
    assert named == {0.99}


def test_parameter_sets_that_a_strategy_refuses_are_left_out():
    report = _check(
        "sma_cross",
        workflow="train_test_optimization",
        parameter_space={"fast": [2, 50], "slow": [5]},
    )
    assert [check.parameter_sets for check in report.checks] == [({"fast": 2, "slow": 5},)]


def test_cuts_come_after_decisions_and_leave_bars_for_the_future():
    report = _check("sma_cross", {"fast": 2, "slow": 5})
    steps = [cut.steps for cut in report.checks[0].cuts]
    assert {100, 140, 180} <= set(steps)
    assert 6 <= len(steps) <= 9
    for cut in (100, 140, 180):
        assert sum(cut < it < cut + 40 for it in steps) in (1, 2)


def test_too_few_bars_are_a_data_error():
    frames = {"AAA": _frame(2)}
    with pytest.raises(DataError, match="2 time steps"):
        _check("buy_and_hold", frames=frames)


def test_the_least_number_of_bars_will_do():
    report = _check("buy_and_hold", frames={"AAA": _frame(3)})
    assert [cut.steps for cut in report.checks[0].cuts] == [1, 2]


def test_a_workflow_without_backtests_cannot_be_checked():
    registry = installed_plugins()
    registry.register("topologies", "mine", BacktestTopology)
    loaded = Runner(registry=registry).load(
        {
            "workflow": "own",
            "data": {"source": "sample", "symbols": ["GOOG"]},
            "strategy": {"type": "buy_and_hold"},
            "phases": {"other": {"sequence": "single_pass", "topology": "mine"}},
        }
    )
    with pytest.raises(ConfigError, match="topology backtest"):
        anyio.run(partial(check_lookahead, loaded, registry=registry))


# -- the parts ------------------------------------------------------------------------------------


def _market() -> MarketData:
    bars = [
        Bars(
            symbol,
            FIRST_NS + DAY_NS * np.arange(200),
            *(frame[name].to_numpy() for name in ("open", "high", "low", "close", "volume")),
        )
        for symbol, frame in FRAMES.items()
    ]
    return MarketData(bars[:2], extras=bars[2:], timeframe="1d")


@pytest.mark.parametrize("scale", [(0.1, 0.7), (1.5, 10.0)])
def test_corrupted_bars_are_valid_and_others_and_those_before_stay(scale):
    real = _market()
    made = corrupted(real, int(real.ts[119]), scale)
    assert (made.symbols, made.extra_symbols) == (real.symbols, real.extra_symbols)
    assert np.array_equal(made.ts, real.ts)
    for symbol in FRAMES:
        before, after = real.bars(symbol), made.bars(symbol)
        for name in ("open", "high", "low", "close", "volume"):
            mine, other = getattr(before, name), getattr(after, name)
            assert np.array_equal(mine[:120], other[:120])
            assert not np.any(mine[120:] == other[120:])
        assert np.all(after.high >= np.maximum(after.open, after.close))
        assert np.all(after.low <= np.minimum(after.open, after.close))
        assert np.all(after.low > 0)
