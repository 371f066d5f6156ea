"""Every example runs."""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from runpy import run_path

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from admf.workflows.cli import main

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_experiment_completes(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", str(path), "--results-root", str(tmp_path), "--json", "--quiet"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert '"status":"completed"' in out.replace(" ", "")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_script_runs(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out


def test_the_service_example_accounts_for_every_request_in_under_80_lines_of_engine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = EXAMPLES / "service_requests.py"
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 80
    assert re.findall(r"(?:from|import) (admf\S*)", text) == ["admf.engine"]
    monkeypatch.chdir(tmp_path)
    said = []
    for _ in range(2):
        run_path(str(path), run_name="__main__")
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    _, *rows, last = said[0].splitlines()
    table = {route: figures for route, *figures in map(str.split, rows)}
    events = 2 * sum(int(count) for count, *_ in table.values()) + int(last.split()[0])
    assert events == 2 * 20_000 - 100  # it leaves the last hundred out
    for route, usual_ms in {"/": 5, "/search": 40, "/checkout": 120}.items():
        count, errors, p50, p99, greatest = map(float, table[route])
        assert 0 < errors < count / 50
        assert p50 == pytest.approx(usual_ms, rel=0.05)  # the median of the lognormal it draws from
        assert p99 == pytest.approx(usual_ms * math.exp(0.5 * 2.326), rel=0.15)
        assert greatest > p99


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application on this machine, and end it as a signal would."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        place = "http://{}:{}".format(*listener.getsockname())
        async with httpx.AsyncClient(base_url=place) as client:
            yield client
        server.should_exit = True
        await serving


@pytest.mark.anyio
async def test_the_page_of_the_web_application_shows_a_study_to_its_end(tmp_path: Path) -> None:
    folder = EXAMPLES / "fastapi_host"
    host = run_path(str(folder / "host.py"))
    names: list[str] = []
    async with served(host["make_app"](tmp_path, folder)) as client:
        page = (await client.get("/")).text
        assert not re.search(r"(src|href)=|https?://", page)  # all that it needs is in it
        assert all(name in page for name in ("studies/runs", "EventSource", "POSITION_CLOSE"))
        experiment = (await client.get("/experiment.yaml")).text
        headers = {"content-type": "application/yaml"}
        run = (await client.post("/studies/runs", content=experiment, headers=headers)).json()
        target = f"{run['links']['events']}?types=POSITION_CLOSE"
        async with client.stream("GET", target) as events:
            async for line in events.aiter_lines():
                names += [line.removeprefix("event: ")] if line.startswith("event: ") else []
                if line.startswith("data: "):
                    told = json.loads(line.removeprefix("data: "))
        assert {"progress", "POSITION_CLOSE"} < set(names)
        assert (names[-1], told) == ("end", {"status": "completed", "dropped": 0})
        results = (await client.get(run["links"]["results"])).json()
        best = (await client.get(f"{results['links']['metrics']}?by=sharpe_ratio&limit=5")).json()
        assert len(best["rows"]) == 5
