"""Runs to look at, made once; tests that change something work on a copy of their own."""

from __future__ import annotations

import hashlib
import io
import json
import random
import shutil
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from admf.workflows.cli import main
from tests.sealing import change

STUDY = """\
workflow: study
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross}
parameter_space: {fast: [2, 3, 4], slow: [5, 9]}
event_tracing: [POSITION_CLOSE, PORTFOLIO_UPDATE]
results_dir: study
phases:
  search: {sequence: train_test, search: {top_k: 2}}
  forward: {sequence: walk_forward, walk_forward: {train: 80, test: 30}}
  last: {sequence: single_pass, inputs: {parameters: "{search.best_parameters}"}}
  never: {sequence: single_pass, when: "search.best.sharpe_ratio > 1000"}
"""

QUIET = """\
workflow: simple_backtest
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross, params: {fast: 2, slow: 5}}
risk: {max_leverage: 0.1}
results_dir: quiet
"""

CHANGED = STUDY.replace("results_dir: study", "results_dir: changed").replace("[5, 9]", "[5, 8]")

Portfolios = Mapping[tuple[str, str, str], dict[str, Any]]


def _lines_of_bars() -> list[str]:
    """Return the lines of a file of 150 daily bars, in which both good and bad trades are made."""
    lines, price = ["timestamp,open,high,low,close,volume"], 100.0
    luck = random.Random(3)
    for day in range(150):
        close = round(price * (1 + luck.gauss(0.001, 0.02)), 2)
        high, low = round(max(price, close) + 0.5, 2), round(min(price, close) - 0.5, 2)
        lines.append(f"{date(2024, 1, 1) + timedelta(day)},{price},{high},{low},{close},1000")
        price = close
    return lines


@pytest.fixture(scope="session")
def finished_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runs ``study``, ``changed`` and ``quiet``."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "data").mkdir()
    (folder / "data" / "GOOG.csv").write_text("\n".join(_lines_of_bars()) + "\n")
    for text, more in ((STUDY, []), (CHANGED, ["--set", "seed=5"]), (QUIET, [])):
        (folder / "experiment.yaml").write_text(text)
        words = ["run", f"{folder}/experiment.yaml", "--quiet", *more]
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            assert main([*words, "--results-root", f"{folder}/results"]) == 0
    return folder / "results"


@pytest.fixture
def results(finished_runs: Path, tmp_path: Path) -> Path:
    """Return the runs' folder, to be read alone, which is ``results`` for commands."""
    (tmp_path / "results").symlink_to(finished_runs)
    return tmp_path / "results"


@pytest.fixture
def own_results(finished_runs: Path, tmp_path: Path) -> Path:
    """Return a copy of the runs' folder, to be changed, which is ``results`` for commands.

    The indices that other tests have had made are left out.
    """
    unwanted = shutil.ignore_patterns(".index")
    return Path(shutil.copytree(finished_runs, tmp_path / "results", ignore=unwanted))


@pytest.fixture
def portfolios(results: Path) -> Portfolios:
    """Return the portfolios' files of the study by phase, window and id, as they are on disk."""
    return read_portfolios(results / "study")


def read_portfolios(run: Path) -> Portfolios:
    """Return the portfolios' files of a run by phase, window and id."""
    found = {}
    for file in sorted(run.glob("**/portfolio_*_results.json")):
        phase, *window, _, _ = file.relative_to(run).parts
        document = json.loads(file.read_text())
        found[phase, "/".join(window), document["container_id"]] = document
    return found


@pytest.fixture
def run_experiment(admf: Callable[..., Any], project: Path) -> Callable[[str], Path]:
    """Return a function that runs the project with changes, and returns the run's folder."""

    def run_experiment(*settings: str) -> Path:
        words = [word for it in settings for word in ("--set", it)]
        assert admf("run", "experiment.yaml", "--quiet", *words).code in {0, 5}
        return project / "results" / "study"

    return run_experiment


def list_anew(window: Path) -> None:
    """Have the record of a window list its files as they are now."""
    record = json.loads((window / "phase_summary.json").read_text())
    listed = [it["path"] for it in record["files"] if (window / it["path"]).exists()]
    contents = {path: (window / path).read_bytes() for path in listed}
    files = [
        {"path": path, "size": len(it), "sha256": hashlib.sha256(it).hexdigest()}
        for path, it in contents.items()
    ]
    change(window / "phase_summary.json", files=files)
