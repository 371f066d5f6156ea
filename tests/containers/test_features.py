from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers.events import Bar, Features
from admf.containers.features import FeaturesContainer, FeatureSpec, FeatureStore
from admf.containers.indicators import Indicator
from admf.containers.market_data import Bars, MarketData
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.container import ContainerState
from admf.engine.errors import ConfigError, DataError, HandlerError
from admf.engine.results import Document

DAY = 86_400_000_000_000


def series(symbol: str, days: list[int], seed: int = 1) -> Bars:
    close = 100 + np.random.default_rng(seed).normal(0, 1, len(days)).cumsum()
    ts = np.array(days, dtype=np.int64) * DAY
    return Bars(symbol, ts, close, close + 1, close - 1, close, np.full(len(days), 10.0))


@pytest.fixture
def market() -> MarketData:
    """Two symbols whose bars only partly share their days."""
    a = series("A", [day for day in range(60) if day % 3], seed=1)
    b = series("B", [day for day in range(60) if day % 4], seed=2)
    return MarketData([a, b])


def moving_mean(values: NDArray[np.float64], period: int) -> NDArray[np.float64]:
    means = [np.nan] * (period - 1)
    means += [
        float(np.mean(values[i - period + 1 : i + 1])) for i in range(period - 1, len(values))
    ]
    return np.array(means)


# -- specs and the store ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (FeatureSpec("sma", (10,)), "sma_10"),
        (FeatureSpec("max", (20,), on="high"), "max_20_high"),
        (FeatureSpec("macd", (12, 26, 9), output="macdsignal"), "macd_12_26_9_macdsignal"),
        (FeatureSpec("bbands", (20, 2.0, 2.5), output="upperband"), "bbands_20_2_2.5_upperband"),
        (FeatureSpec("obv"), "obv"),
        (FeatureSpec("sar", (0.02, np.float64(0.2))), "sar_0.02_0.2"),
    ],
)
def test_names_tell_what_a_feature_is(spec: FeatureSpec, name: str) -> None:
    assert spec.name == name


def test_a_column_covers_all_bars_of_its_symbol(market: MarketData) -> None:
    store = FeatureStore(market)
    for symbol in ("A", "B"):
        close = market.bars(symbol).close
        column = store.column(symbol, FeatureSpec("sma", (5,)))
        np.testing.assert_allclose(column, moving_mean(close, 5), rtol=1e-12)


def test_extra_symbols_have_features_too() -> None:
    market = MarketData([series("A", [1, 2])], extras=[series("X", [1, 2, 3])])
    assert FeatureStore(market).column("X", FeatureSpec("sma", (2,))).shape == (3,)


def test_a_column_is_computed_once_and_shared(market: MarketData) -> None:
    store = FeatureStore(market)
    spec = FeatureSpec("sma", (5,))
    assert store.column("A", spec) is store.column("A", FeatureSpec("sma", (5,)))
    assert store.column("A", spec) is not store.column("B", spec)


def test_outputs_of_one_call_are_kept_together(market: MarketData) -> None:
    store = FeatureStore(market)
    store.column("A", FeatureSpec("macd", output="macd"))
    kept = store.kept_bytes
    store.column("A", FeatureSpec("macd", output="macdsignal"))
    assert store.kept_bytes == kept == 3 * 8 * len(market.bars("A"))


def test_columns_and_views_cannot_be_written(market: MarketData) -> None:
    store = FeatureStore(market)
    with pytest.raises(ValueError, match="read-only"):
        store.column("A", FeatureSpec("sma", (5,)))[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        store.window("A", 3, 9)("sma", 5)[0] = 1.0


def test_unknown_symbols_and_indicators_are_refused(market: MarketData) -> None:
    store = FeatureStore(market)
    with pytest.raises(DataError, match="no symbol 'C'"):
        store.column("C", FeatureSpec("sma", (5,)))
    with pytest.raises(ConfigError, match="did you mean 'sma'"):
        store.column("A", FeatureSpec("smaa", (5,)))


def test_the_least_recently_used_columns_go_first() -> None:
    market = MarketData([series("A", list(range(100)))])
    store = FeatureStore(market, max_bytes=3 * 800)
    columns = {n: store.column("A", FeatureSpec("sma", (n,))) for n in (2, 3, 4)}
    assert store.column("A", FeatureSpec("sma", (2,))) is columns[2]
    store.column("A", FeatureSpec("sma", (5,)))  # pushes out 3, which nobody asked for since
    assert store.kept_bytes == 3 * 800
    assert store.column("A", FeatureSpec("sma", (2,))) is columns[2]
    again = store.column("A", FeatureSpec("sma", (3,)))
    assert again is not columns[3]
    np.testing.assert_array_equal(again, columns[3])


def test_short_data_keep_many_columns_and_long_data_twelve() -> None:
    short = FeatureStore(MarketData([series("A", list(range(100)))]))
    for period in range(2, 50):
        short.column("A", FeatureSpec("sma", (period,)))
    assert short.kept_bytes == 48 * 800
    price = np.full(200_000, 10.0)
    long = MarketData([Bars("A", np.arange(200_000), *[price] * 5)])
    store = FeatureStore(long)
    for period in range(2, 17):
        store.column("A", FeatureSpec("sma", (period,)))
    assert store.kept_bytes == 2 * long.nbytes == 12 * 1_600_000


def test_a_column_larger_than_the_bound_is_returned_but_not_kept() -> None:
    market = MarketData([series("A", list(range(100)))])
    store = FeatureStore(market, max_bytes=100)
    assert len(store.column("A", FeatureSpec("sma", (2,)))) == 100
    assert store.kept_bytes == 0


class OvertakenStore(FeatureStore):
    """Another thread asks for the same column, and gets it, while this one computes."""

    overtaker: NDArray[np.float64] | None = None

    def _compute(self, symbol: str, indicator: Indicator) -> tuple[NDArray[np.float64], ...]:
        if self.overtaker is None:
            self.overtaker = np.empty(0)
            self.overtaker = self.column(symbol, FeatureSpec("sma", (5,)))
        return super()._compute(symbol, indicator)


def test_threads_that_compute_at_the_same_time_share_one_column(market: MarketData) -> None:
    store = OvertakenStore(market)
    assert store.column("A", FeatureSpec("sma", (5,))) is store.overtaker
    assert store.kept_bytes == 8 * len(market.bars("A"))


def test_a_window_sees_a_slice_of_the_shared_column(market: MarketData) -> None:
    store = FeatureStore(market)
    window = store.window("A", 10, 20)
    whole = store.column("A", FeatureSpec("sma", (8,)))
    np.testing.assert_array_equal(window("sma", 8), whole[10:20])
    assert np.shares_memory(window("sma", 8), whole)
    assert not np.isnan(window("sma", 8)).any()  # warmed up by the bars before the window
    assert window("sma", 8) is window("sma", 8)


def test_a_window_passes_on_column_and_output(market: MarketData) -> None:
    window = FeatureStore(market).window("A", 0, 40)
    np.testing.assert_array_equal(window("max", 3, on="high"), window("max", 3) + 1)
    difference = window("macd", 3, 5, 2, output="macd") - window(
        "macd", 3, 5, 2, output="macdsignal"
    )
    histogram = window("macd", 3, 5, 2, output="macdhist")
    np.testing.assert_allclose(difference, histogram, atol=1e-12)


# -- the container ----------------------------------------------------------------------------

SPECS = (FeatureSpec("sma", (5,)), FeatureSpec("max", (3,), on="high"))


async def published(
    market: MarketData, specs: tuple[FeatureSpec, ...], blocks: list[Block[Bar]]
) -> list[Block[Features]]:
    """Run the container over blocks of bars and return what it publishes."""
    bus = Bus()
    container = FeaturesContainer("features", scope=bus, store=FeatureStore(market), specs=specs)
    await container.start()
    seen: list[Block[Features]] = []
    bus.subscribe((Features,), seen.append, blocks=True)
    for block in blocks:
        bus.publish(block, source="data")
    await bus.drain()
    await bus.aclose()
    return seen


def cut(market: MarketData, size: int) -> list[Block[Bar]]:
    return [
        market.block(start, min(start + size, market.steps))
        for start in range(0, market.steps, size)
    ]


@pytest.mark.anyio
async def test_features_follow_the_rows_of_the_bars(market: MarketData) -> None:
    (bars,) = cut(market, market.steps)
    (features,) = await published(market, SPECS, [bars])
    assert len(features) == len(bars)
    assert features.columns["names"] == ("sma_5", "max_3_high")
    means = {symbol: moving_mean(market.bars(symbol).close, 5) for symbol in "AB"}
    for bar, event in zip(bars, features, strict=True):
        row = market.bars(bar.symbol).ts.tolist().index(bar.ts)
        highs = market.bars(bar.symbol).high[max(0, row - 2) : row + 1]
        expected = [means[bar.symbol][row], max(highs) if row >= 2 else np.nan]
        assert (event.ts, event.symbol) == (bar.ts, bar.symbol)
        np.testing.assert_allclose(event.values, expected, rtol=1e-12)


@pytest.mark.anyio
@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_the_events_do_not_depend_on_the_block_size(market: MarketData, size: int) -> None:
    whole = await published(market, SPECS, cut(market, market.steps))
    parts = await published(market, SPECS, cut(market, size))
    events = [event for block in parts for event in block]
    assert repr(events) == repr(whole[0].events())


@pytest.mark.anyio
async def test_one_symbol_in_a_plain_column() -> None:
    market = MarketData([series("A", list(range(30)))])
    parts = await published(market, SPECS, cut(market, 11))
    values = np.concatenate([block.column("values") for block in parts])
    np.testing.assert_allclose(values[:, 0], moving_mean(market.bars("A").close, 5), rtol=1e-12)


@pytest.mark.anyio
async def test_symbols_may_come_as_single_events_or_arrays(market: MarketData) -> None:
    (bars,) = cut(market, market.steps)
    array = Block(Bar, {**bars.columns, "symbol": bars.column("symbol")})
    rows = np.arange(len(bars)) % 2 == 0  # not consecutive bars of a symbol
    (whole,) = await published(market, SPECS, [bars])
    (from_array,) = await published(market, SPECS, [array])
    (from_events,) = await published(market, SPECS, [Block.of(bars.events())])
    (selected,) = await published(market, SPECS, [bars.select(rows)])
    assert repr(from_array.events()) == repr(whole.events())
    assert repr(from_events.events()) == repr(whole.events())
    assert repr(selected.events()) == repr(whole.select(rows).events())


@pytest.mark.anyio
async def test_a_block_is_published_even_without_features(market: MarketData) -> None:
    (features,) = await published(market, (), cut(market, market.steps))
    assert features.column("values").shape == (len(features), 0)
    assert features.events()[0].values == ()
    assert features.events()[0].names == ()


@pytest.mark.anyio
async def test_each_block_of_features_comes_after_its_bars(market: MarketData) -> None:
    bus = Bus()
    order: list[tuple[str, int]] = []
    bus.subscribe((Bar, Features), lambda b: order.append((b.cls.__name__, b.ts[0])), blocks=True)
    container = FeaturesContainer("features", scope=bus, store=FeatureStore(market))
    await container.start()
    for block in cut(market, 20):
        bus.publish(block)
        await bus.drain()
    assert [name for name, _ in order] == ["Bar", "Features"] * 3
    assert [ts for _, ts in order[::2]] == [ts for _, ts in order[1::2]]
    await bus.aclose()


@pytest.mark.anyio
async def test_what_is_declared_twice_is_published_once(market: MarketData) -> None:
    (features,) = await published(market, (*SPECS, SPECS[0]), cut(market, market.steps))
    assert features.columns["names"] == ("sma_5", "max_3_high")


@pytest.mark.anyio
@pytest.mark.parametrize("days", [[1, 2, 3], [58, 59, 999]])
async def test_bars_of_another_data_set_are_refused(market: MarketData, days: list[int]) -> None:
    foreign = MarketData([series("A", days)]).block(0, 3)
    with pytest.raises(HandlerError, match="bars of A are not those the features are made from"):
        await published(market, SPECS, [foreign])


@pytest.mark.anyio
async def test_a_wrong_feature_fails_the_start(market: MarketData) -> None:
    store = FeatureStore(market)
    container = FeaturesContainer("f", scope=Bus(), store=store, specs=[FeatureSpec("smaa")])
    with pytest.raises(ConfigError, match="unknown indicator 'smaa'"):
        await container.start()
    assert container.state is ContainerState.FAILED


@pytest.mark.anyio
async def test_nothing_is_put_together_that_nobody_reads(market: MarketData) -> None:
    (features,) = await published(market, SPECS, cut(market, market.steps))
    unread = features.size_bytes
    assert features.column("values").nbytes == 8 * 2 * len(features)
    assert features.size_bytes == unread + 8 * 2 * len(features)


@pytest.mark.anyio
async def test_the_container_writes_nothing(market: MarketData) -> None:
    bus = Bus()
    container = FeaturesContainer("features", scope=bus, store=FeatureStore(market), specs=SPECS)
    await container.start()
    await container.stop()
    written: list[Document] = []

    async def write(document: Document) -> None:
        written.append(document)

    await container.cleanup(write)
    assert written == []
    await bus.aclose()
