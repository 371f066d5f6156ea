from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from admf.containers.lane_log import LaneTracing
from admf.engine.errors import RegistryError, StorageError
from admf.engine.registry import Registry
from admf.engine.retention import Minimal
from admf.workflows.replay import Replay, Replayed, replay
from tests.engine.test_trace_log import places_by_hand
from tests.sealing import change
from tests.workflows.cli.conftest import EXPERIMENT, Admf

SWEEP = """\
phases:
  search: {sequence: parameter_sweep, topology: backtest}
parameter_space: {fast: [2, 3, 4]}
trace: {store: all}
"""
SWEPT = EXPERIMENT.replace("simple_backtest", "mine") + SWEEP


@pytest.fixture
def study(project: Path, admf: Admf) -> Path:
    """Run three parameter sets whose events are all stored; return the folder of the phase."""
    (project / "experiment.yaml").write_text(SWEPT)
    assert admf("run", "experiment.yaml").code == 0
    return project / "results" / "study" / "search" / "sweep"


def trace(study: Path, number: int = 1) -> Path:
    return study / "containers" / f"portfolio_{number:03}_trace.frames"


def document(study: Path, number: int = 1) -> Path:
    return study / "containers" / f"portfolio_{number:03}_results.json"


@pytest.mark.parametrize(
    ("place", "count"),
    [
        ("results", 3),
        ("results/study", 3),
        ("results/study/search", 3),
        ("results/study/search/sweep/containers", 3),
        ("results/study/search/sweep/containers/portfolio_002_results.json", 1),
        ("results/study/search/sweep/containers/portfolio_002_trace.frames", 1),
    ],
)
def test_a_folder_or_a_container_is_replayed(
    study: Path, admf: Admf, place: str, count: int
) -> None:
    outcome = admf("replay", place)
    assert outcome == (0, f"{count} of {count} containers give the same bytes\n", "")


def test_the_outcome_as_json(study: Path, admf: Admf) -> None:
    found = admf("replay", "results/study", "--json").document
    names = [f"search/sweep/containers/portfolio_00{n}_results.json" for n in (1, 2, 3)]
    assert found == {
        "folder": "results/study",
        "containers": [{"path": name, "outcome": "same", "detail": ""} for name in names],
        "without_log": 0,
    }


def test_a_changed_result_is_told_and_exits_with_5(study: Path, admf: Admf) -> None:
    metrics = json.loads(document(study, 2).read_bytes())["metrics"]
    change(document(study, 2), metrics={**metrics, "sharpe_ratio": 99.5})
    outcome = admf("replay", "results/study")
    assert outcome.code == 5
    assert outcome.out == "2 of 3 containers give the same bytes\n"
    assert outcome.err.startswith(
        "error: search/sweep/containers/portfolio_002_results.json: metrics.sharpe_ratio: "
        "the file says 99.5, its log gives "
    )


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def point_elsewhere(file: Path) -> None:
    other = file.with_name("other")
    file.rename(other)
    file.symlink_to(other)


@pytest.mark.parametrize(
    ("of", "damage", "message"),
    [
        (trace, cut, "its event log cannot be used: it is cut, or its writer did not come to"),
        (trace, flip, "its event log cannot be used: the frame at byte "),
        (trace, empty, "its event log cannot be used: it is cut off at its beginning"),
        (trace, Path.unlink, "its event log is missing"),
        (trace, point_elsewhere, "symbolic link"),
        (document, flip, "it was changed"),
        (document, empty, "it has no checksum at its end"),
        (document, Path.unlink, "its file is missing: its window was cut short"),
    ],
)
def test_what_is_damaged_or_missing_is_told_and_exits_with_6(
    study: Path,
    admf: Admf,
    of: Callable[..., Path],
    damage: Callable[[Path], object],
    message: str,
) -> None:
    damage(of(study, 3))
    change(document(study, 2), trades=[])
    outcome = admf("replay", "results/study")
    assert outcome.code == 6
    assert outcome.out == "1 of 3 containers give the same bytes\n"
    assert "portfolio_002_results.json: trades: the file says 0 entries" in outcome.err
    assert "portfolio_003_results.json: " in outcome.err
    assert message in outcome.err


def test_a_log_that_is_cut_after_any_frame_is_never_replayed(study: Path) -> None:
    whole = trace(study).read_bytes()
    for place in places_by_hand(whole)[:-1]:
        trace(study).write_bytes(whole[:place])
        assert [it.outcome for it in replay(document(study)).containers] == ["damaged"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_compressed_results_are_compared_uncompressed(
    project: Path, admf: Admf, compression: str
) -> None:
    (project / "experiment.yaml").write_text(f"{SWEPT}compression: {compression}\n")
    assert admf("run", "experiment.yaml").code == 0
    assert admf("replay", "results").out == "3 of 3 containers give the same bytes\n"
    (file, *_) = sorted((project / "results").rglob("portfolio_001_results.json.*"))
    assert len(replay(file).containers) == 1
    file.write_bytes(file.read_bytes()[:-9])
    assert admf("replay", "results").code == 6


@pytest.mark.parametrize("store", ["none", "retained"])
def test_without_a_log_of_all_events_there_is_nothing_to_replay(
    project: Path, admf: Admf, store: str
) -> None:
    (project / "experiment.yaml").write_text(SWEPT.replace("store: all", f"store: {store}"))
    assert admf("run", "experiment.yaml").code == 0
    outcome = admf("replay", "results/study")
    assert outcome.code == 6
    assert outcome.out == ""
    assert "set 'trace: {store: all}' in the experiment and run it again" in outcome.err
    traces = list((project / "results").rglob("*.frames"))
    assert len(traces) == (3 if store == "retained" else 0)


def test_containers_without_a_log_are_counted(project: Path, admf: Admf) -> None:
    text = SWEPT.replace(
        "  search:", "  first: {sequence: single_pass, topology: backtest}\n  search:"
    )
    text = text.replace(
        "trace: {store: all}\n", "phase_overrides: {first: {trace: {store: all}}}\n"
    )
    (project / "experiment.yaml").write_text(text)
    assert admf("run", "experiment.yaml").code == 0
    outcome = admf("replay", "results/study")
    assert outcome.out == "1 of 1 containers give the same bytes; 3 have no event log\n"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nowhere: there is no such file or folder"),
        ("data", "there are no results of containers in data"),
        ("experiment.yaml", "there are no results of containers in experiment.yaml"),
        ("nowhere/a_results.json", "nowhere"),
    ],
)
def test_what_is_no_result_is_refused(project: Path, admf: Admf, place: str, message: str) -> None:
    outcome = admf("replay", place)
    assert outcome.code == 6
    assert message in outcome.err


def test_many_errors_are_cut_short(study: Path, admf: Admf, monkeypatch: Any) -> None:
    monkeypatch.setattr("admf.workflows.cli.replay._MOST_SAID", 1)
    for number in (1, 2, 3):
        cut(trace(study, number))
    outcome = admf("replay", "results/study")
    assert outcome.out == "0 of 3 containers give the same bytes\n"
    assert outcome.err.endswith("error: and 2 more\n")


def test_a_failed_lane_is_replayed_too(
    project: Path, use_strategy: Callable[..., None], admf: Admf
) -> None:
    use_strategy("ctx.target(1 if ctx.bar_index % 3 else 0)", "if ctx.bar_index == 30: 1 / 0")
    file = project / "experiment.yaml"
    file.write_text(file.read_text() + "trace: {store: all}\n")
    assert admf("run", "experiment.yaml").code == 5
    assert admf("replay", "results").out == "1 of 1 containers give the same bytes\n"


def test_positions_that_are_carried_from_window_to_window_are_replayed(
    project: Path, admf: Admf
) -> None:
    text = EXPERIMENT.replace("simple_backtest", "walk_forward_optimization")
    text += "parameter_space: {fast: [2, 3]}\ntrace: {store: all}\n"
    text += "walk_forward: {train: 20, test: 10, carry_positions: true}\n"
    (project / "experiment.yaml").write_text(text)
    run = admf("run", "experiment.yaml")
    assert run.code == 0, run.err
    found = replay("results")
    assert {it.outcome for it in found.containers} == {"same"}
    assert len(found.containers) > 6


def test_a_policy_is_looked_for_among_the_plug_ins_or_in_a_registry(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = LaneTracing.tracer

    def of_mine(self: LaneTracing, registry: Registry, **options: Any) -> Any:
        registry.get("retention", "mine")
        return tracer(self, registry, **options)

    monkeypatch.setattr(LaneTracing, "tracer", of_mine)
    registry = Registry()
    with pytest.raises(RegistryError, match="mine"):
        replay(study)
    with pytest.raises(RegistryError, match="mine"):
        replay(study, registry=registry)
    registry.register("retention", "mine", lambda config: Minimal())
    assert replay(study, registry=registry).count("same") == 3


def test_the_python_function_gives_the_outcome_of_each_container(study: Path) -> None:
    found = replay(str(document(study)))
    assert found == Replay(
        str(document(study)), (Replayed("portfolio_001_results.json", "same"),), 0
    )
    trace(study).unlink()
    assert replay(study).count("damaged") == 1
    with pytest.raises(StorageError):
        replay(study / "nothing")


def test_a_log_that_cannot_be_opened_is_told(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    (first, *_) = replay(study).containers
    assert first.outcome == "damaged"
    assert first.detail.startswith("cannot read ")
    assert "Permission denied" in first.detail
