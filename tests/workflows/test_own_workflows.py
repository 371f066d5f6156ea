"""Workflows from a module beside the experiment."""

from __future__ import annotations

from pathlib import Path

import pytest

from admf.engine.errors import ConfigError
from admf.workflows.runner import Runner

pytestmark = pytest.mark.anyio

MODULE = """\
from admf.sequences import PhaseConfig


class Twice:
    def get_phases(self, config):
        names = ("first", "second")
        return {name: PhaseConfig(name=name, sequence="single_pass") for name in names}


class Careless:
    pass


instance = Twice()
"""
EXPERIMENT = """\
workflow: {workflow}
data: {{source: sample, symbols: [IBM]}}
strategy: {{type: buy_and_hold}}
"""


@pytest.fixture
def experiment(tmp_path: Path):
    (tmp_path / "own_workflows.py").write_text(MODULE)

    def experiment(workflow: str) -> Path:
        file = tmp_path / "study.yaml"
        file.write_text(EXPERIMENT.format(workflow=workflow))
        return file

    return experiment


@pytest.mark.parametrize("name", ["Twice", "instance"])
async def test_a_workflow_may_lie_beside_the_experiment(experiment, tmp_path, name) -> None:
    result = await Runner(results_root=tmp_path / "results").run(
        experiment(f"own_workflows:{name}")
    )
    assert list(result.phases) == ["first", "second"]
    assert result.results_path == str(tmp_path / "results" / name)


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        ("own_workflows:Twise", r"1:11: workflow: .* has no class 'Twise' \(did you mean 'Twice'"),
        ("own_workflows:Careless", r"1:11: workflow: .* has no method get_phases\(config\)"),
        ("own_workflow:Twice", r"1:11: workflow: .*own_workflow"),
        ("a b:c", r"1:11: workflow: .* is not of the form package.module:Class"),
    ],
)
def test_what_is_no_workflow_is_told_with_its_place(experiment, workflow, message) -> None:
    with pytest.raises(ConfigError, match=message):
        Runner().load(experiment(workflow))


def test_an_unknown_name_lists_the_known_ones(experiment) -> None:
    with pytest.raises(ConfigError, match="did you mean 'robustness'"):
        Runner().load(experiment("robustnes"))
