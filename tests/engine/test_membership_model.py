"""Random changes of a window against a naive model: every event is the incumbent's, once."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import anyio
from anyio.lowlevel import checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.engine.container import Container, ContainerState
from admf.engine.events import Event
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import Document, WindowResults
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox, Subscription
from admf.engine.supervision import Supervision
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from tests.engine.conftest import FunctionTopology
from tests.engine.test_membership import Gate, Trace

Kind = Literal["plain", "async", "mailbox"]


class Fact(Event, frozen=True, gc=False, tag="FACT"):
    """Makes the worker in the place ``fails`` raise."""

    fails: int = -1


@dataclass(frozen=True)
class Step:
    """What the program does next; ``place`` counts those there are, ``waits`` is for the others."""

    act: Literal["publish", "fail", "add", "remove", "swap"]
    place: int = 0
    kind: Kind = "plain"
    drains: bool = False
    waits: int = 0


STEPS = st.lists(
    st.builds(
        Step,
        act=st.sampled_from(["publish", "publish", "fail", "add", "remove", "swap"]),
        place=st.integers(0, 3),
        kind=st.sampled_from(["plain", "async", "mailbox"]),
        drains=st.booleans(),
        waits=st.integers(0, 3),
    ),
    max_size=25,
)


@dataclass
class Life:
    """What one worker handled, and its accounts."""

    worker: Worker
    place: int
    seen: list[int] = field(default_factory=list)
    accounts: Subscription | None = None


class Worker(Container):
    """Notes the facts it handles; its state is how many its place has handled."""

    def __init__(self, container_id: str, program: Program, place: int, kind: Kind) -> None:
        super().__init__(
            container_id,
            "worker",
            scope=program.window.bus,
            supervision=Supervision(policy="restart", max_restarts=1_000),
        )
        self.life = Life(self, place)
        self.handled = 0
        self._program = program
        self._kind: Kind = kind
        program.lives.append(self.life)

    async def on_start(self) -> None:
        await checkpoint()
        self.life.accounts = self.subscribe(
            Fact,
            self.handle if self._kind == "plain" else self.handle_later,
            mailbox=Mailbox(3) if self._kind == "mailbox" else None,
        )

    def handle(self, fact: Fact) -> None:
        self.life.seen.append(fact.ts)
        self.handled += 1
        if fact.fails == self.life.place:
            raise ValueError(fact)

    async def handle_later(self, fact: Fact) -> None:
        await checkpoint()
        self.handle(fact)

    def hand_over(self) -> int:
        return self.handled

    def take_over(self, state: object) -> None:
        assert isinstance(state, int)
        self.handled = state

    def results(self) -> Document:
        return Document(self.id, {"seen": list(self.life.seen)})

    def renew(self, container_id: str) -> Worker:
        return Worker(container_id, self._program, self.life.place, self._kind)


class Program:
    """A window in which a list of steps is carried out."""

    def __init__(self, storage: MemoryStorage) -> None:
        registry = Registry()
        topology = FunctionTopology(lambda it: it.add(Gate("gate", scope=it.bus)))
        registry.register("topologies", "function", topology)
        spec = WindowSpec(workflow_id="model", phase_name="p", topology="function")
        manager = LifecycleManager(registry=registry)
        self.window: ExecutionWindow = manager.window(spec, WindowResults(storage, "p"))
        self.trace = Trace()
        self.lives: list[Life] = []
        self.there: dict[int, str] = {}  # places that are taken, by an id that they answer to
        self.model: dict[int, list[int]] = {}  # facts of each place, as they are to be
        self.published = 0
        self.changes = 0

    async def play(self, steps: list[Step], *, together: bool) -> None:
        self.window.bus.attach_tracer(self.trace)
        async with self.window, anyio.create_task_group() as group:
            gate = self.window.containers[0]
            assert isinstance(gate, Gate)
            group.start_soon(self.window.run)
            for step in steps:
                if together and step.act in {"publish", "fail"}:
                    group.start_soon(self._publish_later, step)
                else:
                    await self._do(step)
            gate.close()

    @property
    def places(self) -> list[int]:
        return sorted({life.place for life in self.lives})

    def lives_in(self, place: int) -> list[Life]:
        """Return those that had a place, each followed by the one that took it over."""
        assert self.window.summary is not None
        successors = {it.id: it.successor for it in self.window.summary.containers}
        lives = {life.worker.id: life for life in self.lives if life.place == place}
        [id_] = set(lives) - {successors[other] for other in lives}
        in_order = []
        while id_:
            in_order.append(lives.pop(id_))
            id_ = successors[id_]
        assert not lives
        return in_order

    def forget_those_that_never_entered(self) -> None:
        """Of an instance for a restart that was overtaken by a removal or the end."""
        assert self.window.summary is not None
        entered = {it.id for it in self.window.summary.containers}
        for life in [it for it in self.lives if it.worker.id not in entered]:
            assert life.seen == []
            assert life.worker.state is ContainerState.DESTROYED
            self.lives.remove(life)

    async def _publish_later(self, step: Step) -> None:
        for _ in range(step.waits):
            await checkpoint()
        await self._publish(step)

    async def _publish(self, step: Step) -> None:
        fails = self._place(step) if step.act == "fail" else -1
        self.window.bus.publish(Fact(self.published, fails))
        for place in self.there:
            self.model[place].append(self.published)
        self.published += 1
        if step.drains:
            await self.window.bus.drain()

    async def _do(self, step: Step) -> None:
        place = self._place(step)
        if step.act in {"publish", "fail"}:
            await self._publish(step)
        elif step.act == "add":
            self.changes += 1
            new = Worker(f"w{self.changes}", self, self.changes, step.kind)
            await self.window.add(new)
            self.there[self.changes] = new.id
            self.model[self.changes] = []
        elif place == -1:
            return
        elif step.act == "remove":
            await self.window.remove(self.there[place])
            del self.there[place]
        else:
            self.changes += 1
            new = Worker(f"w{self.changes}", self, place, step.kind)
            await self.window.swap(self.there[place], new)

    def _place(self, step: Step) -> int:
        places = list(self.there)
        return places[step.place % len(places)] if places else -1


def play(steps: list[Step], *, together: bool) -> Program:
    storage = MemoryStorage()

    async def main() -> Program:
        program = Program(storage)
        await program.play(steps, together=together)
        assert (await verify_window(storage, "p")).complete
        program.forget_those_that_never_entered()
        files = [path for path in await storage.list_files("p") if "containers/" in path]
        written = [json.loads(await storage.read(path)) for path in files]
        assert {it["container_id"]: it["seen"] for it in written} == {
            life.worker.id: life.seen for life in program.lives
        }
        return program

    return anyio.run(main)


def check_what_always_holds(program: Program) -> None:
    trace = program.trace
    assert trace.seqs == [*range(1, len(trace.seqs) + 1)]
    assert program.window.status == "completed"
    seq_of = {it.event.ts: it.seq for it in trace.envelopes if isinstance(it.event, Fact)}
    for life in program.lives:
        worker, accounts = life.worker, life.accounts
        assert worker.state is ContainerState.DESTROYED
        last = worker.last_seq or trace.seqs[-1]
        due = [ts for ts, seq in seq_of.items() if worker.after_seq < seq <= last]
        assert life.seen == due
        assert accounts is not None
        stats = accounts.stats
        assert stats.accepted == stats.handled + stats.dead_lettered == len(due)
        assert (stats.dropped, stats.queued) == (0, 0)
    for place in program.places:
        for before, after in pairwise(program.lives_in(place)):
            assert after.worker.after_seq == before.worker.last_seq


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_each_place_handles_every_fact_from_its_addition_to_its_removal_once_and_in_order(steps):
    program = play(steps, together=False)
    check_what_always_holds(program)
    for place, facts in program.model.items():
        lives = program.lives_in(place)
        assert [ts for life in lives for ts in life.seen] == facts
        assert lives[-1].worker.handled == len(facts)


@settings(max_examples=100, deadline=None)
@given(steps=STEPS)
def test_the_same_holds_while_others_publish_and_drain_meanwhile(steps):
    program = play(steps, together=True)
    check_what_always_holds(program)
    for place in program.places:
        lives = program.lives_in(place)
        seen = [ts for life in lives for ts in life.seen]
        assert len(seen) == len(set(seen)) == lives[-1].worker.handled
