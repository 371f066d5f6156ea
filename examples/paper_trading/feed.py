"""A feed to try service.py with: plays bundled daily bars, as JSON over a WebSocket.

    python feed.py --port 8765 --bars-per-s 20

Each bar has a number. A client that sends ``{"after": 100}`` gets bar 101 and those that follow;
after the last one the connection is closed.
"""

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from admf.containers import DataConfig, load_market_data

PLAYED = DataConfig(source="sample", symbols=("AAPL", "GOOG"), start="2009-01-01", end="2010-12-31")


def messages() -> list[str]:
    data = load_market_data(PLAYED)
    bars = map(msgspec.structs.asdict, data.block(0, data.steps).events())
    return [json.dumps({"event": "FEED_BAR", "number": n, **bar}) for n, bar in enumerate(bars, 1)]


@asynccontextmanager
async def feed(port: int, bars_per_s: float) -> AsyncIterator[str]:
    """Play to whoever connects; the URL is what is entered."""
    bars = messages()

    async def play(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            after = json.loads(await connection.recv())["after"]
            for bar in bars[after:]:
                await connection.send(bar)
                await asyncio.sleep(1 / bars_per_s)

    async with serve(play, "127.0.0.1", port) as server:
        host, port = server.sockets[0].getsockname()
        yield f"ws://{host}:{port}"


async def main() -> None:
    parser = argparse.ArgumentParser(description="Plays bundled daily bars over a WebSocket.")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--bars-per-s", type=float, default=20)
    options = parser.parse_args()
    async with feed(options.port, options.bars_per_s) as url:
        print(f"plays at {url}; Ctrl-C ends it", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
