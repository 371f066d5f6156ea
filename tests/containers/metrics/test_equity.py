from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest

from admf.containers.metrics import METRICS, Annualisation
from admf.containers.times import DAY_NS

Values: TypeAlias = dict[str, float | None]
Measure: TypeAlias = Callable[..., Values]

HOUR_NS = DAY_NS // 24
OF_RETURNS = {
    "cagr",
    "annual_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "calmar_ratio",
    "omega_ratio",
    "probabilistic_sharpe_ratio",
    "value_at_risk_95",
    "conditional_value_at_risk_95",
    "tail_ratio",
    "skew",
    "kurtosis",
    "best_bar",
    "worst_bar",
}
OF_BENCHMARK = {"alpha", "beta", "information_ratio"}
OF_TRADES = {info.name for info in METRICS[31:]}


def undefined(values: Values) -> set[str]:
    return {name for name, value in values.items() if value is None} - OF_TRADES


def test_the_hand_worked_curve(measure: Measure) -> None:
    values = measure([110.0, 99.0, 108.9, 108.9], exposure=[0.0, 99.0, 108.9, 0.0])
    returns = np.array([0.1, -0.1, 0.1, 0.0])
    deviation = math.sqrt(((returns - 0.025) ** 2).sum() / 3)
    expected = {
        "initial_capital": 100.0,
        "final_equity": 108.9,
        "bars": 4,
        "total_return": 0.089,
        "cagr": 1.089**63 - 1,
        "annual_volatility": deviation * math.sqrt(252),
        "sharpe_ratio": 0.025 / deviation * math.sqrt(252),
        "sortino_ratio": 0.025 / math.sqrt(0.01 / 4) * math.sqrt(252),
        "calmar_ratio": (1.089**63 - 1) / 0.1,
        "omega_ratio": 2.0,
        "max_drawdown": -0.1,
        "max_drawdown_duration": 3,
        "avg_drawdown": -0.1,
        "ulcer_index": math.sqrt((0.1**2 + 2 * 0.01**2) / 4),
        "recovery_factor": 8.9 / 11.0,
        "value_at_risk_95": -0.1 + 0.15 * 0.1,
        "conditional_value_at_risk_95": -0.1,
        "tail_ratio": 0.1 / 0.085,
        "best_bar": 0.1,
        "worst_bar": -0.1,
        "exposure_time": 0.5,
        "turnover": 0.0,
        "total_commission": 0.0,
        "total_slippage": 0.0,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, rel=1e-9), name


def test_the_probabilistic_sharpe_ratio_follows_the_paper(measure: Measure) -> None:
    equity = 100 * np.cumprod(1 + np.array([0.03, -0.01, 0.02, 0.01, -0.02, 0.015]))
    values = measure(equity)
    sharpe, skew, kurtosis = (values[n] for n in ("sharpe_ratio", "skew", "kurtosis"))
    assert sharpe is not None
    assert skew is not None
    assert kurtosis is not None
    per_bar = sharpe / math.sqrt(252)
    variance = 1 - skew * per_bar + (kurtosis + 3 - 1) / 4 * per_bar**2
    z = per_bar * math.sqrt(5) / math.sqrt(variance)
    assert values["probabilistic_sharpe_ratio"] == pytest.approx(
        0.5 * (1 + math.erf(z / math.sqrt(2)))
    )


def test_without_marks_only_the_capital_and_the_costs_are_known(measure: Measure) -> None:
    values = measure([])
    known = {"initial_capital", "bars", "total_commission", "total_slippage"}
    assert {name for name in values if values[name] is not None} - OF_TRADES == known


def test_a_flat_curve_has_no_ratios(measure: Measure) -> None:
    values = measure([100.0] * 10)
    ratios = {"sharpe_ratio", "sortino_ratio", "calmar_ratio", "omega_ratio", "tail_ratio"}
    of_shape = {"skew", "kurtosis", "probabilistic_sharpe_ratio"}
    without_drawdown = {"avg_drawdown", "recovery_factor"}
    assert undefined(values) == ratios | of_shape | without_drawdown | OF_BENCHMARK
    assert values["annual_volatility"] == 0.0
    assert values["max_drawdown"] == 0.0


def test_steady_growth_has_no_sharpe_ratio_of_rounding_errors(measure: Measure) -> None:
    values = measure(100.0 * 1.001 ** np.arange(1, 3000))
    assert values["sharpe_ratio"] is None
    assert values["skew"] is None
    assert values["kurtosis"] is None
    assert values["probabilistic_sharpe_ratio"] is None
    assert values["cagr"] == pytest.approx(1.001**252 - 1)


def test_one_mark_has_a_return_but_no_deviation(measure: Measure) -> None:
    values = measure([110.0])
    assert values["total_return"] == pytest.approx(0.1)
    assert values["annual_volatility"] is None
    assert values["sharpe_ratio"] is None
    assert values["cagr"] == pytest.approx(1.1**252 - 1)


def test_growth_too_fast_to_annualise_is_undefined_not_infinite(measure: Measure) -> None:
    values = measure([10_000.0, 9_000.0])
    assert values["cagr"] is not None
    assert measure([1e6], annualisation=Annualisation(98_280.0, "bar"))["cagr"] is None


@pytest.mark.parametrize("ruin", [0.0, -20.0, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("annualisation", [Annualisation(), Annualisation(252.0, "bar")])
@pytest.mark.parametrize("at", [0, 5, 1500, 2999])
def test_after_ruin_metrics_of_returns_are_undefined(
    measure: Measure, ruin: float, annualisation: Annualisation, at: int
) -> None:
    equity = 100 * np.cumprod(1 + np.random.default_rng(4).standard_normal(3000) * 0.001)
    equity[at] = ruin
    values = measure(equity, annualisation=annualisation, benchmark=equity[::-1].copy())
    assert undefined(values) >= OF_RETURNS | OF_BENCHMARK
    assert all(value is None or math.isfinite(value) for value in values.values())
    if math.isfinite(ruin):
        assert undefined(values) == OF_RETURNS | OF_BENCHMARK
        assert values["max_drawdown"] == pytest.approx(ruin / max(100.0, *equity[: at + 1]) - 1)


def test_ruin_within_a_day_counts_though_the_day_closes_above_zero(measure: Measure) -> None:
    values = measure([100.0, -1.0, 50.0, 60.0], step_ns=HOUR_NS * 6, annualisation=Annualisation())
    assert values["worst_bar"] is None
    assert values["cagr"] is None
    assert values["total_return"] == pytest.approx(-0.4)


def test_negative_mean_equity_has_no_turnover(measure: Measure) -> None:
    assert measure([-10.0, -30.0])["turnover"] is None


@pytest.mark.parametrize("step_ns", [HOUR_NS, HOUR_NS * 7, DAY_NS // 390])
def test_daily_returns_come_from_the_last_mark_of_each_day(measure: Measure, step_ns: int) -> None:
    equity = 100 * np.cumprod(1 + np.random.default_rng(6).standard_normal(5000) * 0.01)
    days = (step_ns * np.arange(5000)) // DAY_NS
    closes = equity[np.append(np.flatnonzero(np.diff(days)), 4999)]
    intraday = measure(equity, step_ns=step_ns, annualisation=Annualisation())
    daily = measure(closes)
    per_return = OF_RETURNS - {"calmar_ratio", "best_bar", "worst_bar"}
    assert {name: intraday[name] for name in per_return} == {
        name: daily[name] for name in per_return
    }
    assert intraday["bars"] == 5000
    assert intraday["best_bar"] == pytest.approx((equity[1:] / equity[:-1]).max() - 1)
    assert intraday["worst_bar"] == pytest.approx((equity[1:] / equity[:-1]).min() - 1)
    assert intraday["max_drawdown"] != daily["max_drawdown"]


def test_daily_data_give_the_same_numbers_per_bar_and_per_day(measure: Measure) -> None:
    equity = 100 * np.cumprod(1 + np.random.default_rng(8).standard_normal(3000) * 0.01)
    benchmark = 50 * np.cumprod(1 + np.random.default_rng(9).standard_normal(3000) * 0.01)
    by_day = measure(equity, benchmark=benchmark, annualisation=Annualisation())
    assert by_day == measure(equity, benchmark=benchmark)


def test_a_benchmark_that_starts_late_counts_from_its_second_price(measure: Measure) -> None:
    rng = np.random.default_rng(10)
    equity = 100 * np.cumprod(1 + rng.standard_normal(3000) * 0.01)
    benchmark = 50 * np.cumprod(1 + rng.standard_normal(3000) * 0.01)
    benchmark[:1500] = math.nan
    values = measure(equity, benchmark=benchmark)
    ours = equity[1501:] / equity[1500:-1] - 1
    theirs = benchmark[1501:] / benchmark[1500:-1] - 1
    beta = np.cov(ours, theirs)[0, 1] / theirs.var(ddof=1)
    assert values["beta"] == pytest.approx(beta)
    assert values["alpha"] == pytest.approx((1 + (ours - beta * theirs).mean()) ** 252 - 1)
    active = ours - theirs
    expected = active.mean() / active.std(ddof=1) * math.sqrt(252)
    assert values["information_ratio"] == pytest.approx(expected)


def test_a_benchmark_that_does_not_move_has_no_beta(measure: Measure) -> None:
    values = measure([110.0, 99.0, 105.0], benchmark=[7.0, 7.0, 7.0])
    assert values["beta"] is None
    assert values["alpha"] is None
    assert values["information_ratio"] is not None


def test_the_benchmark_itself_has_beta_one_and_no_information_ratio(measure: Measure) -> None:
    equity = [110.0, 99.0, 105.0, 104.0]
    values = measure(equity, benchmark=equity)
    assert values["beta"] == pytest.approx(1.0)
    assert values["alpha"] == pytest.approx(0.0)
    assert values["information_ratio"] is None


@pytest.mark.parametrize("annualisation", [Annualisation(252.0, "bar"), Annualisation()])
@pytest.mark.parametrize("price", [math.nan, 50.0])
def test_a_benchmark_that_all_marks_share_is_one_of_equal_prices(
    measure: Measure, annualisation: Annualisation, price: float
) -> None:
    equity = 100.0 + np.arange(3000.0) % 7
    shared = measure(equity, annualisation=annualisation, benchmark=price)
    column = measure(equity, annualisation=annualisation, benchmark=np.full(3000, price))
    assert shared == column


@pytest.mark.parametrize("annualisation", [Annualisation(252.0, "bar"), Annualisation()])
@pytest.mark.parametrize("dtype", [np.int64, object])
def test_prices_that_are_whole_numbers_count_like_any_others(
    measure: Measure, annualisation: Annualisation, dtype: type
) -> None:
    equity, price = 100.0 + np.arange(3000.0) % 7, 50 + np.arange(3000) % 5
    whole = measure(equity, annualisation=annualisation, benchmark=price.astype(dtype))
    floats = measure(equity, annualisation=annualisation, benchmark=price.astype(np.float64))
    assert whole == floats
    assert whole["beta"] is not None


@pytest.mark.parametrize("ruined_at", [0, 1, 1500, 2999])
@pytest.mark.parametrize("worth", [0.0, -1.0, math.inf, math.nan])
def test_one_mark_that_is_no_sound_equity_is_ruin_wherever_it_is(
    measure: Measure, ruined_at: int, worth: float
) -> None:
    equity = 100.0 + np.arange(3000.0) % 7
    assert measure(equity)["best_bar"] is not None
    equity[ruined_at] = worth
    values = measure(equity)
    assert [values[name] for name in ("best_bar", "sharpe_ratio", "cagr")] == [None] * 3


def test_equity_too_small_to_divide_is_still_sound(measure: Measure) -> None:
    values = measure([1e300, 1e-300, 1e-300], capital=1e300)
    assert (values["worst_bar"], values["max_drawdown"]) == (-1.0, -1.0)


def test_a_variance_of_the_sharpe_ratio_below_zero_gives_no_probability(measure: Measure) -> None:
    returns = np.array([0.02, 0.01, 0.01, 0.02])
    values = measure(100 * np.cumprod(1 + returns))
    assert values["kurtosis"] == pytest.approx(-6.0)
    assert values["sharpe_ratio"] is not None
    assert values["probabilistic_sharpe_ratio"] is None
