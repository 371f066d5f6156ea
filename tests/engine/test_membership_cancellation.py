"""Cancellation injected at every suspension while a window is changed."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter

import anyio
import pytest
from structlog.testing import capture_logs

from admf.engine.container import Container, ContainerState
from admf.engine.events import Event
from admf.engine.results import Document
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.supervision import Supervision
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from tests.engine.conftest import Ping
from tests.engine.injection import Injection, Suspensions
from tests.engine.test_membership import Gate, Trace

# anyio forgets the coroutine of a child task that is cancelled natively before its first step
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

MODES = [
    *(f"{what} {how}" for what in ("host", "both") for how in ("once", "twice", "on and on")),
    *("scope once", "everybody once", "everybody twice"),
]


class Slow(Container):
    """Suspends in each of its hooks and in its handler; its results are what it handled."""

    def __init__(self, container_id: str, play: Play, mailbox: Mailbox | None = None) -> None:
        super().__init__(
            container_id,
            "slow",
            scope=play.window.bus,
            supervision=Supervision(policy="restart", max_restarts=9),
        )
        self.play = play
        self.seen: list[int] = []
        self.handed: object = None
        self._mailbox = mailbox
        play.made.append(self)

    async def on_start(self) -> None:
        await anyio.lowlevel.checkpoint()
        self.subscribe(Ping, self.handle, mailbox=self._mailbox)
        await anyio.lowlevel.checkpoint()

    async def handle(self, event: Event) -> None:
        await anyio.lowlevel.checkpoint()
        self.seen.append(event.ts)
        if event.ts in self.play.fails:
            self.play.fails.discard(event.ts)
            raise ValueError(event.ts)

    async def on_stop(self) -> None:
        await anyio.lowlevel.checkpoint()

    async def on_release(self) -> None:
        await anyio.lowlevel.checkpoint()

    def hand_over(self) -> object:
        return list(self.seen)

    def take_over(self, state: object) -> None:
        self.handed = state

    def renew(self, container_id: str) -> Slow:
        return Slow(container_id, self.play)

    def results(self) -> Document:
        return Document(self.id, {"seen": list(self.seen)})


class Play:
    """A window that is changed, under injection."""

    def __init__(self, window: ExecutionWindow) -> None:
        self.window = window
        self.made: list[Slow] = []
        self.fails: set[int] = set()
        self.cancelled = False
        self.injected = False
        self.trace = Trace()

    def publish(self, *stamps: int) -> None:
        for ts in stamps:
            self.window.bus.publish(Ping(ts))

    async def body(self) -> None:
        """Add, swap, restart and remove, with events in between."""
        window, bus = self.window, self.window.bus
        bus.attach_tracer(self.trace)
        async with window:
            self.publish(1)
            await window.add(Slow("one", self))
            self.publish(2, 3)
            await window.add(Slow("box", self, Mailbox(2)))
            self.publish(4)
            await window.swap("one", Slow("two", self))
            self.publish(5)
            await window.swap("box", Slow("inline", self))
            self.fails.add(6)
            self.publish(6, 7)
            await bus.drain()
            await window.remove("one")
            self.publish(8)
            await window.run()


def drive(play: Play, mode: str, at: int) -> None:
    """Carry out the body in a loop of its own, with an injection at one suspension."""
    suspensions, injection = Suspensions(), Injection(mode, at)

    async def host() -> None:
        with anyio.CancelScope() as injection.scope:
            await play.body()
        play.cancelled = injection.scope.cancelled_caught

    async def main() -> None:
        injection.main = suspensions.main = asyncio.current_task()
        suspensions.act = injection
        injection.host = task = asyncio.create_task(host())
        await asyncio.wait([task])
        suspensions.act = None
        play.cancelled |= task.cancelled()
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()
        assert asyncio.all_tasks() == {suspensions.main}

    with asyncio.Runner() as runner:
        runner.get_loop().set_task_factory(suspensions.make_task)
        runner.run(main())
    play.injected = injection.injected


class CountedMemory(MemoryStorage):
    """Counts how often each file was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: Counter[str] = Counter()

    async def write_atomic(self, path, chunks) -> None:
        await super().write_atomic(path, chunks)
        self.written[path] += 1


async def check(play: Play, storage: CountedMemory) -> None:
    """Nobody is half-way in, and what any member has handled is in its file, once."""
    window = play.window
    assert window.bus.closed
    if not await storage.list_files("phase"):
        assert play.made == []  # cut short before the window was built
        return
    assert (await verify_window(storage, "phase/w1")).complete
    record = json.loads(await storage.read("phase/w1/phase_summary.json"))
    summaries = {it["id"]: it for it in record["containers"]}
    files = [path for path in await storage.list_files("phase") if "containers/" in path]
    documents = [json.loads(await storage.read(path)) for path in files]
    seen = {it["container_id"]: it["seen"] for it in documents}
    members = [it for it in play.made if it.id in summaries]
    assert seen == {it.id: it.seen for it in members}
    assert {it.state for it in members} <= {ContainerState.DESTROYED}
    for it in [it for it in play.made if it not in members]:
        assert it.state in {ContainerState.DESTROYED, ContainerState.CREATED}  # or not yet begun
        assert it.seen == []
    numbers = {it.event.ts: it.seq for it in play.trace.envelopes if isinstance(it.event, Ping)}
    assert play.trace.seqs == [*range(1, len(play.trace.seqs) + 1)]
    for it in members:
        last = it.last_seq or play.trace.seqs[-1]
        due = [ts for ts, seq in numbers.items() if it.after_seq < seq <= last]
        assert list(dict.fromkeys(it.seen)) == due  # an interrupted handler is called again


@pytest.mark.parametrize("mode", MODES)
def test_no_cancellation_at_any_suspension_leaves_a_change_half_made(make_window, mode):
    plays = []
    for at in itertools.count(1):
        storage = CountedMemory()
        play = Play(make_window(lambda it: it.add(Container("base", "x", scope=it.bus)), storage))
        with capture_logs():
            drive(play, mode, at)
        asyncio.run(check(play, storage))
        if not play.injected:
            break
        assert play.cancelled, at
        plays.append(play)
    assert {len(it.made) for it in plays} == {0, 1, 2, 3, 4, 5}


async def change_in_a_task(
    play: Play, change: str, suspensions: Suspensions, injection: Injection
) -> None:
    """Make one change in a task that is cancelled, while the window goes on."""
    window = play.window
    window.bus.attach_tracer(play.trace)
    changes = {
        "add": lambda: window.add(Slow("new", play)),
        "swap": lambda: window.swap("one", Slow("new", play)),
        "swap of a mailbox": lambda: window.swap("box", Slow("new", play)),
        "remove": lambda: window.remove("one"),
        "remove of a mailbox": lambda: window.remove("box"),
    }

    async def run() -> None:
        await window.run()

    async with window:
        gate = Gate("gate", scope=window.bus)
        await window.add(gate)
        await window.add(Slow("one", play))
        await window.add(Slow("box", play, Mailbox(1)))
        running = asyncio.create_task(run())
        await asyncio.sleep(0)
        play.publish(1, 2, 3)
        injection.host = victim = asyncio.create_task(changes[change]())
        suspensions.act = injection
        await asyncio.wait([victim])
        suspensions.act = None
        settled = {ContainerState.CREATED, ContainerState.RUNNING, ContainerState.DESTROYED}
        assert {it.state for it in play.made} <= settled
        play.publish(4, 5)
        await window.bus.drain()
        gate.close()
        await running
    assert window.status == "completed"


@pytest.mark.parametrize("how", ["once", "twice", "on and on"])
@pytest.mark.parametrize(
    "change", ["add", "swap", "swap of a mailbox", "remove", "remove of a mailbox"]
)
def test_a_change_that_is_cancelled_anywhere_is_made_or_not_and_the_window_goes_on(
    make_window, change, how
):
    made: set[bool] = set()
    for at in itertools.count(1):
        storage = CountedMemory()
        play = Play(make_window(lambda it: it.add(Container("base", "x", scope=it.bus)), storage))
        suspensions, injection = Suspensions(), Injection(f"host {how}", at)

        async def main(play=play, suspensions=suspensions, injection=injection) -> None:
            injection.main = suspensions.main = asyncio.current_task()
            with capture_logs():
                await change_in_a_task(play, change, suspensions, injection)
            assert asyncio.all_tasks() == {suspensions.main}

        with asyncio.Runner() as runner:
            runner.get_loop().set_task_factory(suspensions.make_task)
            runner.run(main())
        asyncio.run(check(play, storage))
        if not injection.injected:
            break
        seen = {it.id: it.seen for it in play.made}
        one, box, new = seen["one"], seen["box"], seen.get("new", [])
        changed = "box" if "mailbox" in change else "one"
        made.add(seen[changed][-1] == 3 or new[-1:] == [5])
        if change.startswith("swap"):
            assert sorted({*seen[changed], *new}) == [1, 2, 3, 4, 5]
        untouched = box if changed == "one" else one
        assert list(dict.fromkeys(untouched)) == [1, 2, 3, 4, 5]
    assert made == {True, False} or (change.startswith("remove") and made == {True})
