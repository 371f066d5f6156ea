"""An HTTP service for tests, and clients whose every step a test decides."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from admf.workflows.run import Run
from admf.workflows.runner import Runner
from admf.workflows.service import RunService, ServiceLimits, create_app
from tests.workflows import hosting

AT_ONCE = ServiceLimits(progress_s=0.0)


def experiment(**changes: Any) -> dict[str, Any]:
    """Return a back-test of 48 bars in 6 blocks."""
    fields = hosting.experiment("", **changes)
    del fields["results_dir"]
    return fields


class Host:
    """A service, its runner and an HTTP client.

    Args:
        root: Folder of data and results.
        options: For `create_app`; ``max_runs`` and the like are for the runner.
    """

    def __init__(self, root: Path, runner: Mapping[str, Any] | None = None, **options: Any) -> None:
        self.data_root = root / "data"
        self.results_root = root / "results"
        self.data_root.mkdir(exist_ok=True)
        self.runner: Runner = hosting.runner(self.results_root, **(runner or {}))
        options = {"data_root": self.data_root, "limits": AT_ONCE, **options}
        self.app: Starlette = create_app(self.runner, **options)
        self.service: RunService = self.app.state.service
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://service")

    async def post(self, fields: Any = None, **headers: str) -> httpx.Response:
        """Submit an experiment as JSON, or a text as YAML."""
        if isinstance(fields, str):
            named = {"content-type": "application/yaml", **headers}
            return await self.client.post("/runs", content=fields, headers=named)
        body = experiment() if fields is None else fields
        return await self.client.post("/runs", json=body, headers=headers)

    async def submitted(self, **changes: Any) -> tuple[str, Run]:
        """Submit an experiment, and return its id and its run."""
        response = await self.post(experiment(**changes))
        assert response.status_code == 202, response.text
        run = self.service.find(response.json()["id"])
        assert run is not None
        return response.json()["id"], run

    async def completed(self, **changes: Any) -> str:
        """Submit an experiment, and return its id once it is over."""
        run_id, run = await self.submitted(**changes)
        assert (await run.result()).status == "completed"
        return run_id


@asynccontextmanager
async def serving(root: Path, **options: Any) -> AsyncIterator[Host]:
    """Have a service whose runner is open."""
    host = Host(root, **options)
    async with host.runner, host.client:
        yield host


class Exchange:
    """A request whose parts arrive, and whose client leaves, when the test says so.

    Args:
        app: Answers it.
        target: Its path and query.
        method: Its method.
        headers: Its headers.
        spec: The version of ASGI of the server.
    """

    def __init__(
        self,
        app: Starlette,
        target: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        spec: str = "2.3",
    ) -> None:
        path, _, query = target.partition("?")
        raw = [(it.lower().encode(), value.encode()) for it, value in (headers or {}).items()]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": spec},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": query.encode(),
            "headers": [(b"host", b"service"), *raw],
            "client": ("127.0.0.1", 1),
            "server": ("service", 80),
        }
        self.sent: list[dict[str, Any]] = []
        self.gate = asyncio.Event()  # while it is not set, the client takes no more
        self.gate.set()
        self._arriving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._changed = asyncio.Event()
        self.task = asyncio.create_task(self._serve(app, scope))

    def send_body(self, content: bytes, *, more: bool = False) -> None:
        """Let a part of the body arrive."""
        self._arriving.put_nowait({"type": "http.request", "body": content, "more_body": more})

    def leave(self) -> None:
        """Let the client leave."""
        self._arriving.put_nowait({"type": "http.disconnect"})

    @property
    def status(self) -> int:
        """The status of the answer."""
        return int(self.sent[0]["status"])

    @property
    def text(self) -> str:
        """What has come of the answer."""
        return b"".join(it.get("body", b"") for it in self.sent).decode()

    @property
    def messages(self) -> list[tuple[str, str, Any]]:
        """The server-sent events so far: id, name and data of each."""
        return parsed(self.text)

    async def until(self, done: Callable[[], bool]) -> None:
        """Wait until what has come fulfils a condition."""
        while not done():
            assert not self.task.done(), self.text
            self._changed.clear()
            await self._changed.wait()

    async def _serve(self, app: Starlette, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._arriving.get, self._send)
        finally:
            self._changed.set()

    async def _send(self, message: Any) -> None:
        await self.gate.wait()
        self.sent.append(dict(message))
        self._changed.set()


def parsed(text: str) -> list[tuple[str, str, Any]]:
    """Return server-sent events, read as the specification of HTML says."""
    found: list[tuple[str, str, Any]] = []
    *whole, _rest = text.split("\n\n")
    for block in whole:
        fields: dict[str, str] = {}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        if "data" in fields:
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
    return found


def names(messages: Iterable[tuple[str, str, Any]]) -> list[str]:
    return [name for _, name, _ in messages]


async def idle() -> None:
    """Let the event loop go on until it has nothing to do at once."""
    for _ in range(50):
        await asyncio.sleep(0)
