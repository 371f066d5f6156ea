"""The application itself: alone, mounted in another one, and when something goes wrong in it."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from admf.engine.storage import MemoryStorage
from admf.workflows import service as package
from admf.workflows.runner import Runner
from admf.workflows.service import create_app
from tests.workflows import hosting
from tests.workflows.service.serving import Host, experiment, names, parsed, serving

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    async with app.router.lifespan_context(app):
        yield


def client_of(app: Starlette) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host")


async def test_by_itself_it_opens_and_closes_the_runner(tmp_path: Path) -> None:
    host = Host(tmp_path)
    async with lifespan(host.app):
        assert host.runner.is_open
        _, run = await host.submitted()
        hold = hosting.held(run)
        await hosting.underway(run)
        hold.close()
    assert not host.runner.is_open
    assert run.is_over


def in_starlette(app: Starlette, runner: Runner) -> Starlette:
    return Starlette(routes=[Mount("/studies", app)], lifespan=runner.lifespan)


def in_fastapi(app: Starlette, runner: Runner) -> Starlette:
    host = FastAPI(lifespan=runner.lifespan)
    host.mount("/studies", app)
    return host


@pytest.mark.parametrize("mounted", [in_starlette, in_fastapi])
async def test_mounted_it_works_once_its_host_enters_the_lifespan_of_the_runner(
    tmp_path: Path, mounted: Callable[[Starlette, Runner], Starlette]
) -> None:
    service = Host(tmp_path)
    app = mounted(service.app, service.runner)
    async with client_of(app) as client:
        assert (await client.get("/studies/readyz")).status_code == 503
        async with lifespan(app):
            assert (await client.get("/studies/readyz")).status_code == 200
            response = await client.post("/studies/runs", json=experiment())
            links = response.json()["links"]
            assert response.headers["location"] == links["self"]
            assert links["self"].startswith("/studies/runs/")
            told = parsed((await client.get(links["events"])).text)
            assert names(told)[-1] == "end"
            results = (await client.get(links["results"])).json()
            page = await client.get(f"{results['links']['metrics']}?limit=1")
            assert page.json()["total"] == 1
            document = (await client.get("/studies/openapi.json")).json()
            assert document["servers"] == [{"url": "/studies"}]


async def test_it_is_alive_whatever_the_runner_does_and_ready_only_if_runs_can_be_taken(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)

    async def codes() -> list[int]:
        return [(await host.client.get(path)).status_code for path in ("/healthz", "/readyz")]

    assert await codes() == [200, 503]
    async with host.runner:
        assert await codes() == [200, 200]
        assert list(host.results_root.iterdir()) == []
        host.results_root.rmdir()
        host.results_root.write_text("in the way")
        assert await codes() == [200, 503]
        host.results_root.unlink()
        host.service.stop()
        assert await codes() == [200, 503]
    assert await codes() == [200, 503]


async def test_what_nobody_expected_is_told_without_what_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as host:

        def raising(*_: object) -> None:
            raise ValueError("secret")

        monkeypatch.setattr(host.service, "find", raising)
        response = await host.client.get(f"/runs/{0:032x}")
    assert response.status_code == 500
    assert response.headers["content-type"] == "application/problem+json"
    assert "secret" not in response.text
    assert "Traceback" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/nope", 404),
        ("GET", "/runs/", 404),
        ("GET", "//runs", 404),
        ("PUT", "/runs", 405),
        ("POST", "/healthz", 404),
        ("DELETE", "/runs", 405),
    ],
)
async def test_what_cannot_be_asked_is_a_problem_too(
    tmp_path: Path, method: str, path: str, status: int
) -> None:
    async with serving(tmp_path) as host:
        response = await host.client.request(method, f"http://service{path}")
    assert response.status_code == status
    assert response.json()["status"] == status
    assert (status != 405) or response.headers["allow"]


async def test_a_websocket_is_refused(tmp_path: Path) -> None:
    host = Host(tmp_path, token="x")  # noqa: S106 - of no service
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/runs", "root_path": "", "headers": []}
    await host.app(scope, receive, send)  # type: ignore[arg-type]
    assert sent[0]["type"] == "websocket.close"


def test_results_are_in_a_local_folder(tmp_path: Path) -> None:
    runner = Runner(storage=MemoryStorage())
    with pytest.raises(TypeError, match="local folder"):
        create_app(runner, data_root=tmp_path)


def test_what_is_missing_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'admf\[server\]'"):
        importlib.reload(package)
