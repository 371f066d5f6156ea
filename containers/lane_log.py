"""The event log of a lane: which events are in it, and what it says of itself.

All that is published in the lane is there, from signals to marks. The market data of the window
above, BAR and FEATURES, are not: they are the same for all lanes, and the fingerprint of the data
identifies them.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from admf.containers.events import MARKET_EVENTS, Bar, Features, PortfolioUpdate
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.return_blocks import ReturnBlocks
from admf.containers.metrics.tracer import MetricsEventTracer
from admf.engine.events import ENGINE_EVENTS, Event, EventRegistry, WindowEnd, WindowStart
from admf.engine.overflow import Overflow
from admf.engine.registry import Registry
from admf.engine.retention import (
    BUILT_IN_POLICIES,
    OpenCorrelation,
    PolicyFactory,
    TracingConfig,
    make_policy,
)
from admf.engine.topology import TopologyBuilder
from admf.engine.trace_log import EventLog
from admf.engine.tracer import resolve_types

__all__ = ["LANE_EVENTS", "STORED_EVENTS", "LaneTracing", "lane_log"]

LANE_EVENTS: tuple[type[Event], ...] = tuple(
    cls
    for cls in (*MARKET_EVENTS, *ENGINE_EVENTS)
    if cls not in {Bar, Features, WindowStart, WindowEnd}
)
"""What is in a log of all events."""

STORED_EVENTS: tuple[type[Event], ...] = (*MARKET_EVENTS, *ENGINE_EVENTS, OpenCorrelation)
"""What may be in a log of those that are retained, besides what policies of others retain."""


class LaneTracing(msgspec.Struct, frozen=True, kw_only=True):
    """All that the tracer of a lane's portfolio is made of; a log says it of itself.

    Args:
        container_id: Id of the portfolio.
        initial_capital: Equity before the first mark, quote currency.
        annualisation: Which returns are taken, and how many make a year.
        tracing: What is traced, and how much of it is kept.
        history: How many of the last marks and trades are kept; None for all.
        return_blocks: Groups of returns that are summed up; 0 for none.
        returns: Returns that the window has if it comes to its end.
        parameters: The strategy's parameters, and settings of the parameter space.
    """

    container_id: str
    initial_capital: float
    annualisation: Annualisation
    tracing: TracingConfig
    history: int | None
    return_blocks: int
    returns: int
    parameters: Mapping[str, object]

    def tracer(
        self,
        registry: Registry,
        *,
        series: bool = False,
        overflow: Overflow | None = None,
        log: EventLog | None = None,
    ) -> MetricsEventTracer:
        """Return a new tracer.

        Args:
            registry: Holds the retention policies of others.
            series: As for `MetricsEventTracer`.
            overflow: Likewise.
            log: Likewise.
        """
        traced, _ = resolve_types(
            self.tracing.event_tracing, EventRegistry([*ENGINE_EVENTS, *MARKET_EVENTS])
        )
        policies = _policies(registry, self.tracing.retention_policy)
        return MetricsEventTracer(
            traced,
            make_policy(self.tracing, policies),
            initial_capital=self.initial_capital,
            annualisation=self.annualisation,
            history=self.history,
            policy_name=self.tracing.retention_policy,
            return_blocks=ReturnBlocks(self.return_blocks, self.returns),
            series=series,
            overflow=overflow,
            log=log,
        )


def lane_log(builder: TopologyBuilder, lane: LaneTracing) -> EventLog | None:
    """Return the log that a lane is to write; None if it is to write none."""
    store = lane.tracing.store
    if store == "none":
        return None
    return EventLog(
        builder.trace(lane.container_id),
        builder.overflow(lane.container_id),
        store=store,
        about=lane,
        types=LANE_EVENTS if store == "all" else (),
        columns=(PortfolioUpdate,),
    )


def _policies(registry: Registry, name: str) -> Mapping[str, PolicyFactory]:
    """Return the built-in policies, and the plug-in of this name if there is one."""
    if name not in registry.names("retention"):
        return BUILT_IN_POLICIES
    return {**BUILT_IN_POLICIES, name: registry.get("retention", name)}
