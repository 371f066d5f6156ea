"""What is said of all lanes of a window together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from admf.containers.aggregate import AggregateMetrics, AggregateResult
from admf.containers.config import CarriedAccount, LaneConfig
from admf.containers.metrics.history import Trade
from admf.containers.metrics.return_blocks import ReturnBlock
from admf.containers.portfolio import PortfolioContainer
from admf.containers.series import SERIES_FILE
from admf.engine.result_names import AGGREGATE_FILE, TRADES_FILE
from admf.engine.results import WindowResults

__all__ = ["LaneReport", "WindowReport", "refused_lane"]


class LaneReport(msgspec.Struct, frozen=True):
    """One portfolio as it stands in ``aggregate_results.json``.

    Args:
        container_id: Id of the portfolio.
        lane_id: Id of its lane.
        status: ``completed``, ``failed``, ``cancelled``, or ``pruned`` if it was given up early.
        error: Why it failed; None if it did not.
        parameters: Parameters of the strategy, and the settings of the parameter space.
        metrics: By name, null where undefined; empty if the lane could not be built.
        return_count: Returns that the ratio metrics are made of.
        return_blocks: Count, sum and sum of squares of each group of them, if that was asked for.
        rejects: Refused orders by reason.
        account: What it held at the end, for a window that goes on from there.
    """

    container_id: str
    lane_id: str
    status: str
    error: str | None
    parameters: Mapping[str, object]
    metrics: Mapping[str, float | None] = {}
    return_count: int = 0
    return_blocks: Sequence[ReturnBlock] | None = None
    rejects: Mapping[str, int] = {}
    account: CarriedAccount | None = None


class WindowReport:
    """Writes ``aggregate_results.json`` and ``all_trades.json`` of a window, and ``series.json``.

    Args:
        lanes: The portfolios of the window, and the reports of lanes that could not be built, in
            the order of the lanes.
        series: Whether ``series.json`` is written; the portfolios' tracers must keep it.
    """

    def __init__(
        self, lanes: Sequence[PortfolioContainer | LaneReport], *, series: bool = False
    ) -> None:
        self._lanes = lanes
        self._portfolios = [lane for lane in lanes if isinstance(lane, PortfolioContainer)]
        self._series = series

    async def __call__(self, results: WindowResults) -> Mapping[str, object]:
        """Write the files and return the figures for the commit record."""
        rows = [lane if isinstance(lane, LaneReport) else _row(lane) for lane in self._lanes]
        aggregate = _aggregate(rows)
        summary = _summary(aggregate, rows)
        body = {"aggregate_metrics": aggregate, **summary}
        body["portfolios"] = map(msgspec.structs.asdict, rows)
        await results.write(AGGREGATE_FILE, body)
        trades = _with_ids([(it.id, it.trades()) for it in self._portfolios])
        await results.write_late(TRADES_FILE, {"trades": trades})
        if self._series:
            lanes = ({"container_id": it.id, **it.series()} for it in self._portfolios)
            await results.write(SERIES_FILE, {"lanes": lanes})
        return summary


def refused_lane(lane: LaneConfig, error: Exception) -> LaneReport:
    """Return the report of a lane that could not be built."""
    settings = {name: value for name, value in lane.parameters.items() if "." in name}
    return LaneReport(
        container_id=f"portfolio_{lane.lane_id}",
        lane_id=lane.lane_id,
        status="failed",
        error=str(error),
        parameters={**lane.strategy.params, **settings},
    )


def _row(portfolio: PortfolioContainer) -> LaneReport:
    found = portfolio.metrics()
    pruned = portfolio.pruned_at is not None and portfolio.status != "failed"
    return LaneReport(
        container_id=portfolio.id,
        lane_id=portfolio.lane_id,
        status="pruned" if pruned else portfolio.status,
        error=None if portfolio.error is None else str(portfolio.error),
        parameters=portfolio.parameters,
        metrics=found.values,
        return_count=found.return_count,
        return_blocks=found.return_blocks or None,
        rejects=portfolio.rejects,
        account=portfolio.carried_account(),
    )


def _with_ids(by_portfolio: Sequence[tuple[str, Iterator[Trade]]]) -> Iterator[msgspec.Raw]:
    """Yield trades as JSON, each with the id of its portfolio as first field."""
    encode = msgspec.json.Encoder().encode
    for container_id, trades in by_portfolio:
        head = b'{"container_id":' + encode(container_id) + b","
        for trade in trades:
            yield msgspec.Raw(head + encode(trade)[1:])


def _aggregate(rows: Sequence[LaneReport]) -> AggregateResult:
    metrics = AggregateMetrics()
    for row in rows:
        metrics.fold(row)
    return metrics.result()


def _summary(aggregate: AggregateResult, rows: Sequence[LaneReport]) -> dict[str, object]:
    """Return the figures that fit into the commit record; metrics if there is only one lane."""
    return {
        "portfolio_count": aggregate.portfolio_count,
        "failed_count": aggregate.failed_count,
        "pruned_count": aggregate.pruned_count,
        "best_sharpe_ratio": aggregate.best_sharpe_ratio,
        "avg_return": aggregate.metrics["total_return"].avg,
        "total_trades": aggregate.total_trades,
        "rejects": aggregate.rejects,
        "metrics": rows[0].metrics if len(rows) == 1 else None,
    }
