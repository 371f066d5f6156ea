"""Who wins: the workflow, the top level, a phase's own settings, and ``--set``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admf.containers.config import RiskConfig, StrategyConfig
from admf.engine.errors import ConfigError
from admf.sequences.config import ParameterRange, SearchConfig
from admf.sequences.phase import PhaseConfig, ResolvedPhase
from admf.sequences.settings import DataRange, PhaseOptions, PhaseSettings
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.resolution import (
    ResolvedSetting,
    loaded_from_experiment,
    resolve_phases,
    resolved_origins,
)
from admf.workflows.vocabulary import Vocabulary
from admf.workflows.workflow import Workflow

Load = Callable[..., LoadedExperiment]

OF_THE_ISSUE = """\
workflow: train_test_optimization
data:
  symbols: [SPY]
  start: "2020-01-01"
  end: "2023-12-31"
results_dir: my_experiment_2024_01
results_storage: memory            # overrides every phase
phase_overrides:
  parameter_search:
    results_storage: memory        # this phase alone
    event_tracing: ['POSITION_OPEN', 'POSITION_CLOSE', 'FILL', 'PORTFOLIO_UPDATE']
    retention_policy: sliding_window
"""

SHORT = "workflow: train_test_optimization\ndata: {source: sample, symbols: [SPY]}\n"


def phases_of(loaded: LoadedExperiment) -> dict[str, ResolvedPhase]:
    workflow = loaded.workflow
    return {phase.name: phase for phase in resolve_phases(loaded, workflow)}


def settings_of(loaded: LoadedExperiment, phase: str = "parameter_search") -> PhaseSettings:
    return phases_of(loaded)[phase].settings


def origins_of(loaded: LoadedExperiment, phase: str = "parameter_search") -> dict[str, str]:
    workflow = loaded.workflow
    found = resolved_origins(loaded, workflow)[phase]
    assert all(isinstance(it, ResolvedSetting) for it in found)
    return {it.name: it.origin for it in found}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_the_file_of_the_issue_resolves_as_it_is(load: Load, tmp_path: Path, suffix: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"SPY.{suffix}").touch()
    loaded = load(OF_THE_ISSUE)
    phases = phases_of(loaded)
    search, validation = phases.values()

    assert loaded.warnings == ()
    assert list(phases) == ["parameter_search", "validation"]
    assert (search.sequence, search.topology, search.depends_on) == ("train_test", "backtest", ())
    assert search.settings.results_storage == "memory"
    assert search.settings.event_tracing == (
        "POSITION_OPEN",
        "POSITION_CLOSE",
        "FILL",
        "PORTFOLIO_UPDATE",
    )
    assert search.settings.retention_policy == "sliding_window"
    assert search.settings.train_test.data_split == 0.8
    assert search.settings.strategy == StrategyConfig(type="sma_cross")
    assert list(search.settings.parameter_space) == ["fast", "slow"]
    assert search.settings.constraint == "fast < slow"
    assert (validation.sequence, validation.topology) == ("single_pass", "backtest")
    assert validation.depends_on == ("parameter_search",)
    assert validation.input == {
        "parameters": "{parameter_search.best_parameters}",
        "data_range": "{parameter_search.held_out}",
    }
    assert validation.settings.results_storage == "memory"
    assert validation.settings.event_tracing == (
        "POSITION_OPEN",
        "POSITION_CLOSE",
        "FILL",
        "PORTFOLIO_UPDATE",
    )
    assert validation.settings.retention_policy == "sliding_window"
    assert validation.settings.sliding_window_size == 1000
    for phase in phases.values():
        assert phase.settings.data.path == str(tmp_path / "data")
        assert phase.settings.data.symbols == ("SPY",)
        assert phase.settings.data.start == "2020-01-01"
    assert loaded.experiment.data.path == str(tmp_path / "data")
    assert loaded.experiment.results_dir == "my_experiment_2024_01"


def test_the_workflows_choices_stand_where_nobody_says_else(load: Load) -> None:
    search, validation = phases_of(load(SHORT)).values()

    assert search.settings.results_storage == "disk"
    assert search.settings.event_tracing == ("POSITION_OPEN", "POSITION_CLOSE", "FILL")
    assert search.settings.retention_policy == "trade_complete"
    assert search.settings.data == validation.settings.data
    assert validation.settings.results_storage == "memory"
    assert validation.settings.retention_policy == "sliding_window"


WORKFLOW, TOP, PHASE, SET_TOP, SET_PHASE = range(5)
VALUES: Mapping[str, tuple[Any, ...]] = {
    "results_storage": ("disk", "memory", "disk", "memory", "disk"),
    "retention_policy": (
        "trade_complete",
        "minimal",
        "sliding_window",
        "trade_complete",
        "minimal",
    ),
    "sliding_window_size": (1000, 11, 22, 33, 44),
    "event_tracing": (
        ["POSITION_OPEN", "POSITION_CLOSE", "FILL"],
        ["POSITION_CLOSE"],
        ["POSITION_CLOSE", "FILL"],
        ["POSITION_CLOSE", "SIGNAL"],
        [],
    ),
}
"""What each level says: the workflow, top level, the phase's section, --set, --set of the phase."""

# top level, phase_overrides, --set, --set phase_overrides: who wins in the phase, and in the other
WINNERS = [
    ((), WORKFLOW, WORKFLOW),
    ((TOP,), TOP, TOP),
    ((PHASE,), PHASE, WORKFLOW),
    ((SET_TOP,), SET_TOP, SET_TOP),
    ((SET_PHASE,), SET_PHASE, WORKFLOW),
    ((TOP, PHASE), PHASE, TOP),
    ((TOP, SET_TOP), SET_TOP, SET_TOP),
    ((TOP, SET_PHASE), SET_PHASE, TOP),
    ((PHASE, SET_TOP), SET_TOP, SET_TOP),
    ((PHASE, SET_PHASE), SET_PHASE, WORKFLOW),
    ((SET_TOP, SET_PHASE), SET_PHASE, SET_TOP),
    ((TOP, PHASE, SET_TOP), SET_TOP, SET_TOP),
    ((TOP, PHASE, SET_PHASE), SET_PHASE, TOP),
    ((TOP, SET_TOP, SET_PHASE), SET_PHASE, SET_TOP),
    ((PHASE, SET_TOP, SET_PHASE), SET_PHASE, SET_TOP),
    ((TOP, PHASE, SET_TOP, SET_PHASE), SET_PHASE, SET_TOP),
]
OF_VALIDATION = {
    "results_storage": "memory",
    "retention_policy": "sliding_window",
    "sliding_window_size": 1000,
    "event_tracing": ["POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE"],
}
ORIGINS = {
    TOP: "experiment.yaml:3:",
    PHASE: "experiment.yaml:{line}:",
    SET_TOP: "--set {name}",
    SET_PHASE: "--set phase_overrides.parameter_search.{name}",
}


def overrides_of(name: str, levels: tuple[int, ...]) -> list[str]:
    values = {level: msgspec.json.encode(VALUES[name][level]).decode() for level in levels}
    fields = {SET_PHASE: f"phase_overrides.parameter_search.{name}", SET_TOP: name}
    return [f"{fields[level]}={values[level]}" for level in fields if level in levels]


def fields_of(name: str, levels: tuple[int, ...]) -> dict[str, Any]:
    fields = {name: VALUES[name][TOP]} if TOP in levels else {}
    if PHASE in levels:
        fields["phase_overrides"] = {"parameter_search": {name: VALUES[name][PHASE]}}
    return fields


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("levels", "winner", "elsewhere"), WINNERS)
def test_every_combination_of_overrides_resolves_as_the_table_says(
    load: Load, name: str, levels: tuple[int, ...], winner: int, elsewhere: int, tmp_path: Path
) -> None:
    lines = [f"{key}: {value}" for key, value in fields_of(name, levels).items()]
    loaded = load(SHORT + "\n".join(lines), *overrides_of(name, levels))
    search, validation = phases_of(loaded).values()
    other = OF_VALIDATION[name] if elsewhere == WORKFLOW else VALUES[name][elsewhere]
    default = "default" if name == "sliding_window_size" else "workflow train_test_optimization"
    origin = origins_of(loaded)[name].removeprefix(f"{tmp_path}/")

    assert msgspec.to_builtins(getattr(search.settings, name)) == _tuple(VALUES[name][winner])
    assert msgspec.to_builtins(getattr(validation.settings, name)) == _tuple(other)
    expected = ORIGINS.get(winner, default).format(line=2 + len(lines), name=name)
    assert origin.startswith(expected) if ".yaml" in expected else origin == expected


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize(("levels", "winner", "elsewhere"), WINNERS)
def test_a_mapping_resolves_as_a_file_does(
    vocabulary: Vocabulary, name: str, levels: tuple[int, ...], winner: int, elsewhere: int
) -> None:
    mapping = {
        "workflow": "train_test_optimization",
        "data": {"source": "sample", "symbols": ["SPY"]},
        **fields_of(name, levels),
    }
    overrides = overrides_of(name, levels)
    settings = settings_of(experiment_from_mapping(mapping, overrides, vocabulary=vocabulary))

    assert msgspec.to_builtins(getattr(settings, name)) == _tuple(VALUES[name][winner])


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("name", ["event_tracing", "retention_policy", "results_storage"])
@pytest.mark.parametrize(
    "place", ["{}: null", "phase_overrides: {{parameter_search: {{{}: null}}}}"]
)
def test_null_leaves_the_choice_to_whoever_is_below(load: Load, name: str, place: str) -> None:
    settings = settings_of(load(SHORT + place.format(name)))

    assert settings == settings_of(load(SHORT))


def test_null_from_outside_leaves_the_choice_to_the_workflow(load: Load) -> None:
    loaded = load(SHORT + "results_storage: memory", "results_storage=null")

    assert settings_of(loaded).results_storage == "disk"


def test_sections_are_merged_field_by_field(load: Load) -> None:
    text = SHORT + (
        "risk: {stop_loss_pct: 5, max_leverage: 2}\n"
        "train_test: {gap: 5}\n"
        "phase_overrides: {parameter_search: {risk: {stop_loss_pct: 7}, "
        "execution: {commission: {value: 0.001}}}}\n"
    )
    loaded = load(text, "execution.commission.minimum=2")
    search, validation = (it.settings for it in phases_of(loaded).values())

    assert search.risk == RiskConfig(stop_loss_pct=7.0, max_leverage=2.0)
    assert validation.risk == RiskConfig(stop_loss_pct=5.0, max_leverage=2.0)
    assert (search.train_test.data_split, search.train_test.gap) == (0.8, 5)
    assert (search.execution.commission.value, search.execution.commission.minimum) == (0.001, 2.0)
    assert origins_of(loaded)["risk.max_leverage"].endswith("experiment.yaml:3:40")
    assert origins_of(loaded)["risk.stop_loss_pct"].endswith("experiment.yaml:5:60")
    assert origins_of(loaded)["risk.take_profit_pct"] == "default"
    assert origins_of(loaded)["train_test.data_split"] == "workflow train_test_optimization"
    assert (
        origins_of(loaded)["execution.commission.minimum"] == "--set execution.commission.minimum"
    )


def test_a_strategy_replaces_a_strategy_as_a_whole(load: Load) -> None:
    text = SHORT + (
        "strategy: {type: sma_cross, params: {mode: long_flat}}\n"
        "phase_overrides: {validation: {strategy: {type: buy_and_hold}}}\n"
    )
    search, validation = (it.settings for it in phases_of(load(text)).values())

    assert search.strategy.params == {"mode": "long_flat"}
    assert validation.strategy == StrategyConfig(type="buy_and_hold")


def test_an_objective_replaces_an_objective_as_a_whole(load: Load) -> None:
    text = SHORT + (
        "objective_function: {name: max_drawdown, direction: maximize}\n"
        "phase_overrides: {parameter_search: {objective_function: {name: cagr}}}\n"
    )
    (objective,) = settings_of(load(text)).objectives

    assert (objective.name, objective.direction) == ("cagr", None)


@pytest.mark.parametrize("section", ["", "strategy: {type: sma_cross, params: {mode: x}}\n"])
def test_a_single_parameter_can_be_set_from_outside(load: Load, section: str) -> None:
    loaded = load(SHORT + section, "strategy.params.fast=20")
    search, validation = (it.settings for it in phases_of(loaded).values())

    assert search.strategy.params["fast"] == validation.strategy.params["fast"] == 20
    assert search.strategy.type == "sma_cross"
    assert ("mode" in search.strategy.params) is bool(section)
    assert list(search.parameter_space) == ["slow"]
    assert origins_of(loaded)["strategy.params.fast"] == "--set strategy.params.fast"


def test_a_single_parameter_of_a_single_phase_can_be_set_from_outside(load: Load) -> None:
    loaded = load(SHORT, "phase_overrides.validation.strategy.params.fast=20")
    search, validation = (it.settings for it in phases_of(loaded).values())

    assert (search.strategy.params, validation.strategy.params) == ({}, {"fast": 20})


def test_the_data_of_a_single_phase_can_be_set_from_outside(load: Load) -> None:
    loaded = load(SHORT, "phase_overrides.validation.data.start=2010-01-01")
    search, validation = (it.settings for it in phases_of(loaded).values())

    assert (search.data.start, validation.data.start) == (None, "2010-01-01")


def test_a_strategy_from_outside_replaces_those_of_the_phases(load: Load) -> None:
    text = SHORT + (
        "phase_overrides: {validation: {strategy: {type: sma_cross, params: {mode: x}}}}\n"
    )
    loaded = load(text, "strategy={type: buy_and_hold}")

    for phase in phases_of(loaded).values():
        assert phase.settings.strategy == StrategyConfig(type="buy_and_hold")


def test_a_list_that_is_changed_from_outside_wins_as_a_whole(load: Load) -> None:
    text = SHORT + (
        "event_tracing: [FILL, POSITION_CLOSE]\n"
        "phase_overrides: {validation: {event_tracing: [POSITION_CLOSE]}}\n"
    )
    loaded = load(text, "event_tracing.0=SIGNAL")

    for name, phase in phases_of(loaded).items():
        assert phase.settings.event_tracing == ("SIGNAL", "POSITION_CLOSE")
        assert origins_of(loaded, name)["event_tracing"] == "--set event_tracing.0"


def test_a_searched_setting_can_be_set_from_outside(load: Load) -> None:
    loaded = load(SHORT, "parameter_space.risk.stop_loss_pct=[2, 5]", "parameter_space.fast=[3]")
    space = settings_of(loaded).parameter_space

    assert space == {
        "fast": (3,),
        "slow": (30, 50, 100, 200),
        "risk.stop_loss_pct": (2, 5),
    }
    assert settings_of(loaded).constraint == "fast < slow"


def test_one_end_of_a_searched_range_can_be_set_from_outside(load: Load) -> None:
    text = SHORT + "parameter_space: {risk.stop_loss_pct: {min: 1, max: 5}}\n"
    loaded = load(text, "parameter_space.risk.stop_loss_pct.max=9")

    assert settings_of(loaded).parameter_space == {
        "risk.stop_loss_pct": ParameterRange(min=1, max=9)
    }


def test_an_override_of_a_whole_phase_beats_the_file(load: Load) -> None:
    text = SHORT + "phase_overrides: {validation: {seed: 1, block_size: 7}}\n"
    loaded = load(text, "phase_overrides={validation: {seed: 2}}", "seed=3")

    assert settings_of(loaded, "validation").seed == 2
    assert settings_of(loaded, "validation").block_size is None
    assert settings_of(loaded).seed == 3


def test_a_phase_with_a_long_name_keeps_its_overrides_apart(load: Load) -> None:
    phase = "a_phase_with_quite_a_long_name_that_does_not_fit_into_a_message"
    text = (
        "workflow: mine\ndata: {source: sample, symbols: [SPY]}\n"
        f"phases: {{{phase}: {{sequence: single_pass, strategy: {{type: sma_cross}}}}}}\n"
    )
    loaded = load(text, f"phase_overrides.{phase}.strategy.params.fast=3")

    assert settings_of(loaded, phase).strategy.params == {"fast": 3}


@pytest.mark.parametrize(
    ("lines", "space", "constraint"),
    [
        ("", ["fast", "slow"], "fast < slow"),
        ("strategy: {type: sma_cross}", ["fast", "slow"], "fast < slow"),
        ("strategy: {type: sma_cross, params: {fast: 3}}", ["slow"], "fast < slow"),
        ("strategy: {type: sma_cross, params: {fast: 3, slow: 9}}", [], None),
        ("strategy: {type: buy_and_hold}", [], None),
        ("parameter_space: {fast: [1, 2]}", ["fast"], None),
        ("parameter_space: {fast: [1, 2], slow: [3]}", ["fast", "slow"], None),
        ("parameter_space: {}", [], None),
        ("constraint: slow > 2 * fast", ["fast", "slow"], "slow > 2 * fast"),
        ("constraint: null", ["fast", "slow"], None),
        (
            "parameter_space: {fast: [1, 2]}\nconstraint: fast > 1",
            ["fast"],
            "fast > 1",
        ),
    ],
)
def test_the_workflows_parameter_space_fits_itself_to_the_strategy(
    load: Load, lines: str, space: list[str], constraint: str | None
) -> None:
    settings = settings_of(load(SHORT + lines))

    assert list(settings.parameter_space) == space
    assert settings.constraint == constraint


@pytest.mark.parametrize(
    "lines",
    ["strategy: {type: buy_and_hold}", "parameter_space: {}"],
)
def test_a_search_with_nothing_to_search_is_warned_about(load: Load, lines: str) -> None:
    (warning,) = load(SHORT + lines).warnings

    assert "there is only one parameter set for parameter_search to try" in str(warning)


@pytest.mark.parametrize("setting", ["data_range: {start: 0.5}", "data_range: {end: '2012-01-01'}"])
def test_a_setting_of_the_phase_itself_beats_what_another_phase_hands_over(
    load: Load, setting: str
) -> None:
    validation = phases_of(load(SHORT + f"phase_overrides: {{validation: {{{setting}}}}}"))[
        "validation"
    ]

    assert list(validation.input) == ["parameters"]
    assert validation.settings.data_range != DataRange()


def test_a_setting_of_all_phases_leaves_what_is_handed_over(load: Load) -> None:
    validation = phases_of(load(SHORT + "data_range: {end: 0.5}"))["validation"]

    assert list(validation.input) == ["parameters", "data_range"]


def test_relative_paths_of_a_phase_are_relative_to_the_file(load: Load, tmp_path: Path) -> None:
    text = SHORT + "phase_overrides: {validation: {data: {source: file, path: x, symbols: [A]}}}"

    assert settings_of(load(text), "validation").data.path == str(tmp_path / "x")


def test_what_no_phase_needs_is_not_asked_for(load: Load) -> None:
    assert load("workflow: robustness\ndata: {source: sample, symbols: [SPY]}\n").warnings == ()


def test_how_phases_hang_together_has_an_origin_too(load: Load) -> None:
    origins = origins_of(load(SHORT), "validation")

    assert origins["sequence"] == "workflow train_test_optimization"
    assert origins["input.data_range"] == "workflow train_test_optimization"
    assert "when" not in origins


def test_values_of_a_mapping_come_from_the_experiment(vocabulary: Vocabulary) -> None:
    mapping = {
        "workflow": "train_test_optimization",
        "data": {"source": "sample", "symbols": ["SPY"]},
        "risk": RiskConfig(stop_loss_pct=5.0),
    }
    origins = origins_of(experiment_from_mapping(mapping, ["seed=7"], vocabulary=vocabulary))

    assert origins["risk.stop_loss_pct"] == "the experiment"
    assert origins["seed"] == "--set seed"
    assert origins["search.method"] == "default"


class Fixed:
    """A workflow of phases that are given."""

    def __init__(self, *phases: PhaseConfig) -> None:
        self.phases = {phase.name: phase for phase in phases}

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        return self.phases


def phase(name: str, *depends_on: str, **fields: Any) -> PhaseConfig:
    return PhaseConfig(
        name=name,
        sequence="single_pass",
        config=PhaseOptions(strategy=StrategyConfig(type="buy_and_hold")),
        depends_on=depends_on,
        **fields,
    )


def order(load: Load, workflow: Workflow) -> list[str]:
    return [it.name for it in resolve_phases(load(SHORT), workflow)]


@pytest.mark.parametrize(
    ("phases", "expected"),
    [
        ([phase("a"), phase("b"), phase("c")], "abc"),
        ([phase("c"), phase("a"), phase("b")], "cab"),
        ([phase("a", "c"), phase("b"), phase("c")], "bca"),
        ([phase("d", "b"), phase("c", "a"), phase("b"), phase("a")], "bdac"),
        ([phase("a", when="b.success"), phase("b")], "ba"),
        ([phase("a", input={"parameters": "{b.best_parameters}"}), phase("b")], "ba"),
    ],
)
def test_phases_run_in_the_order_of_their_dependencies_else_of_the_workflow(
    load: Load, phases: list[PhaseConfig], expected: str
) -> None:
    assert order(load, Fixed(*phases)) == list(expected)


def test_what_a_phase_names_it_depends_on(load: Load) -> None:
    last = phase("c", "a", when="b.success and a.success", input={"parameters": "{d.best}"})
    resolved = resolve_phases(load(SHORT), Fixed(phase("a"), phase("b"), phase("d"), last))

    assert resolved[-1].depends_on == ("a", "d", "b")


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([phase("a", "b"), phase("b", "a")], "in a circle: a -> b -> a"),
        ([phase("a", "a")], "in a circle: a -> a"),
        ([phase("a", when="b.success"), phase("b", "c"), phase("c", "a")], "in a circle: "),
        (
            [phase("search"), phase("b", "serach")],
            "phase 'b' depends on 'serach', which is no phase (did you mean 'search'?)",
        ),
        ([phase("a"), phase("b", "xyz")], "'xyz', which is no phase (there are: a, b)"),
    ],
)
def test_circles_and_unknown_dependencies_are_mistakes(
    load: Load, phases: list[PhaseConfig], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        order(load, Fixed(*phases))

    assert message in str(caught.value)


def test_a_workflow_that_leaves_the_strategy_open_needs_one(load: Load) -> None:
    with pytest.raises(ConfigError, match=r"phases\.a: Object missing required field `strategy`"):
        order(load, Fixed(msgspec.structs.replace(phase("a"), config=PhaseOptions())))


def test_an_experiment_of_the_next_iteration_keeps_the_places_of_what_stayed(load: Load) -> None:
    text = SHORT + (
        "seed: 3\nsearch: {top_k: 2}\nresults_storage: memory\n"
        "phase_overrides: {validation: {results_storage: memory}}\n"
    )
    loaded = load(text, "results_storage=disk")
    narrowed = msgspec.structs.replace(
        loaded.experiment,
        parameter_space={"fast": (4, 6), "slow": (40, 60)},
        search=SearchConfig(top_k=2, method="random", max_trials=3),
    )
    again = loaded_from_experiment(narrowed, loaded)
    origins = origins_of(again)

    assert settings_of(again).parameter_space == {"fast": (4, 6), "slow": (40, 60)}
    assert settings_of(again).search == SearchConfig(top_k=2, method="random", max_trials=3)
    assert settings_of(again, "validation").results_storage == "disk"
    assert origins["results_storage"] == "--set results_storage"
    assert origins["seed"].endswith("experiment.yaml:3:7")
    assert origins["search.top_k"].endswith("experiment.yaml:4:17")
    assert origins["search.method"] == "the experiment"
    assert origins["parameter_space.fast"] == "the experiment"
    assert origins["risk.max_leverage"] == "default"
    assert again.folder == loaded.folder
    assert again.experiment == narrowed


def test_an_experiment_of_the_next_iteration_that_changed_nothing_is_the_same(load: Load) -> None:
    loaded = load(SHORT + "risk: {stop_loss_pct: 5}\nresults_storage: null\n", "seed=7")
    again = loaded_from_experiment(loaded.experiment, loaded)

    assert again == loaded


def test_fields_can_be_taken_back_in_the_next_iteration(load: Load) -> None:
    loaded = load(SHORT + "risk: {stop_loss_pct: 5}\nseed: 3\n")
    changed = msgspec.structs.replace(loaded.experiment, seed=msgspec.UNSET, risk=RiskConfig())
    again = loaded_from_experiment(changed, loaded)

    assert (settings_of(again).seed, settings_of(again).risk) == (0, RiskConfig())


def test_an_experiment_of_the_next_iteration_is_checked(load: Load) -> None:
    loaded = load(SHORT)
    wrong = msgspec.structs.replace(loaded.experiment, constraint="fast < slwo", seed=-1)
    with pytest.raises(ConfigError, match="seed: must be >= 0, got -1"):
        loaded_from_experiment(wrong, loaded)
    wrong = msgspec.structs.replace(loaded.experiment, constraint="fast < slwo")
    with pytest.raises(ConfigError, match="unknown name 'slwo'"):
        loaded_from_experiment(wrong, loaded)


def test_an_experiment_without_data_beside_it_says_so(
    vocabulary: Vocabulary, tmp_path: Path
) -> None:
    (tmp_path / "e.yaml").write_text(OF_THE_ISSUE)
    with pytest.raises(ConfigError, match=r"e\.yaml:2:1: data\.path: is missing: name a file"):
        load_experiment(tmp_path / "e.yaml", vocabulary=vocabulary)
