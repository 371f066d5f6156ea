"""Adds up what buses have counted, as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from admf.engine.bus import Bus
from admf.engine.bus_counts import SUBSCRIBER_KINDS, BusCounts
from admf.engine.container import Container
from admf.engine.memory_guard import held_by

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

__all__ = ["BusTotals"]

_OUTCOMES = ("handled", "dropped", "dead_lettered")


class BusTotals:
    """The buses that are shown, by name, and the sums of those that are closed.

    It is asked from whatever thread Prometheus scrapes in, and changes nothing on the buses.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._shown: dict[Bus, _Shown] = {}
        self._past: dict[str, BusCounts] = {}
        self._counters: dict[tuple[str, ...], int] = {}

    def add(
        self, bus: Bus, name: str, containers: Callable[[], Sequence[Container]] = lambda: ()
    ) -> None:
        """Show a bus, and what its containers hold; all buses of a name are added up."""
        with self._lock:
            self._shown[bus] = _Shown(name, containers)

    def remove(self, bus: Bus) -> None:
        """Keep what a bus has counted, and let go of it."""
        with self._lock:
            self._retire(bus)

    def read(self) -> Sequence[Metric]:
        """Return the metrics as they are now."""
        with self._lock:
            for bus in [bus for bus in self._shown if bus.closed]:
                self._retire(bus)
            totals, held = dict(self._past), dict.fromkeys(self._past, 0)
            for bus, shown in self._shown.items():
                name = shown.name
                totals[name] = totals.get(name, BusCounts()) + bus.counts
                held[name] = held.get(name, 0) + shown.held_bytes()
            families = self.families()
            for name, counts in totals.items():
                self._add(families, name, counts, held[name])
            return families

    @staticmethod
    def families() -> Sequence[Metric]:
        """Return the metrics without values."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        events = "Events numbered by the root buses of windows, and by the scopes below them."
        deliveries = (
            "Events that went to subscribers, one for each of them, by what became of them."
        )
        depth = "Events that wait: to be delivered, in mailboxes, and in streams."
        held = "Estimated memory of the events that the tracers of open windows hold."
        return (
            CounterMetricFamily("admf_bus_events", events),
            CounterMetricFamily("admf_deliveries", deliveries),
            GaugeMetricFamily("admf_queue_depth", depth),
            GaugeMetricFamily("admf_retained_bytes", held),
        )

    def _add(self, families: Sequence[Metric], name: str, counts: BusCounts, held: int) -> None:
        events, deliveries, depth, retained = families
        for place, count in (("root", counts.published), ("scope", counts.in_scopes)):
            self._add_counter(events, {"topology": name, "bus": place}, count)
        depth.add_sample(depth.name, {"topology": name, "queue": "bus"}, counts.waiting)
        for kind in SUBSCRIBER_KINDS:
            found = counts.deliveries[kind]
            for outcome in _OUTCOMES:
                labels = {"topology": name, "subscriber": kind, "outcome": outcome}
                self._add_counter(deliveries, labels, getattr(found, outcome))
            if kind != "inline":
                depth.add_sample(depth.name, {"topology": name, "queue": kind}, found.queued)
        retained.add_sample(retained.name, {"topology": name}, held)

    def _add_counter(self, family: Metric, labels: dict[str, str], count: int) -> None:
        """Add a counter, which never falls, even if the bus was booking while it was read."""
        key = (family.name, *labels.values())
        count = self._counters[key] = max(count, self._counters.get(key, 0))
        family.add_sample(f"{family.name}_total", labels, count)

    def _retire(self, bus: Bus) -> None:
        shown = self._shown.pop(bus, None)
        if shown is not None:
            past = self._past.get(shown.name, BusCounts())
            self._past[shown.name] = past + bus.counts.at_rest


class _Shown:
    """A bus's name, and its containers."""

    __slots__ = ("_containers", "_held_bytes", "name")

    def __init__(self, name: str, containers: Callable[[], Sequence[Container]]) -> None:
        self.name = name
        self._containers = containers
        self._held_bytes = 0

    def held_bytes(self) -> int:
        """Estimate what the tracers hold; as it was last, if they are just at work elsewhere."""
        with suppress(RuntimeError):  # changed during iteration, by the thread of the event loop
            self._held_bytes = held_by(self._containers())
        return self._held_bytes
