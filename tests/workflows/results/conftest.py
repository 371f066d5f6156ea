"""Fixtures of the results' tests: small runs, made once, and ways to read and to change files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

import admf
from admf.engine.packing import Packer
from admf.workflows.outcome import RunResult
from admf.workflows.results import RunResults, open_run
from admf.workflows.results.index import INDEX_FILE

DATA = {"source": "sample", "symbols": ["GOOG"], "start": "2009-01-01", "end": "2010-06-30"}
KEPT = ["POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE"]

BACKTEST = {
    "workflow": "simple_backtest",
    "data": {**DATA, "symbols": ["GOOG", "IBM"]},
    "strategy": {"type": "sma_cross", "params": {"fast": 5, "slow": 20}},
    "compression": "gzip",
    "results_dir": "backtest",
}
"""One window, one portfolio, two symbols, compressed."""

STUDY = {
    "workflow": "study",
    "data": DATA,
    "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
    "parameter_space": {"fast": [3, 5, 40], "slow": [20, 30], "risk.stop_loss_pct": [5.0, 10.0]},
    "search": {"batch_size": 5},
    "phases": {
        "sweep": {"sequence": "parameter_sweep", "event_tracing": KEPT, "compression": "zstd"},
        "walk": {
            "sequence": "walk_forward",
            "search": {"batch_size": 100},
            "objective_function": {"name": "total_return"},
            "walk_forward": {"train": 150, "test": 60},
        },
        "paths": {
            "sequence": "monte_carlo",
            "parameter_space": {},
            "strategy": {"type": "sma_cross", "params": {"fast": 5, "slow": 20}},
            "monte_carlo": {"method": "price_path", "batches": 2, "simulations": 4},
        },
        "gone": {
            "sequence": "single_pass",
            "parameter_space": {},
            "strategy": {"type": "buy_and_hold"},
            "results_storage": "memory",
        },
    },
    "results_dir": "study",
}
"""A search in batches, some of whose points are refused, windows below windows, and memory."""

NESTED = {
    "workflow": "nested",
    "data": DATA,
    "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
    "parameter_space": {"fast": [3, 5], "slow": [20]},
    "phases": {
        "paths": {
            "sequence": "monte_carlo",
            "monte_carlo": {
                "method": "price_path", "batches": 2, "simulations": 2, "inner": "walk_forward",
            },
            "walk_forward": {"train": 200, "test": 100},
        }
    },
    "results_dir": "nested",
}  # fmt: skip
"""Windows of sequences that run inside another."""


def make(experiment: Mapping[str, Any], root: Path, **options: Any) -> RunResult:
    return admf.run(experiment, results_root=root, **options)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a results root that no test changes, with a run of each of the experiments above."""
    root = tmp_path_factory.mktemp("results")
    for experiment in (BACKTEST, NESTED, STUDY):
        make(experiment, root)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """Return a results root of one's own, with the same runs, and no index."""
    no_index = shutil.ignore_patterns(INDEX_FILE)
    return Path(shutil.copytree(made, tmp_path / "results", ignore=no_index))


@pytest.fixture
def study(root: Path) -> RunResults:
    return open_run(root / "study")


@pytest.fixture
def backtest(root: Path) -> RunResults:
    return open_run(root / "backtest")


@pytest.fixture
def nested(root: Path) -> RunResults:
    return open_run(root / "nested")


class Calls:
    """Reaches the operating system, and keeps the paths of the files that are opened."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.opened: list[str] = []

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if function is os.open and not Path(args[0]).is_dir():
            self.opened.append(Path(args[0]).relative_to(self._folder).as_posix())
        return function(*args, **kwargs)

    def take(self) -> list[str]:
        """Return what was opened since the last time."""
        opened, self.opened = self.opened, []
        return opened


@pytest.fixture
def calls(root: Path) -> Calls:
    return Calls(root / "study")


@pytest.fixture
def watched(root: Path, calls: Calls) -> RunResults:
    """Return the study, opened with ``calls``."""
    found = open_run(root / "study", call=calls)
    calls.take()
    return found


def text_of(path: Path) -> bytes:
    """Return a document's text, whichever way its file is compressed."""
    import gzip

    import zstandard

    for suffix, unpack in (
        ("", bytes),
        (".gz", gzip.decompress),
        (".zst", lambda it: zstandard.ZstdDecompressor().decompressobj().decompress(it)),
    ):
        file = path.with_name(path.name + suffix)
        if file.exists():
            return unpack(file.read_bytes())
    raise FileNotFoundError(path)


def load(path: Path) -> dict[str, Any]:
    """Read a document by hand."""
    document: dict[str, Any] = json.loads(text_of(path))
    return document


def seal(path: Path, body: Mapping[str, Any]) -> None:
    """Write a document as admf would, though it may say something else."""
    fields = {name: value for name, value in body.items() if name != "content_sha256"}
    packer = Packer()
    path.write_bytes(packer.add(msgspec.json.encode(fields) + b"\n") + packer.finish())


def lanes_by_hand(run: Path, phases: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield phase, window and row of all portfolios, in the order of the tree."""
    for phase in phases:
        files = sorted((run / phase).rglob("aggregate_results.json*"))
        for file in files:
            document = load(file.with_name("aggregate_results.json"))
            window = file.parent.relative_to(run / phase).as_posix()
            for row in document.get("portfolios", []):
                yield phase, "" if window == "." else window, row


def mark_as_killed(run: Path) -> None:
    """Leave a run as one that was killed before its ``walk`` was over."""
    body = load(run / "run.json")
    done = {name: it for name, it in body["results"].items() if name == "sweep"}
    body |= {"status": "running", "finished_at": None, "results": done, "saved": list(done)}
    seal(run / "run.json", body)
    (run / "walk" / "phase_summary.json").unlink()
    shutil.rmtree(run / "paths")
