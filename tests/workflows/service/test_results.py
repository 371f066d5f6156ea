"""Results that are read over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from admf.workflows.results import open_run
from tests.workflows.hosting import held, sweep, underway
from tests.workflows.service.serving import Host, experiment, serving

pytestmark = pytest.mark.anyio

WALK = {
    "workflow": "study",
    "phases": {"walk": {"sequence": "walk_forward"}},
    "parameter_space": {"fast": [2, 3]},
    "walk_forward": {"train": 20, "test": 10},
}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    async with serving(tmp_path) as host:
        yield host


async def searched(host: Host) -> str:
    fields = sweep("")
    del fields["results_dir"]
    response = await host.post(fields)
    run = host.service.find(response.json()["id"])
    assert run is not None
    assert (await run.result()).status == "completed"
    return str(response.json()["id"])


async def get(host: Host, target: str) -> Any:
    response = await host.client.get(target)
    assert response.status_code == 200, response.text
    return response.json()


async def test_all_results_are_reached_from_those_of_the_run_by_links(host: Host) -> None:
    run_id = await searched(host)
    results = await get(host, f"/runs/{run_id}/results")
    (phase,) = results["phases"]
    assert (phase["name"], phase["status"], phase["saved"]) == ("search", "completed", True)
    summary = (await get(host, phase["links"]["self"]))["summary"]
    assert (summary["containers"], summary["status"]) == (4, {"completed": 4})
    page = await get(host, phase["links"]["containers"])
    assert page["total"] == len(page["containers"]) == 4
    for container in page["containers"]:
        for where in container["links"].values():
            await get(host, where)


async def test_tables_are_those_of_the_library(host: Host) -> None:
    run_id = await searched(host)
    mine = await asyncio.to_thread(open_run, host.results_root / run_id)
    whole = await get(host, f"/runs/{run_id}/results/metrics")
    columns = ["container", "fast", "slow", "total_return"]
    expected = mine.metrics().select(columns).to_dicts()
    assert [{it: row[it] for it in columns} for row in whole["rows"]] == expected
    best = await get(host, f"/runs/{run_id}/results/phases/search/metrics?by=total_return&top=1")
    (row,) = mine.metrics(by="total_return", top=1).select(columns).to_dicts()
    assert [{it: row[it] for it in columns} for row in best["rows"]] == [row]
    place = f"/runs/{run_id}/results/phases/search/containers/{row['container']}"
    (window,) = mine["search"].windows
    view = mine["search"][window][row["container"]]
    trades = await get(host, f"{place}/trades?window={window}")
    assert [it["pnl"] for it in trades["rows"]] == view.trades()["pnl"].to_list()
    equity = await get(host, f"{place}/equity?window={window}&limit=1000")
    assert [it["equity"] for it in equity["rows"]] == view.equity()["equity"].to_list()
    document = await get(host, f"{place}?window={window}")
    assert document["metrics"] == view.document()["metrics"]


async def test_tables_come_page_by_page(host: Host) -> None:
    run_id = await searched(host)
    found: list[str] = []
    where = f"/runs/{run_id}/results/metrics?limit=3&by=sharpe_ratio"
    while where:
        page = await get(host, where)
        assert (len(page["rows"]) <= 3, page["total"]) == (True, 4)
        found += [it["container"] for it in page["rows"]]
        where = page["next"]
    assert len(set(found)) == 4


async def test_windows_are_named_in_the_query(host: Host) -> None:
    response = await host.post({**experiment(strategy={"type": "sma_cross"}), **WALK})
    run_id = response.json()["id"]
    run = host.service.find(run_id)
    assert run is not None, response.text
    await run.result()
    windows = (await get(host, f"/runs/{run_id}/results/phases/walk"))["windows"]
    assert len(windows) > 1
    page = await get(host, f"/runs/{run_id}/results/phases/walk/containers?limit=1000")
    assert {it["window"] for it in page["containers"]} == set(windows)
    document = await get(host, page["containers"][-1]["links"]["self"])
    assert document["window_id"] == page["containers"][-1]["window"]


async def test_results_of_a_run_that_is_under_way_are_those_of_complete_windows(
    host: Host,
) -> None:
    run_id, run = await host.submitted()
    with held(run):
        await underway(run)
        results = await get(host, f"/runs/{run_id}/results")
        assert (results["status"], results["finished_at"]) == ("running", None)
        page = await get(host, f"/runs/{run_id}/results/phases/backtest/containers")
        assert page == {"containers": [], "total": 0, "next": None}
        assert (await get(host, f"/runs/{run_id}/results/phases/backtest"))["windows"] == []
    await run.result()


async def test_results_that_stayed_in_memory_cannot_be_asked_for(host: Host) -> None:
    phases = {
        "kept": {"sequence": "single_pass"},
        "gone": {"sequence": "single_pass", "results_storage": "memory"},
    }
    run_id = await host.completed(workflow="study", phases=phases)
    response = await host.client.get(f"/runs/{run_id}/results/phases/gone")
    assert response.status_code == 409
    await get(host, f"/runs/{run_id}/results/phases/kept")
    run_id = await host.completed(results_storage="memory")
    assert (await host.client.get(f"/runs/{run_id}/results")).status_code == 404


@pytest.mark.parametrize(
    ("rest", "status"),
    [
        ("/phases/nope", 404),
        ("/phases/..%2f..", 404),
        ("/phases/search/containers/nope", 404),
        ("/phases/search/containers/nope/trades", 404),
        ("/phases/search/containers/portfolio_001?window=nope", 404),
        ("/phases/search/containers/portfolio_001?window=../search", 404),
        ("/phases/search/containers/portfolio_001?window=%00", 400),
        ("/metrics?by=nope", 400),
        ("/metrics?by=a;b", 400),
        ("/metrics?top=0", 400),
        ("/metrics?offset=-1", 400),
        ("/metrics?limit=1001", 400),
        ("/nope", 404),
    ],
)
async def test_what_there_is_not_is_not_found(host: Host, rest: str, status: int) -> None:
    run_id = await searched(host)
    response = await host.client.get(f"/runs/{run_id}/results{rest}")
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert str(host.results_root) not in response.text


async def test_a_portfolio_that_could_not_be_built_has_left_nothing(host: Host) -> None:
    fields = sweep("", parameter_space={"fast": [2, 6], "slow": [4]})
    del fields["results_dir"]
    run_id = (await host.post(fields)).json()["id"]
    run = host.service.find(run_id)
    assert run is not None
    await run.result()
    page = await get(host, f"/runs/{run_id}/results/phases/search/containers")
    codes = [(await host.client.get(it["links"]["self"])).status_code for it in page["containers"]]
    assert [it["status"] for it in page["containers"]] == ["completed", "failed"]
    assert codes == [200, 404]


async def test_a_file_that_is_missing_is_a_fault_of_the_server(host: Host, tmp_path: Path) -> None:
    run_id = await searched(host)
    for file in (host.results_root / run_id).rglob("*_results.json"):
        if file.parent.name == "containers":
            file.unlink()
    page = await get(host, f"/runs/{run_id}/results/phases/search/containers")
    response = await host.client.get(page["containers"][0]["links"]["self"])
    assert response.status_code == 500
    assert "is missing" in response.json()["detail"]
    assert str(tmp_path) not in response.text
