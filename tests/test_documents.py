"""What the README and the guides show runs as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

import httpx
import pytest

from admf.engine.observing import Observers
from admf.workflows.cli import main
from admf.workflows.runner import Runner
from admf.workflows.service import create_app
from admf.workflows.service.operations import operations_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
STUDIES = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
EMBEDDING = (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
SAMPLE = "data: {source: sample, symbols: [GOOG]}\n"
SEARCH = f"workflow: walk_forward_optimization\n{SAMPLE}strategy: {{type: sma_cross}}\n"


Said = Callable[..., str]


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the README's experiment, and its strategies in one module."""
    (tmp_path / "goog.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    strategies = [code for code in blocks("python") if "(Strategy)" in code]
    (tmp_path / "my_strategies.py").write_text("\n".join(strategies), encoding="utf-8")
    return tmp_path


def python(folder: Path, *args: str) -> str:
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Said:
    """Return a function that carries out a command in a folder; it returns the output."""

    def said(folder: Path, *words: str) -> str:
        monkeypatch.chdir(folder)
        code = main(list(words))
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return said


def test_the_readme_experiment_runs(folder: Path) -> None:
    assert "35,487.31" in python(folder, "-m", "admf", "run", "goog.yaml")


def test_the_readme_search_runs(folder: Path, said: Said) -> None:
    (folder / "search.yaml").write_text(blocks("yaml")[1], encoding="utf-8")
    assert "Probability of backtest overfitting" in said(folder, "run", "search.yaml")


@pytest.mark.parametrize("block", blocks("yaml", STUDIES))
def test_what_the_guide_to_studies_shows_is_valid(tmp_path: Path, said: Said, block: str) -> None:
    if "workflow:" not in block:
        block = SEARCH + block
    if "symbols: [SPY]" in block:
        block = re.sub(r"data: \{symbols: \[SPY\]\}", SAMPLE.strip(), block)
    (tmp_path / "study.yaml").write_text(block, encoding="utf-8")
    assert said(tmp_path, "validate", "study.yaml")


def test_every_file_that_the_guide_names_exists() -> None:
    for target in re.findall(r"`(examples/[^`]+)`", STUDIES):
        assert (ROOT / target).exists(), target


def test_the_python_example_runs(folder: Path) -> None:
    (code,) = [code for code in blocks("python") if "admf.run(" in code]
    assert float(python(folder, "-c", code)) == pytest.approx(0.62, abs=0.3)


@pytest.mark.parametrize("name", ["Dip", "Trend"])
def test_the_readme_strategies_run(folder: Path, said: Said, name: str) -> None:
    strategy = f"strategy={{type: 'my_strategies:{name}'}}"
    output = said(folder, "run", "goog.yaml", "--json", "--set", strategy)
    assert '"status":"completed"' in output.replace(" ", "")


def test_the_readme_strategies_have_fewer_than_15_lines() -> None:
    for code in blocks("python"):
        if "(Strategy)" in code:
            assert len(code.strip().splitlines()) < 15


def test_the_engine_example_runs(folder: Path) -> None:
    (code,) = [code for code in blocks("python") if "asyncio.run" in code]
    assert python(folder, "-c", code) == "got 42.0\n"


def test_what_the_guide_to_embedding_changes_in_a_window_works(folder: Path) -> None:
    (code,) = [code for code in blocks("python", EMBEDDING) if "window.swap" in code]
    assert python(folder, "-c", code) == "late has seen 8.0, and better knows of 10.0\n"


def test_the_live_example_runs(folder: Path) -> None:
    guide = (
        (ROOT / "docs" / "embedding.md").read_text(encoding="utf-8").partition("## Live windows")
    )
    session, pulse = blocks("python", guide[2])[:2]
    lines = python(folder, "-c", f"{session}\n{pulse}").splitlines()
    assert lines[0] == "live/000001 completed 23"
    assert sum(int(line.split()[2]) for line in lines) == 209


def test_the_observer_that_is_shown_is_one() -> None:
    (code,) = [code for code in blocks("python", EMBEDDING) if "(Observer)" in code]
    names: dict[str, Any] = {}
    exec(compile(code, "document", "exec"), names)  # noqa: S102 - our own documents
    assert Observers([names["Alarm"]()])


def test_the_observed_run_shows_what_the_guide_lists(folder: Path) -> None:
    (code,) = [code for code in blocks("python", EMBEDDING) if "AdmfCollector" in code]
    output = python(folder, "-c", code)
    assert 'admf_activities_total{kind="run",status="completed"} 1.0' in output
    shown = set(re.findall(r"^# TYPE (admf_\w+) (?:counter|gauge|histogram)", output, re.MULTILINE))
    listed = set(re.findall(r"^\| `(admf_\w+)` \|", EMBEDDING, re.MULTILINE))
    assert {name for name in shown if not name.endswith("_created")} == listed


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def commands(text: str) -> list[str]:
    """Return the commands that look at results."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    shown = [line.removeprefix("$ ") for line in lines if line.startswith("$ admf ")]
    return [it for it in shown if not it.startswith("admf run") and "results/goog" in it]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results that the documents speak of."""
    folder = tmp_path_factory.mktemp("runs")
    experiment, search = blocks("yaml")[:2]
    (folder / "goog.yaml").write_text(experiment, encoding="utf-8")
    (folder / "search.yaml").write_text(search, encoding="utf-8")
    traced = ["--set", "trace={store: all}"]
    for name, *words in (
        ["goog.yaml", *traced],
        ["goog.yaml", "--set", "strategy.params.fast=20", "--set", "results_dir=goog_20"],
        ["search.yaml"],
    ):
        root = ["--results-root", str(folder / "results")]
        assert main(["run", str(folder / name), *words, *root, "--quiet"]) == 0
    return folder


@pytest.mark.parametrize("command", dict.fromkeys([*commands(README), *commands(RESULTS)]))
def test_the_commands_that_look_at_results_work(
    runs: Path, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0


@pytest.mark.parametrize(
    "code", [it for text in (README, RESULTS) for it in blocks("python", text) if ".results" in it]
)
def test_what_is_shown_of_results_in_python_runs(
    runs: Path, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs)
    exec(compile(code, "document", "exec"), {})  # noqa: S102 - our own documents


def test_the_host_of_runs_that_is_shown_follows_its_run(tmp_path: Path) -> None:
    (code,) = [it for it in blocks("python", EMBEDDING) if "runner.submit" in it]
    (tmp_path / "host.py").write_text(code, encoding="utf-8")
    *told, last = python(tmp_path, "host.py").splitlines()
    assert last == f"completed {tmp_path}/results/simple_backtest"
    assert sum(line.startswith("lane_001 buy") for line in told) >= 19
    assert "completed backtest 2148 2148" in told


def http_requests() -> list[list[str]]:
    """Return the words of the commands that ask the service for something."""
    lines = "\n".join(blocks("console", EMBEDDING)).splitlines()
    return [shlex.split(it.removeprefix("$ ")) for it in lines if it.startswith("$ curl ")]


@pytest.mark.anyio
async def test_what_is_asked_of_the_service_is_answered(tmp_path: Path) -> None:
    runner = Runner(results_root=tmp_path)
    app = create_app(runner, token="x", data_root=tmp_path)  # noqa: S106 - of no service
    places = {"$ID": "", "$ADMF_TOKEN": "x", "127.0.0.1:8000": "service"}
    transport = httpx.ASGITransport(app)
    async with runner, httpx.AsyncClient(transport=transport) as client:
        for words in http_requests():
            line = [reduce(lambda text, it: text.replace(*it), places.items(), it) for it in words]
            names = [line[at + 1].partition(": ") for at, it in enumerate(line) if it == "-H"]
            method = line[line.index("-X") + 1] if "-X" in line else "GET"
            body = blocks("yaml")[0].replace("results_dir: goog\n", "")
            sends = "--data-binary" in line
            response = await client.request(
                "POST" if sends else method,
                line[-1],
                headers={name: value for name, _, value in names},
                content=body if sends else None,
            )
            assert response.is_success, response.text
            places["$ID"] = places["$ID"] or response.json()["id"]
    assert len(http_requests()) == 5


def test_the_application_that_mounts_the_service_is_made(tmp_path: Path) -> None:
    (code,) = [it for it in blocks("python", EMBEDDING) if "create_app(" in it]
    assert python(tmp_path, "-c", code + "print(app.routes[-1].path)") == "/studies\n"


def test_the_table_of_what_can_be_asked_has_it_all(tmp_path: Path) -> None:
    app = create_app(Runner(results_root=tmp_path), data_root=tmp_path)
    asked = {it.path.rpartition("/")[2] for it in operations_of(app.state.service)}
    table = "\n".join(it for it in EMBEDDING.splitlines() if it.startswith("| `"))
    named = {it.replace("{run_id}", "{id}") for it in asked}
    assert all(f"/{name}" in table for name in named), named
