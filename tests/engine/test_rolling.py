from __future__ import annotations

import gc

import anyio
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.engine.clock import SimulatedClock
from admf.engine.errors import ConfigError, HandlerError, StateError, StorageError, WindowError
from admf.engine.events import Event
from admf.engine.intake import IntakeRecord
from admf.engine.roll_rules import DailyAt, EveryDuration, EveryEvents
from admf.engine.rolling import RollingSession
from admf.engine.storage import MemoryStorage
from admf.engine.subscription import Mailbox
from admf.engine.summary import SessionCounts
from admf.engine.testing import RecordingContainer
from admf.engine.verification import verify_window
from admf.engine.window import ExecutionWindow
from admf.engine.window_life import WindowLife
from tests.engine.sessions import (
    FOLDER,
    SPEC,
    Broker,
    Live,
    Note,
    documents,
    joined,
    notes,
    records,
    seen,
    session_of,
    until,
)

pytestmark = pytest.mark.anyio
SECOND = 10**9


async def test_a_window_takes_so_many_events_and_the_next_one_the_others():
    storage = MemoryStorage()
    session = await session_of(Broker(notes(8)), storage=storage, rolls=[EveryEvents(3)])
    await session.run()
    assert await seen(storage) == [[1, 2, 3], [4, 5, 6], [7, 8]]
    assert session.counts == SessionCounts(events=8, opened=3, closed=3, acknowledged=3)
    assert [it.window_id for it in session.closed] == [f"live/00000{n}" for n in (1, 2, 3)]
    assert {it.status for it in session.closed} == {"completed"}


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_session_runs_on_both_backends(anyio_backend: str):
    storage = MemoryStorage()
    session = await session_of(Broker(notes(8)), storage=storage, rolls=[EveryEvents(3)])
    await session.run()
    assert await seen(storage) == [[1, 2, 3], [4, 5, 6], [7, 8]]


async def test_a_record_says_which_events_a_window_holds_and_what_it_took_over():
    storage = MemoryStorage()
    await (await session_of(Broker(notes(5)), storage=storage, rolls=[EveryEvents(3)])).run()
    first, second = (msgspec.convert(it, IntakeRecord) for it in await records(storage))
    assert (first.first_position, first.last_position, first.events) == (1, 3, 3)
    assert (second.first_position, second.last_position, second.events) == (4, 5, 2)
    assert (second.first_ts, second.last_ts) == (4, 5)
    assert first.carried == {}
    assert second.carried == {"ledger": {"total": 3}}
    assert [it["total"] for it in await documents(storage)] == [3, 5]


async def test_events_are_acknowledged_after_each_commit_in_the_order_of_the_windows():
    broker, storage = Broker(notes(7)), MemoryStorage()
    committed: list[int] = []

    class Watching(Broker):
        async def acknowledge(self, position: int) -> None:
            await super().acknowledge(position)
            number = len(self.acknowledged)
            check = await verify_window(storage, f"{FOLDER}/{number:06}")
            committed.append(check.complete)

    broker = Watching(notes(7))
    session = await session_of(broker, storage=storage, rolls=[EveryEvents(2)], flushing=3)
    await session.run()
    assert broker.acknowledged == [2, 4, 6, 7]
    assert committed == [True] * 4
    assert broker.closed


async def test_a_duration_goes_by_the_time_of_events():
    events = [Note(ts * SECOND, n) for n, ts in enumerate([5, 59, 60, 61, 30, 250, 260], 1)]
    storage = MemoryStorage()
    session = await session_of(Broker(events), storage=storage, rolls=[EveryDuration(60)])
    await session.run()
    assert await seen(storage) == [[1, 2], [3, 4, 5], [6, 7]]


async def test_the_hosts_clock_ends_a_window_while_the_source_is_silent():
    clock, live, storage = SimulatedClock(), Live(), MemoryStorage()
    rules = [EveryDuration(60, clock="host"), DailyAt("00:00", clock="host")]
    session = await session_of(live, storage=storage, rolls=rules, clock=clock)
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        live.send(1, 2)
        await until(lambda: session.counts.events == 2)
        await anyio.wait_all_tasks_blocked()
        clock.advance_to(60 * SECOND)
        await until(lambda: session.counts.opened == 2)
        await anyio.wait_all_tasks_blocked()
        clock.advance_to(120 * SECOND)  # the window is empty, so it goes on
        await anyio.wait_all_tasks_blocked()
        live.send(3)
        live.end()
    assert await seen(storage) == [[1, 2], [3]]


async def test_a_window_ends_on_demand():
    live, storage = Live(), MemoryStorage()
    session = await session_of(live, storage=storage)
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        live.send(1, 2)
        await until(lambda: session.counts.events == 2)
        await session.roll()
        assert session.counts.opened == 2
        live.send(3)
        await until(lambda: session.counts.events == 3)
        await session.roll()
        await session.roll()
        await session.aclose()
    assert await seen(storage) == [[1, 2], [3], [], []]


async def test_only_a_running_session_rolls_and_it_runs_once():
    session = await session_of(Broker(notes(1)))
    with pytest.raises(StateError, match="not running"):
        await session.roll()
    await session.run()
    with pytest.raises(StateError, match="only once"):
        await session.run()
    with pytest.raises(StateError, match="not running"):
        await session.roll()
    await session.aclose()
    assert session.window is not None


async def test_a_session_that_is_closed_before_it_ran_only_closes_its_source():
    broker = Broker(notes(1))
    async with await session_of(broker):
        pass
    assert broker.closed
    assert broker.position == 0


async def test_who_waits_for_a_roll_is_told_when_the_session_ends_before():
    live = Live()
    session = await session_of(live)
    caught: list[StateError] = []

    async def roll() -> None:
        try:
            await session.roll()
        except StateError as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.opened == 1)
        session.window.containers[0].may_end_before = lambda _: False
        group.start_soon(roll)
        await anyio.wait_all_tasks_blocked()
        assert session.counts.opened == 1
        await session.aclose()
    assert "ended before" in str(caught[0])


async def test_a_border_waits_for_an_event_before_which_the_window_may_end():
    live, storage = Live(), MemoryStorage()
    session = await session_of(live, storage=storage, rolls=[EveryEvents(2)])
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        await until(lambda: session.counts.opened == 1)
        intake = next(it for it in session.window.containers if it.id == "intake")
        intake.may_end_before = lambda event: event is not None and event.number == 5
        live.send(1, 2, 3, 4, 5, 6)
        live.end()
    assert await seen(storage) == [[1, 2, 3, 4], [5, 6]]


async def test_a_subscriber_that_hangs_in_its_mailbox_does_not_hold_up_the_next_window():
    release, live, storage = anyio.Event(), Live(), MemoryStorage()

    async def hang(_: Note) -> None:
        await release.wait()

    def add(builder) -> None:
        container = builder.add(RecordingContainer("slow", scope=builder.bus))
        container.subscribe(Note, hang, mailbox=Mailbox(1, "drop_oldest"))

    session = await session_of(live, add=add, storage=storage, rolls=[EveryEvents(3)])
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        live.send(*range(1, 8))
        await until(lambda: session.counts.events == 7)
        assert (session.counts.opened, session.counts.closed) == (3, 0)
        live.send(*range(8, 30))  # two windows flush already, so the source has to wait
        await anyio.wait_all_tasks_blocked()
        assert session.counts.events == 9
        release.set()
        await until(lambda: session.counts.events == 29)
        live.end()
    assert joined(await seen(storage)) == list(range(1, 30))


async def test_the_source_waits_while_a_window_has_no_room():
    release, live = anyio.Event(), Live()

    async def hang(_: Note) -> None:
        await release.wait()

    def add(builder) -> None:
        builder.add(RecordingContainer("slow", scope=builder.bus)).subscribe(Note, hang)

    session = await session_of(live, add=add)
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        live.send(*range(1, 20))
        await anyio.wait_all_tasks_blocked()
        assert session.counts.events == 5  # one is handled, four wait
        release.set()
        live.end()
    assert session.counts.events == 19


async def test_summaries_are_told_in_order_and_only_the_last_are_kept():
    told: list[str] = []
    session = await session_of(
        Broker(notes(9)),
        rolls=[EveryEvents(1)],
        keep=3,
        on_window=lambda summary: told.append(summary.window_id),
    )
    watched: list[str] = []

    async def watch() -> None:
        watched.extend([summary.window_id async for summary in session.windows()])

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        group.start_soon(session.run)
    assert told == watched == [f"live/{number:06}" for number in range(1, 10)]
    assert [it.window_id for it in session.closed] == told[-3:]


async def test_a_slow_watcher_misses_summaries_that_are_not_kept():
    session = await session_of(Broker(notes(9)), rolls=[EveryEvents(1)], keep=3)
    windows = session.windows()
    watched = []
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        watched.append((await anext(windows)).window_id)
        await until(lambda: session.counts.closed == 9)
        watched += [it.window_id async for it in windows]
    assert watched[-3:] == ["live/000007", "live/000008", "live/000009"]
    assert watched[0] == "live/000001"


def failing_at(*numbers: int):
    """Return what adds a container that fails at some numbers."""

    def fail(note: Note) -> None:
        if note.number in numbers:
            raise ValueError(f"no {note.number}")

    def add(builder) -> None:
        builder.add(RecordingContainer("odd", scope=builder.bus)).subscribe(Note, fail)

    return add


async def test_a_window_that_fails_ends_the_session_and_is_not_acknowledged():
    broker, storage = Broker(notes(30)), MemoryStorage()
    session = await session_of(broker, add=failing_at(5), storage=storage, rolls=[EveryEvents(3)])
    with pytest.raises(HandlerError, match="no 5"):
        await session.run()
    assert broker.acknowledged == [3]
    assert session.counts.failed == 1
    assert [it.status for it in session.closed][:2] == ["completed", "failed"]
    taken = joined(await seen(storage))
    assert taken == list(range(1, session.counts.events + 1))
    assert broker.closed


async def test_a_session_may_go_on_after_a_window_that_fails():
    broker, storage = Broker(notes(9), pause_every=1), MemoryStorage()
    session = await session_of(
        broker,
        add=failing_at(2),
        storage=storage,
        rolls=[EveryEvents(4)],
        on_failure="continue",
    )
    await session.run()
    assert session.counts.failed == 1
    assert session.closed[0].status == "failed"
    assert {it.status for it in session.closed[1:]} == {"completed"}
    assert joined(await seen(storage)) == list(range(1, 10))
    assert broker.acknowledged[-1] == 9
    assert len(broker.acknowledged) == session.counts.acknowledged == session.counts.closed - 1


async def test_a_container_that_cannot_leave_its_state_does_not_hide_the_failure():
    def add(builder) -> None:
        failing_at(1)(builder)

        def no_state() -> None:
            raise KeyError("state")

        next(it for it in builder._containers.values() if it.id == "ledger").hand_over = no_state

    session = await session_of(Broker(notes(1)), add=add)
    with pytest.raises(HandlerError, match="no 1") as caught:
        await session.run()
    assert "states are lost" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("policy", ["end", "continue"])
async def test_a_flush_that_fails_is_told_and_its_events_are_given_up_or_delivered_again(
    policy: str,
):
    class Flawed(MemoryStorage):
        async def write_atomic(self, path, chunks) -> None:
            if "000002/containers" in path:
                raise StorageError("the disk is full")
            await super().write_atomic(path, chunks)

    broker, rolls = Broker(notes(9), pause_every=1), [EveryEvents(3)]
    session = await session_of(broker, storage=Flawed(), rolls=rolls, on_failure=policy)
    if policy == "end":
        with pytest.raises(StorageError):
            await session.run()
        assert broker.acknowledged == [3]
    else:
        await session.run()
        assert broker.acknowledged == [3, 9]
    assert session.counts.failed == 1


async def test_a_window_that_cannot_even_be_committed_is_told_of_all_the_same():
    class Full(MemoryStorage):
        async def write_atomic(self, path, chunks) -> None:
            if "phase" in path:
                raise StorageError("the disk is full")
            await super().write_atomic(path, chunks)

    session = await session_of(Broker(notes(1)), storage=Full())
    with pytest.RaisesGroup(StorageError, StorageError):
        await session.run()
    assert session.counts.failed == 1
    assert session.closed[0].status == "failed"


async def test_an_acknowledgement_that_fails_ends_the_session():
    class Gone(Broker):
        async def acknowledge(self, position: int) -> None:
            raise ConnectionError("gone")

    session = await session_of(Gone(notes(2)))
    with pytest.raises(ConnectionError, match="gone"):
        await session.run()
    assert session.counts.acknowledged == 0
    assert session.counts.failed == 0


async def test_what_was_committed_but_not_acknowledged_can_be_left_out_when_it_comes_again():
    class Dying(Broker):
        async def acknowledge(self, position: int) -> None:
            if position > 2:
                raise ConnectionError("killed between commit and acknowledgement")
            await super().acknowledge(position)

    broker, storage = Dying(notes(9), pause_every=1), MemoryStorage()
    session = await session_of(broker, storage=storage, rolls=[EveryEvents(2)])
    with pytest.raises((ConnectionError, ExceptionGroup)):
        await session.run()
    assert broker.acknowledged == [2]
    committed = max(record["last_position"] for record in await records(storage))
    assert committed > 2
    again = broker.events[broker.acknowledged[-1] :]  # what the broker delivers once more
    rest = [note for note in again if note.number > committed]
    number = session.counts.opened + 1
    options = {"rolls": [EveryEvents(2)], "first_number": number}
    registry = session._lifecycle
    await RollingSession(registry, session._store, SPEC, Broker(rest), **options).run()
    assert joined(await seen(storage)) == list(range(1, 10))


async def test_a_source_that_fails_ends_the_session_after_all_is_committed():
    async def source():
        yield Note(1, 1)
        raise ConnectionError("lost")

    storage = MemoryStorage()
    session = await session_of(source(), storage=storage)
    with pytest.raises(ConnectionError, match="lost"):
        await session.run()
    assert await seen(storage) == [[1]]
    assert session.closed[0].status == "completed"


async def test_a_topology_without_an_intake_is_refused():
    registry_spec = msgspec.structs.replace(SPEC, topology="bare")
    session = await session_of(Broker(notes(1)), spec=registry_spec)

    class Bare:
        def build(self, builder) -> None:
            builder.add(RecordingContainer("one", scope=builder.bus))

    session._lifecycle._registry.register("topologies", "bare", Bare)
    with pytest.raises(ConfigError, match="must have one"):
        await session.run()


async def test_a_window_that_cannot_be_opened_ends_the_session_in_order():
    def add(builder) -> None:
        if builder.spec.window_id.endswith("2"):
            raise ConfigError("no second")

    broker, storage = Broker(notes(5)), MemoryStorage()
    session = await session_of(broker, add=add, storage=storage, rolls=[EveryEvents(3)])
    with pytest.raises(ConfigError, match="no second"):
        await session.run()
    assert joined(await seen(storage)) == [1, 2, 3, 4]  # the one in hand goes where there is room
    assert broker.acknowledged == [4]


async def test_a_roll_on_demand_that_fails_ends_the_session_too():
    def add(builder) -> None:
        if builder.spec.window_id.endswith("2"):
            raise ConfigError("no second")

    live = Live()
    session = await session_of(live, add=add)
    async with anyio.create_task_group() as group:

        async def roll() -> None:
            await until(lambda: session.counts.opened)
            with pytest.raises(StateError, match="ended before"):
                await session.roll()

        group.start_soon(roll)
        with pytest.raises(ConfigError, match="no second"):
            await session.run()


async def test_a_state_that_cannot_be_taken_over_ends_the_session():
    def add(builder) -> None:
        ledger = next(it for it in builder._containers.values() if it.id == "ledger")

        def refuse(_) -> None:
            raise WindowError("unknown state")

        ledger.take_over = refuse

    storage = MemoryStorage()
    session = await session_of(Broker(notes(5)), add=add, storage=storage, rolls=[EveryEvents(3)])
    with pytest.raises(WindowError, match="unknown state"):
        await session.run()
    assert joined(await seen(storage)) == [1, 2, 3, 4]


async def test_ids_may_come_from_a_function_and_numbers_go_on_from_an_earlier_session():
    def spec(number: int):
        return msgspec.structs.replace(SPEC, window_id=f"live/day_{number}")

    session = await session_of(Broker(notes(2)), spec=spec, first_number=41, rolls=[EveryEvents(1)])
    await session.run()
    assert [it.window_id for it in session.closed] == ["live/day_41", "live/day_42"]
    assert repr(session) == "<RollingSession of 2 windows, 2 events>"


@pytest.mark.parametrize("odd", [{"flushing": 0}, {"keep": 0}])
async def test_limits_are_at_least_one(odd):
    with pytest.raises(ValueError, match="at least 1"):
        await session_of(Broker([]), **odd)


async def test_a_paused_intake_holds_back_and_goes_on_where_it_was():
    live, storage = Live(), MemoryStorage()
    session = await session_of(live, storage=storage)
    async with anyio.create_task_group() as group:
        group.start_soon(session.run)
        live.send(1)
        await until(lambda: session.counts.events == 1)
        await anyio.wait_all_tasks_blocked()
        intake, ledger = sorted(session.window.containers, key=lambda it: it.id)
        await intake.pause()
        live.send(2, 3)
        await anyio.wait_all_tasks_blocked()
        assert ledger.seen == [1]
        await intake.resume()
        await anyio.wait_all_tasks_blocked()
        assert ledger.seen == [1, 2, 3]
        await intake.pause()
        live.send(4)
        await anyio.wait_all_tasks_blocked()
        await session.aclose(grace=0)
    assert await seen(storage) == [[1, 2, 3, 4]]
    assert session.closed[0].status == "cancelled"


async def test_a_window_that_hangs_is_cut_short_when_the_grace_is_over():
    live, broker_storage = Live(), MemoryStorage()

    async def hang(_: Note) -> None:
        await anyio.sleep_forever()

    def add(builder) -> None:
        builder.add(RecordingContainer("slow", scope=builder.bus)).subscribe(Note, hang)

    from admf.engine.teardown import Deadlines

    session = await session_of(
        live, add=add, storage=broker_storage, lifecycle={"deadlines": Deadlines(drain=0.01)}
    )
    async with anyio.create_task_group() as group:
        group.start_soon(run_and_note := Outcome(session))
        live.send(1)
        await until(lambda: session.counts.events == 1)
        await session.aclose(grace=0.01)
    assert "took longer" in str(run_and_note.error)


class Outcome:
    """Runs a session and keeps its error."""

    def __init__(self, session) -> None:
        self.session = session
        self.error: Exception | None = None

    async def __call__(self) -> None:
        try:
            await self.session.run()
        except Exception as error:  # noqa: BLE001 - kept
            self.error = error


async def test_an_error_of_who_is_told_of_windows_ends_the_session_in_order():
    def refuse(summary: object) -> None:
        raise KeyError("what is it")

    storage = MemoryStorage()
    session = await session_of(Broker(notes(3)), storage=storage, on_window=refuse)
    with pytest.raises(KeyError, match="what is it"):
        await session.run()
    assert await seen(storage) == [[1, 2, 3]]


async def test_memory_does_not_grow_with_the_windows():
    def alive() -> int:
        gc.collect()
        return sum(isinstance(it, (ExecutionWindow, WindowLife)) for it in gc.get_objects())

    before = alive()
    found: list[int] = []
    session = await session_of(
        Broker(notes(60)),
        rolls=[EveryEvents(1)],
        keep=3,
        on_window=lambda it: found.append(alive()) if it.window_id.endswith(("20", "60")) else None,
    )
    await session.run()
    assert max(found) - before <= 8
    assert len(session.closed) == 3
    assert not session._store._siblings("run/phase/live")._spelling


async def test_a_source_need_not_be_closed():
    class Plain:
        def __aiter__(self) -> Plain:
            return self

        async def __anext__(self) -> Event:
            raise StopAsyncIteration

    session = await session_of(Plain())
    await session.run()
    assert session.counts == SessionCounts(opened=1, closed=1)


async def test_a_source_that_does_not_close_is_left():
    class Stuck(Broker):
        async def aclose(self) -> None:
            raise ConnectionError("cannot even close")

    session = await session_of(Stuck(notes(1)))
    await session.run()
    assert session.counts.acknowledged == 1


rules = st.lists(
    st.one_of(
        st.builds(EveryEvents, st.integers(1, 6)),
        st.builds(EveryDuration, st.integers(1, 20)),
        st.just(DailyAt("00:00")),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(
    gaps=st.lists(st.integers(-3, 9), max_size=30),
    rules=rules,
    pause_every=st.integers(1, 5),
    flushing=st.integers(1, 3),
    rolls_at=st.sets(st.integers(1, 30), max_size=3),
)
async def test_whatever_the_rules_every_event_is_in_exactly_one_window(
    gaps, rules, pause_every, flushing, rolls_at
):
    ts, events = 0, []
    for number, gap in enumerate(gaps, 1):
        ts += gap * SECOND
        events.append(Note(ts, number))
    broker, storage = Broker(events, pause_every=pause_every), MemoryStorage()
    session = await session_of(broker, storage=storage, rolls=rules, flushing=flushing)

    async def roll() -> None:
        for number in sorted(rolls_at):
            while session.counts.events < number and not broker.closed:
                await anyio.lowlevel.checkpoint()
            with anyio.move_on_after(5):
                try:
                    await session.roll()
                except StateError:
                    return

    async with anyio.create_task_group() as group:
        group.start_soon(roll)
        await session.run()
    windows = await seen(storage)
    assert joined(windows) == list(range(1, len(events) + 1))
    for number, (window, record) in enumerate(zip(windows, await records(storage), strict=True), 1):
        assert record["events"] == len(window)
        assert [record["first_position"], record["last_position"]] == (
            [window[0], window[-1]] if window else [None, None]
        )
        assert (await verify_window(storage, f"{FOLDER}/{number:06}")).complete
    assert broker.acknowledged == [window[-1] for window in windows if window]
    totals = [it["total"] for it in await documents(storage)]
    assert totals == [sum(map(len, windows[: n + 1])) for n in range(len(windows))]
