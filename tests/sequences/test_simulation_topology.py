from __future__ import annotations

import json

import anyio
import anyio.from_thread
import anyio.lowlevel
import msgspec
import numpy as np
import pytest

from admf.engine.lifecycle import LifecycleManager
from admf.engine.results import ResultStore
from admf.engine.storage import MemoryStorage
from admf.engine.window_spec import WindowSpec
from admf.sequences.config import MonteCarloConfig
from admf.sequences.simulation_topology import SimulationConfig
from tests.sequences.harness import installed

pytestmark = pytest.mark.anyio

RETURNS = (0.1, -0.05, 0.02, 0.0, -0.2, 0.07)


def config(**changes: object) -> SimulationConfig:
    made = SimulationConfig(
        options=MonteCarloConfig(method="trade_bootstrap"),
        returns=RETURNS,
        first=11,
        count=5,
        entropy=7,
        spawn_key=(1, 2),
        block_length=None,
        returns_per_year=252.0,
    )
    return msgspec.structs.replace(made, **changes)


def window_of(batch: SimulationConfig, storage: MemoryStorage):
    spec = WindowSpec(
        workflow_id="study",
        phase_name="phase",
        window_id="mc_003",
        topology="simulation",
        config=msgspec.Raw(msgspec.json.encode(batch)),
    )
    store = ResultStore(storage, "run")
    return LifecycleManager(registry=installed()).window(spec, store.window("phase", "mc_003"))


async def file_of(storage: MemoryStorage, name: str):
    return json.loads(await storage.read(f"run/phase/mc_003/{name}"))


async def test_a_simulation_is_drawn_from_its_own_number_and_nothing_else() -> None:
    storage = MemoryStorage()
    async with window_of(config(), storage) as window:
        await window.run()
    found = await file_of(storage, "containers/simulation_results.json")
    expected = []
    for number in range(11, 16):
        rng = np.random.default_rng(np.random.SeedSequence(7, spawn_key=(1, 2, number)))
        drawn = np.array(RETURNS)[rng.integers(6, size=6)]
        expected.append(np.prod(1 + drawn) - 1)
    assert found["figures"]["total_return"] == pytest.approx(expected)
    assert found["seeds"] == {"entropy": 7, "spawn_key": [1, 2]}
    assert (found["first_number"], found["status"], found["error"]) == (11, "completed", None)
    aggregate = await file_of(storage, "aggregate_results.json")
    assert aggregate["percentiles"]["total_return"]["p50"] == pytest.approx(np.median(expected))
    assert window.summary.report == {
        "method": "trade_bootstrap",
        "simulations": 5,
        "sample_size": 6,
        "block_length": None,
    }


async def test_simulations_are_drawn_in_slices_that_change_nothing(monkeypatch) -> None:
    found = []
    for size in (1, 1 << 18):
        monkeypatch.setattr("admf.sequences.simulation_topology._SLICE_VALUES", size)
        storage = MemoryStorage()
        async with window_of(config(count=20), storage) as window:
            await window.run()
        found.append(await file_of(storage, "containers/simulation_results.json"))
    assert found[0] == found[1]


async def test_a_window_that_is_closed_early_keeps_what_was_drawn(monkeypatch) -> None:
    monkeypatch.setattr("admf.sequences.simulation_topology._SLICE_VALUES", 1)
    storage = MemoryStorage()
    window = window_of(config(), storage)
    await window.start()
    (container,) = window.containers
    draw = container._draw

    def draw_and_pause(places):
        if places.start == 1:
            anyio.from_thread.run(container.pause)
        return draw(places)

    monkeypatch.setattr(container, "_draw", draw_and_pause)
    async with anyio.create_task_group() as group:
        group.start_soon(window.run)
        while container._done < 2:
            await anyio.lowlevel.checkpoint()
        await window.aclose()
    found = await file_of(storage, "containers/simulation_results.json")
    assert (found["status"], found["simulations"]) == ("cancelled", 2)
    assert len(found["figures"]["total_return"]) == 2


async def test_a_container_that_is_stopped_draws_no_more() -> None:
    window = window_of(config(), MemoryStorage())
    await window.start()
    (container,) = window.containers
    await container.pause()
    async with anyio.create_task_group() as group:
        group.start_soon(container.run)
        await anyio.wait_all_tasks_blocked()
        await container.stop()
    await window.aclose()
    assert container._done == 0


async def test_a_window_that_never_ran_says_so() -> None:
    storage = MemoryStorage()
    window = window_of(config(), storage)
    await window.start()
    await window.aclose()
    found = await file_of(storage, "containers/simulation_results.json")
    assert (found["status"], found["simulations"], found["figures"]) == ("cancelled", 0, {})
    assert "percentiles" not in await file_of(storage, "aggregate_results.json")
