from __future__ import annotations

import json
from collections.abc import Iterable

import pytest

from admf.engine.errors import ConfigError, Problem, StorageError
from admf.engine.storage import LocalStorage
from admf.workflows.runner import Runner


def test_a_run_ends_with_a_readable_summary(admf, project):
    outcome = admf("run", "experiment.yaml", "--quiet")
    assert (outcome.code, outcome.err) == (0, "")
    words = " ".join(outcome.out.split())
    for text in (
        "completed",
        "backtest sma_cross fast=2 slow=5",
        "GOOG 1d, 2024-01-01 to 2024-03-04, 60 bars",
        "Final equity ",
        "Total return ",
        "CAGR ",
        "Sharpe ratio ",
        "Max drawdown ",
        "Trade count ",
        "Win rate ",
        "Exposure time ",
        "Total commission 0.00",
        "Rejected orders none",
        "Open positions ",
        "results are in results/study",
    ):
        assert text in words


def test_the_summary_names_refused_orders_and_open_positions(admf, project, use_strategy):
    use_strategy(
        "if ctx.bar_index == 1: ctx.buy(1_000)",
        "if ctx.bar_index == 5: ctx.buy(2.5)",
    )
    out = admf("run", "experiment.yaml", "--quiet", "--set", "portfolio.initial_capital=1000").out
    assert "Rejected orders  1 (1 max_leverage)" in out
    assert "Open positions   GOOG long 2.5 at 106.00, now " in out


def test_the_benchmark_adds_alpha_and_beta(admf, project):
    out = admf("run", "experiment.yaml", "--quiet", "--set", "benchmark=GOOG").out
    assert "Alpha" in out
    assert "Beta" in out


def test_progress_is_a_plain_line_without_a_terminal_and_absent_with_quiet(admf, project):
    assert admf("run", "experiment.yaml").err.startswith("backtest: 60 of 60 bars, ")
    assert admf("run", "experiment.yaml", "--overwrite", "--quiet").err == ""


def test_overrides_apply_in_order(admf, project):
    words = ["--set", "strategy.params.fast=3", "--set=strategy.params.fast=4", "--set", "seed=9"]
    assert admf("run", "experiment.yaml", "--quiet", *words).code == 0
    run = json.loads((project / "results" / "study" / "run.json").read_text())
    assert run["seed"] == 9
    assert run["experiment"]["strategy"]["params"] == {"fast": 4, "slow": 5}


def test_a_mistake_in_an_override_names_it(admf, project):
    outcome = admf("run", "experiment.yaml", "--set", "strategy.params.fats=3")
    assert outcome.code == 3
    assert outcome.err.startswith("--set strategy.params.fats: ")


def test_results_go_below_the_results_root(admf, project):
    assert admf("run", "experiment.yaml", "--quiet", "--results-root", "other/place").code == 0
    assert (project / "other" / "place" / "study" / "run.json").exists()
    assert not (project / "results").exists()


def test_existing_results_are_refused_and_replaced_only_when_told_to(admf, project):
    assert admf("run", "experiment.yaml", "--quiet").code == 0
    file = project / "results" / "study" / "run.json"
    before = file.read_bytes()
    refused = admf("run", "experiment.yaml", "--quiet")
    assert refused.code == 6
    assert "--overwrite" in refused.err
    assert refused.out == ""
    assert file.read_bytes() == before
    assert admf("run", "experiment.yaml", "--quiet", "--overwrite").code == 0
    assert file.read_bytes() != before


def test_results_in_memory_are_part_of_the_document(admf, project):
    outcome = admf("run", "experiment.yaml", "--json", "--set", "results_storage=memory")
    assert outcome.document["results_path"] is None
    phase = outcome.document["phases"]["backtest"]
    held = phase["phase_results"]
    assert "containers/portfolio_001_results.json" in held["files"]
    assert {trade["portfolio"] for trade in held["trades"]} == {
        "containers/portfolio_001_results.json"
    }
    assert not (project / "results").exists()


def test_results_in_memory_are_summarised(admf, project):
    outcome = admf("run", "experiment.yaml", "--quiet", "--set", "results_storage=memory")
    assert "Final equity" in outcome.out
    assert "results are in" not in outcome.out


def test_warnings_go_to_standard_error(admf, project):
    outcome = admf("run", "experiment.yaml", "--json", "--set", "event_tracing=[FIL]")
    assert outcome.code == 0
    assert "warning: --set event_tracing: event_tracing.0: unknown name 'FIL'" in outcome.err
    assert outcome.document["status"] == "completed"


def test_what_user_code_prints_does_not_mix_with_the_document(admf, project, use_strategy):
    use_strategy("print('noise at', bar.ts)")
    with (project / "mine.py").open("a") as file:
        file.write("print('noise at import')\n")
    outcome = admf("run", "experiment.yaml", "--json")
    assert outcome.document["status"] == "completed"
    assert "noise at import" in outcome.err
    assert "noise at 1704067200000000000" in outcome.err


def test_the_log_is_shown_on_demand_and_never_on_standard_output(admf, project):
    outcome = admf("run", "experiment.yaml", "--json", "--verbose")
    assert "[info] window_closed" in outcome.err
    assert "phase=backtest" in outcome.err
    assert outcome.document["status"] == "completed"
    assert "window_closed" not in admf("run", "experiment.yaml", "--overwrite").err


def test_errors_found_after_loading_get_the_place_of_their_field(admf, project, monkeypatch):
    async def refuse(*_: object) -> None:
        raise ConfigError([Problem("does not fit", field="strategy.params.slow")])

    monkeypatch.setattr(Runner, "prepare", refuse)
    outcome = admf("run", "experiment.yaml", "--quiet")
    assert outcome.code == 3
    assert outcome.err == "experiment.yaml:3:53: strategy.params.slow: does not fit\n"


def test_a_full_disk_is_one_storage_error(admf, project, monkeypatch):
    write = LocalStorage.write_atomic

    async def run_out_of_space(self: LocalStorage, path: str, chunks: Iterable[bytes]) -> None:
        if "backtest" in path:
            raise StorageError(f"cannot write {path}: no space left")
        await write(self, path, chunks)

    monkeypatch.setattr(LocalStorage, "write_atomic", run_out_of_space)
    outcome = admf("run", "experiment.yaml", "--quiet", "--json")
    assert outcome.code == 6
    assert outcome.err.splitlines() == [f"error: {outcome.document['error']}"]
    assert "no space left" in outcome.err
    run = json.loads((project / "results" / "study" / "run.json").read_text())
    assert run["status"] == "failed"


def test_a_mistake_of_our_own_keeps_its_traceback(admf, project, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Runner, "load", fail)
    with pytest.raises(ZeroDivisionError):
        admf("run", "experiment.yaml")
