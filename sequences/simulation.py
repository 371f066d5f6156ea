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

_LEAST = 2
_ROUNDING = 4.0 * float(np.finfo(np.float64).eps)
"""Deviation up to which returns are taken to be equal, as `Moments.spread` does."""


def simulate(
    method: MonteCarloMethod,
    returns: Floats,
    *,
    seeds: Sequence[np.random.SeedSequence],
    config: MonteCarloConfig,
    block_length: float | None,
    returns_per_year: float,
) -> dict[str, Floats]:
    """Draw simulations; returns are compounded.

    Args:
        method: ``trade_shuffle``, ``trade_bootstrap`` or ``skip_trades`` of the returns of trades,
            or ``return_block_bootstrap`` of those of periods.
        returns: float64 (n,), in the order of the run, as fractions of equity.
        seeds: One for each simulation.
        config: The options of the method.
        block_length: Mean length of a block, if blocks are drawn.
        returns_per_year: How many there are in a year of the run.

    Returns:
        Metrics by name, float64 (simulations,) each, NaN where undefined. The annualised ones are
        defined as in `ReturnAccumulator`, with trades in place of periods if it is trades that are
        drawn; a simulation takes as long as the run.
    """
    draw, of_trades = _DRAWS[method], method != "return_block_bootstrap"
    years = len(returns) / returns_per_year
    rows: list[dict[str, float]] = []
    for seed in seeds:
        drawn = draw(returns, np.random.default_rng(seed), config, block_length or 1.0)
        row = _growth(drawn, years) | _ratios(drawn, years)
        rows.append(row | _of_trades(drawn) if of_trades else row)
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


def _growth(returns: Floats, years: float) -> dict[str, float]:
    """Return the metrics of compounded returns; equity ends at 0 at worst."""
    equity = np.cumprod(np.concatenate(([1.0], np.maximum(1.0 + returns, 0.0))))
    peak = np.maximum.accumulate(equity)
    growth, depth = float(equity[-1]), float((equity / peak - 1.0).min())
    found = compounded(growth, 1.0 / years)
    cagr = math.nan if found is None else found
    return {
        "total_return": growth - 1.0,
        "cagr": cagr,
        "calmar_ratio": cagr / -depth if depth < 0.0 else math.nan,
        "max_drawdown": depth,
    }


def _ratios(returns: Floats, years: float) -> dict[str, float]:
    if len(returns) < _LEAST:
        return dict.fromkeys(("annual_volatility", "sharpe_ratio", "sortino_ratio"), math.nan)
    mean, deviation = float(returns.mean()), float(returns.std(ddof=1))
    downside = math.sqrt(float(np.mean(np.minimum(returns, 0.0) ** 2)))
    scale = math.sqrt(len(returns) / years)
    return {
        "annual_volatility": deviation * scale,
        "sharpe_ratio": mean / deviation * scale if deviation > _ROUNDING else math.nan,
        "sortino_ratio": mean / downside * scale if downside > 0.0 else math.nan,
    }


def _of_trades(returns: Floats) -> dict[str, float]:
    gains, losses = returns[returns > 0.0].sum(), -returns[returns < 0.0].sum()
    return {
        "profit_factor": float(gains / losses) if losses > 0.0 else math.nan,
        "win_rate": float(np.mean(returns > 0.0)) if len(returns) else math.nan,
        "trade_count": float(len(returns)),
    }
