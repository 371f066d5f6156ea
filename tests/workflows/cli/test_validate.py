from __future__ import annotations


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
    assert set(problems) == {"data", "strategy", "sede"}
    assert problems["sede"] == {
        "message": "unknown field (did you mean 'seed'?)",
        "field": "sede",
        "file": "experiment.yaml",
        "line": 2,
        "column": 1,
    }
    assert len(outcome.err.splitlines()) == 3


def test_what_would_run_as_a_document(admf, project):
    outcome = admf("validate", "experiment.yaml", "--json", "--set", "event_tracing=[FIL]")
    document = outcome.document
    assert document["valid"] is True
    assert document["problems"] == []
    assert [warning["field"] for warning in document["warnings"]] == ["event_tracing.0"]
    assert [phase["name"] for phase in document["phases"]] == ["backtest"]
