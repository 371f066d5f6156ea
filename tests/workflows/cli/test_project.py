from __future__ import annotations

import json

from admf.workflows.schema import experiment_schema


def test_a_new_project_runs_at_once(admf, tmp_path):
    outcome = admf("init", "my study")
    assert (outcome.code, outcome.err) == (0, "")
    *_, command = outcome.out.splitlines()
    assert command == "  admf run 'my study/experiment.yaml'"
    run = admf("run", "my study/experiment.yaml", "--json", "--quiet")
    assert (run.code, run.err) == (0, "")
    assert run.document["phases"]["backtest"]["summary"]["total_trades"] > 0


def test_the_files_that_were_written_are_named(admf, tmp_path):
    outcome = admf("init", "study", "--json")
    assert outcome.document["next"] == "admf run study/experiment.yaml"
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert set(outcome.document["files"]) == files


def test_files_that_exist_are_not_overwritten(admf, tmp_path):
    (tmp_path / "experiment.yaml").write_text("mine")
    outcome = admf("init", ".")
    assert outcome.code == 3
    assert outcome.err == "experiment.yaml: exists and is not overwritten\n"
    assert [path.name for path in tmp_path.iterdir()] == ["experiment.yaml"]


def test_the_schema_is_the_one_that_experiments_are_checked_against(admf):
    assert admf("schema").document == json.loads(json.dumps(experiment_schema()))
