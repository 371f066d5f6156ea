"""Studies on worker processes, for tests."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import psutil

from admf.workflows.outcome import RunResult
from admf.workflows.runner import Runner
from tests.prompt import PromptStorage

SPACE = {"fast": [2, 3, 4], "slow": [8, 12]}
FORWARD: dict[str, Any] = {
    "sequence": "walk_forward",
    "walk_forward": {"train": 60, "test": 20},
}
BATCHES: dict[str, Any] = {"sequence": "parameter_sweep", "search": {"batch_size": 2}}
BASE: dict[str, Any] = {
    "workflow": "side_by_side",
    "data": {"source": "frames", "symbols": ["X"]},
    "strategy": {"type": "sma_cross"},
    "parameter_space": SPACE,
    "results_dir": "run",
    "results_storage": "disk",
}


def bars(count: int = 200) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 0.02, count)))
    open_ = np.concatenate(([100.0], close[:-1]))
    return pl.DataFrame(
        {
            "timestamp": 86_400 * np.arange(1, count + 1),
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
        }
    )


FRAMES = {"X": bars()}


async def carried_out(folder: Path, experiment: Mapping[str, Any], **options: Any) -> RunResult:
    """Run an experiment on worker processes, two if not said otherwise."""
    runner = Runner(storage=PromptStorage(folder), frames=FRAMES, **{"workers": 2, **options})
    return await runner.run({**BASE, **experiment})


def digests(folder: Path) -> dict[str, str]:
    """Return the digests of all files but the record of the run, which tells when it ran."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "run.json"]
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(files)
    }


def workers() -> list[psutil.Process]:
    """Return the worker processes of this process that are alive."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "admf.workflows.workers.worker" in child.cmdline():
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return [it for it in found if it.status() != psutil.STATUS_ZOMBIE]


async def carried_out_with_module(
    folder: Path, name: str, text: str, experiment: Mapping[str, Any], **options: Any
) -> RunResult:
    """Run an experiment with a strategy of its own, in a module beside the data."""
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    bars().write_csv(folder / "X.csv")
    runner = Runner(storage=PromptStorage(folder), **{"workers": 2, **options})
    data = {"path": "X.csv", "symbols": ["X"]}
    return await runner.run(runner.load({**BASE, "data": data, **experiment}, folder=folder))
