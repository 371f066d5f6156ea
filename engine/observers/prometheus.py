"""A Prometheus collector: what buses count anyway, read when somebody scrapes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from admf.engine.activity import Activity
from admf.engine.bus import Bus
from admf.engine.observers.bus_totals import BusTotals
from admf.engine.observing import ContainerFlush, HandlerFailure, LoopReport, Observer, SlowHandler

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

__all__ = ["FLUSH_BUCKETS_S", "LOOP_BUCKETS_S", "AdmfCollector"]

FLUSH_BUCKETS_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
LOOP_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0)


class AdmfCollector(Observer):
    """Shows buses, windows and runs to Prometheus, without labels that grow with their number.

    Events and deliveries are read from the buses' own accounts at each scrape, so they cost
    nothing while events flow. Needs the extra ``prometheus``.

    Args:
        registry: Where to register, ``prometheus_client.REGISTRY`` or the caller's own; if not
            given, the caller registers the collector.
        flush_buckets_s: Upper bounds of the histogram of flushes, in seconds.
        loop_buckets_s: Upper bounds of the histogram of the event loop's delays, in seconds.

    Raises:
        ModuleNotFoundError: The Prometheus client is not installed.
    """

    def __init__(
        self,
        registry: CollectorRegistry | None = None,
        *,
        flush_buckets_s: Sequence[float] = FLUSH_BUCKETS_S,
        loop_buckets_s: Sequence[float] = LOOP_BUCKETS_S,
    ) -> None:
        self._told = _Told(flush_buckets_s, loop_buckets_s)
        self._buses = BusTotals()
        if registry is not None:
            registry.register(self)

    def watch(self, bus: Bus, name: str) -> None:
        """Show a bus that belongs to no window, until it is closed.

        Args:
            bus: The bus.
            name: Stands in the label ``topology``; several buses of a name are added up.
        """
        self._buses.add(bus, name)

    # -- what observers are told ------------------------------------------------------------------

    def opened(self, activity: Activity) -> None:
        """Count it as open."""
        self._told.open.labels(activity.kind).inc()
        window = activity.window
        if window is not None:
            self._buses.add(window.bus, _topology(activity), lambda: window.containers)

    def closed(self, activity: Activity) -> None:
        """Count it as over, and keep what its bus has counted."""
        self._told.open.labels(activity.kind).dec()
        self._told.over.labels(activity.kind, activity.status).inc()
        if activity.window is not None:
            self._buses.remove(activity.window.bus)

    def container_flushed(self, flush: ContainerFlush) -> None:
        """Take in how long it took."""
        self._told.flushes.labels(flush.role).observe(flush.seconds)

    def handler_failed(self, failure: HandlerFailure) -> None:
        """Count it."""
        self._told.failures.labels(_topology(failure.activity)).inc()

    def slow_handler(self, slow: SlowHandler) -> None:
        """Count it."""
        self._told.slow.labels(_topology(slow.activity)).inc()

    def loop_held(self, report: LoopReport) -> None:
        """Take in the delays."""
        for delay in report.delays:
            self._told.loop.observe(delay)
        self._told.loop_max.set(report.max)

    # -- what Prometheus asks ---------------------------------------------------------------------

    def describe(self) -> Iterator[Metric]:
        """Yield the metrics without values; a registry learns their names by it."""
        return chain(self._buses.families(), *(metric.describe() for metric in self._told.all))

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now; called at each scrape, also from another thread."""
        return chain(self._buses.read(), *(metric.collect() for metric in self._told.all))


class _Told:
    """The metrics of what the collector is told, in no registry of their own."""

    def __init__(self, flush_buckets_s: Sequence[float], loop_buckets_s: Sequence[float]) -> None:
        try:
            from prometheus_client import Counter, Gauge, Histogram
        except ModuleNotFoundError as error:
            hint = "metrics need the Prometheus client: pip install 'admf[prometheus]'"
            raise ModuleNotFoundError(hint, name=error.name) from error
        what = "Runs, phases, windows and flushes"
        topology, registry = ["topology"], None
        self.open = Gauge("admf_activities_open", f"{what} under way.", ["kind"], registry=registry)
        self.over = Counter(
            "admf_activities", f"{what} that are over.", ["kind", "status"], registry=registry
        )
        self.failures = Counter(
            "admf_handler_failures", "Handlers that raised.", topology, registry=registry
        )
        self.slow = Counter(
            "admf_slow_handlers", "Handlers over slow_handler_ms.", topology, registry=registry
        )
        self.flushes = Histogram(
            "admf_flush_seconds", "How long containers took to write their results.", ["role"],
            buckets=flush_buckets_s, registry=registry,
        )  # fmt: skip
        self.loop = Histogram(
            "admf_loop_held_seconds", "How late the loop watch got its turns.",
            buckets=loop_buckets_s, registry=registry,
        )  # fmt: skip
        self.loop_max = Gauge(
            "admf_loop_held_max_seconds", "Its latest turn in the last period.", registry=registry
        )
        self.all = (
            self.open, self.over, self.failures, self.slow, self.flushes, self.loop, self.loop_max
        )  # fmt: skip


def _topology(activity: Activity | None) -> str:
    """Return the topology of the window that something belongs to; empty for none."""
    window = None if activity is None else activity.nearest("window")
    return "" if window is None else str(window.attributes["topology"])
