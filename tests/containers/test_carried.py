"""Lanes that begin with the account of a window before them."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers.account import Account, Position
from admf.containers.config import (
    CarriedAccount,
    CarriedPosition,
    CarriedTargets,
    StrategyConfig,
)
from admf.containers.events import Bar, Fill, Order, PositionClose, Signal
from admf.containers.strategies.base import Context, FeatureView, Strategy
from admf.engine.errors import ConfigError
from tests.containers.harness import (
    DAY,
    FIRST_TS,
    Lane,
    LaneRun,
    Ohlc,
    WindowRun,
    day,
    flat,
    random_bars,
    run_lanes,
    run_window,
    script,
)

approx = pytest.approx

STEPS = 240
BARS = {"A": random_bars(STEPS, 1), "B": random_bars(STEPS, 2, 40.0)}
COSTS = {"slippage_bps": 5, "commission": {"type": "rate", "value": 0.001}}


class Dips(Strategy):
    """Buys below a falling average and sells above it; keeps no state of its own."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        average = ctx.feature("sma", 8)
        if not ctx.position and bar.close < 0.97 * average:
            ctx.target(0.4)
        elif ctx.position and bar.close > average:
            ctx.close()


class Steps(Strategy):
    """Wants some exposure for a few days each, by the date."""

    def targets(self, bars: Any, features: FeatureView) -> NDArray[np.float64]:
        days: NDArray[np.float64] = (bars.ts - FIRST_TS) // DAY
        return np.array([0.4, -0.3, 0.0, 0.2])[(days // 7).astype(int) % 4]


LANES = {
    "columnar": Lane(Steps, execution=COSTS),
    "columnar_with_stops": Lane(
        Steps, execution=COSTS, risk={"stop_loss_pct": 3, "trailing_stop_pct": 5}
    ),
    "columnar_at_the_close": Lane(
        Steps, execution={**COSTS, "fill_on": "close"}, risk={"trailing_stop_pct": 3}
    ),
    "momentum": Lane("momentum", {"lookback": 10, "mode": "long_short"}, sizing={"value": 0.3}),
    "per_bar": Lane(Dips, execution=COSTS),
    "per_bar_with_stops": Lane(
        Dips, execution=COSTS, risk={"take_profit_pct": 4, "stop_loss_pct": 6}
    ),
}


def window(lane: Lane, start: int, stop: int, bars: Any = BARS, **options: Any) -> WindowRun:
    span = {"start_ts": day(start), "end_ts": day(stop)}
    return run_window([lane], bars, **span, **options)


def halves(lane: Lane, split: int, bars: Any = BARS, **options: Any) -> tuple[WindowRun, WindowRun]:
    first = window(lane, 0, split, bars, **options)
    carried = first.rows[0].account
    second = msgspec.json.decode(msgspec.json.encode(carried), type=CarriedAccount)
    lane = Lane(**{**vars(lane), "carried": second})
    return first, window(lane, split, STEPS, bars, **options)


def signal_steps(lane: Lane) -> set[int]:
    (found,) = run_lanes([lane], BARS)
    return {(it.ts - FIRST_TS) // DAY for it in found.of(Signal)}


# -- a run in two parts ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", LANES)
def test_a_run_in_two_parts_gives_what_one_run_gives(kind: str) -> None:
    lane = LANES[kind]
    whole = window(lane, 0, STEPS).document()
    pending = signal_steps(lane) if lane.execution.get("fill_on") != "close" else set()
    splits = [it for it in range(60, 120, 5) if it - 1 not in pending]
    assert len(splits) >= 6
    carried_positions = 0
    for split in splits:
        first, second = (it.document() for it in halves(lane, split))
        carried_positions += len(first["open_positions"])
        trades = first["trades"] + second["trades"]
        assert [strip(it) for it in trades] == [approx(strip(it)) for it in whole["trades"]]
        assert [it["id"] for it in trades] == [it["id"] for it in whole["trades"]]
        assert second["metrics"]["initial_capital"] == approx(first["metrics"]["final_equity"])
        equity = first["equity_curve"]["equity"] + second["equity_curve"]["equity"]
        assert equity == approx(whole["equity_curve"]["equity"], rel=1e-12)
        assert second["metrics"]["final_equity"] == approx(whole["metrics"]["final_equity"])
    assert carried_positions
    assert whole["metrics"]["trade_count"] > 10


def strip(trade: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers of a trade; the other fields are compared as they are."""
    return {name: value for name, value in trade.items() if not isinstance(value, str)}


@pytest.mark.parametrize("kind", ["columnar_with_stops", "per_bar"])
@pytest.mark.parametrize("block_size", [1, 7])
def test_the_second_part_does_not_depend_on_the_size_of_blocks(kind: str, block_size: int) -> None:
    _, second = halves(LANES[kind], 100)
    _, again = halves(LANES[kind], 100, block_size=block_size)
    assert again.files == second.files


def test_returns_on_equity_go_on_too() -> None:
    lane = LANES["columnar"]
    split = next(it for it in range(80, 120) if it % 7 == 4)
    whole = window(lane, 0, STEPS, series=True).series[0].trades
    first, second = (it.series[0].trades for it in halves(lane, split, series=True))
    assert [it.equity_return for it in (*first, *second)] == approx(
        [it.equity_return for it in whole]
    )


# -- what a lane begins with -----------------------------------------------------------------------

LONG = CarriedPosition(
    symbol="A",
    direction=1,
    quantity=10,
    entry_price=90,
    entry_ts=day(0),
    commission=2,
    position_id="A-7",
)
ACCOUNT = CarriedAccount(cash=1_000, positions=(LONG,), opened=7)
RISING: list[Ohlc] = [(x, x + 1, x - 1, x) for x in (90.0, 95, 100, 104, 108, 112)]


def begin(
    strategy: Any,
    bars: Any = RISING,
    start: int = 2,
    carried: CarriedAccount = ACCOUNT,
    **options: Any,
) -> LaneRun:
    lane = Lane(strategy, carried=carried, **options)
    (found,) = run_lanes([lane], bars, start_ts=day(start))
    return found


def test_equity_begins_with_the_last_closes_before_the_window() -> None:
    found = begin(script({})).document
    assert found["metrics"]["initial_capital"] == 1_000 + 10 * 95
    assert found["equity_curve"]["equity"] == [1_000 + 10 * x for x in (100, 104, 108, 112)]
    assert found["metrics"]["total_return"] == approx(2_120 / 1_950 - 1)
    assert found["lane"]["carried"]["cash"] == 1_000


def test_at_the_beginning_of_the_data_a_position_is_worth_what_was_paid() -> None:
    assert begin(script({}), start=0).document["metrics"]["initial_capital"] == 1_900


def test_closing_gives_a_trade_with_its_real_entry() -> None:
    found = begin(script({0: lambda ctx: ctx.close()}))
    (trade,) = found.of(PositionClose)
    assert (trade.position_id, trade.entry_ts, trade.ts) == ("A-7", day(0), day(3))
    assert (trade.entry_price, trade.exit_price, trade.quantity) == (90, 104, 10)
    assert (trade.pnl, trade.commission, trade.bars_held) == (10 * 14 - 2, 2, 3)
    assert (trade.mae, trade.mfe) == (approx(-1 / 90), approx(104 / 90 - 1))
    assert found.equity[-1] == 1_000 + 1_040


def test_the_next_position_is_counted_on() -> None:
    plan = {0: lambda ctx: ctx.close(), 1: lambda ctx: ctx.buy(1)}
    assert [it.position_id for it in begin(script(plan)).of(Fill)] == ["A-7", "A-8"]


def test_a_per_bar_strategy_sees_what_it_holds() -> None:
    seen: list[tuple[float, float, float]] = []

    class Watches(Strategy):
        def on_bar(self, bar: Bar, ctx: Context) -> None:
            seen.append((ctx.position, ctx.cash, ctx.equity))

    begin(Watches)
    assert seen[0] == (10, 1_000, 2_000)


def test_a_short_position_is_owed() -> None:
    short = msgspec.structs.replace(LONG, direction=-1)
    found = begin(script({}), carried=CarriedAccount(cash=3_000, positions=(short,))).document
    assert found["metrics"]["initial_capital"] == 3_000 - 950
    assert found["open_positions"][0]["side"] == "short"
    assert found["open_positions"][0]["unrealized_pnl"] == 10 * (90 - 112) - 2


def test_a_symbol_without_a_bar_at_first_is_marked_at_its_last_close() -> None:
    bars = {"A": RISING, "B": {0: (50, 50, 50, 50), 4: (60, 60, 60, 60)}}
    other = msgspec.structs.replace(LONG, symbol="B", position_id="B-1")
    found = begin(script({}), bars, carried=CarriedAccount(cash=0, positions=(other,)))
    assert found.equity == [500, 500, 600, 600]


@pytest.mark.parametrize(
    ("rules", "fills"),
    [
        ({"stop_loss_pct": 10}, [(4, 81, "stop_loss")]),
        ({"take_profit_pct": 20}, [(3, 108, "take_profit")]),
        ({"trailing_stop_pct": 10}, [(4, 0.9 * 109, "trailing_stop")]),
        ({"trailing_stop_pct": 30}, []),
        ({}, []),
    ],
)
def test_percentage_stops_stand_from_the_first_bar_on(
    rules: dict[str, float], fills: list[tuple[int, float, str]]
) -> None:
    bars = [
        *RISING[:2],
        (100, 106, 95, 105),
        (107, 109, 106, 107),
        (100, 100, 80, 95),
        *flat(95, 1),
    ]
    found = begin(script({}), bars, risk=rules)
    assert [(it[0], it[3], it[5]) for it in found.fills] == [
        (step, approx(price), reason) for step, price, reason in fills
    ]
    assert {it.ts for it in found.of(Order)} <= {day(2)}


def test_a_stop_that_the_first_open_is_beyond_fills_there() -> None:
    found = begin(script({}), [*RISING[:2], *flat(70, 2)], risk={"stop_loss_pct": 10})
    assert [(it[0], it[3]) for it in found.fills] == [(2, 70)]


@pytest.mark.parametrize(
    ("moment", "direction", "level"),
    [
        ("open", 1, 130 * 0.9),  # the entry bar's high counts
        ("intrabar", 1, 112 * 0.9),  # its close does
        ("close", 1, 108 * 0.9),  # the bar after it
        ("open", -1, 70 * 1.1),
        ("intrabar", -1, 88 * 1.1),
        ("close", -1, 92 * 1.1),
    ],
)
def test_a_trailing_stop_has_seen_the_bars_since_the_entry(
    moment: Any, direction: Any, level: float
) -> None:
    closes = 112 if direction > 0 else 88
    bars = [(100, 130, 70, closes), (100, 108, 92, 100), *flat(100, 2)]
    position = msgspec.structs.replace(
        LONG, entry_price=100, direction=direction, entry_moment=moment
    )
    account = CarriedAccount(cash=5_000, positions=(position,))
    found = begin(script({}), bars, carried=account, risk={"trailing_stop_pct": 10})
    assert found.of(Order)[0].stop_price == approx(level)


def test_a_drawdown_is_measured_from_what_the_lane_begins_with() -> None:
    bars = [*RISING[:2], *flat(95, 1), *flat(60, 3)]
    found = begin(script({}), bars, risk={"max_drawdown_pct": 15})
    assert [(it[0], it[5]) for it in found.fills] == [(4, "max_drawdown")]


# -- targets ---------------------------------------------------------------------------------------


class Wants(Strategy):
    """Wants the same all the time, from some bar on."""

    target: float
    since: int = 0

    def targets(self, bars: Any, features: FeatureView) -> NDArray[np.float64]:
        wanted = np.full(len(bars), self.target)
        wanted[: self.since] = np.nan
        return wanted


def wanted(last: float, **params: Any) -> CarriedAccount:
    strategy = StrategyConfig(type="strategy_1", params=params)
    targets = CarriedTargets(strategy=strategy, targets={"A": last})
    return msgspec.structs.replace(ACCOUNT, wanted=targets)


@pytest.mark.parametrize("since", [0, 2])
@pytest.mark.parametrize("target", [0.0, 1.0, -1.0])
def test_the_first_known_target_is_always_signalled(target: float, since: int) -> None:
    found = begin(Wants, params={"target": target, "since": since})
    assert [(it.ts, it.target) for it in found.of(Signal)] == [(day(2 + since), target)]


def test_a_target_of_nothing_closes() -> None:
    found = begin(Wants, params={"target": 0.0})
    assert found.fills == [(3, "sell", 10, 104, "open", "signal")]


@pytest.mark.parametrize(
    ("account", "signals"),
    [
        (wanted(1.0, target=1.0, since=0), []),
        (wanted(0.5, target=1.0, since=0), [1.0]),
        (wanted(1.0, target=1.0, since=3), [1.0]),
    ],
    ids=["same", "another_target", "other_parameters"],
)
def test_only_the_same_strategy_need_not_say_again_what_it_wanted(
    account: CarriedAccount, signals: list[float]
) -> None:
    found = begin(Wants, params={"target": 1.0}, carried=account)
    assert [it.target for it in found.of(Signal)] == signals


def test_lanes_that_share_their_targets_differ_in_what_they_have_said_before() -> None:
    accounts = [wanted(1.0, target=1.0, since=0), ACCOUNT, wanted(0.5, target=1.0, since=0)]
    lanes = [Lane(Wants, {"target": 1.0}, carried=account) for account in accounts]
    found = run_lanes(lanes, RISING, start_ts=day(2))
    assert [[it.target for it in run.of(Signal)] for run in found] == [[], [1.0], [1.0]]


def test_targets_are_handed_on_unless_their_order_still_waits() -> None:
    def targets(lane: Lane, stop: int, **options: Any) -> dict[str, float] | None:
        account = window(lane, 0, stop, **options).rows[0].account
        assert account is not None
        return None if account.wanted is None else account.wanted.targets

    lane = LANES["columnar"]
    assert targets(lane, 10) == {"A": -0.3, "B": -0.3}
    assert targets(lane, 8) == {}  # both have just changed
    assert targets(Lane(Steps, execution={"fill_on": "close"}), 8) == {"A": -0.3, "B": -0.3}
    assert targets(Lane(Steps, execution={"close_at_end": True}), 10) is None
    assert targets(Lane(Dips), 10) == {}
    assert targets(Lane(Wants, {"target": 1.0, "since": 50}), 10) == {"A": 0.0, "B": 0.0}


# -- the account as data ---------------------------------------------------------------------------


def test_an_account_comes_back_as_it_was() -> None:
    position = Position(
        "A-3", "A", -1, day(3), "intrabar", 9.5, 7.3, 11.1, 999.9, 3.8, 222.2, 1.5, 5e3
    )
    account = Account(123.4)
    account.positions["A"] = position
    again = Account.of(
        msgspec.json.decode(msgspec.json.encode(account.carried()), type=CarriedAccount)
    )
    assert again.cash == 123.4
    assert again.positions == account.positions
    assert again.position_id("B") == "B-1"


def test_what_is_not_given_follows_from_the_rest() -> None:
    position = Position.of(LONG)
    assert (position.entered, position.entry_value, position.exited) == (10, 900, 0)
    assert (position.entry_price, position.side) == (90, "long")
    assert position.carried().entry_equity is None


def test_a_lane_without_positions_hands_on_its_cash() -> None:
    account = window(Lane(script({})), 0, 10).rows[0].account
    assert account == CarriedAccount(
        cash=10_000, wanted=CarriedTargets(strategy=StrategyConfig(type="strategy_1"), targets={})
    )


@pytest.mark.parametrize(
    ("account", "message"),
    [
        (CarriedAccount(cash=0), "nothing to trade with: it is worth 0"),
        (CarriedAccount(cash=-951, positions=(LONG,)), "it is worth -1"),
        (CarriedAccount(cash=1, positions=(LONG, LONG)), "two positions in one symbol: A, A"),
        (
            CarriedAccount(cash=1, positions=(msgspec.structs.replace(LONG, symbol="AA"),)),
            r"'AA', which is not traded here \(did you mean 'A'\?\)",
        ),
    ],
)
def test_an_account_that_does_not_fit_is_refused(account: CarriedAccount, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        begin(script({}), carried=account)


def test_a_position_without_any_price_is_refused() -> None:
    bars = {"A": RISING, "B": {3: (50, 50, 50, 50)}}
    other = msgspec.structs.replace(LONG, symbol="B")
    with pytest.raises(ConfigError, match="no bar yet"):
        begin(script({}), bars, carried=CarriedAccount(cash=1, positions=(other,)))


@pytest.mark.parametrize(("start", "price"), [(2, 95), (0, 90)])
def test_a_lane_that_fails_before_its_first_bar_still_reports_what_it_holds(
    start: int, price: float
) -> None:
    class Fails(Strategy):
        def targets(self, bars: Any, features: FeatureView) -> NDArray[np.float64]:
            raise ValueError("not today")

    found = begin(Fails, start=start).document
    assert found["status"] == "failed"
    assert found["metrics"]["initial_capital"] == 1_000 + 10 * price
    assert found["open_positions"][0]["quantity"] == 10


@pytest.mark.parametrize(("start", "price"), [(2, 95), (0, 90)])
def test_a_window_that_is_closed_before_its_first_bar_reports_what_it_was_given(
    start: int, price: float
) -> None:
    found = run_window(
        [Lane(script({}), carried=ACCOUNT)], RISING, start_ts=day(start), cut_short=True
    )
    assert [(row.status, row.account) for row in found.rows] == [
        ("cancelled", msgspec.structs.replace(ACCOUNT, positions=(full(LONG),)))
    ]
    (position,) = found.document()["open_positions"]
    assert (position["last_price"], position["unrealized_pnl"]) == (price, 10 * (price - 90) - 2)


def full(position: CarriedPosition) -> CarriedPosition:
    """Return the same position with nothing left to be understood."""
    return Position.of(position).carried()
