from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admf.containers.config import (
    CommissionConfig,
    DataConfig,
    ExecutionConfig,
    PortfolioConfig,
    RiskConfig,
    SizingConfig,
    StrategyConfig,
)
from admf.engine.errors import ConfigError, Problem
from admf.workflows.experiment import Experiment
from admf.workflows.loading import LoadedExperiment, experiment_from_mapping, load_experiment
from admf.workflows.vocabulary import Vocabulary

Load = Callable[..., LoadedExperiment]
Mistakes = Callable[..., list[str]]

CONTRACT = """\
workflow: simple_backtest                    # one phase, `backtest`
data: {path: data, symbols: [GOOG], timeframe: 1d, start: "2004-08-19", end: "2013-03-01"}
strategy: {type: sma_cross, params: {fast: 10, slow: 50, mode: long_flat}}
portfolio: {initial_capital: 10000, sizing: {type: percent_equity, value: 1.0}}
risk: {stop_loss_pct: null, take_profit_pct: null, trailing_stop_pct: null, \
max_drawdown_pct: null, max_leverage: 1.0}
execution: {fill_on: next_open, commission: {type: rate, value: 0.001}, slippage_bps: 5, \
close_at_end: false}
event_tracing: [POSITION_OPEN, POSITION_CLOSE, FILL, PORTFOLIO_UPDATE]
retention_policy: trade_complete
results_storage: disk
results_dir: goog
seed: 7
"""

SIZING_TYPE = (
    "must be one of fixed_notional, fixed_units, percent_equity, volatility_target, "
    "got the text 'percent_equty' (did you mean 'percent_equity'?)"
)

SHORTEST = """\
workflow: simple_backtest
data: {source: sample, symbols: [GOOG]}
strategy: {type: buy_and_hold}
"""


def test_the_file_of_the_contract_loads_field_by_field(load: Load, tmp_path: Path) -> None:
    loaded = load(CONTRACT)

    assert loaded.warnings == ()
    assert loaded.folder == tmp_path
    assert loaded.experiment == Experiment(
        workflow="simple_backtest",
        data=DataConfig(
            path=str(tmp_path / "data"),
            symbols=("GOOG",),
            timeframe="1d",
            start="2004-08-19",
            end="2013-03-01",
        ),
        strategy=StrategyConfig(
            type="sma_cross", params={"fast": 10, "slow": 50, "mode": "long_flat"}
        ),
        portfolio=PortfolioConfig(
            initial_capital=10_000.0, sizing=SizingConfig(type="percent_equity", value=1.0)
        ),
        risk=RiskConfig(max_leverage=1.0),
        execution=ExecutionConfig(
            fill_on="next_open",
            commission=CommissionConfig(type="rate", value=0.001),
            slippage_bps=5.0,
            close_at_end=False,
        ),
        event_tracing=("POSITION_OPEN", "POSITION_CLOSE", "FILL", "PORTFOLIO_UPDATE"),
        retention_policy="trade_complete",
        results_storage="disk",
        results_dir="goog",
        seed=7,
    )


def test_an_experiment_is_plain_data_that_encodes_to_bytes(load: Load) -> None:
    experiment = load(CONTRACT).experiment

    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(experiment), type=Experiment) == experiment


def test_what_is_left_out_keeps_its_default(load: Load) -> None:
    assert load(SHORTEST).experiment == Experiment(
        workflow="simple_backtest",
        data=DataConfig(source="sample", symbols=("GOOG",)),
        strategy=StrategyConfig(type="buy_and_hold"),
    )


def test_numbers_become_what_their_field_is(load: Load) -> None:
    experiment = load(
        SHORTEST + "portfolio: {initial_capital: 10000}\nperiods_per_year: 252\n"
    ).experiment

    assert isinstance(experiment.portfolio.initial_capital, float)
    assert isinstance(experiment.periods_per_year, float)


def test_many_mistakes_of_one_file_are_reported_together_in_its_order(mistakes: Mistakes) -> None:
    text = """\
workflow: simple_backtst
data:
  symbols: GOOG
  start: "2014-08-19"
  end: 2013-03-01
strategy:
  params: {fast: 10, slow: 50}
portfolio: {initial_capital: -5, sizing: {type: percent_equty, value: "10_000"}}
symbols: [A]
risk:
  stop_loss_pct: 100
execution: {commission: {type: rate, value: .nan}, close_at_end: yes}
seed: 1e3
seed: 7
"""
    assert mistakes(text, "block_size=0") == [
        "1:11: workflow: unknown name 'simple_backtst' (did you mean 'simple_backtest'?)",
        "2:1: data.path: is missing: name a file or folder, or write 'source: sample'",
        "3:12: data.symbols: must be a list, got the text 'GOOG' (write [GOOG])",
        "5:8: data.end: is before start (2014-08-19)",
        "6:1: strategy.type: is missing",
        "8:30: portfolio.initial_capital: must be > 0, got -5",
        "8:49: portfolio.sizing.type: " + SIZING_TYPE,
        "8:71: portfolio.sizing.value: must be a number, got the text '10_000' (write 10000)",
        "9:1: symbols: unknown field (it belongs in the section 'data')",
        "11:18: risk.stop_loss_pct: must be < 100, got 100",
        "12:45: execution.commission.value: must be a finite number, got nan",
        "12:66: execution.close_at_end: must be true or false, got the text 'yes' (write true)",
        "14:1: seed: duplicate key; the first is on line 13",
        "--set block_size: block_size: must be > 0, got 0",
    ]


@pytest.mark.parametrize("text", ["", "# only a remark\n", "---\n", "null"])
def test_an_empty_file_is_refused(mistakes: Mistakes, text: str) -> None:
    (message,) = mistakes(text)

    assert message.endswith("is empty; an experiment has fields, at least workflow and data")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("- a\n- b\n", "1:1: holds a list; an experiment has fields"),
        ("\nsimple_backtest\n", "2:1: holds the text 'simple_backtest'; an experiment"),
        ("7", "1:1: holds 7; an experiment"),
    ],
)
def test_a_file_without_fields_is_refused(mistakes: Mistakes, text: str, found: str) -> None:
    assert mistakes(text, "seed=7")[0].startswith(found)


def test_a_mistake_in_a_file_without_fields_is_not_lost(mistakes: Mistakes) -> None:
    assert mistakes("[.nan, 2]") == [
        "1:1: holds a list; an experiment has fields, at least workflow and data",
        "1:2: 0: must be a finite number, got nan",
    ]


def test_a_field_is_complained_about_once(mistakes: Mistakes) -> None:
    assert mistakes(SHORTEST + "seed: !!python/name:os.system x\n") == [
        "4:7: seed: the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed; remove it"
    ]


def test_a_flood_of_mistakes_is_cut_short(mistakes: Mistakes) -> None:
    reported = mistakes(SHORTEST + "\n".join(f"wrong_{n}: 1" for n in range(70)))

    assert len(reported) == 51
    assert reported[0].startswith("4:1: wrong_0: unknown field")
    assert reported[-1].endswith("and 20 more")


def test_a_flood_of_warnings_is_cut_short(load: Load) -> None:
    names = ", ".join(f"EVENT_{n}" for n in range(70))
    warnings = load(SHORTEST + f"event_tracing: [{names}]").warnings

    assert len(warnings) == 51
    assert str(warnings[-1]).endswith(": and 20 more")


def test_the_path_of_the_data_is_relative_to_the_file(
    vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "x.yaml").write_text(CONTRACT)
    monkeypatch.chdir(tmp_path)
    loaded = load_experiment("study/x.yaml", vocabulary=vocabulary)
    elsewhere = load_experiment("study/x.yaml", ["data.path=/else"], vocabulary=vocabulary)

    assert loaded.experiment.data.path == str(folder / "data")
    assert elsewhere.experiment.data.path == "/else"


def test_files_are_named_as_the_user_named_them(
    vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.yaml").write_text("workflow: [")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^x\.yaml:2:1: is not YAML"):
        load_experiment("x.yaml", vocabulary=vocabulary)


def test_overrides_change_the_experiment(load: Load) -> None:
    loaded = load(
        CONTRACT, "data.start=2005-01-01", "strategy.params.fast=20", "data.symbols.0=IBM"
    )

    assert loaded.experiment.data.start == "2005-01-01"
    assert loaded.experiment.strategy.params["fast"] == 20
    assert loaded.experiment.data.symbols == ("IBM",)


def test_mistakes_keep_their_places_beside_overrides(mistakes: Mistakes) -> None:
    text = CONTRACT.replace("seed: 7", "seed: -7")

    reported = mistakes(text, "data.strat=2005", "oops", "risk.max_leverage.x=1", "data.start=soon")

    assert reported[0] == "11:7: seed: must be >= 0, got -7"
    assert reported[1] == "--set: expected 'field.name=value', got 'oops'"
    assert reported[2].startswith("--set risk.max_leverage.x: risk.max_leverage.x: risk.max_lev")
    assert reported[3].startswith("--set data.strat: data.strat: unknown field (did you mean 'st")
    assert reported[4].startswith("--set data.start: data.start: 'soon' is not a time")
    assert len(reported) == 5


def test_an_override_mends_the_file(load: Load, mistakes: Mistakes) -> None:
    text = CONTRACT.replace("seed: 7", "seed: x")

    assert len(mistakes(text)) == 1
    assert load(text, "seed=8").experiment.seed == 8


def test_an_error_found_later_is_placed(load: Load, tmp_path: Path) -> None:
    loaded = load(CONTRACT, "data.end=2012-01-01")
    late = ConfigError(
        [Problem("no such day", field="data.start"), Problem("never", field="data.end")]
    )

    assert str(loaded.located(late)) == (
        f"{tmp_path}/experiment.yaml:2:59: data.start: no such day\n--set data.end: data.end: never"
    )


def test_a_mapping_is_checked_as_a_file_is(vocabulary: Vocabulary) -> None:
    mapping = {
        "workflow": "simple_backtest",
        "data": DataConfig(path="data", symbols=("GOOG",)),
        "strategy": {"type": "sma_cross", "params": {"fast": 10}},
        "risk": {"stop_loss_pct": 5},
    }
    loaded = experiment_from_mapping(mapping, ["seed=7"], vocabulary=vocabulary)

    assert loaded.folder is None
    assert loaded.experiment.data.path == "data"
    assert loaded.experiment.risk.stop_loss_pct == 5.0
    assert loaded.experiment.seed == 7


def test_mistakes_of_a_mapping_are_named_by_field(vocabulary: Vocabulary) -> None:
    mapping = {
        "workflow": "simple_backtest",
        "data": {"symbols": ("GOOG", 7), "start": date(2010, 1, 1), "end": date(2009, 1, 1)},
        "strategy": {"type": "sma_crss"},
        "sede": object(),
    }
    with pytest.raises(ConfigError) as caught:
        experiment_from_mapping(mapping, vocabulary=vocabulary)

    assert str(caught.value).splitlines() == [
        "sede: must be plain data, got object",
        "data.symbols.1: must be text, got 7 (put it in quotes)",
        "data.path: is missing: name a file or folder, or write 'source: sample'",
        "data.end: is before start (2010-01-01)",
        "strategy.type: unknown strategy, near ['sma_cross']",
    ]


def test_frames_are_for_python_only(vocabulary: Vocabulary, mistakes: Mistakes) -> None:
    mapping = {
        "workflow": "simple_backtest",
        "data": {"source": "frames", "symbols": ["GOOG"]},
        "strategy": {"type": "buy_and_hold"},
    }

    assert experiment_from_mapping(mapping, vocabulary=vocabulary).experiment.data.path is None
    assert mistakes(SHORTEST.replace("sample", "frames")) == [
        "2:16: data.source: data frames are handed over from Python; a file says 'file' or 'sample'"
    ]


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys, structlog; before = set(sys.modules)\n"  # structlog brings rich with it
        "import admf.workflows.loading, admf.workflows.init_project\n"
        "print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - our own interpreter

    heavy = {"polars", "pandas", "pyarrow", "rich", "jsonschema", "cyclopts", "talib"}
    assert not heavy & set(done.stdout.split())


def _load_or_refuse(load: Load, text: str | bytes, *overrides: str) -> None:
    try:
        loaded = load(text, *overrides)
    except ConfigError:
        return
    msgspec.json.encode(loaded.experiment)


fuzzing = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100
)


@fuzzing
@given(st.binary(max_size=200))
def test_any_bytes_load_or_are_refused(load: Load, content: bytes) -> None:
    _load_or_refuse(load, content)


@fuzzing
@given(st.text(max_size=200))
def test_any_text_loads_or_is_refused(load: Load, content: str) -> None:
    _load_or_refuse(load, content.encode("utf-8", "surrogatepass"))


@fuzzing
@given(
    st.integers(0, len(CONTRACT)),
    st.integers(0, 8),
    st.text("{}[]:,&*!|>'\"#%-? \n\t0a.\0é", max_size=8),
)
def test_any_typo_loads_or_is_refused(load: Load, at: int, removed: int, typed: str) -> None:
    _load_or_refuse(load, CONTRACT[:at] + typed + CONTRACT[at + removed :])


FIELDS = """
    workflow data data.source data.path data.symbols data.symbols.0 data.timeframe data.start
    data.end data.timezone strategy strategy.type strategy.params strategy.params.fast
    portfolio portfolio.initial_capital portfolio.sizing portfolio.sizing.type
    portfolio.sizing.value portfolio.sizing.whole_units risk risk.stop_loss_pct
    risk.max_leverage execution execution.fill_on execution.commission execution.slippage_bps
    event_tracing event_tracing.0 retention_policy sliding_window_size results_storage
    results_dir seed block_size periods_per_year benchmark strict
"""

VALUES = """
    null true yes 0 -1 7 1.5 1e300 -0.0 0.05 x '' [] {} [x] [[1]] {a:1} 2004-08-19 0001-01-01
    9999-12-31T23:59:59+14:00 1d 1mo UTC Europe/Paris ../x C:\\x sample frames file sma_cross a.b:C
    9223372036854775807 FILL volatility_target memory é
"""

settings_of_fields = st.builds(
    "{}={}".format,
    st.sampled_from(FIELDS.split()),
    st.sampled_from(VALUES.split()) | st.text(max_size=12),
)


@fuzzing
@given(st.lists(settings_of_fields, max_size=6))
def test_any_field_set_to_any_value_loads_or_is_refused(load: Load, overrides: list[str]) -> None:
    _load_or_refuse(load, CONTRACT, *overrides)
