"""What of an earlier run is the same, and how the difference is told."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from admf.containers.config import DataConfig, StrategyConfig
from admf.engine.errors import ResultExistsError, TornFileError
from admf.engine.results import ResultStore
from admf.engine.storage import MemoryStorage
from admf.sequences.phase import ResolvedPhase
from admf.sequences.settings import PhaseSettings
from admf.workflows.earlier_run import (
    EarlierRun,
    only_versions,
    read_earlier_run,
    refuse_changes,
)
from admf.workflows.study import Plan

VERSIONS = {"admf": "1.0", "numpy": "2.0"}
SETTINGS = PhaseSettings(data=DataConfig(symbols=("X",)), strategy=StrategyConfig(type="sma_cross"))


def phase(name: str, *depends_on: str, **settings: Any) -> ResolvedPhase:
    return ResolvedPhase(
        name=name,
        sequence="single_pass",
        topology="backtest",
        description="",
        settings=msgspec.structs.replace(SETTINGS, **settings),
        depends_on=depends_on,
    )


def plan(
    *phases: ResolvedPhase,
    fingerprint: str = "f" * 64,
    code: Mapping[str, str] | None = None,
    versions: Mapping[str, str] = VERSIONS,
    **experiment: Any,
) -> Plan:
    known = {"workflow": "study", "max_iterations": 10, **experiment}
    data = SimpleNamespace(fingerprint=fingerprint)
    return cast(
        "Plan",
        SimpleNamespace(
            loaded=SimpleNamespace(experiment=SimpleNamespace(**known)),
            phases=phases,
            data={it.name: data for it in phases},
            code=code or {},
            versions=versions,
        ),
    )


def record(*phases: ResolvedPhase, prefix: str = "", **fields: Any) -> dict[str, Any]:
    """Return the body of ``run.json``."""
    body: dict[str, Any] = {
        "run_id": "study-1234",
        "started_at": "2024-01-01T00:00:00.000+00:00",
        "workflow": "study",
        "max_iterations": 10,
        "versions": VERSIONS,
        "code": {},
        "experiment": {},
        "overrides": [],
        "folder": "/project",
        "results_dir": "study",
        "data": {f"{prefix}{it.name}": {"fingerprint": "f" * 64} for it in phases},
        "phases": {f"{prefix}{it.name}": it for it in phases},
    }
    return body | fields


def earlier(*phases: ResolvedPhase, prefix: str = "", **fields: Any) -> EarlierRun:
    text = msgspec.json.encode(record(*phases, prefix=prefix, **fields))
    return msgspec.json.decode(text, type=EarlierRun)


def test_what_is_the_same_has_no_differences() -> None:
    phases = (phase("a"), phase("b", "a"))
    assert earlier(*phases).differences(plan(*phases)) == []
    assert earlier(*phases).unchanged(plan(*phases), "") == {"a", "b"}


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (plan(phase("a", seed=1)), "phases.a.settings.seed: 0 then, 1 now"),
        (plan(phase("a", "b")), 'phases.a.depends_on: [] then, ["b"] now'),
        (
            plan(phase("a"), fingerprint="0" * 64),
            "data of a: fingerprint ffffffffffff... then, 000000000000... now",
        ),
        (plan(phase("a"), workflow="other"), 'workflow: "study" then, "other" now'),
        (plan(phase("a"), max_iterations=3), "max_iterations: 10 then, 3 now"),
        (
            plan(phase("a"), versions={**VERSIONS, "numpy": "2.1"}),
            'versions.numpy: "2.0" then, "2.1" now',
        ),
        (plan(phase("a"), versions={"admf": "1.0"}), 'versions.numpy: "2.0" then, nothing now'),
        (
            plan(phase("a"), versions={**VERSIONS, "new": "1"}),
            'versions.new: nothing then, "1" now',
        ),
        (
            plan(phase("a", parameter_space={"fast": tuple(range(40))})),
            "phases.a.settings.parameter_space.fast: nothing then, [0,"
            + ",".join(map(str, range(1, 22)))
            + ",... now",
        ),
    ],
)
def test_each_difference_is_a_line(now: Plan, told: str) -> None:
    assert earlier(phase("a")).differences(now) == [told]


def test_the_code_of_a_strategy_may_have_changed() -> None:
    own = phase("a", strategy=StrategyConfig(type="mine:Dip"))
    phases = (own, phase("b"), phase("c", "a"))
    found = earlier(*phases, code={"mine:Dip": "1", "gone": "1"})
    assert found.differences(plan(*phases, code={"mine:Dip": "1"})) == []
    now = plan(*phases, code={"mine:Dip": "2"})
    assert found.differences(now) == ["code of mine:Dip: its file has changed"]
    assert found.unchanged(now, "") == {"b"}


def test_the_code_of_a_workflow_may_have_changed() -> None:
    found = earlier(phase("a"), code={"study": "1"})
    now = plan(phase("a"), code={"study": "2"})
    assert found.differences(now) == ["code of study: its file has changed"]
    assert found.unchanged(now, "") == {"a"}  # what it chooses is in the phases


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([], True),
        (["versions.numpy: 1 then, 2 now"], True),
        (["versions.numpy: 1 then, 2 now", "max_iterations: 1 then, 2 now"], False),
    ],
)
def test_versions_alone_leave_every_study_as_it_was(changes: list[str], expected: bool) -> None:
    assert only_versions(changes) is expected


def test_phases_that_came_and_went_are_differences() -> None:
    found = earlier(phase("a")).differences(plan(phase("b")))
    assert [line.partition(":")[0] for line in found] == ["phases.a", "phases.b"]
    assert found[0].endswith("... then, nothing now")
    assert found[1].startswith("phases.b: nothing then, {")


def test_places_of_data_and_sizes_of_blocks_are_no_differences() -> None:
    moved = msgspec.structs.replace(SETTINGS.data, path="elsewhere")
    now = plan(phase("a", data=moved, block_size=7))
    assert earlier(phase("a")).differences(now) == []
    assert earlier(phase("a")).unchanged(now, "") == {"a"}


def test_parameters_and_phases_of_such_names_are_differences() -> None:
    def strategy(value: int) -> StrategyConfig:
        return StrategyConfig(type="sma_cross", params={"path": value, "block_size": value})

    before = earlier(phase("path", strategy=strategy(1)))
    now = plan(phase("path", strategy=strategy(2)))
    assert before.differences(now) == [
        "phases.path.settings.strategy.params.path: 1 then, 2 now",
        "phases.path.settings.strategy.params.block_size: 1 then, 2 now",
    ]
    assert before.unchanged(now, "") == frozenset()


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        (plan(phase("a", seed=1), phase("b", "a"), phase("c", "b"), phase("d")), {"d"}),
        (plan(phase("a"), phase("b", "a", seed=1), phase("c", "b"), phase("d")), {"a", "d"}),
        (plan(phase("a"), phase("b", "a"), phase("e")), {"a", "b"}),
        (plan(phase("a"), phase("d"), fingerprint="0" * 64), set()),
        (plan(phase("a"), phase("d"), workflow="other"), set()),
    ],
)
def test_what_depends_on_a_change_has_changed(now: Plan, kept: set[str]) -> None:
    before = earlier(phase("a"), phase("b", "a"), phase("c", "b"), phase("d"))
    assert before.unchanged(now, "") == kept


def test_studies_are_told_apart_by_what_stands_before_the_names_of_their_phases() -> None:
    first, later = earlier(phase("a")), earlier(phase("a"), phase("b"), prefix="iteration_002/")
    both = msgspec.structs.replace(
        first, phases={**first.phases, **later.phases}, data={**first.data, **later.data}
    )
    assert both.further_studies == ("iteration_002",)
    assert both.phases_of("") == ("a",)
    assert both.phases_of("iteration_002/") == ("a", "b")
    assert both.phases_of("branch_x/") == ()
    assert both.differences(plan(phase("a"))) == []
    assert both.unchanged(plan(phase("a")), "iteration_002/") == {"a"}
    assert both.unchanged(plan(phase("a")), "branch_x/") == frozenset()


def test_no_differences_are_not_refused_and_many_are_cut_short() -> None:
    refuse_changes("here", [])
    with pytest.raises(ResultExistsError) as caught:
        refuse_changes("here", [f"line {row}" for row in range(25)])
    head, *lines, remedy = str(caught.value).splitlines()
    assert "here" in head
    assert lines == [*(f"  line {row}" for row in range(20)), "  and 5 more"]
    assert "--allow-changed" in remedy


@pytest.mark.anyio
async def test_a_record_is_read_back() -> None:
    storage = MemoryStorage()
    await ResultStore(storage, "study").write_run(record(phase("a"), changes=["seed"]))
    found = await read_earlier_run(storage, "study")
    assert found == earlier(phase("a"), changes=["seed"])


@pytest.mark.anyio
@pytest.mark.parametrize("file", [None, ".lock/1/owner.json"])
async def test_a_run_that_wrote_nothing_yet_is_none(file: str | None) -> None:
    storage = MemoryStorage()
    await storage.make_dir("study")
    if file is not None:
        await storage.write_atomic(f"study/{file}", [b"{}"])
    assert await read_earlier_run(storage, "study") is None


@pytest.mark.anyio
async def test_what_is_no_run_is_refused() -> None:
    storage = MemoryStorage()
    await storage.write_atomic("study/notes.txt", [b"mine"])
    with pytest.raises(ResultExistsError, match="memory:study holds no run to continue"):
        await read_earlier_run(storage, "study")


@pytest.mark.anyio
async def test_a_damaged_record_is_refused() -> None:
    storage = MemoryStorage()
    await storage.write_atomic("study/run.json", [b'{"run_id": "x"}'])
    with pytest.raises(TornFileError, match=r"run\.json is damaged"):
        await read_earlier_run(storage, "study")
