from __future__ import annotations

import numpy as np
import pytest

from admf.containers.metrics.returns import ReturnAccumulator
from admf.sequences.config import MonteCarloConfig
from admf.sequences.simulation import PERCENTILES, simulate, summarise

TRADES = np.array([0.1, -0.05, 0.2, -0.1, 0.03])


def seeds(count: int, first: int = 0):
    return [np.random.SeedSequence(7, spawn_key=(first + number,)) for number in range(count)]


def run(method, returns=TRADES, count=50, **options):
    config = MonteCarloConfig(method=method, **{k: v for k, v in options.items() if k != "blocks"})
    return simulate(
        method,
        np.asarray(returns, dtype=float),
        seeds=seeds(count),
        config=config,
        block_length=options.get("blocks"),
        returns_per_year=252,
    )


def test_a_shuffle_keeps_the_return_and_changes_the_drawdown() -> None:
    drawn = run("trade_shuffle")
    assert drawn["total_return"] == pytest.approx(np.prod(1 + TRADES) - 1)
    assert len(set(drawn["max_drawdown"].round(9))) > 1
    assert drawn["max_drawdown"].max() <= -0.1 + 1e-12
    worst = 0.95 * 0.9 - 1
    assert drawn["max_drawdown"].min() >= worst - 1e-12


def test_skipping_nothing_is_the_run_itself() -> None:
    drawn = run("skip_trades", skip=0.0)
    equity = np.cumprod(np.concatenate(([1.0], 1 + TRADES)))
    drawdown = (equity / np.maximum.accumulate(equity) - 1).min()
    assert drawn["total_return"] == pytest.approx(equity[-1] - 1)
    assert drawn["max_drawdown"] == pytest.approx(drawdown)
    assert drawn["win_rate"] == pytest.approx(0.6)
    assert drawn["profit_factor"] == pytest.approx(0.33 / 0.15)


def test_skipping_everything_leaves_nothing() -> None:
    drawn = run("skip_trades", skip=1.0)
    assert np.all(drawn["total_return"] == 0.0)
    assert np.all(drawn["trade_count"] == 0.0)
    assert np.all(np.isnan(drawn["win_rate"]))


@pytest.mark.parametrize("method", ["trade_bootstrap", "return_block_bootstrap"])
def test_equal_returns_can_only_give_one_result(method) -> None:
    drawn = run(method, [0.01] * 20, blocks=3.0)
    assert drawn["total_return"] == pytest.approx(1.01**20 - 1)
    assert np.all(drawn["max_drawdown"] == 0.0)


def test_a_bootstrap_has_the_mean_of_its_sample() -> None:
    drawn = run("trade_bootstrap", count=4000)
    expected = (1 + TRADES.mean()) ** len(TRADES) - 1
    spread = drawn["total_return"].std() / np.sqrt(4000)
    assert abs(drawn["total_return"].mean() - expected) < 4 * spread


def test_a_loss_of_everything_stays_lost() -> None:
    drawn = run("trade_shuffle", [0.5, -1.5, 0.5])
    assert np.all(drawn["total_return"] == -1.0)
    assert np.all(drawn["max_drawdown"] == -1.0)


def test_returns_of_periods_have_annualised_metrics() -> None:
    returns = np.random.default_rng(1).normal(0.001, 0.01, 100)
    drawn = run("return_block_bootstrap", returns, count=1, blocks=1e9)
    assert set(drawn) >= {"cagr", "sharpe_ratio", "sortino_ratio", "annual_volatility"}
    assert drawn["sharpe_ratio"][0] == pytest.approx(
        returns.mean() / returns.std(ddof=1) * np.sqrt(252), rel=1e-9
    )
    assert drawn["cagr"][0] == pytest.approx(np.prod(1 + returns) ** 2.52 - 1)


def run_periods(returns, periods_per_year: float):
    return simulate(
        "return_block_bootstrap",
        np.array(returns),
        seeds=seeds(3),
        config=MonteCarloConfig(),
        block_length=2.0,
        returns_per_year=periods_per_year,
    )


def metrics_of(returns, periods_per_year: float):
    returned = ReturnAccumulator(1.0, periods_per_year)
    returned.fold(np.cumprod(1.0 + np.array(returns)), np.full(len(returns), np.nan))
    returned.finish()
    return returned


def test_equal_returns_have_no_sharpe_ratio() -> None:
    """Their deviation is the rounding of their mean, and not quite 0."""
    returns = [0.01] * 20
    assert np.std(returns, ddof=1) > 0.0
    assert metrics_of(returns, 252.0).sharpe_ratio() is None
    assert np.all(np.isnan(run_periods(returns, 252.0)["sharpe_ratio"]))


def test_a_growth_rate_that_overflows_is_null() -> None:
    returns = [0.1, 0.2, 0.1]
    assert metrics_of(returns, 525_600.0).cagr() is None
    assert np.all(np.isnan(run_periods(returns, 525_600.0)["cagr"]))


def test_a_simulation_depends_on_its_own_seed_alone() -> None:
    config = MonteCarloConfig()
    whole = run("trade_bootstrap", count=10)
    part = simulate(
        "trade_bootstrap",
        TRADES,
        seeds=seeds(4, first=6),
        config=config,
        block_length=None,
        returns_per_year=252,
    )
    assert np.array_equal(whole["total_return"][6:], part["total_return"])


def test_no_simulation_gives_no_figures() -> None:
    assert run("trade_shuffle", count=0) == {}


def test_the_summary_is_that_of_numpy() -> None:
    total = np.linspace(-0.5, 0.5, 101)
    drawdown = np.where(np.arange(101) < 20, -0.6, -0.1)
    missing = np.where(np.arange(101) < 1, np.nan, 2.0)
    columns = {"total_return": total, "max_drawdown": drawdown, "sharpe_ratio": missing}
    found = summarise(columns, MonteCarloConfig(ruin=0.5))
    for level in PERCENTILES:
        expected = np.percentile(total, level)
        assert found["percentiles"]["total_return"][f"p{level}"] == pytest.approx(expected)
    assert found["probability_of_loss"] == pytest.approx(50 / 101)
    assert found["probability_of_ruin"] == pytest.approx(20 / 101)
    assert found["value_at_risk_95"] == pytest.approx(-0.45)
    assert found["conditional_value_at_risk_95"] == pytest.approx(total[:6].mean())
    assert found["percentiles"]["sharpe_ratio"]["missing"] == 1
    assert found["percentiles"]["sharpe_ratio"]["p50"] == 2.0


def test_a_metric_that_no_simulation_has_is_null() -> None:
    columns = {"total_return": np.zeros(3), "max_drawdown": np.zeros(3), "cagr": np.full(3, np.nan)}
    assert summarise(columns, MonteCarloConfig())["percentiles"]["cagr"]["p50"] is None


def test_simulations_without_a_result_are_left_out_of_every_figure() -> None:
    columns = {
        "total_return": np.array([0.1, np.nan, -0.1, -0.2]),
        "max_drawdown": np.array([-0.1, np.nan, -0.6, -0.7]),
    }
    known = {name: values[[0, 2, 3]] for name, values in columns.items()}
    found, expected = (summarise(it, MonteCarloConfig()) for it in (columns, known))
    assert found.pop("percentiles")["total_return"]["missing"] == 1
    del expected["percentiles"]
    assert found == expected
    assert found["probability_of_loss"] == pytest.approx(2 / 3)


def test_without_any_result_the_figures_are_null() -> None:
    columns = {name: np.full(3, np.nan) for name in ("total_return", "max_drawdown")}
    found = summarise(columns, MonteCarloConfig())
    del found["percentiles"]
    assert list(found.values()) == [None] * 4
