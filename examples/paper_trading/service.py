"""Trades experiment.yaml on paper, on bars that come over a WebSocket, until it is told to end.

    python service.py --demo                      # with a feed of its own
    python feed.py                                # or in two terminals
    python service.py --url ws://127.0.0.1:8765

Each execution window that closes leaves a folder below results/paper, and a line here. SIGTERM or
Ctrl-C ends the service in order: the window that is open is flushed, and the exit code is 0; the
next start goes on from there, with the account as it was, at the bar that follows. Indicators begin
anew at a start, since the bars of the past are not asked for (`LiveSession(before=...)`).
"""

import argparse
import asyncio
import json
import signal
from contextlib import nullcontext
from pathlib import Path

from feed import feed

from admf import LiveSession
from admf.containers import Bar
from admf.engine import DailyAt, Event, EveryEvents, WindowSummary
from admf.engine.sources import WebSocketSettings, WebSocketSource

EXPERIMENT = Path(__file__).with_name("experiment.yaml")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class FeedBar(Bar, frozen=True, gc=False, tag="FEED_BAR"):
    """A bar as the feed sends it."""

    number: int


class Feed(WebSocketSource):
    """Tells the session at which bar it is, so that each window's record keeps the last one."""

    position: object = None

    async def __anext__(self) -> Event:
        event = await super().__anext__()
        if isinstance(event, FeedBar):
            self.position = event.number
        return event

    async def acknowledge(self, position: object) -> None:
        """Do nothing: this feed does not forget what it has sent."""


def session_on(url: str, roll: str, *, anew: bool) -> LiveSession:
    def ask(last: int | None) -> list[str]:  # at each connection, also after one was lost
        source.position = source.position or session.resumed_from
        after = last or source.position or 0
        print(f"connected; takes the bars after number {after}", flush=True)
        return [json.dumps({"after": after})]

    settings = WebSocketSettings(sequence_field="number", end_on_close=True)
    source = Feed(url, [FeedBar], settings, subscribe=ask)
    session = LiveSession(
        EXPERIMENT,
        source,
        results_dir="paper",
        resume=not anew,
        overwrite=anew,
        rolls=[EveryEvents(int(roll)) if roll.isdigit() else DailyAt(roll, "America/New_York")],
        on_window=tell,
    )
    return session


def tell(window: WindowSummary) -> None:
    report = window.report
    (account,) = report["accounts"].values()
    held = [f"{it.direction * it.quantity:,.1f} {it.symbol}" for it in account.positions]
    equity = report["metrics"]["final_equity"]  # None if no bar came
    print(
        f"{window.window_id} {window.status} up to bar {report['intake'].last_position}:",
        "no bars," if equity is None else f"equity {equity:,.2f},",
        f"{report['total_trades']} trades, holds {', '.join(held) or 'nothing'}",
        flush=True,
    )


async def run_until_signal(session: LiveSession) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        for number in SIGNALS:
            loop.remove_signal_handler(number)  # so that a second one ends the process at once
        group.create_task(session.aclose())

    async with session, asyncio.TaskGroup() as group:
        for number in SIGNALS:
            loop.add_signal_handler(number, end)
        await session.run()
    print(f"ended in order: {session.counts.closed} windows, {session.counts.events} events")


async def main() -> None:
    parser = argparse.ArgumentParser(description="Trades an experiment on paper.")
    parser.add_argument("--url", default="ws://127.0.0.1:8765", help="where the feed is")
    parser.add_argument("--demo", action="store_true", help="start a feed, too")
    parser.add_argument("--roll", default="50", help="events of a window; 17:00 for one a day")
    parser.add_argument("--anew", action="store_true", help="replace what was traded before")
    options = parser.parse_args()
    async with feed(0, 500) if options.demo else nullcontext(options.url) as url:
        print(f"trades {EXPERIMENT.name} on {url}", flush=True)
        await run_until_signal(session_on(url, options.roll, anew=options.anew))


if __name__ == "__main__":
    asyncio.run(main())
