"""A study gives the same files whether its bars are in memory or on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from admf.containers import indicators, long_tables, market_data, strategy
from admf.containers.catalog import DataCatalog
from admf.workflows.scripting import run_async

pytestmark = pytest.mark.anyio

ROWS = 800
TRACED = ("FEATURES", "SIGNAL", "FILL", "POSITION_OPEN", "POSITION_CLOSE", "PORTFOLIO_UPDATE")
STUDY: dict[str, Any] = {
    "workflow": "everything",
    "strategy": {"type": "ema_cross", "params": {"fast": 5, "slow": 20}},
    "benchmark": "C",
    "event_tracing": list(TRACED),
    "block_size": 256,
}
PHASES: dict[str, dict[str, Any]] = {
    "columnar": {"sequence": "single_pass"},
    "per_bar": {
        "sequence": "single_pass",
        "strategy": {"type": "random_entry", "params": {"probability": 0.1, "hold_bars": 5}},
        "risk": {"stop_loss_pct": 0.2, "trailing_stop_pct": 0.3},
        "portfolio": {"sizing": {"type": "volatility_target", "value": 10.0}},
    },
    "forward": {
        "sequence": "walk_forward",
        "parameter_space": {"fast": [5, 8]},
        "walk_forward": {"train": 500, "test": 200, "warmup": 100, "carry_positions": True},
    },
    "folds": {
        "sequence": "k_fold",
        "parameter_space": {"fast": [5, 8]},
        "k_fold": {"folds": 2, "purge": "trades"},
    },
    "paths": {
        "sequence": "monte_carlo",
        "monte_carlo": {"method": "price_path", "batches": 1, "simulations": 2},
    },
}


def write_bars(folder: Path) -> None:
    for seed, symbol in enumerate("ABC"):
        rng = np.random.default_rng(seed)
        kept = np.sort(rng.choice(ROWS + 100, ROWS, replace=False))
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, ROWS)))
        pl.DataFrame(
            {
                "timestamp": 1_577_836_800 + 600 * kept,
                "open": close * 1.0001,
                "high": close * 1.002,
                "low": close * 0.998,
                "close": close,
                "volume": kept % 5,
            }
        ).write_parquet(folder / f"{symbol}.parquet")


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.json"))
        if path.name != "run.json"
    }


async def run(phase: str, folder: Path, root: Path) -> dict[str, bytes]:
    data = {"path": str(folder), "symbols": ["A", "B"]}
    study = {**STUDY, "data": data, "phases": {phase: PHASES[phase]}}
    result = await run_async(study, results_root=root)
    assert result.status == "completed"
    return files_of(root)


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indicators, "CHUNK", 300)
    monkeypatch.setattr(indicators, "_LEAST_CONTEXT", 50)
    monkeypatch.setattr(indicators, "_LOOKBACKS", 4)
    monkeypatch.setattr(long_tables, "PIECE_ROWS", 128)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("phase", PHASES)
async def test_files_are_the_same_to_the_byte(
    phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bars(tmp_path)
    in_memory = await run(phase, tmp_path, tmp_path / "memory")
    monkeypatch.setattr(long_tables, "LONG_ROWS", ROWS)
    monkeypatch.setattr(market_data, "_AT_ONCE", 150)
    monkeypatch.setattr(strategy, "PIECE", 170)
    loaded: list[object] = []
    remember = DataCatalog.load

    def load(self: DataCatalog, *arguments: Any) -> Any:
        store = remember(self, *arguments)
        loaded.append(store.market_data.scratch)
        return store

    monkeypatch.setattr(DataCatalog, "load", load)
    on_disk = await run(phase, tmp_path, tmp_path / "disk")
    assert loaded
    assert None not in loaded
    assert len(in_memory) > 2
    assert in_memory == on_disk
