"""Simulations that are drawn from trades or returns, and what they say together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.bootstrap import stationary_indices
from admf.containers.metrics.ratio import compounded
from admf.sequences.config import MonteCarloConfig, MonteCarloMethod

__all__ = ["PERCENTILES", "simulate", "summarise"]

Floats: TypeAlias = NDArray[np.float64]
Draw: TypeAlias = Callable[[Floats, np.random.Generator, MonteCarloConfig, float], Floats]

PERCENTILES = (5, 10, 25, 50, 75, 90, 95)

_ROUNDING = 4.0 * float(np.finfo(np.float64).eps)
"""Deviation up to which returns are taken to be equal, as `Moments.spread` does."""


def simulate(
    method: MonteCarloMethod,
    returns: Floats,
    *,
    seeds: Sequence[np.random.SeedSequence],
    config: MonteCarloConfig,
    block_length: float | None,
    periods_per_year: float,
) -> dict[str, Floats]:
    """Draw simulations; returns are compounded.

    Args:
        method: ``trade_shuffle``, ``trade_bootstrap`` or ``skip_trades`` of the returns of trades,
            or ``return_block_bootstrap`` of those of periods.
        returns: float64 (n,), in the order of the run, as fractions of equity.
        seeds: One for each simulation.
        config: The options of the method.
        block_length: Mean length of a block, if blocks are drawn.
        periods_per_year: Periods in a year, if the returns are those of periods.

    Returns:
        Metrics by name, float64 (simulations,) each, NaN where undefined.
    """
    draw = _DRAWS[method]
    of_periods = method == "return_block_bootstrap"
    rows = [
        _figures(drawn)
        | (_of_periods(drawn, periods_per_year) if of_periods else _of_trades(drawn))
        for drawn in (
            draw(returns, np.random.default_rng(seed), config, block_length or 1.0)
            for seed in seeds
        )
    ]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]} if rows else {}


def summarise(columns: Mapping[str, Floats], config: MonteCarloConfig) -> dict[str, Any]:
    """Return what simulations say together.

    Args:
        columns: Metrics by name, float64 (simulations,), NaN where undefined; among them
            ``total_return`` and ``max_drawdown``.
        config: Says which drawdown is ruin.

    Returns:
        ``percentiles``: p5 to p95 of each metric (linear interpolation) over the simulations that
        have it, and ``missing``, those that do not; ``probability_of_loss``: share with a total
        return below 0; ``probability_of_ruin``: share whose drawdown reaches ``config.ruin``;
        ``value_at_risk_95``: the 5 % quantile of the total return, and
        ``conditional_value_at_risk_95``: the mean of those up to it. Simulations without the
        metric are left out; null if none has it.
    """
    total, drawdown = _known(columns["total_return"]), _known(columns["max_drawdown"])
    at_risk = float(np.quantile(total, 0.05)) if len(total) else None
    beyond = None if at_risk is None else float(total[total <= at_risk].mean())
    return {
        "percentiles": {name: _percentiles(values) for name, values in columns.items()},
        "probability_of_loss": _share(total < 0.0),
        "probability_of_ruin": _share(drawdown <= -config.ruin),
        "value_at_risk_95": at_risk,
        "conditional_value_at_risk_95": beyond,
    }


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _share(hits: NDArray[np.bool_]) -> float | None:
    return float(np.mean(hits)) if len(hits) else None


def _percentiles(values: Floats) -> dict[str, float | int | None]:
    known = _known(values)
    found: list[float | None] = [None] * len(PERCENTILES)
    if len(known):
        found = np.percentile(known, PERCENTILES).tolist()
    named = {f"p{level}": value for level, value in zip(PERCENTILES, found, strict=True)}
    return {**named, "missing": len(values) - len(known)}


def _shuffled(returns: Floats, rng: np.random.Generator, _: MonteCarloConfig, __: float) -> Floats:
    return rng.permutation(returns)


def _drawn(returns: Floats, rng: np.random.Generator, _: MonteCarloConfig, __: float) -> Floats:
    return returns[rng.integers(len(returns), size=len(returns))]


def _skipped(
    returns: Floats, rng: np.random.Generator, config: MonteCarloConfig, _: float
) -> Floats:
    return returns[rng.random(len(returns)) >= config.skip]


def _blocks(
    returns: Floats, rng: np.random.Generator, _: MonteCarloConfig, block_length: float
) -> Floats:
    return returns[stationary_indices(len(returns), len(returns), block_length, rng)]


_DRAWS: Mapping[MonteCarloMethod, Draw] = MappingProxyType(
    {
        "trade_shuffle": _shuffled,
        "trade_bootstrap": _drawn,
        "skip_trades": _skipped,
        "return_block_bootstrap": _blocks,
    }
)


def _figures(returns: Floats) -> dict[str, float]:
    """Return total return and maximum drawdown of compounded returns; equity ends at 0 at worst."""
    equity = np.cumprod(np.concatenate(([1.0], np.maximum(1.0 + returns, 0.0))))
    peak = np.maximum.accumulate(equity)
    return {
        "total_return": float(equity[-1] - 1.0),
        "max_drawdown": float((equity / peak - 1.0).min()),
    }


def _of_trades(returns: Floats) -> dict[str, float]:
    gains, losses = returns[returns > 0.0].sum(), -returns[returns < 0.0].sum()
    return {
        "profit_factor": float(gains / losses) if losses > 0.0 else math.nan,
        "win_rate": float(np.mean(returns > 0.0)) if len(returns) else math.nan,
        "trade_count": float(len(returns)),
    }


def _of_periods(returns: Floats, periods_per_year: float) -> dict[str, float]:
    """Return the annualised metrics, as `ReturnAccumulator` defines them."""
    mean, deviation = returns.mean(), returns.std(ddof=1)
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    scale = math.sqrt(periods_per_year)
    growth = float(np.prod(np.maximum(1.0 + returns, 0.0)))
    cagr = compounded(growth, periods_per_year / len(returns))
    return {
        "cagr": math.nan if cagr is None else cagr,
        "annual_volatility": float(deviation) * scale,
        "sharpe_ratio": float(mean / deviation) * scale if deviation > _ROUNDING else math.nan,
        "sortino_ratio": float(mean / downside) * scale if downside > 0.0 else math.nan,
    }
