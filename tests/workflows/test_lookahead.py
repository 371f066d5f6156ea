"""No look-ahead: what follows after a window changes nothing in it, and what looks ahead is caught."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import polars as pl
import pytest

from admf.containers.events import Signal
from admf.containers.market_data import Bars, MarketData
from admf.containers.metrics.history import EquityCurve, Trade
from admf.engine.errors import ConfigError, DataError, WindowError
from admf.engine.registry import Registry
from admf.workflows.lookahead import LookaheadReport, check_lookahead
from admf.workflows.lookahead_findings import LookaheadFinding, Runs, first_difference
from admf.workflows.lookahead_runs import Trail, corrupted
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


class Volume(Strategy):
    '''The same, but only in what it writes to its log, so to say.'''

    def features(self):
        return ()

    def targets(self, bars, features):
        return np.zeros(len(bars))


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

    def cheat(name: str, text: str = "", frames: dict[str, Any] | None = None) -> LookaheadReport:
        file = tmp_path / "experiment.yaml"
        file.write_text(
            "workflow: simple_backtest\n"
            "data: {source: frames, symbols: [AAA]}\n"
            f'strategy: {{type: "cheats:{name}"}}\n{text}'
        )
        loaded = Runner(frames=frames or FRAMES).load(file)
        return anyio.run(partial(check_lookahead, loaded, frames=frames or FRAMES))

    return cheat


def test_a_negative_shift_is_caught_at_the_last_bar_of_every_window(cheat):
    report = cheat("Shift")
    assert not report.clean
    close = FRAMES["AAA"]["close"].to_numpy()
    for cut in report.checks[0].cuts:
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
    close = FRAMES["AAA"]["close"].to_numpy().copy()
    close[190] = 10 * close.max()  # after every cut
    frame = FRAMES["AAA"].with_columns(close=close, high=np.maximum(FRAMES["AAA"]["high"], close))
    report = cheat("Normalised", frames={"AAA": frame})
    for cut in report.checks[0].cuts:
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


def test_results_that_differ_from_run_to_run_are_told_apart(cheat):
    report = cheat("Whim")
    assert not report.clean
    assert {it.kind for it in _findings(report) if it is not None} == {"chance"}


def test_a_strategy_that_fails_cannot_be_checked(cheat):
    with pytest.raises(WindowError, match="no good"):
        cheat("Fails")


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
        "phases:\n"
        "  plain: {sequence: single_pass}\n"
        "  stopped: {sequence: single_pass, risk: {stop_loss_pct: 3}}\n"
    )
    report = cheat("PerBar", text.replace("phases", "block_size: 64\nphases"))
    assert [check.phases for check in report.checks] == [("plain",), ("stopped",)]


def test_the_parameter_set_that_does_not_pass_is_named(cheat):
    report = cheat("Normalised", "parameter_space: {level: [0.0, 0.9]}\n")
    named = {cut.parameters["level"] for cut in report.checks[0].cuts if cut.parameters}
    assert named == {0.9}


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
    assert len(steps) == 6
    assert [sum(cut <= it for it in steps) for cut in (100, 140, 180)] == [6, 4, 2]


def test_too_few_bars_are_a_data_error():
    frames = {"AAA": _frame(2)}
    with pytest.raises(DataError, match="2 time steps"):
        _check("buy_and_hold", frames=frames)


def test_the_least_number_of_bars_will_do():
    report = _check("buy_and_hold", frames={"AAA": _frame(3)})
    assert [cut.steps for cut in report.checks[0].cuts] == [1, 2]


def test_a_workflow_without_backtests_cannot_be_checked():
    with pytest.raises(ConfigError, match="topology backtest"):
        anyio.run(_check_of_another_topology)


async def _check_of_another_topology() -> None:
    registry = Registry()
    loaded = Runner().load(
        {
            "workflow": "mine",
            "data": {"source": "sample", "symbols": ["GOOG"]},
            "strategy": {"type": "buy_and_hold"},
            "phases": {"other": {"sequence": "single_pass", "topology": "backtest"}},
        }
    )
    await check_lookahead(loaded, registry=registry)


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


def test_corrupted_bars_are_valid_and_others_and_those_before_stay():
    real = _market()
    made = corrupted(real, int(real.ts[119]))
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


NAMES = Runs("here", "there")


def _trail(signals=(), trades=(), equity=(1.0, 1.0, 1.0)) -> Trail:
    ts = [f"2020-01-0{day + 1}T00:00:00Z" for day in range(len(equity))]
    return Trail(tuple(signals), tuple(trades), EquityCurve(ts, list(equity)), "")


def _trade(number: int, entry: int, exit_: int, price: float = 100.0) -> Trade:
    return Trade(
        id=f"AAA-{number}",
        symbol="AAA",
        side="long",
        quantity=1.0,
        entry_time=f"2020-01-0{entry}T00:00:00Z",
        entry_price=100.0,
        exit_time=f"2020-01-0{exit_}T00:00:00Z",
        exit_price=price,
        pnl=0.0,
        return_fraction=0.0,
        commission=0.0,
        bars_held=1,
        mae=0.0,
        mfe=0.0,
        exit_reason="signal",
    )


def _signal(day: int, **fields: Any) -> Signal:
    return Signal(FIRST_NS + DAY_NS * (day - 1), "AAA", **{"action": "target", **fields})


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (_trail(), _trail(), None),
        (
            _trail([_signal(1, action="buy", quantity=5.0, stop_loss=90.0)]),
            _trail([_signal(2, target=1.0)]),
            "on 2020-01-01 the strategy asks to buy AAA quantity 5.0 stop_loss 90.0 here, "
            "but does nothing there",
        ),
        (
            _trail([_signal(1, target=0.5)]),
            _trail([_signal(1, target=-1.0)]),
            "on 2020-01-01 the strategy asks for a target of 0.5 in AAA here, "
            "but asks for a target of -1 in AAA there",
        ),
        (
            _trail(trades=[_trade(1, 1, 2)]),
            _trail(),
            "on 2020-01-02 trade AAA-1 is long 1 from 2020-01-01T00:00:00Z at 100 to "
            "2020-01-02T00:00:00Z at 100 here, but there is no such trade there",
        ),
        (
            _trail(trades=[_trade(1, 1, 3)]),
            _trail(trades=[_trade(1, 2, 3)]),
            "on 2020-01-01 trade AAA-1 is long 1 from 2020-01-01T00:00:00Z at 100 to "
            "2020-01-03T00:00:00Z at 100 here, but trade AAA-1 is long 1 from "
            "2020-01-02T00:00:00Z at 100 to 2020-01-03T00:00:00Z at 100 there",
        ),
        (
            _trail(equity=(1.0, 1.25, 1.0)),
            _trail(equity=(1.0, 1.0, 1.0)),
            "on 2020-01-02 the equity is 1.250000 here, but the equity is 1.000000 there",
        ),
        (
            _trail(equity=(1.0, 2.0, 1.0), trades=[_trade(1, 1, 3)]),
            _trail(equity=(1.0, 1.0, 1.0)),
            "on 2020-01-02 the equity is 2.000000 here, but the equity is 1.000000 there",
        ),
        (
            _trail([_signal(2)], equity=(1.0, 2.0, 1.0)),
            _trail(equity=(1.0, 1.0, 1.0)),
            "on 2020-01-02 the strategy asks for a target of 0 in AAA here, but does nothing there",
        ),
        (_trail([_signal(4)], [_trade(1, 1, 4)], (1.0, 1.0, 1.0, 2.0)), _trail(), None),
        (_trail(equity=(1.0, 1.0, 1.0, 2.0)), _trail(equity=(1.0, 1.0, 1.0, 1.0)), None),
    ],
)
def test_the_earliest_difference_up_to_a_time_is_told_a_cause_before_its_effect(
    first, second, message
):
    found = first_difference(first, second, FIRST_NS + 2 * DAY_NS, NAMES)
    assert (None if found is None else found[1].message) == message


def test_times_within_a_day_are_told_whole():
    signal = Signal(FIRST_NS + 3_600 * 10**9, "AAA", "target")
    found = first_difference(_trail([signal]), _trail(), FIRST_NS + DAY_NS, NAMES)
    assert found is not None
    assert found[1].message.startswith("at 2020-01-01T01:00:00Z the strategy")
