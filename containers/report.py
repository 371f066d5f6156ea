"""What is said of all lanes of a window together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from admf.containers.metrics.history import Trade
from admf.containers.portfolio import PortfolioContainer
from admf.engine.results import WindowResults

__all__ = ["LaneReport", "WindowReport"]


class LaneReport(msgspec.Struct, frozen=True):
    """One portfolio as it stands in ``aggregate_results.json``."""

    container_id: str
    status: str
    parameters: Mapping[str, object]
    metrics: Mapping[str, float | None]
    rejects: Mapping[str, int]


class WindowReport:
    """Writes ``aggregate_results.json`` and ``all_trades.json`` of a window.

    Args:
        portfolios: The portfolios of the window, in the order of the lanes.
    """

    def __init__(self, portfolios: Sequence[PortfolioContainer]) -> None:
        self._portfolios = portfolios

    async def __call__(self, results: WindowResults) -> Mapping[str, object]:
        """Write the files and return the figures for the commit record."""
        lanes = [_lane(portfolio) for portfolio in self._portfolios]
        summary = _summary(lanes)
        await results.write("aggregate_results.json", {**summary, "portfolios": lanes})
        trades = [
            {"container_id": portfolio.id, **_fields(trade)}
            for portfolio in self._portfolios
            for trade in portfolio.trades()
        ]
        await results.write("all_trades.json", {"trades": trades})
        return summary


def _lane(portfolio: PortfolioContainer) -> LaneReport:
    return LaneReport(
        portfolio.id,
        portfolio.status,
        portfolio.parameters,
        portfolio.metrics(),
        portfolio.rejects,
    )


def _fields(trade: Trade) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(trade)
    return fields


def _summary(lanes: Sequence[LaneReport]) -> dict[str, object]:
    """Return the figures of a window: best, mean and totals, over the lanes that have them.

    A lane whose metric is null is left out of it. The metrics themselves are there if there is
    only one lane.
    """
    sharpe = _known(lanes, "sharpe_ratio")
    returns = _known(lanes, "total_return")
    rejects: Counter[str] = Counter()
    for lane in lanes:
        rejects.update(lane.rejects)
    return {
        "portfolio_count": len(lanes),
        "failed_count": sum(lane.status == "failed" for lane in lanes),
        "best_sharpe_ratio": max(sharpe, default=None),
        "avg_return": float(np.mean(returns)) if returns else None,
        "total_trades": int(sum(_known(lanes, "trade_count"))),
        "rejects": dict(sorted(rejects.items())),
        "metrics": lanes[0].metrics if len(lanes) == 1 else None,
    }


def _known(lanes: Sequence[LaneReport], metric: str) -> list[float]:
    values = [lane.metrics.get(metric) for lane in lanes]
    return [value for value in values if value is not None]
