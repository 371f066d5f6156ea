from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import pytest

from admf.containers.config import StrategyConfig
from admf.engine.errors import ConfigError
from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseOptions
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping
from admf.workflows.vocabulary import Vocabulary

Load = Callable[..., LoadedExperiment]
Mistakes = Callable[..., list[str]]

HEAD = """\
workflow: simple_backtest
data: {source: sample, symbols: [GOOG]}
strategy: {type: sma_cross, params: {fast: 10}}
"""


def warnings(load: Load, text: str, *overrides: str) -> list[str]:
    return [
        str(warning).partition("experiment.yaml:")[2] for warning in load(text, *overrides).warnings
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "simple_backtest",
            "walk",
            "1:11: workflow: unknown name 'walk' (known: research_pipeline, robus",
        ),
        ("source: sample", "path: ''", "2:14: data.path: is missing: name a file or folder"),
        ("source: sample", "path: ~", "2:14: data.path: is missing: name a file or folder"),
        ("source: sample", "source: file", "2:1: data.path: is missing: name a file or folder"),
        ("source: sample", "source: frames", "2:16: data.source: data frames are handed over from"),
        ("[GOOG]", "[A, B, A]", "2:40: data.symbols.2: 'A' is named twice"),
        ("[GOOG]", "[A], timeframe: 1 day", "2:49: data.timeframe: '1 day' is not a timeframe"),
        ("[GOOG]", "[A], timeframe: 60m24", "2:49: data.timeframe: '60m24' is not a timeframe"),
        (
            "[GOOG]",
            "[A], timezone: Mars/Base",
            "2:48: data.timezone: unknown time zone 'Mars/Base'",
        ),
        ("[GOOG]", "[A], timezone: europe/pariss", "(did you mean 'Europe/Paris'?)"),
        ("[GOOG]", "[A], start: 19/08/2004", "2:45: data.start: '19/08/2004' is not a time"),
        ("[GOOG]", "[A], end: 2013-02-30", "2:43: data.end: '2013-02-30' is not a time"),
        ("[GOOG]", "[A], start: 1066-10-14", "2:45: data.start: '1066-10-14' is not a time"),
        (
            "[GOOG]",
            "[A], start: 2010-01-02, end: 2010-01-01",
            "2:62: data.end: is before start (2010-01-02)",
        ),
        (
            "[GOOG]",
            "[A], timezone: America/New_York, start: 2010-01-01, end: 2010-01-01T04:59Z",
            "data.end: is before start (2010-01-01)",
        ),
        ("fast: 10", "fsat: 10", "3:44: strategy.params.fsat: unknown parameter"),
        ("fast: 10", "fast: x", "3:44: strategy.params.fast: wrong type"),
        ("sma_cross", "sma_crss", "3:18: strategy.type: unknown strategy"),
    ],
)
def test_settings_that_cannot_run_are_refused(
    mistakes: Mistakes, old: str, new: str, expected: str
) -> None:
    (mistake,) = mistakes(HEAD.replace(old, new))

    assert expected in mistake


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "retention_policy: minmal",
            "4:19: retention_policy: unknown name 'minmal' (did you mean 'mi",
        ),
        ("retention_policy: all", "(known: trade_complete, sliding_window, minimal)"),
        (
            "results_dir: ../up",
            "4:14: results_dir: part of folder '../up', '..' starts or ends with",
        ),
        ("results_dir: /tmp", "4:14: results_dir: part of folder '/tmp', '' is empty"),
        ("results_dir: 'a b'", "4:14: results_dir: folder 'a b' contains ' '"),
        ("results_dir: ''", "4:14: results_dir: folder '' is empty"),
    ],
)
def test_names_that_cannot_be_used_are_refused(
    mistakes: Mistakes, line: str, expected: str
) -> None:
    (mistake,) = mistakes(HEAD + line)

    assert expected in mistake


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        ("trace: {store: all}\nresults_storage: memory", "4:16: trace.store: "),
        ("results_storage: memory\ntrace: {store: retained}", "5:16: trace.store: "),
        (
            "trace: {store: all}\nphase_overrides: {backtest: {results_storage: memory}}",
            "4:16: trace.store: ",
        ),
        (
            "results_storage: memory\nphase_overrides: {backtest: {trace: {store: all}}}",
            "5:45: phase_overrides.backtest.trace.store: ",
        ),
    ],
)
def test_traces_are_no_files_of_a_phase_in_memory(
    mistakes: Mistakes, lines: str, place: str
) -> None:
    (mistake,) = mistakes(HEAD + lines)

    assert place in mistake
    assert "set results_storage to 'disk' or 'auto', or store to 'none'" in mistake


@pytest.mark.parametrize(
    "lines",
    [
        "trace: {store: all}",
        "trace: {store: retained}\nresults_storage: auto",
        "trace: {store: none}\nresults_storage: memory",
        "trace: {store: all}\nphase_overrides: {backtest: {results_storage: disk}}",
    ],
)
def test_traces_are_files_of_any_other_phase(load: Load, lines: str) -> None:
    assert load(HEAD + lines).warnings == ()


@pytest.mark.parametrize(
    "change",
    [
        "start: 2010-01-01, end: 2010-01-01",
        "start: 2010-01-01T09:30, end: 2010-01-01",
        "start: 2010-01-01T23:00:00-05:00, end: 2010-01-02T04:00Z",
        "timezone: America/New_York, start: 2010-01-01, end: 2010-01-01T05:00Z",
        "timezone: America/New_York, timeframe: 5m",
        "start: null, end: null, timezone: null, timeframe: null",
    ],
)
def test_ranges_that_hold_an_instant_are_taken(load: Load, change: str) -> None:
    assert load(HEAD.replace("[GOOG]", f"[GOOG], {change}")).warnings == ()


def test_both_ends_and_the_timeframe_are_judged_separately(mistakes: Mistakes) -> None:
    text = HEAD.replace("[GOOG]", "[A], start: x, end: y, timeframe: z")

    assert [line.split()[1] for line in mistakes(text)] == [
        "data.start:",
        "data.end:",
        "data.timeframe:",
    ]


@pytest.mark.parametrize(
    "data", ["", "data: 7", "data: []", "data: {source: 7, symbols: 7, start: 7}"]
)
@pytest.mark.parametrize(
    "strategy", ["", "strategy: 7", "strategy: {type: 7}", "strategy: {params: 7}"]
)
def test_checks_pass_over_what_has_the_wrong_type(
    mistakes: Mistakes, data: str, strategy: str
) -> None:
    reported = mistakes(
        f"workflow: [x]\n{data}\n{strategy}\nevent_tracing: {{}}\nstrict: true\nresults_dir: 7"
    )

    assert not [line for line in reported if "must be" not in line and "is missing" not in line]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "risk: {stop_loss_pct: 0.05}",
            "4:23: risk.stop_loss_pct: 0.05 means 0.05 %; for 5 % write 5",
        ),
        ("risk: {max_drawdown_pct: 0.025}", "0.025 means 0.025 %; for 2.5 % write 2.5"),
        (
            "event_tracing: [FILL, fil]",
            "4:23: event_tracing.1: unknown name 'fil' (did you mean 'FILL'?)",
        ),
        (
            "event_tracing: [position_open]",
            "4:17: event_tracing.0: unknown name 'position_open' (did you mean 'POSITION_OPEN'?)",
        ),
        (
            "event_tracing: [XYZZY]",
            "4:17: event_tracing.0: unknown name 'XYZZY' (known: BAR, SIGNAL, FILL, POSITION_OPEN",
        ),
        (
            "portfolio: {sizing: {value: 2}}",
            "4:29: portfolio.sizing.value: 2.0 times equity is more than risk.max_leverage, 1.0",
        ),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(load: Load, line: str, expected: str) -> None:
    (warning,) = warnings(load, HEAD + line)

    assert expected in warning


def test_an_unused_path_is_a_warning(load: Load) -> None:
    text = HEAD.replace("source: sample", "source: sample, path: data")

    assert warnings(load, text) == ["2:30: data.path: is not used with source 'sample'"]


def test_warnings_come_in_the_order_of_the_file(load: Load) -> None:
    text = (
        HEAD + "portfolio: {sizing: {value: 2}}\nevent_tracing: [nope]\nrisk: {stop_loss_pct: 0.05}"
    )

    assert [line.partition(":")[0] for line in warnings(load, text)] == ["4", "5", "6"]


@pytest.mark.parametrize(
    "line",
    [
        "risk: {stop_loss_pct: 0.1, take_profit_pct: 5}",
        "portfolio: {sizing: {type: fixed_units, value: 100}}",
        "portfolio: {sizing: {value: 2}}\nrisk: {max_leverage: 2}",
        "portfolio: {sizing: {value: 2}}\nrisk: {max_leverage: null}",
        "event_tracing: []",
    ],
)
def test_usual_settings_give_no_warning(load: Load, line: str) -> None:
    assert warnings(load, HEAD + line) == []


def test_an_unknown_event_is_a_mistake_under_strict(mistakes: Mistakes) -> None:
    assert mistakes(HEAD + "event_tracing: [FILLS]\nstrict: true\n") == [
        "4:17: event_tracing.0: unknown name 'FILLS' (did you mean 'FILL'?)"
    ]


@pytest.mark.parametrize(
    ("lines", "warned"),
    [
        ("event_tracing: [FILL]", True),
        ("event_tracing: [FILL]\nretention_policy: minimal", True),
        ("event_tracing: [FILL]\nretention_policy: sliding_window", False),
        ("event_tracing: [FILL, POSITION_CLOSE]", False),
        ("event_tracing: []", False),
    ],
)
def test_tracing_trades_that_are_never_seen_to_close_is_warned_about(
    load: Load, lines: str, *, warned: bool
) -> None:
    warnings = [str(it) for it in load(HEAD + lines).warnings]

    assert any("without POSITION_CLOSE" in it for it in warnings) == warned


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        ("", [], "1:1: strategy: is missing: the workflow brings none along"),
        (
            "",
            ["strategy.params.fast=5"],
            "--set strategy.params.fast: strategy.type: is missing",
        ),
        (
            "phase_overrides: {backtest: {seed: 3}}",
            [],
            "1:1: strategy: is missing: the workflow brings none along",
        ),
    ],
)
def test_a_workflow_that_brings_no_strategy_along_needs_one(
    mistakes: Mistakes, text: str, overrides: list[str], expected: str
) -> None:
    head = "workflow: simple_backtest\ndata: {source: sample, symbols: [GOOG]}\n"

    assert mistakes(head + text, *overrides) == [expected]


class Careless:
    """A workflow that chooses what does not exist."""

    def get_phases(self, config: Experiment) -> Mapping[str, PhaseConfig]:
        strategy = StrategyConfig(type="sma_cross", params={"fsat": 1})
        options = PhaseOptions(strategy=strategy, retention_policy="minmal")
        return {"a": PhaseConfig(name="a", sequence="twice", output=("bset",), config=options)}


def test_mistakes_of_a_workflow_are_told_as_such(vocabulary: Vocabulary) -> None:
    vocabulary = dataclasses.replace(
        vocabulary, workflows=["careless"], workflow=lambda *_: Careless()
    )
    mapping = {"workflow": "careless", "data": {"source": "sample", "symbols": ["A"]}}
    with pytest.raises(ConfigError) as caught:
        experiment_from_mapping(mapping, vocabulary=vocabulary)

    found = [line.partition(" (")[0] for line in str(caught.value).splitlines()]
    assert found == [
        "phases.a.sequence: phase 'a': unknown name 'twice'",
        "phases.a.output.0: phase 'a': a phase has no result 'bset'",
        "workflow careless: retention_policy: unknown name 'minmal'",
        "workflow careless: strategy.params.fsat: unknown parameter",
    ]
