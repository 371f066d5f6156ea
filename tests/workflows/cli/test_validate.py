from __future__ import annotations

import re

import pytest


def test_a_valid_experiment_is_told_with_what_would_run(admf, project):
    outcome = admf("validate", "experiment.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    first, phase = outcome.out.splitlines()
    assert first == "experiment.yaml is valid; simple_backtest would run"
    assert phase == (
        "  backtest: sma_cross with 1 parameter set on GOOG of data, "
        "the first bar to the last bar, as single_pass"
    )


def test_nothing_is_run_and_no_data_is_read(admf, project):
    (project / "data" / "GOOG.csv").unlink()
    assert admf("validate", "experiment.yaml").code == 0
    assert not (project / "results").exists()


def test_the_sample_data_is_named(admf, project):
    words = ["--set", "data={source: sample, symbols: [IBM], start: '2001-01-01'}"]
    out = admf("validate", "experiment.yaml", *words).out
    assert "on IBM of the sample data, 2001-01-01 to the last bar" in out


def test_every_problem_is_told_at_once(admf, project):
    words = ["--set", "sede=1", "--set", "strategy.params.slow=0"]
    outcome = admf("validate", "experiment.yaml", *words)
    assert (outcome.code, outcome.out) == (3, "")
    assert len(outcome.err.splitlines()) == 2


def test_warnings_are_told(admf, project):
    outcome = admf("validate", "experiment.yaml", "--set", "event_tracing=[FIL]")
    assert outcome.code == 0
    assert "warning: --set event_tracing:" in outcome.err


def test_problems_as_a_document(admf, project):
    (project / "experiment.yaml").write_text("workflow: simple_backtest\nsede: 1\n")
    outcome = admf("validate", "experiment.yaml", "--json")
    assert outcome.code == 3
    assert outcome.document["valid"] is False
    problems = {problem["field"]: problem for problem in outcome.document["problems"]}
    assert set(problems) == {"data", "sede"}
    assert problems["sede"] == {
        "message": "unknown field (did you mean 'seed'?)",
        "field": "sede",
        "file": "experiment.yaml",
        "line": 2,
        "column": 1,
    }
    assert len(outcome.err.splitlines()) == 2


def test_what_would_run_as_a_document(admf, project):
    outcome = admf("validate", "experiment.yaml", "--json", "--set", "event_tracing=[FIL]")
    document = outcome.document
    assert document["valid"] is True
    assert document["problems"] == []
    assert [warning["field"] for warning in document["warnings"]] == ["event_tracing.0"]
    assert [phase["name"] for phase in document["phases"]] == ["backtest"]


STUDY = """\
workflow: train_test_optimization
data: {symbols: [GOOG]}
risk: {stop_loss_pct: 5}
phase_overrides: {validation: {results_storage: disk}}
"""


@pytest.fixture
def study(project):
    (project / "experiment.yaml").write_text(STUDY)
    return project


def rows(out):
    """Return value and origin of each setting, by phase and setting."""
    found, phase = {}, ""
    for line in out.splitlines():
        if line and not line.startswith((" ", "Setting")):
            phase = line
        elif line.startswith("  "):
            name, value, origin = re.split(r"  +", line.strip())
            found[phase, name] = value, origin
    return found


def test_a_study_is_told_phase_by_phase(admf, study):
    assert admf("validate", "experiment.yaml").out.splitlines()[1:] == [
        (
            "  parameter_search: sma_cross with 12 parameter sets on GOOG of data, "
            "the first bar to the last bar, as train_test"
        ),
        (
            "  validation: sma_cross with parameter_search.best_parameters on GOOG of data, "
            "the first bar to the last bar, as single_pass"
        ),
    ]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("search={method: random, max_trials: 5}", "with 5 parameter sets"),
        ("search.max_trials=50", "with 12 parameter sets"),
        (
            "parameter_space={risk.stop_loss_pct: {min: 1.0, max: 5.0}}",
            "with parameter sets without end",
        ),
        ("parameter_space={fast: {min: 2, max: 10001}}", "with 10,000 parameter sets"),
        ("parameter_space={}", "with 1 parameter set on"),
    ],
)
def test_the_number_of_parameter_sets_is_told(admf, study, override, expected):
    words = ["--set", "search.method=sobol", "--set", "constraint=null", "--set", override]
    assert expected in admf("validate", "experiment.yaml", *words).out


def test_every_setting_is_shown_with_its_value_and_where_it_comes_from(admf, study):
    outcome = admf("validate", "--resolved", "experiment.yaml", "--set", "seed=7")
    assert (outcome.code, outcome.err) == (0, "")
    found = rows(outcome.out)
    workflow = "workflow train_test_optimization"
    assert found["parameter_search", "sequence"] == ("train_test", workflow)
    assert found["parameter_search", "results_storage"] == ("disk", workflow)
    assert found["parameter_search", "parameter_space.fast"] == ("[5, 10, 20]", workflow)
    assert found["parameter_search", "risk.stop_loss_pct"] == ("5.0", "experiment.yaml:3:23")
    assert found["parameter_search", "risk.take_profit_pct"] == ("null", "default")
    assert found["validation", "results_storage"] == ("disk", "experiment.yaml:4:49")
    assert found["validation", "seed"] == ("7", "--set seed")
    assert found["validation", "data.path"] == (
        str(study / "data"),
        "the folder beside the experiment",
    )
    assert found["validation", "input.parameters"] == (
        "{parameter_search.best_parameters}",
        workflow,
    )


def test_options_of_sequences_that_do_not_run_are_left_out_unless_somebody_sets_them(admf, study):
    words = ["--set", "phase_overrides.validation.k_fold.folds=6"]
    found = rows(admf("validate", "--resolved", "experiment.yaml", *words).out)
    assert ("parameter_search", "train_test.data_split") in found
    assert ("parameter_search", "walk_forward.train") not in found
    assert ("validation", "train_test.data_split") not in found
    assert ("validation", "k_fold.folds") in found
    assert ("validation", "k_fold.embargo") not in found


def test_settings_as_a_document_are_all_there(admf, study):
    document = admf("validate", "--resolved", "--json", "experiment.yaml").document
    settings = {it["name"]: it for it in document["settings"]["validation"]}
    assert list(document["settings"]) == ["parameter_search", "validation"]
    assert settings["k_fold.folds"] == {"name": "k_fold.folds", "value": 5, "origin": "default"}
    assert settings["results_storage"]["origin"] == "experiment.yaml:4:49"
    assert [phase["name"] for phase in document["phases"]] == ["parameter_search", "validation"]
    assert "settings" not in admf("validate", "--json", "experiment.yaml").document


def test_problems_are_told_instead_of_settings(admf, study):
    outcome = admf("validate", "--resolved", "experiment.yaml", "--set", "seed=x")
    assert (outcome.code, outcome.out) == (3, "")
