"""Runs that are listed, looked at and cancelled over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from admf.engine.clock import SimulatedClock
from admf.workflows.service.ids import RunIds, created_at, is_run_id
from tests.sealing import change
from tests.workflows.hosting import held, recorded_status, underway
from tests.workflows.service.serving import experiment, serving

pytestmark = pytest.mark.anyio


async def test_a_run_says_how_far_it_is(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        with held(run):
            await underway(run)
            told = (await host.client.get(f"/runs/{run_id}")).json()
            assert told["status"] == "running"
            assert 0 < told["progress"]["bars_done"] < told["progress"]["bars_total"] == 48
        await run.result()
        told = (await host.client.get(f"/runs/{run_id}")).json()
    assert (told["status"], told["progress"]["bars_done"]) == ("completed", 48)
    assert told["run_id"] == run.run_id
    assert told["links"]["events"] == f"/runs/{run_id}/events"


async def test_a_run_of_an_earlier_process_is_known_by_its_files(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id = await host.completed()
        before = (await host.client.get(f"/runs/{run_id}")).json()
    async with serving(tmp_path) as host:
        after = (await host.client.get(f"/runs/{run_id}")).json()
        assert (await host.client.delete(f"/runs/{run_id}")).json()["status"] == "completed"
    assert after == {**before, "progress": None}


async def test_a_run_that_an_earlier_process_left_is_interrupted(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id = await host.completed()
    change(host.results_root / run_id / "run.json", status="running", finished_at=None)
    async with serving(tmp_path) as host:
        assert (await host.client.get(f"/runs/{run_id}")).json()["status"] == "interrupted"


async def test_a_damaged_run_is_listed_and_does_not_hide_the_others(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        ids = [await host.completed() for _ in range(2)]
    (host.results_root / ids[0] / "run.json").write_text("{}")
    async with serving(tmp_path) as host:
        whole, damaged = (await host.client.get("/runs")).json()["runs"]
    assert (whole["id"], whole["status"]) == (ids[1], "completed")
    assert (damaged["id"], damaged["status"]) == (ids[0], "damaged")
    assert damaged["errors"]
    assert str(tmp_path) not in damaged["errors"][0]


async def test_what_went_wrong_is_told_without_the_folders_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_over_http.py").write_text(
        "from admf.containers.strategies import Strategy\n"
        "class Failing(Strategy):\n"
        "    def on_bar(self, bar, ctx):\n        raise RuntimeError('boom')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    name = "failing_over_http:Failing"
    async with serving(tmp_path, allowed_strategies=[name]) as host:
        run_id, run = await host.submitted(strategy={"type": name})
        await run.result()
        live = await host.client.get(f"/runs/{run_id}")
        phases = await host.client.get(f"/runs/{run_id}/results")
        rows = await host.client.get(f"/runs/{run_id}/results/phases/backtest/containers")
    async with serving(tmp_path) as host:
        stored = await host.client.get(f"/runs/{run_id}")
    for response in (live, stored):
        assert response.json()["status"] == "failed"
        assert "failing_over_http.py:4: RuntimeError: boom" in response.json()["errors"][0]
    for response in (live, stored, phases, rows):
        assert response.status_code == 200
        assert str(tmp_path) not in response.text
    assert "boom" in phases.text
    assert "boom" in rows.text


async def test_a_run_that_could_not_begin_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        host.results_root.write_text("in the way")
        run_id, run = await host.submitted()
        with pytest.raises(Exception, match=r"in the way|cannot"):
            await run.result()
        response = await host.client.get(f"/runs/{run_id}")
    assert response.json()["status"] == "failed"
    assert response.json()["errors"]
    assert str(tmp_path) not in response.text


async def test_an_error_of_the_server_is_for_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        await run.result()

        async def raising() -> None:
            raise ValueError("secret")

        monkeypatch.setattr(run, "result", raising)
        response = await host.client.get(f"/runs/{run_id}")
    assert response.json()["errors"] == ["the run failed for a reason that is the server's"]


async def test_warnings_are_told(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        body = (await host.post(experiment(event_tracing=["FILLL"]))).json()
    assert body["warnings"][0]["field"] == "event_tracing.0"


# -- cancel -------------------------------------------------------------------------------------


async def test_a_run_is_cancelled_and_what_ran_can_be_resumed(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id, run = await host.submitted()
        with held(run):
            await underway(run)
            responses = [await host.client.delete(f"/runs/{run_id}") for _ in range(2)]
        assert [it.status_code for it in responses] == [202, 202]
        assert (await run.result()).status == "cancelled"
        assert (await host.client.delete(f"/runs/{run_id}")).json()["status"] == "cancelled"
        assert recorded_status(host.results_root / run_id) == "cancelled"
        fields = {**experiment(), "results_dir": run_id}
        again = await host.runner.submit(fields, resume=True)
        assert (await again.result()).status == "completed"


async def test_a_run_that_waits_never_begins_once_it_is_cancelled(tmp_path: Path) -> None:
    async with serving(tmp_path, runner={"max_runs": 1}) as host:
        _, first = await host.submitted()
        with held(first):
            run_id, run = await host.submitted()
            body = (await host.client.delete(f"/runs/{run_id}")).json()
            assert body["status"] == run.status == "cancelled"
        await first.result()
        assert not (host.results_root / run_id).exists()


# -- list ---------------------------------------------------------------------------------------


async def test_runs_are_listed_page_by_page_the_newest_first(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        ids = [await host.completed() for _ in range(3)]
        (host.results_root / "of_the_command_line").mkdir()
        (host.results_root / f"{0:032x}").mkdir()  # and nothing in it
    async with serving(tmp_path) as host:
        ids += [await host.completed() for _ in range(2)]
        found: list[str] = []
        where = "/runs?limit=2"
        while where:
            page = (await host.client.get(where)).json()
            assert len(page["runs"]) <= 2
            found += [it["id"] for it in page["runs"]]
            where = page["next"]
    assert found == ids[::-1]


async def test_there_is_nothing_to_list_before_the_first_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        assert (await host.client.get("/runs")).json() == {"runs": [], "next": None}


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=-1", "limit=%D9%A1", "before=x", "limit="]
)
async def test_a_page_that_cannot_be_is_refused(tmp_path: Path, query: str) -> None:
    async with serving(tmp_path) as host:
        response = await host.client.get(f"/runs?{query}")
    assert response.status_code == 400
    assert query.partition("=")[0] in response.json()["detail"]


# -- ids ----------------------------------------------------------------------------------------


def test_ids_are_in_the_order_in_which_they_were_made_whatever_the_clock_does() -> None:
    clock = SimulatedClock(1_700_000_000_123_000_000)
    ids = RunIds(clock)
    made = [ids.make() for _ in range(100)]
    assert made == sorted(made)
    assert len(set(made)) == 100
    assert all(map(is_run_id, made))
    assert created_at(made[0]) == "2023-11-14T22:13:20.123+00:00"


def test_an_id_that_no_clock_made_has_no_date() -> None:
    assert created_at("f" * 32) == ""
