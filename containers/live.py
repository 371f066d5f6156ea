"""The topology ``live``: bars as they come, lanes that go on from window to window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial

import msgspec
import numpy as np

from admf.containers.bar_history import BarHistory
from admf.containers.events import MARKET_EVENTS, Bar, Features
from admf.containers.features import FeatureSpec
from admf.containers.lane_builder import strategy_finder
from admf.containers.live_config import LiveConfig
from admf.containers.live_intake import BarRefused, LiveIntake
from admf.containers.live_lane import LiveLaneBuilder
from admf.containers.live_market import LiveMarket
from admf.containers.portfolio import PortfolioContainer
from admf.containers.report import LaneReport, WindowReport, refused_lane
from admf.engine.block import Block
from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.errors import ConfigError, UserCodeError
from admf.engine.events import Event, EventRegistry
from admf.engine.results import Document, WindowResults
from admf.engine.retention import make_policy
from admf.engine.topology import TopologyBuilder
from admf.engine.tracer import EventTracer

__all__ = ["EventsContainer", "LiveFeatures", "LiveTopology"]


class LiveTopology:
    """An intake for bars and other events, and lanes whose accounts and orders carry over.

    The windows of a session share a `BarHistory`, which is one of the host's resources. Events
    other than those of the market are traced if `event_tracing` names them and the host has an
    `EventRegistry` among its resources.
    """

    def build(self, builder: TopologyBuilder) -> None:
        """Add the containers of a `LiveConfig`.

        Raises:
            ConfigError: There is no history of bars, no lane can be built, or a name is not known.
            UserCodeError: No lane can be built, the first one because of its strategy.
        """
        config = msgspec.json.decode(builder.spec.config, type=LiveConfig)
        history = _history(builder, config)
        market = LiveMarket(history)
        lanes = _lanes(builder, config, market)
        built = [lane for lane in lanes if isinstance(lane, LiveLaneBuilder)]
        specs = [spec for lane in built for spec in lane.features]
        names = [builder.add(LiveFeatures("features", history, specs, scope=builder.bus)).id]
        reported: list[PortfolioContainer | LaneReport] = []
        for lane in lanes:
            if isinstance(lane, LaneReport):
                reported.append(lane)
            else:
                portfolio, last = lane.add()
                reported.append(portfolio)
                names.append(last)
        traced = _application_events(builder)
        if traced:
            names.append(builder.add(EventsContainer("events", traced, builder)).id)
        intake = LiveIntake(
            "intake", history, scope=builder.bus, room=config.room, depends_on=names
        )
        builder.add_report(builder.add(intake).report)
        builder.add_report(WindowReport(reported))
        builder.add_report(partial(_accounts, reported))


class LiveFeatures(Container):
    """Publishes the features of each time step after its bars, as the sign that they are closed.

    Args:
        container_id: Id.
        history: The bars up to now.
        specs: What to publish, in this order; what comes twice is published once.
        scope: Where the bars arrive and the features go.
    """

    def __init__(
        self, container_id: str, history: BarHistory, specs: Iterable[FeatureSpec], *, scope: Bus
    ) -> None:
        super().__init__(container_id, "features", scope=scope)
        self._history = history
        self._specs = tuple(dict.fromkeys(specs))
        self._names = tuple(spec.name for spec in self._specs)

    async def on_start(self) -> None:
        """Wait for bars."""
        self.subscribe(Bar, self._on_bars, blocks=True)

    def _on_bars(self, bars: Block[Bar]) -> None:
        values = np.empty((len(bars), len(self._specs)))
        for row, symbol in enumerate(bars.listed("symbol")):
            for index, spec in enumerate(self._specs):
                values[row, index] = self._history.column(symbol, spec)[-1]
        columns = {
            "ts": bars.ts,
            "symbol": bars.columns["symbol"],
            "names": self._names,
            "values": values,
        }
        self.scope.publish(Block(Features, columns), source=self.id)


class EventsContainer(Container):
    """Traces the events of an application, which concern no lane.

    Args:
        container_id: Id.
        traced: Their classes.
        builder: The window's builder.
    """

    def __init__(
        self, container_id: str, traced: Sequence[type[Event]], builder: TopologyBuilder
    ) -> None:
        tracing = builder.spec.tracing
        tracer = EventTracer(traced, make_policy(tracing), policy_name=tracing.retention_policy)
        super().__init__(container_id, "events", scope=builder.bus, tracer=tracer)
        self._tracer = tracer

    def results(self) -> Document:
        """Return the counts, and the events that are retained."""
        body = {
            "role": self.role,
            "status": self.status,
            "tracer": self._tracer.summary(),
            "events": self._tracer.policy.retained(),
        }
        return Document(self.id, body)


def _history(builder: TopologyBuilder, config: LiveConfig) -> BarHistory:
    history = builder.resources.find(BarHistory)
    if history is None or history.symbols != config.symbols:
        raise ConfigError(
            "the windows of a live session share a BarHistory of their symbols, "
            f"{', '.join(config.symbols)}: put one among the resources of the LifecycleManager"
        )
    return history


def _lanes(
    builder: TopologyBuilder, config: LiveConfig, market: LiveMarket
) -> list[LiveLaneBuilder | LaneReport]:
    """Return what each lane is made of, or why it cannot be made."""
    find = strategy_finder(builder)
    lanes: list[LiveLaneBuilder | LaneReport] = []
    errors: list[ConfigError | UserCodeError] = []
    for lane in config.lanes:
        try:
            lanes.append(LiveLaneBuilder(builder, config, lane, market, find))
        except (ConfigError, UserCodeError) as error:
            errors.append(error)
            lanes.append(refused_lane(lane, error))
    if len(errors) == len(lanes):
        raise errors[0]
    return lanes


async def _accounts(
    lanes: Sequence[PortfolioContainer | LaneReport],
    results: WindowResults,  # noqa: ARG001 - see `Report`
) -> Mapping[str, object]:
    """Return what each lane holds at the end of the window, by the ids of the portfolios."""
    built = [lane for lane in lanes if isinstance(lane, PortfolioContainer)]
    return {"accounts": {lane.id: lane.carried_account() for lane in built}}


def _application_events(builder: TopologyBuilder) -> list[type[Event]]:
    """Return the classes that are to be traced and that no lane traces."""
    registry = builder.resources.find(EventRegistry) or EventRegistry()
    if BarRefused not in tuple(registry):
        registry = EventRegistry([*registry, BarRefused])
    wanted = [name for name in builder.spec.tracing.event_tracing if name in registry]
    classes = dict.fromkeys(registry.resolve(name) for name in wanted)
    return [cls for cls in classes if cls not in MARKET_EVENTS]
