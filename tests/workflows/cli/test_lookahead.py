from __future__ import annotations

import pytest

from admf.workflows.lookahead_findings import CAUSES

SHIFT = """\
import numpy as np
from admf.containers.strategies.base import Strategy


class Shift(Strategy):
    scale: float = 1.0

    def targets(self, bars, features):
        print("noise")
        wanted = np.full(len(bars), np.nan)
        wanted[:-1] = self.scale * np.sign(bars.close[1:] - bars.close[:-1])
        return wanted
"""
WHIM = SHIFT.replace("np.sign(bars.close[1:] - bars.close[:-1])", "np.random.rand(len(bars) - 1)")


@pytest.fixture
def use(project):
    """Return a function that has the project use a strategy of its own."""

    def use(text: str) -> None:
        (project / "mine.py").write_text(text)
        file = project / "experiment.yaml"
        written = file.read_text().replace("sma_cross", '"mine:Shift"')
        file.write_text(written.replace("{fast: 2, slow: 5}", "{}"))

    return use


def test_a_clean_strategy_is_told_with_every_cut(admf, project):
    outcome = admf("check-lookahead", "experiment.yaml")
    assert (outcome.code, outcome.err) == (0, "")
    first, *cuts, _, last = outcome.out.splitlines()
    assert first == "sma_cross  in backtest, on GOOG, 60 time steps"
    assert len(cuts) >= 3
    assert all(cut.startswith("  up to 2024-") and cut.endswith("  ok") for cut in cuts)
    assert last == "no look-ahead: every decision was the same without the bars that follow"
    assert not (project / "results").exists()


def test_look_ahead_is_told_with_its_first_effect_and_the_usual_causes(admf, use):
    use(SHIFT)
    outcome = admf("check-lookahead", "experiment.yaml")
    assert outcome.code == 5
    assert set(outcome.err.splitlines()) == {"noise"}
    assert "the strategy does nothing if the data ends on 2024-" in outcome.out
    assert "but asks for a target of -1 in GOOG if later bars follow" in outcome.out
    assert all(f"- {cause}" in outcome.out for cause in CAUSES)


def test_the_parameter_set_is_named_if_there_are_several(admf, project, use):
    use(SHIFT)
    words = ["--set", "workflow=mine", "--set", "phases={sweep: {sequence: parameter_sweep}}"]
    words += ["--set", "parameter_space={scale: [0.5]}"]
    outcome = admf("check-lookahead", "experiment.yaml", *words)
    assert outcome.code == 5
    assert "            scale=0.5" in outcome.out.splitlines()
    assert "if later bars follow (scale=0.5)" in outcome.out


def test_chance_is_told_apart(admf, use):
    use(WHIM)
    outcome = admf("check-lookahead", "experiment.yaml")
    assert outcome.code == 5
    assert outcome.out.splitlines()[-1] == "the results differ from run to run"


def test_the_outcome_as_a_document(admf, use):
    use(SHIFT)
    outcome = admf("check-lookahead", "experiment.yaml", "--json")
    assert outcome.code == 5
    assert outcome.document["clean"] is False
    (check,) = outcome.document["checks"]
    assert check["phases"] == ["backtest"]
    assert check["strategy"] == "mine:Shift"
    kinds = {cut["finding"]["kind"] for cut in check["cuts"] if cut["finding"]}
    assert kinds == {"decision"}


def test_mistakes_and_bad_data_end_as_in_a_run(admf, project):
    outcome = admf("check-lookahead", "experiment.yaml", "--set", "strategy.params.fats=1")
    assert outcome.code == 3
    assert outcome.err.startswith("--set strategy.params.fats: ")
    (project / "data" / "GOOG.csv").write_text("")
    assert admf("check-lookahead", "experiment.yaml").code == 4


def test_mistakes_that_only_the_data_shows_get_their_place(admf, project):
    file = project / "experiment.yaml"
    file.write_text(file.read_text() + "data_range: {start: '2030-01-01'}\n")
    outcome = admf("check-lookahead", "experiment.yaml")
    assert outcome.code == 3
    assert outcome.err.startswith("experiment.yaml:5:13: data_range: ")


def test_warnings_are_told(admf, project):
    outcome = admf("check-lookahead", "experiment.yaml", "--set", "event_tracing=[FIL]")
    assert outcome.code == 0
    assert "warning: --set event_tracing:" in outcome.err
