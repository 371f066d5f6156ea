"""Runs that are submitted over HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from admf.workflows.service import ServiceLimits
from admf.workflows.service.idempotency import IdempotencyKeys
from admf.workflows.service.problems import HttpError
from tests.workflows.hosting import files_of, held, solo
from tests.workflows.service.serving import Exchange, Host, experiment, serving

pytestmark = pytest.mark.anyio

YAML = """
workflow: simple_backtest
data: {source: frames, symbols: [X]}
strategy: {type: sma_cross, params: {fast: 2, slow: 4}}
block_size: 8
"""


@pytest.mark.parametrize(
    "media_type", ["application/yaml", "text/yaml", "Text/YAML; charset=utf-8"]
)
async def test_an_experiment_in_yaml_runs_in_a_folder_of_its_own(
    tmp_path: Path, media_type: str
) -> None:
    async with serving(tmp_path) as host:
        response = await host.post(YAML, **{"content-type": media_type})
        assert response.status_code == 202
        body = response.json()
        assert response.headers["location"] == body["links"]["self"] == f"/runs/{body['id']}"
        run = host.service.find(body["id"])
        assert run is not None
        result = await run.result()
    assert result.results_path == str(host.results_root / body["id"])


async def test_its_results_are_those_of_a_run_without_http_and_know_nothing_of_its_id(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as host:
        run_id = await host.completed()
    alone = await solo(tmp_path / "alone", {**experiment(), "results_dir": "alone"})
    hosted = await asyncio.to_thread(files_of, host.results_root)
    assert alone == {it.replace(run_id, "alone"): content for it, content in hosted.items()}


async def test_every_mistake_is_told_with_its_place_in_the_text(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        response = await host.post(YAML.replace("fast: 2", "fasst: 2") + "seeed: 1\nseed: x\n")
        assert host.service.run_ids == ()
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (body["status"], body["title"]) == (422, "Unprocessable Entity")
    places = {it["field"]: (it["file"], it["line"], it["column"]) for it in body["mistakes"]}
    assert places == {
        "strategy.params.fasst": ("experiment.yaml", 4, 45),
        "seeed": ("experiment.yaml", 6, 1),
        "seed": ("experiment.yaml", 7, 7),
    }


async def test_a_mistake_in_json_is_told_by_its_field(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        response = await host.post(experiment(seed="x"))
    (mistake,) = response.json()["mistakes"]
    assert (response.status_code, mistake["field"]) == (422, "seed")


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[" * 5_000 + b"]" * 5_000),
        ("application/json", b'{"workflow": "\xff"}'),
        ("application/json", b"7"),
        ("application/json", b""),
        ("application/json", b'{"seed": 1e999}'),
        ("application/yaml", b"a: ["),
        ("application/yaml", b"\xff\xfe"),
        ("application/yaml", b"- 1"),
        ("application/yaml", b""),
        ("application/yaml", b"a: &a [*a]"),
        ("application/yaml", b"workflow: !!python/object/apply:os.system [x]"),
    ],
)
async def test_a_body_that_is_no_experiment_is_refused(
    tmp_path: Path, media_type: str, body: bytes
) -> None:
    async with serving(tmp_path) as host:
        headers = {"content-type": media_type}
        response = await host.client.post("/runs", content=body, headers=headers)
        assert response.status_code == 422, response.text
        assert response.json()["mistakes"]
        assert "Traceback" not in response.text


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_what_a_page_could_send_unasked_is_no_experiment(
    tmp_path: Path, media_type: str
) -> None:
    async with serving(tmp_path) as host:
        response = await host.post(YAML, **{"content-type": media_type})
    assert response.status_code == 415
    assert "application/yaml" in response.headers["accept-post"]


async def test_data_that_cannot_be_used_is_told_without_the_folder_of_the_server(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as host:
        data = {"source": "file", "symbols": ["X"], "path": "prices"}
        response = await host.post(experiment(data=data))
    assert response.status_code == 422
    assert response.json()["detail"].startswith("prices: does not exist")
    assert str(tmp_path) not in response.text


async def test_data_is_read_below_the_data_root(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        rows = (f"{86_400 * day},{day},{day},{day},{day},1\n" for day in range(1, 20))
        text = "timestamp,open,high,low,close,volume\n" + "".join(rows)
        (host.data_root / "prices").mkdir()
        (host.data_root / "prices" / "Y.csv").write_text(text)
        data = {"source": "file", "symbols": ["Y"], "path": "prices"}
        await host.completed(data=data)
        await host.completed(data={**data, "path": "prices/Y.csv"})


# -- too much -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", ["101", "9" * 5_000])
async def test_a_body_that_says_it_is_too_long_is_not_read(tmp_path: Path, length: str) -> None:
    async with serving(tmp_path, limits=ServiceLimits(body_bytes=100)) as host:
        headers = {"content-type": "application/json", "content-length": length}
        exchange = Exchange(host.app, "/runs", method="POST", headers=headers)
        await exchange.task
    assert exchange.status == 413


async def test_a_body_that_turns_out_too_long_is_cut(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServiceLimits(body_bytes=100)) as host:
        headers = {"content-type": "application/json"}
        exchange = Exchange(host.app, "/runs", method="POST", headers=headers)
        exchange.send_body(b" " * 60, more=True)
        exchange.send_body(b" " * 60, more=True)
        await exchange.task  # although more would come
    assert exchange.status == 413


async def test_a_body_that_never_ends_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServiceLimits(body_s=0.0)) as host:
        headers = {"content-type": "application/json"}
        exchange = Exchange(host.app, "/runs", method="POST", headers=headers)
        await exchange.task
    assert exchange.status == 408


async def test_too_many_waiting_runs_are_refused(tmp_path: Path) -> None:
    limits = ServiceLimits(waiting_runs=1)
    async with serving(tmp_path, runner={"max_runs": 1}, limits=limits) as host:
        _, first = await host.submitted()
        with held(first):
            await host.submitted()
            response = await host.post()
            assert response.status_code == 503
            assert response.headers["retry-after"] == "5"
        await first.result()


async def test_runs_that_are_over_are_kept_as_files_alone_in_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path, limits=ServiceLimits(kept_runs=1)) as host:
        ids = [await host.completed() for _ in range(4)]
        assert host.service.run_ids == tuple(ids[-2:])
        response = await host.client.get(f"/runs/{ids[0]}")
    assert response.json()["status"] == "completed"


async def test_nothing_is_taken_before_the_runner_is_open_and_after_it_has_closed(
    tmp_path: Path,
) -> None:
    host = Host(tmp_path)
    assert (await host.post()).status_code == 503
    async with host.runner:
        assert (await host.post()).status_code == 202
    assert (await host.post()).status_code == 503


async def test_a_service_that_stops_takes_no_more(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        host.service.stop()
        assert (await host.post()).status_code == 503


# -- twice --------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_same_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        first, again, other = [
            (await host.post(**{"idempotency-key": key})).json()["id"] for key in ("a", "a", "b")
        ]
        assert first == again != other
        assert host.service.run_ids == (first, other)


async def test_a_key_that_comes_with_another_experiment_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        await host.post(**{"idempotency-key": "a"})
        response = await host.post(experiment(seed=9), **{"idempotency-key": "a"})
        assert response.status_code == 422
        assert "Idempotency-Key" in response.json()["detail"]
        assert len(host.service.run_ids) == 1


async def test_requests_with_one_key_that_come_at_once_make_one_run(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        posts = (host.post(**{"idempotency-key": "a"}) for _ in range(20))
        responses = await asyncio.gather(*posts)
        assert {it.status_code for it in responses} == {202}
        assert {it.json()["id"] for it in responses} == set(host.service.run_ids)
        assert len(host.service.run_ids) == 1


async def test_a_key_whose_request_failed_can_be_used_again(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        key = {"idempotency-key": "a"}
        wrong = [host.post(experiment(seed="x"), **key) for _ in range(3)]
        assert {it.status_code for it in await asyncio.gather(*wrong)} == {422}
        assert (await host.post(**key)).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\u00e9"])
async def test_a_key_is_short_and_plain(tmp_path: Path, key: str) -> None:
    async with serving(tmp_path) as host:
        headers = {"content-type": "application/json", "idempotency-key": key}
        exchange = Exchange(host.app, "/runs", method="POST", headers=headers)
        exchange.send_body(json.dumps(experiment()).encode())
        await exchange.task
    assert exchange.status == 400


async def test_keys_that_were_not_used_longest_are_forgotten() -> None:
    keys = IdempotencyKeys(2)
    made: list[str] = []

    async def make() -> str:
        made.append(f"run {len(made)}")
        return made[-1]

    asked = [await keys.once(key, b"", make) for key in ("a", "b", "a", "c", "a", "b")]
    assert asked == ["run 0", "run 1", "run 0", "run 2", "run 0", "run 3"]
    assert len(keys) == 2


async def test_a_request_that_is_cancelled_leaves_its_key_free() -> None:
    keys = IdempotencyKeys(2)

    async def stuck() -> str:
        await anyio.sleep_forever()
        raise AssertionError

    async def make() -> str:
        return "run"

    async with anyio.create_task_group() as group:
        group.start_soon(keys.once, "a", b"", stuck)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert await keys.once("a", b"", make) == "run"
    with pytest.raises(HttpError):
        await keys.once("a", b"other", make)


# -- clients that leave -------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [(), (b'{"workflow"',)])
async def test_a_client_that_leaves_before_its_body_is_whole_leaves_nothing(
    tmp_path: Path, parts: tuple[bytes, ...]
) -> None:
    async with serving(tmp_path) as host:
        before = asyncio.all_tasks()
        headers = {"content-type": "application/json", "idempotency-key": "a"}
        exchange = Exchange(host.app, "/runs", method="POST", headers=headers)
        for part in parts:
            exchange.send_body(part, more=True)
        exchange.leave()
        await exchange.task
        assert asyncio.all_tasks() == before
        assert host.service.run_ids == ()
        assert (await host.post(**{"idempotency-key": "a"})).status_code == 202


async def test_a_client_that_leaves_before_the_answer_finds_its_run_by_the_key(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as host:
        body: Any = json.dumps(experiment()).encode()
        headers = {"content-type": "application/json", "idempotency-key": "a"}
        exchange = Exchange(host.app, "/runs", method="POST", headers=headers)
        exchange.send_body(body)
        exchange.leave()
        await exchange.task
        (run_id,) = host.service.run_ids
        response = await host.client.post("/runs", content=body, headers=headers)
        assert response.json()["id"] == run_id
