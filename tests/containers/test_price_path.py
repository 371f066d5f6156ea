from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.catalog import DataCatalog
from admf.containers.config import DataConfig
from admf.containers.market_data import Bars, MarketData
from admf.containers.price_path import PricePathConfig, resampled
from admf.engine.errors import DataError

DAY = 86_400_000_000_000
COLUMNS = ("ts", "open", "high", "low", "close", "volume")


def bars_at(symbol: str, steps: list[int], seed: int) -> Bars:
    """Return a random walk with bars at some days; the volume of a bar is its day."""
    rng = np.random.default_rng([seed, len(steps)])
    close = 50.0 * np.exp(np.cumsum(rng.normal(0, 0.05, len(steps))))
    open_ = close * np.exp(rng.normal(0, 0.02, len(steps)))
    high = np.maximum(open_, close) * (1 + rng.exponential(0.01, len(steps)))
    low = np.minimum(open_, close) / (1 + rng.exponential(0.01, len(steps)))
    return Bars(symbol, np.array(steps) * DAY, open_, high, low, close, np.array(steps, float))


def config(seed: int = 1, block_length: float = 4.0, **changes: object) -> PricePathConfig:
    return PricePathConfig(block_length=block_length, entropy=seed, **changes)


def columns(data: MarketData, symbol: str, start: int = 0, stop: int | None = None) -> np.ndarray:
    bars = data.bars(symbol)[slice(*data.bar_range(symbol, start, stop or data.steps))]
    return np.array([getattr(bars, name) for name in COLUMNS])


def identical(left: MarketData, right: MarketData) -> bool:
    return left.fingerprint == right.fingerprint


def moves(bars: Bars) -> dict[float, tuple[float, ...]]:
    """Return, by day, the moves of each bar: of its open from the close before, and within it."""
    before = [bars.open[0], *bars.close[:-1]]
    gaps = [1.0, *(bars.open[1:] / bars.close[:-1])]
    assert len(before) == len(gaps)
    return {
        float(bars.volume[row]): (
            float(gaps[row]),
            *(float(getattr(bars, name)[row] / bars.open[row]) for name in COLUMNS[2:5]),
        )
        for row in range(len(bars))
    }


@st.composite
def markets(draw: st.DrawFn) -> tuple[MarketData, PricePathConfig]:
    """Return several symbols with gaps of their own, an extra one, and a range of time steps."""
    days = st.sets(st.integers(0, 40), min_size=1, max_size=30).map(sorted)
    lists = draw(st.lists(days, min_size=1, max_size=3))
    seed = draw(st.integers(0, 99))
    traded = [bars_at(name, steps, seed) for name, steps in zip("ABC", lists, strict=False)]
    data = MarketData(traded, extras=[bars_at("SPY", draw(days), seed)], timeframe="1d")
    start = draw(st.integers(0, data.steps - 1))
    stop = draw(st.integers(start + 1, data.steps))
    return data, config(
        seed,
        draw(st.floats(1, 50)),
        start_ts=draw(st.sampled_from([None, int(data.ts[start])]))
        if not start
        else int(data.ts[start]),
        end_ts=int(data.ts[stop]) if stop < data.steps else None,
    )


@settings(max_examples=40)
@given(markets())
def test_the_time_line_and_everything_outside_the_range_stay(
    given: tuple[MarketData, PricePathConfig],
) -> None:
    data, path = given
    made = resampled(data, path)
    start, stop = data.step_range(path.start_ts, path.end_ts)
    assert made.ts.tolist() == data.ts.tolist()
    assert (made.symbols, made.extra_symbols, made.timeframe) == (
        ("A", "B", "C")[: len(data.symbols)],
        ("SPY",),
        "1d",
    )
    for symbol in data.symbols:
        for part in ((0, start), (stop, data.steps)):
            if part[0] < part[1]:
                assert (
                    columns(made, symbol, *part).tolist() == columns(data, symbol, *part).tolist()
                )
    real, drawn = data.bars("SPY"), made.bars("SPY")
    outside = (real.ts < data.ts[start]) | (real.ts > data.ts[stop - 1])
    kept = (drawn.ts < data.ts[start]) | (drawn.ts > data.ts[stop - 1])
    assert drawn.close[kept].tolist() == real.close[outside].tolist()


@settings(max_examples=40)
@given(markets())
def test_high_and_low_enclose_open_and_close(given: tuple[MarketData, PricePathConfig]) -> None:
    data, path = given
    made = resampled(data, path)
    for symbol in (*data.symbols, "SPY"):
        bars = made.bars(symbol)
        assert np.all(bars.high >= np.maximum(bars.open, bars.close))
        assert np.all(bars.low <= np.minimum(bars.open, bars.close))
        assert np.all(bars.low > 0)


@settings(max_examples=40)
@given(markets())
def test_all_symbols_come_from_the_same_real_step_with_their_moves_and_volumes(
    given: tuple[MarketData, PricePathConfig],
) -> None:
    data, path = given
    made = resampled(data, path)
    start, stop = data.step_range(path.start_ts, path.end_ts)
    real = {symbol: moves(data.bars(symbol)) for symbol in data.symbols}
    there = data.ts[start:stop] // DAY
    for step in range(start, stop):
        days = set()
        for symbol in data.symbols:
            first, last = made.bar_range(symbol, step, step + 1)
            for row in range(first, last):
                bars = made.bars(symbol)
                day = float(bars.volume[row])
                days.add(day)
                gap, *inside = real[symbol][day]
                before = bars.close[row - 1] if row else data.bars(symbol).open[0]
                assert bars.open[row] / before == pytest.approx(gap, rel=1e-9)
                within = [getattr(bars, name)[row] / bars.open[row] for name in COLUMNS[2:5]]
                assert within == pytest.approx(inside, rel=1e-9)
        (day,) = days
        assert day in there
        present = {s for s in data.symbols if day in real[s]}
        assert present == {
            s for s in data.symbols if np.ptp(made.bar_range(s, step, step + 1)) == 1
        }


@settings(max_examples=40)
@given(markets(), st.integers(0, 1000))
def test_no_bar_after_the_range_has_any_influence(
    given: tuple[MarketData, PricePathConfig], seed: int
) -> None:
    data, path = given
    _, stop = data.step_range(path.start_ts, path.end_ts)
    last = int(data.ts[stop - 1])

    def corrupted(bars: Bars) -> Bars:
        late = bars.ts > last
        factor = np.where(late, np.random.default_rng(seed).uniform(1, 9, len(bars)), 1.0)
        prices = [getattr(bars, name) * factor for name in COLUMNS[1:]]
        return Bars(bars.symbol, bars.ts, *prices)

    other = MarketData(
        [corrupted(data.bars(s)) for s in data.symbols], extras=[corrupted(data.bars("SPY"))]
    )
    path = msgspec.structs.replace(path, end_ts=last + 1)
    first, second = (resampled(it, path) for it in (data, other))
    assert identical(first.part(0, stop), second.part(0, stop))


def test_a_path_is_worked_by_hand() -> None:
    # a block that never ends: the real bars from the third on, then from the first on
    bars = Bars(
        "A",
        np.arange(4) * DAY,
        open=[10, 22, 30, 33],
        high=[24, 44, 36, 66],
        low=[5, 11, 15, 33],
        close=[20, 30, 30, 66],
        volume=[1, 2, 3, 4],
    )
    paths = [resampled(MarketData([bars]), config(seed, 1e9)).bars("A") for seed in range(50)]
    path = next(it for it in paths if it.volume[0] == 3)
    assert path.volume.tolist() == [3, 4, 1, 2]
    # begins at the first open, 10; moves 30 -> 30 (high 1.2, low 0.5 times the open), then a gap
    # of 1.1 and a double, then the first bar, which has no bar before it, then a gap of 1.1
    assert path.open.tolist() == pytest.approx([10, 11, 22, 48.4])
    assert path.high.tolist() == pytest.approx([12, 22, 52.8, 96.8])
    assert path.low.tolist() == pytest.approx([5, 11, 11, 24.2])
    assert path.close.tolist() == pytest.approx([10, 22, 44, 66])


def test_a_path_goes_on_from_the_last_close_before_its_range() -> None:
    data = MarketData([bars_at("A", list(range(10)), 3)])
    made = resampled(data, config(start_ts=4 * DAY)).bars("A")
    day = int(made.volume[4])
    real = data.bars("A")
    assert made.open[4] == pytest.approx(real.close[3] * real.open[day] / real.close[day - 1])


def test_an_extra_symbol_with_more_bars_than_time_steps_keeps_its_whole_moves() -> None:
    weekly = bars_at("A", [0, 7, 14, 21], 1)
    daily = bars_at("SPY", list(range(22)), 1)
    data = MarketData([weekly], extras=[daily])
    made = resampled(data, config(5, 1e9))
    weeks = (made.bars("A").volume // 7).astype(int)
    closes = made.last_closes("SPY")
    for step in range(1, 4):
        if weeks[step] > 0:
            real = daily.close[7 * weeks[step]] / daily.close[7 * weeks[step] - 7]
            assert closes[step] / closes[step - 1] == pytest.approx(real)
    assert len(made.bars("SPY")) == 4


@pytest.mark.parametrize(
    ("changes", "same"),
    [
        ({}, True),
        ({"entropy": 2}, False),
        ({"spawn_key": (1,)}, False),
        ({"block_length": 1.0}, False),
    ],
)
def test_the_draw_depends_on_nothing_but_its_config(changes: dict[str, object], same: bool) -> None:
    data = MarketData([bars_at("A", list(range(100)), 3)])
    first = resampled(data, config())
    copy = msgspec.json.decode(msgspec.json.encode(config()), type=PricePathConfig)
    second = resampled(data, msgspec.structs.replace(copy, **changes))
    assert identical(first, second) is same


@pytest.mark.parametrize("block_length", [1.0, 5.0, 20.0])
def test_blocks_have_the_mean_length_that_is_asked_for(block_length: float) -> None:
    steps = 20_000
    data = MarketData([bars_at("A", list(range(steps)), 3)])
    day = resampled(data, config(11, block_length)).bars("A").volume
    blocks = 1 + np.count_nonzero((np.diff(day) != 1) & (day[1:] != 0))
    assert steps / blocks == pytest.approx(block_length, rel=0.05)


def test_every_real_step_is_drawn_as_often_as_every_other() -> None:
    data = MarketData([bars_at("A", list(range(8)), 3)])
    counts = np.zeros(8)
    for seed in range(1000):
        counts += np.bincount(resampled(data, config(seed)).bars("A").volume.astype(int), None, 8)
    assert counts / 1000 == pytest.approx(np.ones(8), abs=0.15)


def test_a_symbol_may_be_absent_from_a_path() -> None:
    data = MarketData([bars_at("A", list(range(9)), 1), bars_at("B", [8], 1)])
    paths = [resampled(data, config(seed)) for seed in range(20)]
    assert {len(path.bars("B")) > 0 for path in paths} == {False, True}
    assert all(len(path.bars("A")) == 9 for path in paths)


def test_a_range_without_steps_is_refused() -> None:
    data = MarketData([bars_at("A", [1, 2], 1)])
    with pytest.raises(DataError, match="at least one time step"):
        resampled(data, config(start_ts=3 * DAY))


def test_prices_that_leave_the_range_of_numbers_are_refused() -> None:
    steps = np.arange(1, 80)
    close = 10.0 ** (np.abs(40.0 - steps) * 7.5)
    bars = Bars("A", steps * DAY, close, close, close, close, close)
    with pytest.raises(DataError, match="path of A runs out of the range of numbers"):
        resampled(MarketData([bars]), config(0))


def test_the_last_two_paths_of_a_data_set_are_kept() -> None:
    catalog = DataCatalog()
    data = DataConfig(source="sample", symbols=("IBM",))
    first, second, third = (config(seed) for seed in (1, 2, 3))
    store = catalog.load_path(data, first)
    assert identical(store.market_data, resampled(catalog.load(data).market_data, first))
    catalog.load_path(data, second)
    assert catalog.load_path(data, first) is store
    catalog.load_path(data, third)
    assert catalog.load_path(data, first) is store
    catalog.load_path(data, second)
    catalog.load_path(data, third)
    again = catalog.load_path(data, first)
    assert again is not store
    assert identical(again.market_data, store.market_data)
    assert catalog.load_path(data, first, "GOOG") is not again
