"""Workflows that are written in the experiment file."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from admf.workflows.loading import LoadedExperiment
from admf.workflows.resolution import resolve_phases, resolved_origins

Load = Callable[..., LoadedExperiment]
Mistakes = Callable[..., list[str]]

HEAD = "workflow: {name}\ndata: {{source: sample, symbols: [SPY]}}\n"

SEARCH = """\
    strategy: {type: sma_cross}
    parameter_space: {fast: [5, 10, 20], slow: [30, 50, 100, 200]}
    constraint: fast < slow
    results_storage: disk
    event_tracing: [POSITION_OPEN, POSITION_CLOSE, FILL]
    retention_policy: trade_complete
    train_test: {data_split: 0.8}
"""
VALIDATION = """\
    sequence: single_pass
    strategy: {type: sma_cross}
    results_storage: memory
    event_tracing: [POSITION_OPEN, POSITION_CLOSE, FILL, PORTFOLIO_UPDATE]
    retention_policy: sliding_window
    sliding_window_size: 1000
    output: [metrics]
"""
MONTE_CARLO = """\
  monte_carlo:
    sequence: monte_carlo
    strategy: {type: sma_cross}
    results_storage: disk
    event_tracing: [POSITION_OPEN, POSITION_CLOSE, FILL]
    retention_policy: trade_complete
    inputs: {parameters: "{parameter_search.best_parameters}"}
    output: [report]
"""
PARAMETER_SEARCH = f"""\
  parameter_search:
    sequence: train_test
    output: [best_parameters, best_objective, trials, overfitting]
{SEARCH}"""
WALK_FORWARD = f"""\
  walk_forward:
    sequence: walk_forward
    output: [out_of_sample, trials, report]
{SEARCH}"""
SEEN = "    data_range: {end: 0.8}\n"

WRITTEN = {
    "train_test_optimization": f"""\
  # written the other way round: dependencies give the order
  validation:
{VALIDATION}    inputs:
      parameters: "{{parameter_search.best_parameters}}"
      data_range: "{{ parameter_search.held_out }}"
{PARAMETER_SEARCH}""",
    "walk_forward_optimization": WALK_FORWARD,
    "robustness": PARAMETER_SEARCH + MONTE_CARLO,
    "research_pipeline": f"""\
{PARAMETER_SEARCH}{SEEN}{WALK_FORWARD}{SEEN}    depends_on: [parameter_search]
{MONTE_CARLO}{SEEN}    depends_on: [walk_forward]
  final_validation:
{VALIDATION}    data_range: {{start: 0.8}}
    inputs: {{parameters: "{{parameter_search.best_parameters}}"}}
    depends_on: [monte_carlo]
""",
    "simple_backtest": """\
  backtest:
    sequence: single_pass
    event_tracing: [POSITION_OPEN, POSITION_CLOSE, FILL, PORTFOLIO_UPDATE]
    retention_policy: trade_complete
    results_storage: disk
    output: [metrics]
    strategy: {type: sma_cross}
""",
}


def resolved(loaded: LoadedExperiment) -> list[dict[str, object]]:
    """Return the phases as data, without what people only read."""
    phases = resolve_phases(loaded, loaded.workflow)
    found = [msgspec.to_builtins(phase) for phase in phases]
    for phase in found:
        phase["description"] = ""
        phase["input"] = {name: it.replace(" ", "") for name, it in phase["input"].items()}
    return found


@pytest.mark.parametrize("name", WRITTEN)
def test_a_workflow_written_in_yaml_is_the_built_in_one(load: Load, name: str) -> None:
    strategy = "strategy: {type: sma_cross}\n" if name == "simple_backtest" else ""
    built_in = resolved(load(HEAD.format(name=name) + strategy))
    written = resolved(load(HEAD.format(name="mine") + "phases:\n" + WRITTEN[name]))

    assert written == built_in


def test_the_section_of_a_phase_beats_the_top_level_and_overrides_beat_both(load: Load) -> None:
    text = HEAD.format(name="mine") + (
        "seed: 1\nblock_size: 1\nsliding_window_size: 1\n"
        "strategy: {type: sma_cross}\n"
        "phases: {a: {sequence: single_pass, block_size: 2, sliding_window_size: 2}}\n"
        "phase_overrides: {a: {sliding_window_size: 3}}\n"
    )
    loaded = load(text, "phases.a.execution.slippage_bps=4")
    workflow = loaded.workflow
    (phase,) = resolve_phases(loaded, workflow)
    origins = {it.name: it.origin for it in resolved_origins(loaded, workflow)["a"]}

    settings = phase.settings
    assert (settings.seed, settings.block_size, settings.sliding_window_size) == (1, 2, 3)
    assert settings.execution.slippage_bps == 4.0
    assert origins["block_size"].endswith("experiment.yaml:7:49")
    assert origins["sequence"].endswith("experiment.yaml:7:24")
    assert origins["execution.slippage_bps"] == "--set phases.a.execution.slippage_bps"


def test_inputs_and_conditions_have_their_places(load: Load) -> None:
    text = HEAD.format(name="mine") + (
        "strategy: {type: sma_cross}\n"
        "phases:\n"
        "  a: {sequence: single_pass}\n"
        "  b:\n"
        "    sequence: single_pass\n"
        "    when: a.best.sharpe_ratio > 0.5\n"
        "    inputs: {parameters: '{a.best_parameters}'}\n"
    )
    loaded = load(text)
    workflow = loaded.workflow
    origins = {it.name: it.origin for it in resolved_origins(loaded, workflow)["b"]}

    assert origins["when"].endswith("experiment.yaml:8:11")
    assert origins["input.parameters"].endswith("experiment.yaml:9:26")
    assert resolve_phases(loaded, workflow)[1].depends_on == ("a",)


BODY = """\
strategy: {type: sma_cross}
phases:
  search: {sequence: train_test, parameter_space: {fast: [1, 2]}}
  test:
    sequence: single_pass
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "depends_on: [serach]",
            (
                "8:18: phases.test.depends_on.0: phase 'test' depends on 'serach', which is no "
                "phase (did you mean 'search'?)"
            ),
        ),
        (
            "inputs: {parameters: '{serach.best_parameters}'}",
            (
                "8:26: phases.test.inputs.parameters: there is no phase 'serach' "
                "(did you mean 'search'?)"
            ),
        ),
        ("when: xyz.success", "8:11: phases.test.when: there is no phase 'xyz' (there are: search"),
        ("depends_on: [test]", "6:3: phases.test: phases depend on one another in a circle: test"),
        ("when: test.success", "phases depend on one another in a circle: test -> test"),
        (
            "inputs: {parameters: '{search.best_paramters}'}",
            (
                "8:26: phases.test.inputs.parameters: a phase has no result 'best_paramters' "
                "(did you mean 'best_parameters'?)"
            ),
        ),
        (
            "inputs: {parameters: '{search}'}",
            "8:26: phases.test.inputs.parameters: '{search}' is not a reference to a result; write",
        ),
        ("inputs: {parameters: 'search.best'}", "'search.best' is not a reference to a result"),
        ("inputs: {parameters: '{search.best} x'}", "'{search.best} x' is not a reference"),
        ("inputs: {parameters: '{search.best}{search.best}'}", "is not a reference to a result"),
        (
            "inputs: {paramters: '{search.best_parameters}'}",
            "8:25: phases.test.inputs.paramters: is no setting of a phase; write 'parameters'",
        ),
        ("inputs: {risk.stop: '{search.best}'}", "phases.test.inputs.risk.stop: is no setting of"),
        ("inputs: {seed.x: '{search.best}'}", "phases.test.inputs.seed.x: is no setting of"),
        (
            "when: search.best.sharp_ratio > 0.5",
            "8:11: phases.test.when: best has no 'sharp_ratio' (did you mean 'sharpe_ratio'?)",
        ),
        ("when: search.metrics.xyz > 1", "phases.test.when: metrics has no 'xyz' (there are: init"),
        (
            "when: search.trials.complete > 1",
            "trials has no 'complete' (did you mean 'completed'?)",
        ),
        ("when: search.summary.windos > 1", "summary has no 'windos' (did you mean 'windows'?)"),
        ("when: search.held_out.begin != null", "held_out has no 'begin' (there are: start, end)"),
        ("when: search.sucess", "a phase has no result 'sucess' (did you mean 'success'?)"),
        ("when: search > 1", "'{search}' is not a reference to a result"),
        ("when: search.best.sharpe_ratio >", "phases.test.when: 'search.best.sharpe_ratio >' can"),
        ("when: __import__('os')", "phases.test.when: \"__import__('os')\" is not allowed "),
        (
            "output: [metrics, best.sharp_ratio]",
            "8:23: phases.test.output.1: best has no 'sharp_ratio' (did you mean 'sharpe_ratio'?)",
        ),
        ("topology: bactest", "8:15: phases.test.topology: unknown name 'bactest' (did you mean"),
        ("sequnce: x", "8:5: phases.test.sequnce: unknown field (did you mean 'sequence'?)"),
    ],
)
def test_mistakes_in_a_phase_are_named_with_their_place(
    mistakes: Mistakes, line: str, expected: str
) -> None:
    (found,) = mistakes(HEAD.format(name="mine") + BODY + f"    {line}\n")

    assert expected in found


def test_the_sequence_of_a_phase_must_exist(mistakes: Mistakes) -> None:
    text = HEAD.format(name="mine") + BODY.replace("train_test", "train_tst")

    assert mistakes(text) == [
        "5:22: phases.search.sequence: unknown name 'train_tst' (did you mean 'train_test'?)"
    ]


def test_a_phase_needs_a_sequence(mistakes: Mistakes) -> None:
    assert mistakes(HEAD.format(name="mine") + BODY.replace("sequence: train_test, ", "")) == [
        "5:3: phases.search.sequence: is missing"
    ]


def test_a_phase_is_named_so_that_it_can_have_a_folder(mistakes: Mistakes) -> None:
    (found,) = mistakes(HEAD.format(name="mine") + BODY.replace("  test:", "  'a/b':"))

    assert found.startswith("6:3: phases.a/b: phase 'a/b' contains '/'")


def test_a_written_workflow_does_not_take_the_name_of_an_installed_one(mistakes: Mistakes) -> None:
    (found,) = mistakes(HEAD.format(name="robustness") + BODY)

    assert found.startswith("1:11: workflow: 'robustness' is installed, and here the phases of")


def test_overrides_name_phases_that_there_are(mistakes: Mistakes) -> None:
    body = BODY + "phase_overrides: {serach: {seed: 1}, abc: {seed: 2}}\n"

    assert mistakes(HEAD.format(name="mine") + body) == [
        "8:19: phase_overrides.serach: the workflow has no phase 'serach' (did you mean 'search'?)",
        "8:38: phase_overrides.abc: the workflow has no phase 'abc' (there are: search, test)",
    ]


def test_a_circle_of_several_phases_is_named(mistakes: Mistakes) -> None:
    text = HEAD.format(name="mine") + (
        "strategy: {type: sma_cross}\nphases:\n"
        "  a: {sequence: single_pass, depends_on: [b]}\n"
        "  b: {sequence: single_pass, when: c.success}\n"
        "  c: {sequence: single_pass, inputs: {seed: '{a.best_objective}'}}\n"
    )
    (found,) = mistakes(text)

    assert found.startswith("5:3: phases.a: phases depend on one another in a circle: a -> ")
    assert set(found.rpartition(": ")[2].split(" -> ")) == {"a", "b", "c"}
