"""A web service's latencies, folded from its events: the engine on its own, without markets."""

import asyncio
from collections import Counter, defaultdict, deque
from random import Random
from statistics import quantiles

from admf.engine import Container, Document, Event, EventTracer, LifecycleManager, TradeComplete

USUAL_MS = {"/": 5, "/search": 40, "/checkout": 120}


class RequestOpen(Event, frozen=True, tag="REQUEST_OPEN"):
    correlation_field = "request_id"
    request_id: int
    route: str


class RequestClose(Event, frozen=True, tag="REQUEST_CLOSE"):
    correlation_field = "request_id"
    closes = True
    request_id: int
    status: int


class LatencyTracer(EventTracer):
    """Keeps the events of a request while it is open; of a closed one, only its latency."""

    def __init__(self):
        super().__init__([RequestOpen, RequestClose], TradeComplete(self.complete))
        self.count, self.errors = Counter(), Counter()
        self.latest_ms = defaultdict(lambda: deque(maxlen=10_000))

    def complete(self, request_id, events):
        opened, closed = events
        self.count[opened.route] += 1
        self.errors[opened.route] += closed.status >= 500
        self.latest_ms[opened.route].append((closed.ts - opened.ts) / 1e6)

    def rows(self):
        for route, latest in sorted(self.latest_ms.items()):
            p50, p99 = quantiles(latest, n=100)[49::49]
            yield route, self.count[route], self.errors[route], p50, p99, max(latest)


class Latencies(Container):
    def results(self):  # written when the window closes, however that comes about
        still_open = self.tracer.policy.retained_count
        return Document(self.id, {"rows": list(self.tracer.rows()), "still_open": still_open})


class Traffic(Container):
    async def run(self):  # in a service, its middleware publishes these two events
        random, events = Random(7), []
        for request_id in range(20_000):
            ts, route = request_id * 1_000_000, random.choice(list(USUAL_MS))
            took = round(random.lognormvariate(0, 0.5) * USUAL_MS[route] * 1e6)
            events.append(RequestOpen(ts, request_id, route))
            events.append(RequestClose(ts + took, request_id, random.choice([200] * 99 + [500])))
        for event in sorted(events, key=lambda event: event.ts)[:-100]:
            self.scope.publish(event)
            await self.scope.drain()


async def main():
    def build(builder):
        builder.add(Traffic("traffic", "source", scope=builder.bus))
        builder.add(Latencies("latencies", "tracer", scope=builder.bus, tracer=LatencyTracer()))

    async with LifecycleManager().window_of(build) as window:
        await window.run()
    report = await window.results.read("containers/latencies_results.json", dict)
    print(("{:>10}" * 6).format("route", "count", "errors", "p50 ms", "p99 ms", "max ms"))
    for row in report["rows"]:
        print(("{:>10}" * 3 + "{:10.1f}" * 3).format(*row))
    print(f"{report['still_open']} requests are still open")


asyncio.run(main())
