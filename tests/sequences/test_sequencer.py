from __future__ import annotations

import json

import msgspec
import pytest

from admf.containers.catalog import DataCatalog
from admf.containers.config import BacktestConfig, DataConfig, LaneConfig, StrategyConfig
from admf.engine.errors import DataError, RegistryError
from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import ResultStore
from admf.engine.retention import TracingConfig
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources
from admf.sequences.phase import PhaseConfig
from admf.sequences.sequencer import Sequencer
from admf.workflows.plugins import installed_plugins

pytestmark = pytest.mark.anyio


def phase(**changes: object) -> PhaseConfig:
    lane = LaneConfig(lane_id="001", strategy=StrategyConfig(type="buy_and_hold"))
    config = BacktestConfig(data=DataConfig(source="sample", symbols=("IBM",)), lanes=(lane,))
    made = PhaseConfig(
        name="backtest",
        description="a test",
        sequence="single_pass",
        topology="backtest",
        config=config,
        tracing=TracingConfig(),
        seed=5,
    )
    return msgspec.structs.replace(made, **changes)


class Watch:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def opened(self, window) -> None:
        self.seen.append(f"opened {window.spec.window_id}")

    def closed(self, summary) -> None:
        self.seen.append(f"closed {summary.window_id} {summary.status}")


class Halves:
    """Cuts a phase into two windows at a date, and tells how the first one ended."""

    async def run(self, phase, workflow_id, run_window) -> None:
        middle = 1_100_000_000_000_000_000
        for number, changes in enumerate([{"end_ts": middle}, {"start_ts": middle}], 1):
            config = msgspec.structs.replace(phase.config, **changes)
            part = msgspec.structs.replace(phase, config=config)
            summary = await run_window(part.window(workflow_id, f"half_{number}"))
            assert summary.status == "completed"


async def run_phase(config: PhaseConfig, *, sequences=()) -> tuple[Watch, MemoryStorage]:
    registry, storage, watch = installed_plugins(), MemoryStorage(), Watch()
    lifecycle = LifecycleManager(registry=registry, resources=Resources(DataCatalog()))
    sequencer = Sequencer(registry, lifecycle)
    for name, sequence in sequences:
        registry.register("sequences", name, sequence)
    await sequencer.run(config, "study", ResultStore(storage, "run"), watch)
    return watch, storage


async def test_a_single_pass_is_one_window_in_the_folder_of_its_phase() -> None:
    watch, storage = await run_phase(phase())
    assert watch.seen == ["opened ", "closed  completed"]
    assert "run/backtest/phase_summary.json" in await storage.list_files("run")


async def test_a_sequence_of_ones_own_runs_windows_one_after_the_other() -> None:
    watch, storage = await run_phase(phase(sequence="halves"), sequences=[("halves", Halves)])
    assert watch.seen == [
        "opened half_1",
        "closed half_1 completed",
        "opened half_2",
        "closed half_2 completed",
    ]
    bars = []
    for half in ("half_1", "half_2"):
        path = f"run/backtest/{half}/containers/portfolio_001_results.json"
        bars.append(json.loads(await storage.read(path))["data"]["bars"])
    assert sum(bars) == 3270


async def test_the_spec_of_a_window_encodes_and_names_everything() -> None:
    spec = phase().window("study", "w1")
    copy = msgspec.json.decode(msgspec.json.encode(spec), type=type(spec))
    assert msgspec.json.decode(copy.config, type=BacktestConfig) == phase().config
    assert (copy.workflow_id, copy.phase_name, copy.window_id, copy.seed) == (
        "study",
        "backtest",
        "w1",
        5,
    )


async def test_an_unknown_sequence_is_named_with_its_nearest() -> None:
    with pytest.raises(RegistryError, match=r"single_pas.*did you mean 'single_pass'"):
        await run_phase(phase(sequence="single_pas"))


async def test_a_sequence_with_another_signature_is_refused_by_name() -> None:
    class Odd:
        def run(self) -> None: ...

    with pytest.raises(RegistryError, match=r"sequences 'odd'.*run\(phase, workflow_id"):
        await run_phase(phase(), sequences=[("odd", Odd)])


async def test_a_window_whose_lane_fails_is_reported_and_not_raised() -> None:
    lane = LaneConfig(
        lane_id="001", strategy=StrategyConfig(type="tests.sequences.test_sequencer:Broken")
    )
    config = msgspec.structs.replace(phase().config, lanes=(lane,))
    watch, storage = await run_phase(phase(config=config))
    assert watch.seen == ["opened ", "closed  completed"]
    path = "run/backtest/containers/portfolio_001_results.json"
    document = json.loads(await storage.read(path))
    assert document["status"] == "failed"
    assert "broken on purpose" in document["error"]


async def test_data_that_cannot_be_used_is_raised() -> None:
    data = DataConfig(source="sample", symbols=("NOPE",))
    config = msgspec.structs.replace(phase().config, data=data)
    with pytest.raises(DataError, match="NOPE"):
        await run_phase(phase(config=config))


class Broken(msgspec.Struct):
    def on_bar(self, bar, ctx) -> None:
        raise RuntimeError("broken on purpose")
