"""Runs that are followed by server-sent events."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admf.containers import Fill
from admf.engine.clock import SimulatedClock
from admf.engine.events import HandlerFailed
from admf.workflows.run import Run
from admf.workflows.run_events import RunEvent, RunEvents
from admf.workflows.service import ServiceLimits
from tests.workflows.hosting import frame, held, underway
from tests.workflows.service.serving import (
    Exchange,
    Host,
    idle,
    names,
    parsed,
    serving,
)

pytestmark = pytest.mark.anyio

SECOND = 1_000_000_000


@contextmanager
def waiting(run: Run) -> Iterator[RunEvents]:
    """Have a run wait in its middle."""
    with held(run) as events:
        yield events


async def fills_of(host: Host, run: Run) -> list[int]:
    async with run.events(Fill) as events:
        return [it.seq async for it in events]


async def test_a_run_is_followed_from_its_beginning_to_its_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            exchange = Exchange(host.app, f"/runs/{run_id}/events")
            await exchange.until(lambda: "progress" in names(exchange.messages))
        await exchange.task
    assert exchange.status == 200
    headers = dict(exchange.sent[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store"
    told = [content for _, name, content in exchange.messages if name == "progress"]
    assert [it["bars_done"] for it in told] == sorted(it["bars_done"] for it in told)
    assert told[-1]["status"] == "completed"
    assert exchange.messages[-1] == ("end", "end", {"status": "completed", "dropped": 0})


async def test_events_of_the_types_that_were_asked_for_are_told_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            alone = asyncio.create_task(fills_of(host, run))
            exchange = Exchange(host.app, f"/runs/{run_id}/events?types=FILL,SIGNAL")
            await exchange.until(lambda: bool(exchange.sent))
        await exchange.task
        fills = await alone
    messages = exchange.messages
    assert fills == [it["seq"] for _, name, it in messages if name == "FILL"]
    assert {"FILL", "SIGNAL"} < set(names(messages))
    numbers = [int(it.rpartition("-")[2]) for it, *_ in messages if it and it != "end"]
    assert numbers == list(range(1, len(numbers) + 1))
    (first, *_) = [content for _, name, content in messages if name == "FILL"]
    assert first["event"]["symbol"] == "X"
    assert (first["phase"], first["lane"]) == ("backtest", "lane_001")


async def test_who_comes_back_gets_what_it_has_missed_and_nothing_twice(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        target = f"/runs/{run_id}/events?types=BAR"
        with waiting(run):
            first = Exchange(host.app, target)
            await first.until(lambda: "BAR" in names(first.messages))
            first.leave()
            await first.task
        await run.result()
        last = [it for it, *_ in first.messages if it][-1]
        again = Exchange(host.app, target, headers={"last-event-id": last})
        await again.task
    ids = [it for it, *_ in (*first.messages, *again.messages) if it and it != "end"]
    assert [int(it.rpartition("-")[2]) for it in ids] == list(range(1, len(ids) + 1))
    bars = [it for _, name, it in (*first.messages, *again.messages) if name == "BAR"]
    assert len(bars) == 48
    assert "lost" not in names(again.messages)


async def test_who_comes_back_too_late_is_told_how_much_is_lost(tmp_path: Path) -> None:
    limits = ServiceLimits(progress_s=0.0, messages=10)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        target = f"/runs/{run_id}/events?types=BAR"
        with waiting(run):
            first = Exchange(host.app, target)
            await first.until(lambda: "BAR" in names(first.messages))
            first.leave()
            await first.task
        await run.result()
        await idle()
        last = int([it for it, *_ in first.messages if it][-1].rpartition("-")[2])
        tag = first.messages[-1][0].rpartition("-")[0]
        again = Exchange(host.app, target, headers={"last-event-id": f"{tag}-{last}"})
        await again.task
    lost, *rest = again.messages
    numbers = [int(it.rpartition("-")[2]) for it, *_ in rest if it and it != "end"]
    assert lost[1:] == ("lost", {"count": numbers[0] - last - 1})
    assert len(numbers) == 10


@pytest.mark.parametrize("last", ["00000000-1", "x", "-1", "7", "\u00ff", "00000000-" + "9" * 30])
async def test_an_id_of_another_stream_is_answered_by_a_loss_of_unknown_size(
    tmp_path: Path, last: str
) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        await run.result()
        headers = {"last-event-id": last.encode("latin-1")}
        messages = parsed((await host.client.get(f"/runs/{run_id}/events", headers=headers)).text)
    assert messages[0][1:] == ("lost", {"count": None})
    assert names(messages)[-1] == "end"


async def test_an_id_that_is_yet_to_come_is_of_no_use_either(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        await run.result()
        target = f"/runs/{run_id}/events"
        first = parsed((await host.client.get(target)).text)
        tag = first[0][0].rpartition("-")[0]
        headers = {"last-event-id": f"{tag}-{10**14}"}
        again = parsed((await host.client.get(target, headers=headers)).text)
    assert names(again)[0] == "lost"


async def test_who_has_had_the_end_is_told_not_to_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        await run.result()
        headers = {"last-event-id": "end"}
        response = await host.client.get(f"/runs/{run_id}/events", headers=headers)
    assert (response.status_code, response.content) == (204, b"")


async def test_a_run_of_an_earlier_process_is_over(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id = await host.completed()
    async with serving(tmp_path) as host:
        response = await host.client.get(f"/runs/{run_id}/events")
        assert parsed(response.text) == [("end", "end", {"status": "completed", "dropped": 0})]


async def test_a_slow_client_loses_messages_and_never_slows_the_run(tmp_path: Path) -> None:
    limits = ServiceLimits(progress_s=0.0, messages=8)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            slow = Exchange(host.app, f"/runs/{run_id}/events?types=BAR")
            await slow.until(lambda: "progress" in names(slow.messages))
            slow.gate.clear()
        assert (await run.result()).status == "completed"
        await idle()
        slow.gate.set()
        await slow.task
    counts = dict.fromkeys(("lost", "dropped"), 0)
    for _, name, content in slow.messages:
        if name in counts:
            counts[name] += content["count"]
    assert counts["lost"] > 0
    ids = [it for it, *_ in slow.messages if it and it != "end"]
    newest = int(ids[-1].rpartition("-")[2])
    assert len(ids) + counts["lost"] == newest  # nothing is lost without being counted


async def test_events_that_came_too_many_at_once_are_counted_as_dropped(tmp_path: Path) -> None:
    limits = ServiceLimits(progress_s=0.0, messages=6)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            exchange = Exchange(host.app, f"/runs/{run_id}/events?types=BAR")
            await exchange.until(lambda: "progress" in names(exchange.messages))
        await exchange.task
    ids = [it for it, *_ in exchange.messages if it and it != "end"]
    numbers = [int(it.rpartition("-")[2]) for it in ids]
    lost = sum(it["count"] for _, name, it in exchange.messages if name == "lost")
    assert len(numbers) + lost == numbers[-1]
    dropped = [it["count"] for _, name, it in exchange.messages if name == "dropped"]
    assert exchange.messages[-1][2]["dropped"] >= sum(dropped) > 0


async def test_what_failed_is_told_without_the_folders_of_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        await run.result()
        channel = host.service.channel(run_id, run, frozenset({HandlerFailed}))
        await idle()
    failed = HandlerFailed(1, "strategy", "BAR", 7, "OSError: /etc/secret/key.pem is locked")
    shown = channel._shown(RunEvent(9, 7, "bus", failed, "search", "", "lane_001"))
    assert (shown.seq, shown.lane) == (9, "lane_001")
    assert isinstance(shown.event, HandlerFailed)
    assert shown.event.error == "OSError: key.pem is locked"


async def test_a_silent_stream_shows_that_it_is_alive(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with serving(tmp_path, clock=clock) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            exchange = Exchange(host.app, f"/runs/{run_id}/events")
            await exchange.until(lambda: "progress" in names(exchange.messages))
            await idle()
            assert ": heartbeat" not in exchange.text
            clock.advance_to(15 * SECOND)
            await exchange.until(lambda: exchange.text.count(": heartbeat\n\n") == 1)
            await idle()
            clock.advance_to(30 * SECOND)
            await exchange.until(lambda: exchange.text.count(": heartbeat\n\n") == 2)
        await exchange.task
    assert names(exchange.messages)[-1] == "end"


async def test_progress_is_told_no_more_often_than_wanted(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with serving(tmp_path, clock=clock, limits=ServiceLimits(progress_s=1.0)) as host:
        run_id, run = await host.submitted()
        exchange = Exchange(host.app, f"/runs/{run_id}/events")
        await exchange.until(lambda: "progress" in names(exchange.messages))
        await run.result()
        await idle()
        clock.advance_to(SECOND)
        await exchange.task
    assert names(exchange.messages) == ["progress", "progress", "end"]


@pytest.mark.parametrize("types", ["NOPE", "fill", "FILL,", ",", "FILL,NOPE", "F" * 50, "*", ""])
async def test_types_that_there_are_not_are_refused(tmp_path: Path, types: str) -> None:
    async with serving(tmp_path) as host:
        run_id = await host.completed()
        response = await host.client.get(f"/runs/{run_id}/events", params={"types": types})
        assert response.status_code == 400
        assert response.headers["content-type"] == "application/problem+json"


async def test_events_on_worker_processes_cannot_be_followed_but_progress_can(
    tmp_path: Path,
) -> None:
    data = {"source": "sample", "symbols": ["GOOG"]}
    runner = {"workers": 2, "frames": None}
    async with serving(tmp_path, runner=runner) as host:
        run_id, run = await host.submitted(data=data, block_size=4096)
        response = await host.client.get(f"/runs/{run_id}/events?types=FILL")
        assert response.status_code == 409
        assert "workers" in response.json()["detail"]
        response = await host.client.get(f"/runs/{run_id}/events")
        assert names(parsed(response.text))[-1] == "end"
        await run.result()


async def test_a_head_request_follows_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            response = await host.client.head(f"/runs/{run_id}/events")
            assert response.headers["content-type"].startswith("text/event-stream")
            assert host.service.streams == 0


async def test_clients_that_follow_are_limited(tmp_path: Path) -> None:
    limits = ServiceLimits(streams=1)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            first = Exchange(host.app, f"/runs/{run_id}/events")
            await first.until(lambda: bool(first.sent))
            response = await host.client.get(f"/runs/{run_id}/events")
            assert response.status_code == 503
            first.leave()
            await first.task
            second = Exchange(host.app, f"/runs/{run_id}/events")
            await second.until(lambda: bool(second.sent))
        await second.task
    assert second.status == 200


async def test_what_is_followed_is_limited_and_what_nobody_follows_gives_way(
    tmp_path: Path,
) -> None:
    limits = ServiceLimits(progress_s=0.0, channels=1)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            first = Exchange(host.app, f"/runs/{run_id}/events?types=FILL")
            await first.until(lambda: bool(first.sent))
            response = await host.client.get(f"/runs/{run_id}/events?types=BAR")
            assert response.status_code == 503
            first.leave()
            await first.task
            second = Exchange(host.app, f"/runs/{run_id}/events?types=BAR")
            await second.until(lambda: bool(second.sent))
        await second.task
    assert names(second.messages)[-1] == "end"


# -- clients that leave -------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["2.3", "2.4"])
@pytest.mark.parametrize("stage", ["at once", "mid-stream", "after DELETE"])
async def test_a_client_that_leaves_leaves_nothing(tmp_path: Path, stage: str, spec: str) -> None:
    limits = ServiceLimits(progress_s=0.0, replay_s=0.0)
    async with serving(tmp_path, limits=limits) as host:
        before = asyncio.all_tasks()
        run_id, run = await host.submitted()
        with waiting(run):
            await underway(run)
            target = f"/runs/{run_id}/events?types=FILL"
            exchange = Exchange(host.app, target, spec=spec)
            if stage != "at once":
                await exchange.until(lambda: "progress" in names(exchange.messages))
            if stage == "after DELETE":
                await host.client.delete(f"/runs/{run_id}")
            exchange.leave()
            await exchange.task
            await idle()
            assert host.service.streams == 0
            assert not any(it.get_name().startswith("follow") for it in asyncio.all_tasks())
            assert not followed(run)
        await run.result()
        await idle()
        assert asyncio.all_tasks() <= before


def followed(run: Run) -> list[RunEvents]:
    """Return who looks on at a run, but for the test that holds it up."""
    return [it for it in run._hub._streams if not it.is_closed and Fill in it.types]


async def test_a_server_that_says_by_an_error_that_the_client_has_left_is_understood(
    tmp_path: Path,
) -> None:
    limits = ServiceLimits(progress_s=0.0, replay_s=0.0)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()

        async def broken(scope: object, receive: object, _send: object) -> None:
            async def send(_message: object) -> None:
                raise OSError("the client has left")

            await host.app(scope, receive, send)  # type: ignore[arg-type]

        with waiting(run):
            exchange = Exchange(broken, f"/runs/{run_id}/events", spec="2.4")  # type: ignore[arg-type]
            await exchange.task
            assert host.service.streams == 0
        await run.result()


async def test_a_stream_that_is_cancelled_leaves_nothing(tmp_path: Path) -> None:
    limits = ServiceLimits(progress_s=0.0, replay_s=0.0)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            await underway(run)
            before = asyncio.all_tasks()
            exchange = Exchange(host.app, f"/runs/{run_id}/events?types=FILL")
            await exchange.until(lambda: bool(exchange.sent))
            exchange.task.cancel()
            await asyncio.wait([exchange.task])
            await idle()
            assert host.service.streams == 0
            assert asyncio.all_tasks() <= before
            assert not followed(run)
        await run.result()


async def turns() -> AsyncIterator[None]:
    """Let the event loop have its turn, again and again."""
    while True:
        yield await asyncio.sleep(0)


async def test_a_client_that_breaks_its_connection_leaves_nothing(tmp_path: Path) -> None:
    limits = ServiceLimits(progress_s=0.0, replay_s=0.0)
    async with serving(tmp_path, limits=limits) as host:
        run_id, run = await host.submitted()
        with waiting(run), socket.create_server(("127.0.0.1", 0)) as listener:
            server = uvicorn.Server(uvicorn.Config(host.app, log_config=None, lifespan="off"))
            serves = asyncio.create_task(server.serve(sockets=[listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            target = f"/runs/{run_id}/events?types=FILL"
            writer.write(f"GET {target} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await reader.readuntil(b"event: progress")
            assert host.service.streams == 1
            assert followed(run)
            writer.transport.abort()
            async for _ in turns():
                if not host.service.streams and not followed(run):
                    break
            server.should_exit = True
            await serves
        await run.result()


async def test_what_everybody_has_left_is_followed_for_a_while(tmp_path: Path) -> None:
    clock = SimulatedClock()
    async with serving(tmp_path, clock=clock) as host:
        run_id, run = await host.submitted()
        target = f"/runs/{run_id}/events?types=FILL"

        async def come_and_go() -> None:
            exchange = Exchange(host.app, target)
            await exchange.until(lambda: bool(exchange.sent))
            exchange.leave()
            await exchange.task
            await idle()

        with waiting(run):
            await come_and_go()
            clock.advance_to(59 * SECOND)
            await idle()
            assert followed(run)
            await come_and_go()
            clock.advance_to(70 * SECOND)
            await idle()
            assert followed(run)
            clock.advance_to(119 * SECOND)
            await idle()
            assert not followed(run)
            again = Exchange(host.app, target)  # begins anew
            await again.until(lambda: bool(again.sent))
        await again.task
    assert names(again.messages)[-1] == "end"


async def test_streams_end_without_an_end_when_the_service_stops(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        with waiting(run):
            exchange = Exchange(host.app, f"/runs/{run_id}/events")
            await exchange.until(lambda: "progress" in names(exchange.messages))
            host.service.stop()
            await exchange.task
            assert "end" not in names(exchange.messages)
            response = await host.client.get(f"/runs/{run_id}/events")
            assert response.status_code == 503


async def test_closing_the_runner_ends_the_streams(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        hold = held(run)
        exchange = Exchange(host.app, f"/runs/{run_id}/events")
        await exchange.until(lambda: "progress" in names(exchange.messages))
        await host.runner.aclose()
        hold.close()
        await exchange.task
        await idle()
        assert exchange.messages[-1] == ("end", "end", {"status": "cancelled", "dropped": 0})


# -- anything -----------------------------------------------------------------------------------


async def test_whatever_a_client_says_it_gets_an_answer(tmp_path: Path) -> None:
    limits = ServiceLimits(progress_s=0.0, burst=1_000)
    async with serving(tmp_path, limits=limits) as host:
        run_id = await host.completed()
        cases: list[tuple[str, str]] = []

        @settings(max_examples=150, suppress_health_check=list(HealthCheck))
        @given(
            last=st.one_of(
                st.text(st.characters(max_codepoint=255), max_size=60),
                st.from_regex(r"[0-9a-f]{8}-[0-9]{1,20}", fullmatch=True),
                st.just("end"),
            ),
            types=st.one_of(
                st.text(max_size=40),
                st.lists(st.sampled_from(["FILL", "BAR", "NOPE", "", "fill"])).map(",".join),
            ),
        )
        def collect(last: str, types: str) -> None:
            cases.append((last, types))

        collect()
        for last, types in cases:
            headers = {"last-event-id": last.encode("latin-1")}
            response = await host.client.get(
                f"/runs/{run_id}/events", params={"types": types}, headers=headers
            )
            assert response.status_code in (200, 204, 400)
            if response.status_code == 200:
                assert names(parsed(response.text))[-1] == "end"
        await idle()
        assert host.service.streams == 0
        assert len(host.service._channels) <= limits.channels


async def test_nothing_in_an_event_can_end_its_message_early(tmp_path: Path) -> None:
    strange = "a\n\nevent: end\r\rdata: b"
    async with serving(tmp_path, runner={"frames": {strange: frame()}}) as host:
        run_id, _ = await host.submitted(data={"source": "frames", "symbols": [strange]})
        text = (await host.client.get(f"/runs/{run_id}/events?types=BAR")).text
    assert {it["event"]["symbol"] for _, name, it in parsed(text) if name == "BAR"} == {strange}
    assert names(parsed(text))[-1] == "end"
    for line in text.split("\n"):
        assert not line or line.partition(":")[0] in ("id", "event", "data", "retry", "")
