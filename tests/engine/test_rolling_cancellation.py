"""Cancellation injected at suspensions of all tasks of a live session, and what comes after it."""

from __future__ import annotations

import asyncio
import json

import anyio
import pytest

from admf.engine.errors import WindowError
from admf.engine.roll_rules import EveryEvents
from admf.engine.storage import MemoryStorage
from admf.engine.testing import RecordingContainer
from admf.engine.verification import verify_window
from tests.engine.injection import Injection, Suspensions
from tests.engine.sessions import FOLDER, Broker, Note, joined, notes, session_of

# anyio forgets the coroutine of a child task that is cancelled natively before its first step
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

MODES = [
    "host once",
    "host twice",
    "host on and on",
    "scope once",
    "both once",
    "everybody once",
    "everybody on and on",
]
EVENTS = 4


def add(builder) -> None:
    """Add a container whose handler suspends."""

    async def handle(_: Note) -> None:
        await anyio.lowlevel.checkpoint()

    builder.add(RecordingContainer("slow", scope=builder.bus)).subscribe(Note, handle)


class Interrupted:
    """A session that is cancelled at one suspension, in a loop of its own."""

    def __init__(self, mode: str, at: int) -> None:
        self.broker, self.storage = Broker(notes(EVENTS), pause_every=2), MemoryStorage()
        self.suspensions, self.injection = Suspensions(), Injection(mode, at)
        self.cancelled = False
        self.error: BaseException | None = None
        with asyncio.Runner() as runner:
            runner.get_loop().set_task_factory(self.suspensions.make_task)
            runner.run(self.main())

    async def host(self) -> None:
        rules = [EveryEvents(2)]
        self.session = await session_of(self.broker, add=add, storage=self.storage, rolls=rules)
        with anyio.CancelScope() as self.injection.scope:
            async with self.session:
                await self.session.run()
        self.cancelled = self.injection.scope.cancelled_caught

    async def main(self) -> None:
        self.injection.main = self.suspensions.main = asyncio.current_task()
        self.suspensions.act = self.injection
        self.injection.host = task = asyncio.create_task(self.host())
        await asyncio.wait([task])
        self.suspensions.act = None
        self.cancelled |= task.cancelled()
        self.error = None if task.cancelled() else task.exception()
        assert asyncio.all_tasks() == {self.suspensions.main}

    def windows(self) -> list[dict]:
        """Return the commit record of each window that is complete, in order."""

        async def read() -> list[dict]:
            found = []
            for path in sorted(await self.storage.list_files(FOLDER)):
                folder, _, name = path.rpartition("/")
                if name == "phase_summary.json":
                    assert (await verify_window(self.storage, folder)).complete
                    ledger = await self.storage.read(f"{folder}/containers/ledger_results.json")
                    record = json.loads(await self.storage.read(path))
                    found.append({**record, "seen": json.loads(ledger)["seen"]})
            return found

        return anyio.run(read)


@pytest.mark.parametrize("mode", MODES)
def test_a_session_that_is_cancelled_anywhere_has_what_it_took_in_complete_windows(mode: str):
    at = 1
    while True:
        run = Interrupted(mode, at)
        windows = run.windows()
        taken = joined([window["seen"] for window in windows])
        assert taken == sorted(set(taken))
        if mode != "everybody on and on":  # there, a window may be given up
            assert taken == list(range(1, len(taken) + 1))
        promised = max(run.broker.acknowledged, default=0)
        assert taken[:promised] == list(range(1, promised + 1))
        assert run.error is None or isinstance(run.error, (WindowError, ExceptionGroup))
        whole = [
            it for it in windows if it["status"] != "failed" and it["report"]["intake"]["events"]
        ]
        last = [it["report"]["intake"]["last_position"] for it in whole]
        assert run.broker.acknowledged == sorted(set(run.broker.acknowledged))
        assert set(run.broker.acknowledged) <= set(last)
        if mode.endswith("once") and not mode.startswith("everybody"):
            assert hasattr(run, "session") is False or len(taken) == run.session.counts.events
            assert run.broker.acknowledged == last
            if run.broker.position:
                assert run.broker.closed
        if not run.injection.injected:
            assert taken == list(range(1, EVENTS + 1))
            assert not run.cancelled
            break
        at += 1
    assert at > 20
