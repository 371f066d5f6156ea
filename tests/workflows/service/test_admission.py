"""What experiments from outside may not do: run code, or reach files, that they are not given."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest

from admf.engine.errors import ConfigError
from admf.workflows.service.admission import Admission
from admf.workflows.service.problems import Redaction
from tests.workflows.service.serving import experiment, serving

pytestmark = pytest.mark.anyio

OWN = """
from admf.containers.strategies import Strategy

class Quiet(Strategy):
    def on_bar(self, bar, ctx):
        pass

class Other(Strategy):
    def on_bar(self, bar, ctx):
        pass
"""
MODULE = "strategies_of_a_test"
SWEEP = {"sequence": "parameter_sweep", "parameter_space": {"fast": [2, 3]}}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that Python finds, and that says whether it was imported."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return f"{MODULE}:Quiet"


def with_field(path: str, value: Any) -> dict[str, Any]:
    """Return an experiment with a field, which is named by a dotted path, set."""
    fields: dict[str, Any] = copy.deepcopy(experiment())
    section = fields
    *parts, last = path.split("/")
    for part in parts:
        section = section.setdefault(part, {})
    section[last] = value
    return fields


async def test_a_strategy_that_is_allowed_runs(tmp_path: Path, own: str) -> None:
    async with serving(tmp_path, allowed_strategies=[own]) as host:
        await host.completed(strategy={"type": own})


@pytest.mark.parametrize(
    "fields",
    [
        with_field("strategy", {"type": f"{MODULE}:Other"}),
        with_field("strategy", {"type": f" {MODULE}:Quiet"}),
        with_field("strategy", {"type": f"{MODULE}:Quiet "}),
        with_field("strategy", {"type": f"{MODULE}:quiet"}),
        with_field("strategy", {"type": f"{MODULE}::Quiet"}),
        with_field("strategy", {"type": f"{MODULE}:Quiet.mro"}),
        with_field("strategy", {"type": "os:system"}),
        with_field("strategy", {"type": ":"}),
        with_field("workflow", f"{MODULE}:Other"),
        with_field("phase_overrides/backtest/strategy", {"type": f"{MODULE}:Other"}),
        with_field("phases/search", {**SWEEP, "strategy": {"type": f"{MODULE}:Other"}}),
        with_field("phases/search", {**SWEEP, "topology": f"{MODULE}:Other"}),
        with_field("phases/search", {**SWEEP, "sequence": f"{MODULE}:Other"}),
        with_field("retention_policy", f"{MODULE}:Other"),
        with_field("event_tracing", [f"{MODULE}:Other"]),
        with_field("strategy/params/mode", f"{MODULE}:Other"),
        with_field("parameter_space", {"mode": [f"{MODULE}:Other"]}),
        with_field("nonsense", [[{"deep": f"{MODULE}:Other"}]]),
    ],
)
async def test_nothing_else_is_imported(tmp_path: Path, own: str, fields: dict[str, Any]) -> None:
    async with serving(tmp_path, allowed_strategies=[own]) as host:
        response = await host.post(fields)
        assert response.status_code == 422
        assert any("names code" in it["message"] for it in response.json()["mistakes"])
        assert MODULE not in sys.modules
        assert host.service.run_ids == ()


async def test_an_alias_of_yaml_hides_nothing(tmp_path: Path, own: str) -> None:
    text = (
        f'risk: &a {{type: "{MODULE}\\x3aOther"}}\nstrategy: *a\nworkflow: simple_backtest\n'
        "data: {source: frames, symbols: [X]}\n"
    )
    async with serving(tmp_path, allowed_strategies=[own]) as host:
        response = await host.post(text)
    fields = {it["field"] for it in response.json()["mistakes"] if "names code" in it["message"]}
    assert fields == {"risk.type", "strategy.type"}
    assert MODULE not in sys.modules


@pytest.mark.parametrize("name", ["strategy", "strategy.type", "data", "data.path", "data.symbols"])
async def test_code_and_files_do_not_come_from_results_of_phases_before(
    tmp_path: Path, name: str
) -> None:
    phases = {
        "search": SWEEP,
        "again": {"sequence": "single_pass", "inputs": {name: "{search.best_parameters.mode}"}},
    }
    async with serving(tmp_path) as host:
        response = await host.post(experiment(workflow="study", phases=phases))
    mistakes = {it["field"]: it["message"] for it in response.json()["mistakes"]}
    assert "cannot come from results" in mistakes[f"phases.again.inputs.{name}"]


async def test_what_merely_looks_like_code_is_let_through(tmp_path: Path) -> None:
    phases = {"only": {"sequence": "single_pass", "description": "first:Look"}}
    async with serving(tmp_path) as host:
        data = {"source": "frames", "symbols": ["X"], "start": "1970-01-02T00:00:00"}
        await host.completed(workflow="study", phases=phases, data=data)
        data = {"source": "frames", "symbols": ["NASDAQ:AAPL"]}
        response = await host.post(experiment(data=data))
    assert "no frame of 'NASDAQ:AAPL'" in response.json()["detail"]


@pytest.mark.parametrize("name", ["x", "x:y:z", "x:", "a b:C", "x.y", "*", "../x:Y"])
def test_what_is_allowed_is_named_in_full(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"package\.module:Class"):
        Admission(tmp_path, [name])


ELSEWHERE = [
    "..",
    "../secret.csv",
    "a/../../secret.csv",
    "a/.. /../secret.csv",
    "/etc/passwd",
    "//etc/passwd",
    "~/secret.csv",
    "a\\..\\..\\secret.csv",
    "C:/secret.csv",
    "file:///etc/passwd",
    "x\x00.csv",
    "",
    "link/secret.csv",
    "link",
    "loop",
    "x" * 5_000,
]


@pytest.mark.parametrize("where", ["data", "phase_overrides/backtest/data"])
@pytest.mark.parametrize("path", ELSEWHERE, ids=lambda it: repr(it[:20]))
async def test_no_path_leads_out_of_the_data_root(tmp_path: Path, path: str, where: str) -> None:
    async with serving(tmp_path) as host:
        (tmp_path / "secret.csv").write_text("secret")
        (host.data_root / "link").symlink_to(tmp_path)
        (host.data_root / "loop").symlink_to(host.data_root / "loop")
        response = await host.post(with_field(where, {"symbols": ["X"], "path": path}))
        assert response.status_code == 422, response.text
        assert str(tmp_path) not in response.text
        assert any(".path" in it["field"] for it in response.json()["mistakes"])
        assert host.service.run_ids == ()


async def test_the_file_of_a_symbol_is_no_link_to_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("secret")
    async with serving(tmp_path) as host:
        (host.data_root / "X.csv").symlink_to(tmp_path / "secret.csv")
        response = await host.post(experiment(data={"symbols": ["X"], "path": "."}))
        (mistake,) = response.json()["mistakes"]
        assert "leads out of" in mistake["message"]
        assert str(tmp_path) not in response.text


async def test_what_is_put_together_of_several_parts_is_looked_at_as_a_whole(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path) as host:
        (tmp_path / "secret.csv").write_text("secret")
        data = {"symbols": ["X"], "path": str(tmp_path / "secret.csv")}
        phases = host.runner.phases(host.runner.load(experiment(data=data)))
        with pytest.raises(ConfigError, match="leads out of"):
            Admission(host.data_root).check_data(phases)
        (host.data_root / "X.csv").symlink_to(tmp_path / "secret.csv")
        fields = experiment(data={"symbols": ["Y"], "path": "."})
        fields["phase_overrides"] = {"backtest": {"data": {"symbols": ["X"]}}}
        response = await host.post(fields)
    assert "'X' leads out of" in response.text


async def test_the_file_of_a_benchmark_is_none_either(tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("secret")
    async with serving(tmp_path) as host:
        (host.data_root / "Y.csv").symlink_to(tmp_path / "secret.csv")
        data = {"symbols": ["X"], "path": "."}
        response = await host.post(experiment(data=data, benchmark="Y"))
        (mistake,) = response.json()["mistakes"]
        assert "'Y' leads out of" in mistake["message"]


async def test_files_without_a_path_are_not_looked_for_where_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "X.csv").write_text("secret")
    monkeypatch.chdir(tmp_path)
    async with serving(tmp_path) as host:
        response = await host.post(experiment(data={"symbols": ["X"]}))
    assert response.json()["mistakes"][0]["field"] == "data.path"


@pytest.mark.parametrize("name", ["x", "../x", "/srv/x", None])
async def test_where_results_go_is_not_for_the_request_to_say(
    tmp_path: Path, name: str | None
) -> None:
    async with serving(tmp_path) as host:
        response = await host.post({**experiment(), "results_dir": name})
        (mistake,) = response.json()["mistakes"]
        assert (response.status_code, mistake["field"]) == (422, "results_dir")
        assert not host.results_root.exists()


IDS = [
    "x",
    "..",
    "%2e%2e",
    "..%2f..%2fetc",
    "a" * 32 + "/../" + "b" * 32,
    "A" * 32,
    "0" * 31,
    "0" * 33,
    "0" * 31 + "%00",
    "0" * 32 + "%0a",
    "\u0660" * 32,
    "0" * 32,
]


@pytest.mark.parametrize("rest", ["", "/events", "/results", "/results/phases/search"])
@pytest.mark.parametrize("run_id", IDS, ids=lambda it: repr(it[:24]))
async def test_what_is_no_id_names_no_run(tmp_path: Path, run_id: str, rest: str) -> None:
    async with serving(tmp_path) as host:
        response = await host.client.get(f"/runs/{run_id}{rest}")
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"


async def test_a_run_that_is_a_link_to_elsewhere_is_none(tmp_path: Path) -> None:
    async with serving(tmp_path) as host:
        run_id = await host.completed()
        other = f"{0:032x}"
        (host.results_root / run_id).rename(tmp_path / "elsewhere")
        (host.results_root / other).symlink_to(tmp_path / "elsewhere")
        for rest in ("", "/results"):
            assert (await host.client.get(f"/runs/{other}{rest}")).status_code == 404
        listed = (await host.client.get("/runs")).json()["runs"]
    assert [it["id"] for it in listed] == [run_id]


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/srv/data/a/b.csv: missing", "a/b.csv: missing"),
        ("in /srv/data: missing", "in .: missing"),
        ("/home/me/code/own.py:12: boom", "own.py:12: boom"),
        ("'/home/me/own.py' (/opt/x/y.py)", "'own.py' (y.py)"),
        ("and/or 1/2 see https://x.org/a/b", "and/or 1/2 see https://x.org/a/b"),
    ],
)
def test_messages_say_nothing_of_the_folders_of_the_server(message: str, shown: str) -> None:
    assert Redaction(Path("/srv/data"), Path("/srv"), Path("/")).text(message) == shown
