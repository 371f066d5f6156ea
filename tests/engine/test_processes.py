from __future__ import annotations

from collections.abc import Iterator

import anyio
import pytest
from anyio.lowlevel import checkpoint

from admf.engine.bus import Bus
from admf.engine.errors import HandlerError
from admf.engine.events import Envelope, Event
from admf.engine.subscription import Mailbox

pytestmark = pytest.mark.anyio


class Step(Event, frozen=True, gc=False, tag="STEP"):
    pass


class Echo(Event, frozen=True, gc=False, tag="ECHO"):
    pass


async def test_a_process_is_resumed_when_all_it_published_has_been_handled_by_all():
    root = Bus()
    below = root.scope("below", exports=Echo)
    log: list[tuple[str, int]] = []

    async def answer(event: Step) -> None:
        await checkpoint()
        log.append(("handled", event.ts))
        if event.ts < 10:
            root.publish(Step(event.ts + 10))
        below.publish(Echo(event.ts))

    root.subscribe(Step, answer)
    below.subscribe(Step, lambda event: log.append(("below", event.ts)))
    root.subscribe(Echo, lambda event: log.append(("echo", event.ts)))

    def phases() -> Iterator[None]:
        for ts in (1, 2):
            log.append(("phase", ts))
            root.publish(Step(ts))
            yield

    root.advance(phases())
    await root.drain()
    assert [line for line in log if line[0] == "phase"] == [("phase", 1), ("phase", 2)]
    second = log.index(("phase", 2))
    assert {ts % 10 for _, ts in log[:second]} == {1}
    assert {ts % 10 for _, ts in log[second:]} == {2}
    assert len(log) == 2 + 3 * 4


async def test_a_process_waits_for_what_it_published_in_a_scope_below():
    root = Bus()
    below = root.scope("below")
    log: list[str] = []
    below.subscribe(Step, lambda event: log.append("handled"))

    def process() -> Iterator[None]:
        below.publish(Step(1))
        yield
        log.append("resumed")

    root.advance(process())
    await root.drain()
    assert log == ["handled", "resumed"]


async def test_processes_run_one_after_the_other_and_those_of_a_scope_within_an_event():
    root = Bus()
    below = root.scope("below")
    log: list[str] = []

    def named(name: str) -> Iterator[None]:
        for number in range(2):
            log.append(f"{name}{number}")
            yield

    below.subscribe(Step, lambda event: below.advance(named("below")))
    root.subscribe(Step, lambda event: root.advance(named(f"root {event.ts} ")))
    for ts in (1, 2):
        root.publish(Step(ts))
    await root.drain()
    assert log == [
        "below0", "below1", "below0", "below1",
        "root 1 0", "root 1 1", "root 2 0", "root 2 1",
    ]  # fmt: skip


async def test_what_a_process_publishes_is_caused_by_the_event_that_started_it():
    class Tape:
        types = frozenset({Echo})

        def record(self, envelope: Envelope) -> None:
            causes.append(envelope.cause)

    bus, tape = Bus(), Tape()
    causes: list[int] = []
    bus.attach_tracer(tape)

    def process() -> Iterator[None]:
        for ts in range(2):
            bus.publish(Echo(ts))
            yield

    bus.subscribe(Step, lambda event: bus.advance(process()))
    for ts in range(3):
        bus.publish(Step(ts))
    await bus.drain()
    bus.advance(process(), cause=2)
    bus.advance(process())
    await bus.drain()
    assert causes == [1, 1, 2, 2, 3, 3, 2, 2, 0, 0]


async def test_a_process_started_by_a_mailbox_handler_does_not_wait_for_that_handler():
    bus = Bus()
    done = anyio.Event()

    def process() -> Iterator[None]:
        done.set()
        yield

    async def handler(event: Step) -> None:
        bus.advance(process())
        await done.wait()

    bus.subscribe(Step, handler, mailbox=Mailbox())
    bus.publish(Step(1))
    with anyio.fail_after(10):
        await bus.drain()


@pytest.mark.parametrize("error", [ValueError("no"), anyio.get_cancelled_exc_class])
async def test_a_process_that_raises_fails_the_drain_and_the_next_one_runs(error):
    bus = Bus()
    log: list[str] = []
    raised = error if isinstance(error, Exception) else error()()

    def failing() -> Iterator[None]:
        yield
        raise raised

    def following() -> Iterator[None]:
        log.append("following")
        yield

    bus.advance(failing())
    bus.advance(following())
    bus.advance(iter(()))
    with pytest.raises(HandlerError, match="'failing' failed on a step") as caught:
        await bus.drain()
    assert caught.value.__cause__ is raised
    await bus.drain()
    assert log == ["following"]


async def test_a_process_without_a_name_can_fail_too():
    class Failing:
        def __iter__(self):
            return self

        def __next__(self) -> None:
            raise ValueError

    bus = Bus()
    bus.advance(Failing())
    with pytest.raises(HandlerError, match="'process' failed"):
        await bus.drain()


async def test_an_endless_process_can_be_cancelled():
    bus = Bus(max_block_ms=0.1)

    def endless() -> Iterator[None]:
        while True:
            yield

    bus.advance(endless())
    with anyio.move_on_after(0) as scope:
        await bus.drain()
    assert scope.cancelled_caught
    await bus.aclose()
