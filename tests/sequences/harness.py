"""Runs a phase in memory, as tests of sequences need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import polars as pl

from admf.containers.catalog import DataCatalog
from admf.containers.strategies.loading import strategy_problem
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import ResultStore
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources
from admf.sequences.executor import InlineExecutor
from admf.sequences.phase import ResolvedPhase
from admf.sequences.sequencer import PhaseEnd, Sequencer
from admf.sequences.settings import PhaseSettings

DAY = 86_400
FIRST_DAY = 18_262 * DAY
"""2020-01-01."""


def installed() -> Registry:
    """Return the plug-ins that the layers up to this one use."""
    registry = Registry()
    registry.define_group("strategies", strategy_problem)
    registry.load_entry_points()
    return registry


class Watch:
    """Notes what it is told of windows."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def opened(self, window) -> None:
        self.seen.append(f"opened {window.spec.window_id}")

    def closed(self, summary) -> None:
        self.seen.append(f"closed {summary.window_id} {summary.status}")


class Ran(NamedTuple):
    """How a phase ended, what was seen of it, and its files by path."""

    end: PhaseEnd
    watch: Watch
    files: dict[str, Any]

    @property
    def outcome(self):
        return self.end.outcome

    @property
    def windows(self) -> list[str]:
        return [line.removeprefix("opened ") for line in self.watch.seen if "opened" in line]


def walk(bars: int, seed: int = 7, volatility: float = 0.01, drift: float = 0.0) -> pl.DataFrame:
    """Return daily bars of a random walk from 2020-01-01 on, every calendar day."""
    rng = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(rng.normal(drift, volatility, bars)))
    open_ = np.concatenate(([100.0], close[:-1]))
    wiggle = np.abs(rng.normal(0.0, volatility / 4, bars))
    return pl.DataFrame(
        {
            "timestamp": FIRST_DAY + DAY * np.arange(bars),
            "open": open_,
            "high": np.maximum(open_, close) * (1 + wiggle),
            "low": np.minimum(open_, close) * (1 - wiggle),
            "close": close,
            "volume": np.full(bars, 1000.0),
        }
    )


def make_phase(sequence: str, **settings: object) -> ResolvedPhase:
    """Return a phase over the frame ``X``; settings are plain data, as in an experiment file."""
    fields: dict[str, object] = {
        "data": {"source": "frames", "symbols": ["X"]},
        "strategy": {"type": "sma_cross"},
        **settings,
    }
    return ResolvedPhase(
        name="phase",
        sequence=sequence,
        topology="backtest",
        description="a test",
        settings=msgspec.convert(fields, PhaseSettings),
    )


async def run_phase(
    phase: ResolvedPhase,
    frame: pl.DataFrame,
    *,
    points: tuple[Mapping[str, object], ...] | None = None,
    registry: Registry | None = None,
    watch: Watch | None = None,
) -> Ran:
    """Run a phase; its files come back decoded, by their path in the phase's folder."""
    registry = registry or installed()
    catalog = DataCatalog({"X": frame})
    storage, watch = MemoryStorage(), watch or Watch()
    lifecycle = LifecycleManager(registry=registry, resources=Resources(catalog))
    sequencer = Sequencer(registry, InlineExecutor(lifecycle), catalog)
    await sequencer.prepare(phase)
    end = await sequencer.run(phase, "study", ResultStore(storage, "run"), watch, points)
    files = {
        path.removeprefix("run/phase/"): json.loads(await storage.read(path))
        for path in await storage.list_files("run/phase")
    }
    return Ran(end, watch, files)
