"""Where two runs begin to differ, in plain words."""

from __future__ import annotations

from typing import Any

import pytest

from admf.containers.events import Signal
from admf.containers.metrics.history import EquityCurve, Trade
from admf.workflows.lookahead_findings import Runs, first_difference
from admf.workflows.lookahead_runs import Trail

DAY_NS = 86_400 * 10**9
FIRST_NS = 18_262 * DAY_NS
"""2020-01-01."""

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
            (
                "on 2020-01-01 the strategy asks to buy AAA quantity 5.0 stop_loss 90.0 here, "
                "but does nothing there"
            ),
        ),
        (
            _trail([_signal(1, target=0.5)]),
            _trail([_signal(1, target=-1.0)]),
            (
                "on 2020-01-01 the strategy asks for a target of 0.5 in AAA here, "
                "but asks for a target of -1 in AAA there"
            ),
        ),
        (
            _trail(trades=[_trade(1, 1, 2)]),
            _trail(),
            (
                "on 2020-01-02 trade AAA-1 is long 1 from 2020-01-01T00:00:00Z at 100 to "
                "2020-01-02T00:00:00Z at 100 here, but there is no such trade there"
            ),
        ),
        (
            _trail(trades=[_trade(1, 1, 3)]),
            _trail(trades=[_trade(1, 2, 3)]),
            (
                "on 2020-01-01 trade AAA-1 is long 1 from 2020-01-01T00:00:00Z at 100 to "
                "2020-01-03T00:00:00Z at 100 here, but trade AAA-1 is long 1 from "
                "2020-01-02T00:00:00Z at 100 to 2020-01-03T00:00:00Z at 100 there"
            ),
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
