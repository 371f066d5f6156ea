"""The metrics of a portfolio: their names, in the order of the results, and what they mean."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["HEADLINE_METRICS", "METRICS", "MetricInfo", "Unit"]

Unit: TypeAlias = Literal["currency", "fraction", "ratio", "bars", "count", "probability"]


class MetricInfo(msgspec.Struct, frozen=True):
    """One metric.

    Args:
        name: Its key in the results.
        summary: What it is, in one line.
        unit: ``currency`` is quote currency; ``fraction`` is 0.05 for 5 %.
        higher_is_better: None where neither direction is better as such.
    """

    name: str
    summary: str
    unit: Unit
    higher_is_better: bool | None = None


_EQUITY = (
    MetricInfo("initial_capital", "Equity before the first bar", "currency"),
    MetricInfo("final_equity", "Equity at the last bar", "currency", True),
    MetricInfo("bars", "Bars at which the portfolio was marked", "bars"),
    MetricInfo("total_return", "Return over the whole period", "fraction", True),
    MetricInfo("cagr", "Compound annual growth rate", "fraction", True),
    MetricInfo("annual_volatility", "Deviation of returns, annualised", "fraction", False),
    MetricInfo("sharpe_ratio", "Mean over deviation of returns, annualised", "ratio", True),
    MetricInfo("sortino_ratio", "Mean over downside deviation, annualised", "ratio", True),
    MetricInfo("calmar_ratio", "CAGR over the maximum drawdown", "ratio", True),
    MetricInfo("omega_ratio", "Sum of gains over sum of losses of returns", "ratio", True),
    MetricInfo(
        "probabilistic_sharpe_ratio", "Chance that the true Sharpe is above 0", "probability", True
    ),
    MetricInfo("max_drawdown", "Deepest fall from a peak, negative", "fraction", True),
    MetricInfo("max_drawdown_duration", "Bars that the deepest drawdown lasted", "bars", False),
    MetricInfo("longest_drawdown_duration", "Bars of the longest drawdown", "bars", False),
    MetricInfo("avg_drawdown", "Mean depth of the drawdowns, negative", "fraction", True),
    MetricInfo("ulcer_index", "Root mean square of the drawdown", "fraction", False),
    MetricInfo("recovery_factor", "Net profit over the greatest fall in money", "ratio", True),
    MetricInfo("value_at_risk_95", "5 % quantile of returns", "fraction", True),
    MetricInfo(
        "conditional_value_at_risk_95", "Mean of the returns up to that quantile", "fraction", True
    ),
    MetricInfo("tail_ratio", "95 % over 5 % quantile of returns, absolute", "ratio", True),
    MetricInfo("skew", "Skewness of returns", "ratio", True),
    MetricInfo("kurtosis", "Excess kurtosis of returns", "ratio"),
    MetricInfo("best_bar", "Largest return of a bar", "fraction", True),
    MetricInfo("worst_bar", "Smallest return of a bar", "fraction", True),
    MetricInfo("exposure_time", "Share of bars with an open position", "fraction"),
    MetricInfo("turnover", "Value traded, both sides, over mean equity", "ratio"),
    MetricInfo("total_commission", "Commission of all fills", "currency", False),
    MetricInfo("total_slippage", "Slippage of all fills", "currency", False),
    MetricInfo("alpha", "Return that the benchmark does not explain, annualised", "fraction", True),
    MetricInfo("beta", "Sensitivity to the benchmark", "ratio"),
    MetricInfo(
        "information_ratio", "Mean over deviation of excess returns, annualised", "ratio", True
    ),
)

_TRADES = (
    MetricInfo("trade_count", "Closed {trades}", "count"),
    MetricInfo("win_rate", "Share of {trades} with a profit", "fraction", True),
    MetricInfo("profit_factor", "Gross profit over gross loss of {trades}", "ratio", True),
    MetricInfo("expectancy", "Mean profit of {trades} in money", "currency", True),
    MetricInfo("payoff_ratio", "Mean win over mean loss of {trades}", "ratio", True),
    MetricInfo("average_trade", "Mean return of {trades}", "fraction", True),
    MetricInfo("best_trade", "Largest return of {trades}", "fraction", True),
    MetricInfo("worst_trade", "Smallest return of {trades}", "fraction", True),
    MetricInfo("max_win_streak", "Most wins in a row of {trades}", "count", True),
    MetricInfo("max_loss_streak", "Most losses in a row of {trades}", "count", False),
    MetricInfo("average_bars_held", "Mean bars held of {trades}", "bars"),
    MetricInfo("sqn", "System quality number of {trades}", "ratio", True),
    MetricInfo("kelly", "Kelly fraction of {trades}", "fraction", True),
)


def _of_side(info: MetricInfo, prefix: str, trades: str) -> MetricInfo:
    summary = info.summary.format(trades=trades)
    return MetricInfo(prefix + info.name, summary, info.unit, info.higher_is_better)


METRICS: tuple[MetricInfo, ...] = _EQUITY + tuple(
    _of_side(info, prefix, trades)
    for prefix, trades in (("", "trades"), ("long_", "long trades"), ("short_", "short trades"))
    for info in _TRADES
)

HEADLINE_METRICS: tuple[str, ...] = (
    "total_return",
    "cagr",
    "annual_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "calmar_ratio",
    "max_drawdown",
    "profit_factor",
    "win_rate",
    "expectancy",
    "trade_count",
    "exposure_time",
)
"""The metrics that are summed up over many portfolios."""
