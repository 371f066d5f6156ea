from __future__ import annotations

import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.events import Bar
from admf.containers.market_data import Bars, MarketData
from admf.engine.errors import DataError

DAY = 86_400_000_000_000
MONDAY = 4 * DAY  # 1970-01-05


def make_bars(symbol: str, ts: list[int], shift: float = 0.0) -> Bars:
    close = np.arange(len(ts), dtype=np.float64) + 100 + shift
    return Bars(symbol, ts, close - 0.5, close + 1, close - 1, close, close * 10)


def events_of(bars: Bars) -> list[Bar]:
    return [
        Bar(
            ts=int(bars.ts[i]),
            symbol=bars.symbol,
            open=float(bars.open[i]),
            high=float(bars.high[i]),
            low=float(bars.low[i]),
            close=float(bars.close[i]),
            volume=float(bars.volume[i]),
        )
        for i in range(len(bars))
    ]


@st.composite
def several_symbols(draw: st.DrawFn) -> list[Bars]:
    times = st.sets(st.integers(0, 30), max_size=20).map(sorted)
    lists = draw(st.lists(times, min_size=1, max_size=4).filter(any))
    names = draw(st.permutations(["A", "B", "C", "D"]))
    return [make_bars(names[i], ts, shift=1000.0 * i) for i, ts in enumerate(lists)]


@given(several_symbols(), st.integers(1, 31))
def test_blocks_of_any_size_give_all_bars_by_time_and_then_by_order_of_symbols(
    bars: list[Bars], block_size: int
) -> None:
    data = MarketData(bars)
    expected = sorted(
        ((event.ts, order, event) for order, each in enumerate(bars) for event in events_of(each)),
        key=lambda item: item[:2],
    )
    published = [
        event
        for start in range(0, data.steps, block_size)
        for event in data.block(start, min(start + block_size, data.steps))
    ]
    assert published == [event for _, _, event in expected]


@given(several_symbols(), st.data())
def test_a_range_of_steps_selects_the_bars_of_those_steps(
    bars: list[Bars], data: st.DataObject
) -> None:
    market = MarketData(bars)
    start = data.draw(st.integers(0, market.steps))
    stop = data.draw(st.integers(start, market.steps))
    times = set(market.ts[start:stop].tolist())
    for each in bars:
        first, last = market.bar_range(each.symbol, start, stop)
        assert each.ts[first:last].tolist() == [ts for ts in each.ts.tolist() if ts in times]


def test_the_time_line_holds_each_time_once() -> None:
    data = MarketData([make_bars("A", [1, 3, 5]), make_bars("B", [2, 3, 9])])
    assert data.ts.tolist() == [1, 2, 3, 5, 9]
    assert data.steps == 5
    assert data.symbols == ("A", "B")


def test_a_block_of_one_symbol_shares_the_arrays_and_the_symbol() -> None:
    data = MarketData([make_bars("A", [1, 2, 3])])
    block = data.block(1, 3)
    assert block.columns["symbol"] == "A"
    assert np.shares_memory(block.column("close"), data.bars("A").close)


def test_arrays_cannot_be_written_to() -> None:
    data = MarketData([make_bars("A", [1, 2, 3])])
    for array in (data.ts, data.bars("A").close, data.bars("A")[1:].ts):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 7


def test_the_callers_own_array_stays_writable() -> None:
    ts = np.array([1, 2], dtype=np.int64)
    Bars("A", ts, [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [0.0, 0.0])
    ts[0] = 0


def test_slices_of_bars_are_views_and_keep_the_symbol() -> None:
    bars = make_bars("A", [1, 2, 3, 4])
    part = bars[1:3]
    assert (part.symbol, len(part), part.ts.tolist()) == ("A", 2, [2, 3])
    assert np.shares_memory(part.volume, bars.volume)


def test_columns_become_contiguous_floats() -> None:
    table = np.arange(10).reshape(5, 2)
    bars = Bars("A", table[:, 0], *([table[:, 1]] * 5))
    assert bars.ts.dtype == np.int64
    assert bars.close.dtype == np.float64
    assert bars.close.flags.c_contiguous


def test_extra_symbols_add_no_steps_and_stand_in_no_block() -> None:
    data = MarketData([make_bars("A", [2, 4])], extras=[make_bars("SPY", [1, 2, 3])])
    assert data.symbols == ("A",)
    assert data.extra_symbols == ("SPY",)
    assert data.ts.tolist() == [2, 4]
    assert {bar.symbol for bar in data.block(0, 2)} == {"A"}
    assert len(data.bars("SPY")) == 3


def test_last_closes_carry_the_latest_known_close_forward() -> None:
    data = MarketData(
        [make_bars("A", [1, 3, 5, 7])], extras=[make_bars("SPY", [2, 3, 6], shift=400)]
    )
    np.testing.assert_array_equal(data.last_closes("SPY"), [np.nan, 501.0, 501.0, 502.0])


@pytest.mark.parametrize(
    ("start_ts", "end_ts", "expected"),
    [
        (None, None, (0, 4)),
        (20, None, (1, 4)),
        (15, 40, (1, 3)),
        (None, 41, (0, 4)),
        (99, None, (4, 4)),
        (30, 10, (2, 2)),
    ],
)
def test_step_range_takes_the_start_in_and_leaves_the_end_out(
    start_ts: int | None, end_ts: int | None, expected: tuple[int, int]
) -> None:
    data = MarketData([make_bars("A", [10, 20, 30, 40])])
    assert data.step_range(start_ts, end_ts) == expected


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([0, 1, 2, 3, 4], False),
        ([4, 5], False),
        ([3, 6], False),
        ([0, 5, 6], True),
        ([5, 13], True),
    ],
)
def test_weekend_trading_needs_bars_on_saturdays_and_sundays(
    days: list[int], expected: bool
) -> None:
    data = MarketData([make_bars("A", [MONDAY + day * DAY for day in sorted(days)])])
    assert data.trades_on_weekends is expected


def test_the_fingerprint_is_the_sha256_of_symbols_and_little_endian_arrays() -> None:
    data = MarketData([Bars("A", [5], [1.0], [4.0], [0.5], [2.0], [-0.0])])
    content = b"traded\0A\x001\0" + struct.pack("<q5d", 5, 1.0, 4.0, 0.5, 2.0, 0.0)
    assert data.fingerprint == hashlib.sha256(content).hexdigest()


def test_the_fingerprint_tells_every_difference() -> None:
    a, b = make_bars("A", [1, 2]), make_bars("B", [1, 2])
    changed = Bars("A", a.ts, a.open, a.high, a.low, a.close, a.volume + 1e-9)
    prints = {
        MarketData([a]).fingerprint,
        MarketData([b]).fingerprint,
        MarketData([a, b]).fingerprint,
        MarketData([b, a]).fingerprint,
        MarketData([a], extras=[b]).fingerprint,
        MarketData([changed]).fingerprint,
        MarketData([a[:1]]).fingerprint,
    }
    assert len(prints) == 7
    assert MarketData([make_bars("A", [1, 2])]).fingerprint == MarketData([a]).fingerprint


def test_an_unknown_symbol_names_those_that_are_there() -> None:
    data = MarketData([make_bars("GOOG", [1])], extras=[make_bars("SPY", [1])])
    with pytest.raises(DataError, match=r"'GOGO' \(did you mean 'GOOG'\?\); there are GOOG, SPY"):
        data.bars("GOGO")


@pytest.mark.parametrize(
    ("bars", "extras", "message"),
    [
        ([], [], "at least one bar"),
        ([make_bars("A", [])], [], "at least one bar"),
        ([make_bars("A", [1]), make_bars("A", [2])], [], "must differ"),
        ([make_bars("A", [1])], [make_bars("A", [2])], "must differ"),
        ([make_bars("A", [2, 1])], [], "do not increase"),
        ([make_bars("A", [1])], [make_bars("B", [3, 3])], "times of B do not increase"),
    ],
)
def test_contradictory_bars_are_refused(bars: list[Bars], extras: list[Bars], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MarketData(bars, extras=extras)


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in length"):
        Bars("A", [1, 2], [1.0], [1.0], [1.0], [1.0], [1.0])


def test_reprs_say_what_they_hold() -> None:
    bars = make_bars("A", [1, 2])
    assert repr(bars) == "<2 Bars of A>"
    assert repr(MarketData([bars])) == "<MarketData of A: 2 steps>"


@given(several_symbols(), several_symbols(), st.data())
def test_a_part_has_the_bars_of_its_time_steps_and_no_others(
    bars: list[Bars], others: list[Bars], draw: st.DataObject
) -> None:
    extras = [make_bars(f"X{each.symbol}", each.ts.tolist()) for each in others]
    data = MarketData(bars, extras=extras, timeframe="1d")
    start = draw.draw(st.integers(0, data.steps - 1))
    stop = draw.draw(st.integers(start + 1, data.steps))
    part = data.part(start, stop)
    assert part.ts.tolist() == data.ts[start:stop].tolist()
    assert (part.symbols, part.extra_symbols) == (data.symbols, data.extra_symbols)
    assert part.timeframe == "1d"
    first, last = part.ts[0], part.ts[-1]
    for symbol in (*data.symbols, *data.extra_symbols):
        whole, own = data.bars(symbol), part.bars(symbol)
        assert own.ts.tolist() == [ts for ts in whole.ts.tolist() if first <= ts <= last]
        assert not len(own) or np.shares_memory(own.close, whole.close)


def test_a_part_without_time_steps_is_refused() -> None:
    data = MarketData([make_bars("A", [1, 2, 3])])
    with pytest.raises(ValueError, match="no time steps from 1 to 1"):
        data.part(1, 1)
