"""The metrics against empyrical-reloaded, ffn, quantstats and scipy.

docs/metrics.md lists which definitions are the same and where they differ.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

import admf.containers
from admf.containers.metrics import METRICS

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    import ffn
    import quantstats.stats as qs

Values: TypeAlias = dict[str, float | None]
Oracle: TypeAlias = "Callable[[Curve], Any]"

SAMPLE = Path(admf.containers.__file__).parent / "sample" / "us_stocks_daily.csv.gz"
YEAR = 252
ROOT = math.sqrt(YEAR)


class Curve(NamedTuple):
    """An equity curve as the libraries want it, and what admf makes of it."""

    returns: pd.Series
    prices: pd.Series
    benchmark: pd.Series
    ours: Values

    @property
    def pairs(self) -> tuple[pd.Series, pd.Series]:
        """Returns whose benchmark return is known: all but the first."""
        return self.returns.iloc[1:], self.benchmark.pct_change().iloc[1:]

    @property
    def ffn(self) -> Any:
        return ffn.PerformanceStats(self.prices, annualization_factor=YEAR)


def random_walk() -> tuple[pd.DatetimeIndex, NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(20)
    moves = rng.standard_normal((2, 2500)) * 0.012 + 0.0004
    return (
        pd.bdate_range("2010-01-04", periods=2500),
        10_000 * np.cumprod(np.append(1, 1 + moves[0, 1:])),
        np.asarray(50 * np.cumprod(1 + moves[1])),
    )


def with_drawdowns() -> tuple[pd.DatetimeIndex, NDArray[np.float64], NDArray[np.float64]]:
    """Below the capital at once, flat stretches, two drawdowns, and one open at the end."""
    equity = [100, 95, 97, 97, 97, 104, 111, 99, 88, 92, 112, 112, 112, 125, 119, 131, 120, 101, 99]
    benchmark = [50, 49, 51, 52, 50, 53, 54, 52, 49, 50, 51, 53, 52, 55, 54, 57, 56, 52, 53]
    dates = pd.bdate_range("2020-01-06", periods=len(equity))
    return dates, np.array(equity, dtype=float), np.array(benchmark, dtype=float)


def often_flat() -> tuple[pd.DatetimeIndex, NDArray[np.float64], NDArray[np.float64]]:
    """Fat tails while in the market, which is half of the time; 16,000 bars."""
    rng = np.random.default_rng(21)
    moves = rng.standard_t(3, (2, 16_000)) * 0.004
    invested = np.repeat(rng.random(160) < 0.5, 100)
    return (
        pd.bdate_range("1960-01-04", periods=16_000),
        1e6 * np.cumprod(np.append(1, np.where(invested, moves[0], 0.0)[1:] + 1)),
        np.asarray(20 * np.cumprod(1 + moves[1])),
    )


def goog() -> tuple[pd.DatetimeIndex, NDArray[np.float64], NDArray[np.float64]]:
    """Real closes: GOOG held from its first day, against IBM."""
    table = pd.read_csv(SAMPLE, parse_dates=["date"])
    closes = table.pivot_table(index="date", columns="symbol", values="close")[["GOOG", "IBM"]]
    closes = closes.dropna()
    return pd.DatetimeIndex(closes.index), closes["GOOG"].to_numpy(), closes["IBM"].to_numpy()


@pytest.fixture(
    scope="module", params=[random_walk, with_drawdowns, often_flat, goog], ids=lambda f: f.__name__
)
def curve(request: pytest.FixtureRequest, measure: Callable[..., Values]) -> Curve:
    dates, equity, benchmark = request.param()
    prices = pd.Series(equity, index=dates)
    ours = measure(equity[1:], capital=equity[0], benchmark=benchmark[1:])
    returns = prices.pct_change().iloc[1:]
    return Curve(returns, prices, pd.Series(benchmark, index=dates).iloc[1:], ours)


ORACLES: dict[str, tuple[str, Oracle]] = {
    "empyrical cum_returns_final": (
        "total_return",
        lambda c: empyrical.cum_returns_final(c.returns),
    ),
    "empyrical cagr": ("cagr", lambda c: empyrical.cagr(c.returns, annualization=YEAR)),
    "empyrical annual_volatility": (
        "annual_volatility",
        lambda c: empyrical.annual_volatility(c.returns, annualization=YEAR),
    ),
    "empyrical sharpe_ratio": (
        "sharpe_ratio",
        lambda c: empyrical.sharpe_ratio(c.returns, annualization=YEAR),
    ),
    "empyrical sortino_ratio": (
        "sortino_ratio",
        lambda c: empyrical.sortino_ratio(c.returns, annualization=YEAR),
    ),
    "empyrical calmar_ratio": (
        "calmar_ratio",
        lambda c: empyrical.calmar_ratio(c.returns, annualization=YEAR),
    ),
    "empyrical omega_ratio": ("omega_ratio", lambda c: empyrical.omega_ratio(c.returns)),
    "empyrical max_drawdown": ("max_drawdown", lambda c: empyrical.max_drawdown(c.returns)),
    "empyrical value_at_risk": ("value_at_risk_95", lambda c: empyrical.value_at_risk(c.returns)),
    "empyrical conditional_value_at_risk": (
        "conditional_value_at_risk_95",
        lambda c: empyrical.conditional_value_at_risk(c.returns),
    ),
    "empyrical tail_ratio": ("tail_ratio", lambda c: empyrical.tail_ratio(c.returns)),
    "empyrical beta": ("beta", lambda c: empyrical.beta(*c.pairs)),
    "empyrical alpha": ("alpha", lambda c: empyrical.alpha(*c.pairs, annualization=YEAR)),
    "empyrical excess_sharpe, annualised": (
        "information_ratio",
        lambda c: empyrical.excess_sharpe(*c.pairs) * ROOT,
    ),
    "quantstats comp": ("total_return", lambda c: qs.comp(c.returns)),
    "quantstats cagr": ("cagr", lambda c: qs.cagr(c.returns, periods=YEAR)),
    "quantstats volatility": (
        "annual_volatility",
        lambda c: qs.volatility(c.returns, periods=YEAR),
    ),
    "quantstats sharpe": ("sharpe_ratio", lambda c: qs.sharpe(c.returns, periods=YEAR)),
    "quantstats sortino": ("sortino_ratio", lambda c: qs.sortino(c.returns, periods=YEAR)),
    "quantstats calmar": ("calmar_ratio", lambda c: qs.calmar(c.returns, periods=YEAR)),
    "quantstats omega": ("omega_ratio", lambda c: qs.omega(c.returns, periods=YEAR)),
    "quantstats max_drawdown": ("max_drawdown", lambda c: qs.max_drawdown(c.returns)),
    "quantstats probabilistic_sharpe_ratio": (
        "probabilistic_sharpe_ratio",
        lambda c: qs.probabilistic_ratio(c.returns, base="sharpe", periods=YEAR),
    ),
    "quantstats conditional_value_at_risk, historical": (
        "conditional_value_at_risk_95",
        lambda c: qs.conditional_value_at_risk(c.returns, method="historical"),
    ),
    "quantstats tail_ratio": ("tail_ratio", lambda c: qs.tail_ratio(c.returns)),
    "quantstats skew": ("skew", lambda c: qs.skew(c.returns)),
    "quantstats kurtosis": ("kurtosis", lambda c: qs.kurtosis(c.returns)),
    "quantstats best": ("best_bar", lambda c: qs.best(c.returns)),
    "quantstats worst": ("worst_bar", lambda c: qs.worst(c.returns)),
    "quantstats greeks": ("beta", lambda c: qs.greeks(*c.pairs, periods=YEAR)["beta"]),
    "quantstats ulcer_index, over n": (
        "ulcer_index",
        lambda c: qs.ulcer_index(c.returns) * math.sqrt(1 - 1 / len(c.returns)),
    ),
    "ffn total_return": ("total_return", lambda c: c.ffn.total_return),
    "ffn daily_vol": ("annual_volatility", lambda c: c.ffn.daily_vol),
    "ffn daily_sharpe": ("sharpe_ratio", lambda c: c.ffn.daily_sharpe),
    "ffn daily_sortino": ("sortino_ratio", lambda c: c.ffn.daily_sortino),
    "ffn max_drawdown": ("max_drawdown", lambda c: c.ffn.max_drawdown),
    "ffn avg_drawdown": ("avg_drawdown", lambda c: c.ffn.avg_drawdown),
    "ffn daily_skew": ("skew", lambda c: c.ffn.daily_skew),
    "ffn daily_kurt": ("kurtosis", lambda c: c.ffn.daily_kurt),
    "ffn best_day": ("best_bar", lambda c: c.ffn.best_day),
    "ffn worst_day": ("worst_bar", lambda c: c.ffn.worst_day),
    "ffn to_ulcer_index, as a fraction over n": (
        "ulcer_index",
        lambda c: ffn.to_ulcer_index(c.prices) / 100 * math.sqrt(1 + 1 / len(c.returns)),
    ),
    "ffn calc_information_ratio, annualised": (
        "information_ratio",
        lambda c: ffn.calc_information_ratio(*c.pairs) * ROOT,
    ),
    "scipy skew, unbiased": ("skew", lambda c: stats.skew(c.returns, bias=False)),
    "scipy kurtosis, unbiased": ("kurtosis", lambda c: stats.kurtosis(c.returns, bias=False)),
}


@pytest.mark.parametrize("oracle", ORACLES)
def test_the_metric_equals_that_of_the_library(curve: Curve, oracle: str) -> None:
    name, theirs = ORACLES[oracle]
    assert curve.ours[name] == pytest.approx(float(theirs(curve)), rel=1e-9, abs=1e-12)


def test_every_metric_of_returns_has_an_oracle() -> None:
    checked = {name for name, _ in ORACLES.values()}
    worked_by_hand = {
        "initial_capital",
        "final_equity",
        "bars",
        "max_drawdown_duration",
        "longest_drawdown_duration",
        "recovery_factor",
        "exposure_time",
        "turnover",
        "total_commission",
        "total_slippage",
    }
    of_trades = {info.name for info in METRICS if "trades" in info.summary}
    assert {info.name for info in METRICS} - of_trades == checked | worked_by_hand


def test_where_the_definitions_differ_the_numbers_do() -> None:
    """Keeps docs/metrics.md honest: if a library changes its mind, this fails."""
    dates, equity, _ = random_walk()
    returns = pd.Series(equity, index=dates).pct_change().iloc[1:]
    assert qs.value_at_risk(returns) != pytest.approx(np.quantile(returns, 0.05), rel=1e-3)
    net = (equity[-1] - equity[0]) / (np.maximum.accumulate(equity) - equity).max()
    assert qs.recovery_factor(returns) != pytest.approx(net, rel=1e-3)
    prices = pd.Series(equity, index=dates)
    by_periods = (equity[-1] / equity[0]) ** (YEAR / len(returns)) - 1
    assert ffn.calc_cagr(prices) != pytest.approx(by_periods, rel=1e-3)
