"""What is read of a phase, and what is said of it, from plain documents."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from admf.sequences.config import ObjectiveConfig
from admf.workflows.cli.phase_files import HeldFiles
from admf.workflows.cli.phase_record import PhaseHead, PhaseRecord, read_phase, read_portfolios
from admf.workflows.cli.rendering import rendered
from admf.workflows.cli.summary import phase_section, portfolio_summary

SHARPE = (ObjectiveConfig(),)
METRICS = {"total_return": 0.25, "sharpe_ratio": 1.5, "trade_count": 12}


class NotedFiles(HeldFiles):
    """Notes which files are read."""

    def __init__(self, documents: dict[str, Any]) -> None:
        super().__init__(documents)
        self.noted: list[str] = []

    async def read(self, path, kind):
        self.noted.append(path)
        return await super().read(path, kind)


def _outcome(**fields: object) -> dict[str, Any]:
    trials = {"total": 4, "completed": 3, "failed": 1, "infeasible": 0, "pruned": 0}
    return {
        "schema_version": 1,
        "sequence": "train_test",
        "aggregate_metrics": {},
        "trials": trials,
        "best_parameters": {"fast": 5},
        "best_objective": 1.5,
        "best": METRICS,
        **fields,
    }


def _files(**fields: object) -> NotedFiles:
    return NotedFiles({"aggregate_results.json": _outcome(**fields)})


def _phase(files: HeldFiles, **head: Any) -> PhaseRecord:
    made = PhaseHead(**{"name": "search", "status": "completed", "objectives": SHARPE, **head})
    return anyio.run(read_phase, made, files)


def _said(files: HeldFiles, **head: Any) -> list[str]:
    parts = phase_section(_phase(files, **head), (), portfolio_summary)
    return [" ".join(line.split()) for line in rendered(*parts).splitlines() if line]


WALK_REPORT = {
    "windows": 1,
    "walk_forward_efficiency": None,
    "profitable_windows": 0.0,
    "parameter_stability": {
        "mode": {"distinct": 1, "changes": 0.0, "most_common": "long", "share": 1.0}
    },
}


def _walk(count: int) -> dict[str, Any]:
    windows = [
        {
            "window_id": f"wf_{number:03}",
            "train": {"start": "2020-01-01T00:00:00Z", "end": "2020-06-30T00:00:00Z"},
            "test": {"start": "2020-07-01T00:00:00Z", "end": "2020-07-31T00:00:00Z"},
            "parameters": {"fast": 5},
            "in_sample": {"objective": 1.5, "annual_return": 0.1},
            "out_of_sample": {"objective": None, "total_return": 0.0},
        }
        for number in range(1, count + 1)
    ]
    return {"windows": windows}


def _walk_files(count: int, **fields: object) -> NotedFiles:
    found = _outcome(**{"sequence": "walk_forward", "report": WALK_REPORT, **fields})
    return NotedFiles({"aggregate_results.json": found, "windows.json": _walk(count)})


def test_of_a_thousand_windows_none_is_read():
    documents = {"aggregate_results.json": _outcome(report=WALK_REPORT)}
    for number in range(1, 1_001):
        documents[f"wf_{number:03}/test/containers/portfolio_001_results.json"] = {}
        documents[f"wf_{number:03}/test/phase_summary.json"] = {}
    files = NotedFiles(documents)
    phase = _phase(files)
    assert files.noted == ["aggregate_results.json"]
    assert phase.windows == 1_000


def test_a_window_without_a_commit_record_has_no_portfolios():
    assert anyio.run(read_portfolios, HeldFiles({"aggregate_results.json": _outcome()})) == ()


def test_a_cross_validation_without_an_eligible_trial_has_its_splits():
    split = {"split_id": "split_001", "test": [{"start": "2020-01-01", "end": "2020-02-01"}]}
    report = {"splits": [split], "paths": []}
    lines = _said(_files(best_parameters=None, best={}, report=report))
    assert "split_001 2020-01-01 to 2020-02-01 - - -" in lines
    assert not any(line.startswith("Metric") for line in lines)


def test_twenty_windows_are_shown_and_the_others_are_counted():
    lines = _said(_walk_files(1_000))
    rows = [line for line in lines if line.startswith("wf_")]
    assert len(rows) == 20
    assert rows[0] == "wf_001 2020-07-01 to 2020-07-31 fast=5 1.50 - 0.00 %"
    assert "and 980 more" in lines
    assert "mode 1 0.00 % long 100.00 % - -" in lines


def test_a_walk_forward_without_any_parameters_has_dashes():
    report = {**WALK_REPORT, "parameter_stability": {}}
    files = _walk_files(1, best_parameters=None, best={}, report=report)
    del anyio.run(files.read, "windows.json", dict)["windows"][0]["parameters"]
    lines = _said(files)
    assert "wf_001 2020-07-01 to 2020-07-31 - 1.50 - 0.00 %" in lines
    assert "Best parameters none: no trial is eligible" in lines
    assert not any(line.startswith("Stability") for line in lines)


def test_the_report_of_a_plugin_that_looks_like_another_is_left_out():
    lines = _said(_files(sequence="mine", report={"parameter_stability": 3}))
    assert lines[0] == "search mine"
    assert "Objective Sharpe ratio 1.50" in lines


@pytest.mark.parametrize(
    ("fields", "columns"),
    [
        ({}, "Metric In sample"),
        ({"out_of_sample": METRICS}, "Metric In sample Out of sample"),
        ({"best": {}, "out_of_sample": METRICS}, "Metric Out of sample"),
    ],
)
def test_only_sides_that_have_metrics_get_a_column(fields, columns):
    assert columns in _said(_files(**fields))


def test_without_metrics_on_either_side_there_is_no_table():
    lines = _said(_files(best={}))
    assert not any(line.startswith("Metric") for line in lines)


def test_an_objective_whose_name_is_not_known_has_none():
    assert "Objective 1.50" in _said(_files(), objectives=())


def test_a_strategy_that_is_not_searched_runs_as_it_is_set():
    assert "Best parameters as they are set" in _said(_files(best_parameters={}))


def test_trials_are_told_by_how_they_ended():
    assert "Trials 4 (3 completed, 1 failed)" in _said(_files())


def test_parameter_sets_without_a_record_of_trials_are_ranked_all_the_same():
    lines = _said(_files(top_parameters=[{"fast": 5}, {"fast": 7}]))
    assert lines[-3:] == ["Rank Parameters", "1 fast=5", "2 fast=7"]


def test_parameter_sets_that_no_trial_has_get_dashes():
    documents = {
        "aggregate_results.json": _outcome(top_parameters=[{"fast": 5}, {"fast": 7}]),
        "trials.json": {"trials": [{"parameters": {"fast": 5}, "objectives": [1.5]}]},
    }
    assert _said(HeldFiles(documents))[-2:] == ["1 fast=5 1.50", "2 fast=7 -"]


def test_a_front_without_a_record_of_trials_has_its_parameter_sets():
    lines = _said(_files(pareto_front=[{"fast": 5}]))
    assert lines[-3:] == ["Pareto front", "Parameters", "fast=5"]


def _monte_carlo(failed: int) -> dict[str, Any]:
    spread = {f"p{level}": level / 100 for level in (5, 10, 25, 50, 75, 90, 95)}
    return {
        "method": "price_path",
        "simulations": 1_000,
        "failed": failed,
        "batches": 10,
        "percentiles": {"total_return": {**spread, "missing": 0}},
        "probability_of_loss": 0.125,
        "probability_of_ruin": 0.0,
        "value_at_risk_95": -0.1,
        "conditional_value_at_risk_95": -0.2,
    }


@pytest.mark.parametrize(
    ("failed", "told"),
    [(0, "1,000 by price_path"), (7, "1,000 (7 failed) by price_path")],
)
def test_simulations_that_failed_are_told(failed, told):
    lines = _said(_files(report=_monte_carlo(failed), best_parameters=None))
    assert f"Simulations {told}" in lines
    assert "Probability of loss 12.50 %" in lines
    assert "Total return 25.00 % 5.00 % 25.00 % 50.00 % 75.00 % 95.00 %" in lines
    assert not any(line.startswith("Parameters") for line in lines)


def test_a_phase_without_files_says_that_there_is_nothing():
    assert _said(HeldFiles({}), status="cancelled") == [
        "search cancelled",
        "it ended before a window was complete, so there is nothing to show",
    ]


def test_a_phase_that_was_cut_short_counts_its_windows():
    files = HeldFiles({"wf_001/train/containers/portfolio_001_results.json": {}})
    assert _said(files, status="cancelled") == ["search 1 execution window cancelled"]


def test_the_first_errors_of_a_phase_are_told():
    errors = tuple(f"error {number}" for number in range(1, 9))
    lines = _said(HeldFiles({}), status="failed", errors=errors)
    assert lines == ["search failed", *errors[:5], "and 3 more"]


def test_lanes_without_common_parameters_have_a_row_each():
    lane = {"container_id": "portfolio_001", "status": "completed", "metrics": METRICS}
    other = {**lane, "container_id": "portfolio_002", "parameters": {"slow": 1}}
    lanes = [{**lane, "parameters": {"fast": 1}}, other]
    lines = _said(HeldFiles({"aggregate_results.json": {"portfolios": lanes}}))
    assert lines[0] == "search, 2 portfolios"
    assert [line.split()[:2] for line in lines[-2:]] == [
        ["portfolio_001", "fast=1"],
        ["portfolio_002", "slow=1"],
    ]


def test_the_document_of_a_phase_leaves_out_what_is_empty():
    found = msgspec.to_builtins(_phase(_files()).outcome)
    assert "pareto_front" not in found
    assert found["best_parameters"] == {"fast": 5}
