"""What the containers of a window leave to those of the next one."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from admf.engine.errors import DeadlineError, StateError, WindowError
from admf.engine.events import Event
from admf.engine.roll_rules import EveryEvents
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.teardown import Deadlines
from admf.engine.testing import RecordingContainer
from admf.engine.topology import TopologyBuilder
from tests.engine.sessions import (
    Broker,
    Ledger,
    Live,
    Note,
    Total,
    documents,
    notes,
    records,
    session_of,
    until,
)

pytestmark = pytest.mark.anyio


class Receipt(Event, frozen=True, gc=False, tag="RECEIPT"):
    number: int


class Clerk(Ledger):
    """Keeps its ledger from a mailbox, slowly, and publishes a receipt for each note."""

    hangs_at = raises_at = 0

    async def on_start(self) -> None:
        self.subscribe(Note, self.write_slowly, mailbox=Mailbox(100))

    async def write_slowly(self, note: Note) -> None:
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
        if note.number == self.hangs_at:
            await anyio.sleep_forever()
        if note.number == self.raises_at:
            raise ValueError("no room")
        self.write(note)
        self.scope.publish(Receipt(note.ts, note.number), self.id)


class Collector(Ledger):
    """Counts receipts, which come of what others do in their mailboxes."""

    async def on_start(self) -> None:
        self.subscribe(Receipt, self.write)


def clerks(**settings: int) -> Callable[[TopologyBuilder], None]:
    def add(builder: TopologyBuilder) -> None:
        clerk = builder.add(Clerk(builder.bus, "clerk"))
        vars(clerk).update(settings)
        builder.add(Collector(builder.bus, "collector"))

    return add


async def test_a_state_is_handed_over_when_the_mailbox_is_empty() -> None:
    storage = MemoryStorage()
    rules = {"rolls": [EveryEvents(3)], "add": clerks()}
    await (await session_of(Broker(notes(8)), storage=storage, **rules)).run()
    for name in ("clerk", "collector"):
        found = await documents(storage, name)
        assert [it["seen"] for it in found] == [[1, 2, 3], [4, 5, 6], [7, 8]]
        assert [it["total"] for it in found] == [3, 6, 8]


async def test_a_mailbox_that_does_not_become_empty_ends_the_session() -> None:
    source = Broker(notes(8))
    deadlines = {"deadlines": Deadlines(drain=0.02)}
    rules = {"rolls": [EveryEvents(3)], "add": clerks(hangs_at=2), "lifecycle": deadlines}
    session = await session_of(source, **rules)
    failures: list[BaseException] = []

    async def run() -> None:
        try:
            await session.run()
        except ExceptionGroup as group:
            failures.extend(group.exceptions)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until(lambda: session._stopping)
        await session.aclose(grace=0.0)
    assert [type(it) for it in failures] == [DeadlineError, WindowError]
    assert source.acknowledged == []


async def test_nobody_waits_for_the_mailboxes_of_a_window_that_failed() -> None:
    storage = MemoryStorage()
    rules = {"rolls": [EveryEvents(3)], "on_failure": "continue", "add": clerks(raises_at=2)}
    session = await session_of(Broker(notes(8)), storage=storage, **rules)
    await session.run()
    assert [it.status for it in session.closed] == ["failed", "completed", "completed"]
    assert [it["total"] for it in await documents(storage)][-1] == 8


async def test_a_container_that_was_added_is_not_part_of_the_next_window() -> None:
    live, storage = Live(), MemoryStorage()
    session = await session_of(live, storage=storage, rolls=[EveryEvents(2)])
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.opened == 1)
        await session.window.add(RecordingContainer("guest", scope=session.window.bus))
        live.send(1, 2, 3)
        await until(lambda: session.counts.opened == 2)
        assert [it.id for it in session.window.containers] == ["intake", "ledger"]
        live.end()
    assert "guest" in {it.id for it in session.closed[0].containers}


async def test_the_next_window_takes_over_from_the_one_that_has_the_place() -> None:
    live, storage = Live(), MemoryStorage()
    session = await session_of(live, storage=storage, rolls=[EveryEvents(2)])
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.opened == 1)
        live.send(1)
        ledger = next(it for it in session.window.containers if it.id == "ledger")
        await until(lambda: ledger.total == 1)
        for name in ("second", "third"):
            await session.window.swap("ledger", Ledger(session.window.bus, name))
        live.send(2, 3)
        live.end()
    _, second = await records(storage)
    assert second["carried"] == {"ledger": {"total": 2}}


class Savings(Ledger):
    """A ledger whose state another process can take over."""

    state_type = Total


def savings(builder: TopologyBuilder) -> None:
    builder.add(Savings(builder.bus, "savings"))


async def test_another_session_goes_on_from_what_a_commit_record_tells() -> None:
    storage, rules = MemoryStorage(), {"rolls": [EveryEvents(3)], "add": savings}
    await (await session_of(Broker(notes(5)), storage=storage, **rules)).run()
    left = [it["left"] for it in await records(storage)]
    assert left == [{"savings": {"total": 3}}, {"savings": {"total": 5}}]
    later = MemoryStorage()
    await (await session_of(Broker(notes(2)), storage=later, inherits=left[-1], **rules)).run()
    assert [it["carried"] for it in await records(later)] == [{"savings": {"total": 5}}]
    assert [it["total"] for it in await documents(later, "savings")] == [7]


async def test_a_window_that_is_cut_short_tells_what_it_left_when_all_was_handled() -> None:
    storage = MemoryStorage()
    session = await session_of(Broker(notes(100), pause_every=1), storage=storage, add=savings)
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.events >= 5)
        group.cancel_scope.cancel()
    (record,) = await records(storage)
    assert record["left"] == {"savings": {"total": record["events"]}}


async def test_what_does_not_fit_a_container_is_no_state_of_it() -> None:
    session = await session_of(Broker([]), add=savings, inherits={"savings": {"total": "many"}})
    with pytest.raises(StateError, match="savings"):
        await session.run()
    assert session.counts.opened == 0
