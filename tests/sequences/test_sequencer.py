"""How phases are run, whatever their sequence is."""

from __future__ import annotations

import json

import msgspec
import pytest

from admf.containers.config import BacktestConfig
from admf.engine.errors import ConfigError, DataError, RegistryError
from admf.engine.window_spec import WindowSpec
from admf.sequences.lanes import make_lane
from admf.sequences.outcome import Outcome
from admf.sequences.splits import StepRange
from admf.sequences.stretch import Candidate
from tests.sequences.harness import installed, make_phase, run_phase, walk

pytestmark = pytest.mark.anyio

HOLD = {"strategy": {"type": "buy_and_hold"}}


class Halves:
    """Cuts a phase into two windows, and tells how the first one ended."""

    async def run(self, stretch) -> Outcome:
        middle = len(stretch.steps) // 2
        for number, steps in enumerate([StepRange(0, middle), StepRange(middle, 2 * middle)], 1):
            half = stretch.child(f"half_{number}", steps=steps)
            (row,) = await half.run_lanes("", [Candidate(1, {})])
            assert row.status == "completed"
        await stretch.write("extra.json", {"halves": 2})
        return Outcome(best_parameters={}, report={"halves": 2})


async def test_a_sequence_of_ones_own_runs_windows_one_after_the_other() -> None:
    registry = installed()
    registry.register("sequences", "halves", Halves)
    ran = await run_phase(make_phase("halves", **HOLD), walk(100), registry=registry)
    assert ran.watch.seen == [
        "opened half_1",
        "closed half_1 completed",
        "opened half_2",
        "closed half_2 completed",
    ]
    bars = [
        ran.files[f"{half}/containers/portfolio_001_results.json"]["data"]["bars"]
        for half in ("half_1", "half_2")
    ]
    assert bars == [50, 50]


async def test_a_phase_writes_what_it_found_and_its_own_commit_record() -> None:
    registry = installed()
    registry.register("sequences", "halves", Halves())
    ran = await run_phase(make_phase("halves", **HOLD), walk(100), registry=registry)
    found = ran.files["aggregate_results.json"]
    assert found["sequence"] == "halves"
    assert found["report"] == {"halves": 2}
    assert found["aggregate_metrics"]["portfolio_count"] == 2
    record = ran.files["phase_summary.json"]
    assert record["status"] == "completed"
    assert [file["path"] for file in record["files"]] == ["aggregate_results.json", "extra.json"]


async def test_the_spec_of_a_window_encodes_and_names_everything() -> None:
    specs: list[WindowSpec] = []

    class Looks:
        async def run(self, stretch) -> Outcome:
            window = stretch.child("w1")
            lane = make_lane(stretch.settings, 3, {"risk.stop_loss_pct": 4.0}, window.place)
            config = BacktestConfig(data=stretch.settings.data, lanes=(lane,))
            specs.append(window.window("", config))
            return Outcome()

    registry = installed()
    registry.register("sequences", "looks", Looks)
    await run_phase(make_phase("looks", **HOLD, seed=5), walk(50), registry=registry)
    copy = msgspec.json.decode(msgspec.json.encode(specs[0]), type=WindowSpec)
    config = msgspec.json.decode(copy.config, type=BacktestConfig)
    assert (copy.workflow_id, copy.phase_name, copy.window_id, copy.seed) == (
        "study",
        "phase",
        "w1",
        5,
    )
    assert config.lanes[0].risk.stop_loss_pct == 4.0
    assert config.lanes[0].lane_id == "003"


async def test_an_unknown_sequence_is_named_with_its_nearest() -> None:
    with pytest.raises(RegistryError, match=r"single_pas.*did you mean 'single_pass'"):
        await run_phase(make_phase("single_pas", **HOLD), walk(50))


async def test_a_sequence_with_another_signature_is_refused_by_name() -> None:
    class Odd:
        def run(self) -> None: ...

    registry = installed()
    registry.register("sequences", "odd", Odd)
    with pytest.raises(RegistryError, match=r"sequences 'odd'.*run\(stretch"):
        await run_phase(make_phase("odd", **HOLD), walk(50), registry=registry)


class Broken(msgspec.Struct):
    def on_bar(self, bar, ctx) -> None:
        raise RuntimeError("broken on purpose")


async def test_a_window_whose_lane_fails_is_reported_and_not_raised() -> None:
    registry = installed()
    registry.register("strategies", "broken", Broken)
    phase = make_phase("single_pass", strategy={"type": "broken"})
    ran = await run_phase(phase, walk(50), registry=registry)
    assert ran.watch.seen == ["opened ", "closed  completed"]
    document = ran.files["containers/portfolio_001_results.json"]
    assert document["status"] == "failed"
    assert "broken on purpose" in document["error"]
    assert ran.end.failed == 1
    assert ran.end.metrics.failed_count == 1


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"data": {"source": "sample", "symbols": ["NOPE"]}}, DataError, "NOPE"),
        ({"data_range": {"start": "2031-01-01"}}, ConfigError, "there are no bars"),
        ({"data_range": {"start": 1.5}}, ConfigError, "between 0 and 1"),
        ({"data_range": {"start": 0.6, "end": 0.5}}, ConfigError, "data_range"),
        ({"parameter_space": {"fast": [1, 1]}}, ConfigError, "parameter_space.fast"),
        ({"metric_constraints": ["sharpe_ratio >"]}, ConfigError, "metric_constraints"),
    ],
)
async def test_what_cannot_run_is_refused_before_anything_runs(settings, error, words) -> None:
    with pytest.raises(error, match=words):
        await run_phase(make_phase("parameter_sweep", **{**HOLD, **settings}), walk(50))


@pytest.mark.parametrize(
    ("data_range", "first", "bars"),
    [
        ({}, "2020-01-01", 100),
        ({"start": 0.25, "end": 0.75}, "2020-01-26", 50),
        ({"start": "2020-02-01", "end": "2020-02-10"}, "2020-02-01", 10),
        ({"start": "2020-02-01T12:00:00Z", "end": "2020-02-10T00:00:00Z"}, "2020-02-02", 9),
        ({"end": 1.0}, "2020-01-01", 100),
    ],
)
async def test_a_phase_uses_a_part_of_the_data(data_range, first, bars) -> None:
    phase = make_phase("single_pass", **HOLD, data_range=data_range)
    ran = await run_phase(phase, walk(100))
    data = ran.files["containers/portfolio_001_results.json"]["data"]
    assert (data["start"][:10], data["bars"]) == (first, bars)


async def test_results_are_json(tmp_path) -> None:
    ran = await run_phase(make_phase("train_test", **HOLD), walk(100))
    assert json.loads(msgspec.json.encode(ran.outcome))["best_parameters"] == {}
