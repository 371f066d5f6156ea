from __future__ import annotations

import hashlib
import json
from pathlib import Path

import admf

STRATEGY = """
from admf.containers.strategies import Strategy

class Mine(Strategy):
    def on_bar(self, bar, ctx):
        ctx.target({size})
"""
EXPERIMENT = """
workflow: two
data: {source: sample, symbols: [GOOG]}
data_range: {end: 0.05}
phases:
  own: {sequence: single_pass, strategy: {type: "admf_test_own_code:Mine"}}
  built_in: {sequence: single_pass, strategy: {type: buy_and_hold}}
"""


def test_the_file_of_a_strategy_of_ones_own_is_on_record(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    module = tmp_path / "admf_test_own_code.py"
    module.write_text(STRATEGY.format(size=1))
    monkeypatch.chdir(tmp_path)
    assert admf.run("experiment.yaml").status == "completed"
    record = json.loads(Path("results/two/run.json").read_text())
    digest = hashlib.sha256(module.read_bytes()).hexdigest()
    assert record["code"] == {"admf_test_own_code:Mine": digest}
    assert record["folder"] == str(tmp_path)


def test_an_experiment_from_python_is_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    experiment = {
        "workflow": "simple_backtest",
        "data": {"source": "sample", "symbols": ["GOOG"]},
        "strategy": {"type": "buy_and_hold"},
        "data_range": {"end": 0.05},
    }
    assert admf.run(experiment).status == "completed"
    record = json.loads(Path("results/simple_backtest/run.json").read_text())
    assert record["folder"] == str(tmp_path)
    assert record["code"] == {}
