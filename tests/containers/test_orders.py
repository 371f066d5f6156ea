from __future__ import annotations

import pytest

from admf.containers.events import Order
from admf.containers.orders import BarPrices, WorkingOrder, match

BAR = BarPrices(open=100.0, high=110.0, low=90.0, close=105.0)


def working(side: str, start: float | None = None, **fields: object) -> WorkingOrder:
    kinds = {(False, False): "market", (True, False): "limit", (False, True): "stop"}
    has = (fields.get("limit_price") is not None, fields.get("stop_price") is not None)
    order = Order(0, "A", 1, side, kinds.get(has, "stop_limit"), quantity=1.0, **fields)
    return WorkingOrder.of(order, start)


def matched(order: WorkingOrder, bar: BarPrices = BAR) -> tuple[float, str] | None:
    found = match(order, bar)
    return None if found is None else (found.price, found.moment)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_market_order_fills_at_the_open(side: str) -> None:
    assert matched(working(side)) == (100.0, "open")


@pytest.mark.parametrize(
    ("side", "limit", "expected"),
    [
        ("buy", 95.0, (95.0, "intrabar")),
        ("buy", 90.0, (90.0, "intrabar")),
        ("buy", 89.99, None),
        ("buy", 100.0, (100.0, "open")),
        ("buy", 104.0, (100.0, "open")),
        ("sell", 105.0, (105.0, "intrabar")),
        ("sell", 110.0, (110.0, "intrabar")),
        ("sell", 110.01, None),
        ("sell", 100.0, (100.0, "open")),
        ("sell", 96.0, (100.0, "open")),
    ],
)
def test_a_limit_fills_when_touched_or_better_at_an_open_beyond_it(
    side: str, limit: float, expected: tuple[float, str] | None
) -> None:
    assert matched(working(side, limit_price=limit)) == expected


@pytest.mark.parametrize(
    ("side", "stop", "expected"),
    [
        ("buy", 105.0, (105.0, "intrabar")),
        ("buy", 110.0, (110.0, "intrabar")),
        ("buy", 110.01, None),
        ("buy", 100.0, (100.0, "open")),
        ("buy", 96.0, (100.0, "open")),
        ("sell", 95.0, (95.0, "intrabar")),
        ("sell", 90.0, (90.0, "intrabar")),
        ("sell", 89.99, None),
        ("sell", 100.0, (100.0, "open")),
        ("sell", 104.0, (100.0, "open")),
    ],
)
def test_a_stop_fills_when_touched_or_worse_at_an_open_beyond_it(
    side: str, stop: float, expected: tuple[float, str] | None
) -> None:
    assert matched(working(side, stop_price=stop)) == expected


@pytest.mark.parametrize(
    ("side", "stop", "limit", "expected"),
    [
        ("buy", 105.0, 106.0, (105.0, "intrabar")),
        ("buy", 105.0, 105.0, (105.0, "intrabar")),
        ("buy", 105.0, 104.0, None),  # whether 104 came after 105 is not known
        ("buy", 111.0, 112.0, None),
        ("buy", 98.0, 101.0, (100.0, "open")),
        ("buy", 98.0, 99.0, (99.0, "intrabar")),  # triggered at the open, 99 came later
        ("buy", 98.0, 89.0, None),
        ("sell", 95.0, 94.0, (95.0, "intrabar")),
        ("sell", 95.0, 96.0, None),
        ("sell", 102.0, 99.0, (100.0, "open")),
        ("sell", 102.0, 101.0, (101.0, "intrabar")),
        ("sell", 102.0, 111.0, None),
    ],
)
def test_a_stop_limit_never_fills_beyond_its_limit(
    side: str, stop: float, limit: float, expected: tuple[float, str] | None
) -> None:
    assert matched(working(side, stop_price=stop, limit_price=limit)) == expected


def test_a_touched_stop_limit_goes_on_as_a_limit_order() -> None:
    order = working("buy", stop_price=105.0, limit_price=104.0)
    order.end_bar(BAR)
    below_the_stop = BarPrices(103.0, 103.5, 102.0, 103.0)
    assert matched(order, below_the_stop) == (103.0, "open")


def test_an_untouched_stop_limit_goes_on_as_it_was() -> None:
    order = working("buy", stop_price=111.0, limit_price=112.0)
    order.end_bar(BAR)
    assert matched(order, BarPrices(103.0, 103.5, 102.0, 103.0)) is None


@pytest.mark.parametrize(
    ("side", "fields", "expected"),
    [
        ("sell", {}, None),
        ("sell", {"limit_price": 105.0}, None),
        ("sell", {"limit_price": 95.0}, None),
        ("sell", {"stop_price": 95.0}, (95.0, "intrabar")),
        ("sell", {"stop_price": 98.0}, (97.0, "intrabar")),  # the price was 97 when it was placed
        ("buy", {"stop_price": 105.0}, (105.0, "intrabar")),
        ("buy", {"stop_price": 96.0}, (97.0, "intrabar")),
        ("sell", {"stop_price": 89.0}, None),
    ],
)
def test_only_stops_fill_in_the_bar_in_which_they_were_placed(
    side: str, fields: dict[str, float], expected: tuple[float, str] | None
) -> None:
    assert matched(working(side, start=97.0, **fields)) == expected


def test_an_order_sees_the_whole_of_the_next_bar() -> None:
    order = working("sell", start=97.0, limit_price=105.0)
    order.end_bar(BAR)
    assert matched(order) == (105.0, "intrabar")


@pytest.mark.parametrize(
    ("side", "level", "start", "expected"),
    [
        ("sell", 90.0, None, 99.0),  # 10 % below the high, 110
        ("sell", 99.5, None, 99.5),  # never down
        ("sell", 90.0, 97.0, 94.5),  # entered within the bar: only the close, 105, came later
        ("buy", 110.0, None, 99.0),  # 10 % above the low, 90
        ("buy", 98.0, None, 98.0),
        ("buy", 130.0, 97.0, 115.5),
    ],
)
def test_a_trailing_stop_follows_the_best_price_since_the_entry(
    side: str, level: float, start: float | None, expected: float
) -> None:
    order = working(side, start=start, stop_price=level, trailing_pct=10.0)
    order.end_bar(BAR)
    assert order.stop_price == pytest.approx(expected, rel=1e-12)
