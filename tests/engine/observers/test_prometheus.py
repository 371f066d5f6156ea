from __future__ import annotations

import sys
import threading

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.events import Event
from admf.engine.observers import AdmfCollector
from admf.engine.observers.bus_totals import BusTotals
from admf.engine.observing import LoopReport, Observers
from admf.engine.retention import SlidingWindow
from admf.engine.subscription import Mailbox
from admf.engine.testing import RecordingContainer
from admf.engine.tracer import EventTracer
from tests.engine.conftest import Ping

pytestmark = pytest.mark.anyio


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def scraped(registry: CollectorRegistry) -> dict[str, float]:
    """Return what Prometheus would read, by its own parser."""
    text = generate_latest(registry).decode()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def deliveries(registry: CollectorRegistry, kind: str) -> tuple[float, float, float]:
    found = scraped(registry)
    handled, dropped, dead = (
        found[f"admf_deliveries_total{{outcome={it},subscriber={kind},topology=function}}"]
        for it in ("handled", "dropped", "dead_lettered")
    )
    return handled, dropped, dead


async def test_a_window_shows_while_it_runs_and_its_counts_stay(make_window, registry):
    seen: list[dict[str, float]] = []

    def fail(_: Event) -> None:
        raise ValueError("wrong")

    def build(builder):
        data = builder.add(
            RecordingContainer("data", scope=builder.bus, publishes=[Ping(1), Ping(2)])
        )
        data.subscribe(Ping, fail, on_error="isolate")
        data.subscribe(Ping, lambda _: None, mailbox=Mailbox())
        data.subscribe(Ping, lambda event: seen.append(scraped(registry)))

    collector = AdmfCollector(registry)
    for _ in range(2):
        async with make_window(build, observers=[collector], slow_handler_ms=0) as window:
            await window.run()
    assert [it["admf_activities_open{kind=window}"] for it in seen] == [1.0] * 4
    end = scraped(registry)
    assert end["admf_activities_open{kind=window}"] == 0
    assert end["admf_activities_total{kind=window,status=completed}"] == 2
    assert end["admf_activities_total{kind=flush,status=completed}"] == 2
    assert end["admf_handler_failures_total{topology=function}"] == 4
    assert end["admf_slow_handlers_total{topology=function}"] == 12
    assert end["admf_flush_seconds_count{role=recorder}"] == 2
    assert end["admf_bus_events_total{bus=root,topology=function}"] == 12  # HANDLER_FAILED too
    assert end["admf_queue_depth{queue=mailbox,topology=function}"] == 0
    assert deliveries(registry, "inline") == (4, 0, 4)
    assert deliveries(registry, "mailbox") == (4, 0, 0)
    counters = [name for name in end if "_total" in name]
    for name in counters:
        values = [it[name] for it in (*seen, end) if name in it]
        assert values == sorted(values), name


class Broken(SlidingWindow):
    """Changes while it is looked at."""

    def size_bytes(self) -> int:
        raise RuntimeError("deque mutated during iteration")


async def test_what_tracers_hold_shows_and_stays_as_it_was_while_they_are_at_work(
    make_window, registry
):
    seen: list[float] = []

    def look(_: Event) -> None:
        seen.append(scraped(registry)["admf_retained_bytes{topology=function}"])

    def build(builder):
        policy = SlidingWindow(10)
        container = Container("c", "role", scope=builder.bus, tracer=EventTracer([Ping], policy))
        builder.add(container)
        data = builder.add(
            RecordingContainer("data", scope=builder.bus, publishes=[Ping(1), Ping(2), Ping(3)])
        )
        data.subscribe(Ping, look)
        data.subscribe(Ping, lambda event: event.ts == 2 and breaks(policy))

    def breaks(policy: SlidingWindow) -> None:
        policy.__class__ = Broken

    async with make_window(build, observers=[AdmfCollector(registry)]) as window:
        await window.run()
    assert 0 < seen[0] < seen[1] == seen[2]
    assert scraped(registry)["admf_retained_bytes{topology=function}"] == 0


async def test_the_number_of_series_does_not_grow_with_windows_and_containers(
    make_window, chain, registry
):
    collector = AdmfCollector(registry)
    sizes: list[int] = []
    for _ in range(3):
        async with make_window(chain(), observers=[collector]) as window:
            await window.run()
        sizes.append(len(scraped(registry)))
    assert len(set(sizes)) == 1


async def test_a_bus_of_ones_own_shows_until_it_is_closed_and_then_its_counts_stay(registry):
    collector = AdmfCollector(registry)
    bus = Bus()
    collector.watch(bus, "feed")
    stream = bus.stream(Ping, maxsize=2)
    for ts in range(5):
        bus.publish(Ping(ts))
    assert scraped(registry)["admf_queue_depth{queue=bus,topology=feed}"] == 5
    await bus.drain()
    found = scraped(registry)
    assert found["admf_queue_depth{queue=bus,topology=feed}"] == 0
    assert found["admf_queue_depth{queue=stream,topology=feed}"] == 2
    assert found["admf_deliveries_total{outcome=dropped,subscriber=stream,topology=feed}"] == 3
    assert found["admf_bus_events_total{bus=root,topology=feed}"] == 5
    stream.close()
    await bus.aclose()
    found = scraped(registry)
    assert found["admf_bus_events_total{bus=root,topology=feed}"] == 5
    assert found["admf_queue_depth{queue=stream,topology=feed}"] == 0


async def test_another_thread_may_scrape_while_events_flow(registry):
    collector = AdmfCollector(registry)
    bus = Bus()
    collector.watch(bus, "feed")
    stop = threading.Event()
    found: list[float] = []

    def scrape() -> None:
        while not stop.is_set():
            found.append(scraped(registry)["admf_bus_events_total{bus=root,topology=feed}"])

    async with anyio.create_task_group() as group:
        group.start_soon(anyio.to_thread.run_sync, scrape)
        while len(found) < 5:
            subscriptions = [bus.subscribe(Ping, lambda _: None) for _ in range(10)]
            for ts in range(100):
                bus.publish(Ping(ts))
            await bus.drain()
            for subscription in subscriptions:
                subscription.cancel()
        stop.set()
    assert found == sorted(found)


async def test_counters_never_fall_even_if_a_bus_counts_less(registry, monkeypatch):
    collector = AdmfCollector(registry)
    bus = Bus()
    collector.watch(bus, "feed")
    bus.publish(Ping(1))
    assert scraped(registry)["admf_bus_events_total{bus=root,topology=feed}"] == 1
    monkeypatch.setattr(bus, "_published", 0)
    assert scraped(registry)["admf_bus_events_total{bus=root,topology=feed}"] == 1


def test_the_delays_of_the_event_loop_are_a_histogram(registry):
    collector = AdmfCollector(registry, loop_buckets_s=(0.01, 0.1))
    Observers([collector]).tell("loop_held", LoopReport((0.0, 0.05, 0.2), 0.05, 0.2, 0.2))
    found = scraped(registry)
    assert [
        found[f"admf_loop_held_seconds_bucket{{le={it}}}"] for it in ("0.01", "0.1", "+Inf")
    ] == [
        1.0,
        2.0,
        3.0,
    ]
    assert found["admf_loop_held_max_seconds{}"] == 0.2


def test_the_caller_may_register_the_collector_and_two_do_not_go_together(registry):
    collector: Collector = AdmfCollector()
    registry.register(collector)
    assert "admf_loop_held_max_seconds{}" in scraped(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        AdmfCollector(registry)


def test_without_the_client_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'admf\[prometheus\]'"):
        AdmfCollector()


async def test_a_bus_that_is_closed_and_scraped_before_its_window_ends_counts_once(registry):
    totals, bus = BusTotals(), Bus()
    totals.add(bus, "feed")
    bus.publish(Ping(1))
    await bus.aclose()
    before = totals.read()[0].samples
    totals.remove(bus)
    assert totals.read()[0].samples == before
