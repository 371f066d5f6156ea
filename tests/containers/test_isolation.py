"""A window's files depend on what the window can have seen, and on nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import talib
from numpy.typing import NDArray

from admf.containers.events import Features
from admf.containers.indicators import BAR_COLUMNS, indicator_names, resolve_indicator
from admf.containers.market_data import Bars as MarketBars
from admf.containers.market_data import MarketData
from admf.containers.strategies.base import FeatureView, Strategy
from admf.engine.errors import ConfigError
from tests.containers.harness import (
    DAY,
    FIRST_TS,
    Lane,
    Ohlc,
    WindowRun,
    random_bars,
    run_lanes,
    run_window,
)
from tests.sealing import without

START, STOP, STEPS = 100, 160, 220
SYMBOLS = ("A", "B")
BARS: dict[str, list[Ohlc]] = {
    name: random_bars(STEPS, seed) for seed, name in enumerate(("A", "B", "SPY"))
}
WINDOW = {"start_ts": FIRST_TS + START * DAY, "end_ts": FIRST_TS + STOP * DAY}
LANES = [
    Lane("sma_cross", {"fast": 3, "slow": 20}, sizing={"value": 0.5}),
    Lane("donchian_breakout", risk={"trailing_stop_pct": 5}),
    Lane(
        "random_entry",
        {"probability": 0.3, "hold_bars": 3},
        sizing={"type": "volatility_target", "value": 0.2},
    ),
]


def changed(bars: Mapping[str, Sequence[Ohlc]], rows: slice) -> dict[str, list[Ohlc]]:
    """Return the bars with other prices in some of the rows."""
    other = {}
    for number, (name, series) in enumerate(bars.items()):
        altered = list(series)
        altered[rows] = random_bars(STEPS, seed=90 + number, price=7.0)[rows]
        other[name] = altered
    return other


def run(bars: Mapping[str, Sequence[Ohlc]], **options: object) -> WindowRun:
    settings = {**WINDOW, "series": True, "return_blocks": 4, **options}
    return run_window(LANES, bars, symbols=SYMBOLS, benchmark="SPY", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("warmup", [None, 0, 30])
def test_bars_after_the_window_change_no_byte_of_its_files(warmup: int | None) -> None:
    found = run(BARS, warmup=warmup)
    assert {"series.json", "phase_summary.json", "all_trades.json"} < found.files.keys()
    assert found.summary.report["total_trades"] > 3
    assert run(changed(BARS, slice(STOP, None)), warmup=warmup).files == found.files


def test_the_last_bar_of_the_window_does_change_them() -> None:
    path = "containers/portfolio_001_results.json"
    other = run(changed(BARS, slice(STOP - 1, None)))
    assert other.files[path] != run(BARS).files[path]


@pytest.mark.parametrize("name", ["A", "B", "SPY"])
def test_the_fingerprint_is_that_of_the_windows_own_bars(name: str) -> None:
    def fingerprint(rows: slice) -> str:
        bars = {**BARS, name: changed(BARS, rows)[name]}
        found: str = run(bars).document()["data"]["fingerprint"]
        return found

    own = fingerprint(slice(0, 0))
    assert fingerprint(slice(STOP, None)) == own
    assert fingerprint(slice(0, START)) == own
    assert fingerprint(slice(STOP - 1, STOP)) != own
    assert fingerprint(slice(START, START + 1)) != own


def test_the_fingerprint_of_all_bars_is_that_of_the_data() -> None:
    found = run_window([Lane("buy_and_hold")], BARS).document()["data"]["fingerprint"]
    ts = np.arange(STEPS) * DAY + FIRST_TS
    bars = [
        MarketBars(name, ts, *np.array(series).T, np.zeros(STEPS)) for name, series in BARS.items()
    ]
    assert found == MarketData(bars).fingerprint


def test_no_indicator_looks_ahead() -> None:
    def columns(series: Sequence[Ohlc]) -> dict[str, NDArray[np.float64]]:
        prices = np.array(series).T.copy()
        return dict(zip(BAR_COLUMNS, (*prices, 1e6 / prices[3]), strict=True))

    bars, other = (columns(it["A"]) for it in (BARS, changed(BARS, slice(STOP, None))))
    compared = 0
    for name in indicator_names():
        try:
            indicator = resolve_indicator(name, ())
        except ConfigError:  # does not fit bars
            continue
        pairs = zip(indicator.compute(bars), indicator.compute(other), strict=True)
        for one, another in pairs:
            np.testing.assert_array_equal(one[:STOP], another[:STOP], err_msg=name)
            compared += 1
    assert compared > 150


# -- warm-up ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("warmup", [None, 0, 1, 3, 4, 10, START, START + 50])
def test_indicators_see_as_many_bars_before_the_window_as_they_are_allowed(
    warmup: int | None,
) -> None:
    seen: list[NDArray[np.float64]] = []

    class Watches(Strategy):
        def targets(self, bars: object, features: FeatureView) -> NDArray[np.float64]:
            seen.append(features("ema", 5))
            return np.zeros(STOP - START)

    run_window([Lane(Watches)], BARS["A"], **WINDOW, warmup=warmup)  # type: ignore[arg-type]
    first = 0 if warmup is None else max(0, START - warmup)
    closes = np.array(BARS["A"])[first:STOP, 3].copy()
    np.testing.assert_array_equal(seen[0], talib.EMA(closes, 5)[START - first :])


@pytest.mark.parametrize("warmup", [0, 30])
def test_bars_before_the_warm_up_change_nothing_but_the_benchmark_before_the_window(
    warmup: int,
) -> None:
    other = {**changed(BARS, slice(0, START - warmup)), "SPY": BARS["SPY"]}
    assert run(other, warmup=warmup).files == run(BARS, warmup=warmup).files


def test_published_features_are_those_of_the_warm_up() -> None:
    lane = Lane("sma_cross", {"fast": 3, "slow": 20})
    (found,) = run_lanes([lane], BARS["A"], **WINDOW, warmup=4, block_size=7)  # type: ignore[arg-type]
    values = np.array([it.values for it in found.of(Features)])
    assert len(values) == STOP - START
    assert np.isfinite(values[:, 0]).all()  # three bars are enough for the fast one
    assert np.isnan(values[: 19 - 4, 1]).all()
    assert np.isfinite(values[19 - 4 :, 1]).all()


def test_a_warm_up_that_reaches_over_all_data_is_all_there_is() -> None:
    found, expected = run(BARS, warmup=10_000).files, run(BARS).files
    assert found.keys() == expected.keys()
    for name in found:
        told = {"window", "files"}  # these say how long the warm-up was
        assert without(found[name], *told) == without(expected[name], *told)
