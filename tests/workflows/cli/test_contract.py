"""The contract of files and commands, on the bundled market data."""

from __future__ import annotations

import gzip
import json
from datetime import datetime
from importlib import resources

import pytest

from admf.containers.metrics.catalogue import METRICS
from admf.containers.sources import SAMPLE_FILE

EXPERIMENT = """\
workflow: simple_backtest
data: {SOURCE, symbols: [GOOG], timeframe: 1d, start: "2004-08-19", end: "2013-03-01"}
strategy: {type: sma_cross, params: {fast: 10, slow: 50, mode: long_flat}}
portfolio: {initial_capital: 10000, sizing: {type: percent_equity, value: 1.0}}
risk: {stop_loss_pct: null, take_profit_pct: null, trailing_stop_pct: null,
       max_drawdown_pct: null, max_leverage: 1.0}
execution: {fill_on: next_open, commission: {type: rate, value: 0.001}, slippage_bps: 5,
            close_at_end: false}
event_tracing: [POSITION_OPEN, POSITION_CLOSE, FILL, PORTFOLIO_UPDATE]
retention_policy: trade_complete
results_storage: disk
results_dir: goog
seed: 7
"""
BARS = 2_148
TRADES = 19


def _goog_as_csv() -> str:
    """Return the bundled bars of GOOG as a file of their own."""
    sample = resources.files("admf.containers") / "sample" / SAMPLE_FILE
    header, *lines = gzip.decompress(sample.read_bytes()).decode().splitlines()
    assert header == "symbol,date,open,high,low,close,volume"
    rows = [line.removeprefix("GOOG,") for line in lines if line.startswith("GOOG,")]
    return "\n".join(["timestamp,open,high,low,close,volume", *rows]) + "\n"


@pytest.fixture(params=["source: sample", "path: data"])
def outcome(request, admf, tmp_path):
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT.replace("SOURCE", request.param))
    if request.param == "path: data":
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "GOOG.csv").write_text(_goog_as_csv())
    return admf("run", "experiment.yaml", "--json")


@pytest.fixture
def portfolio(outcome, tmp_path):
    file = tmp_path / "results/goog/backtest/containers/portfolio_001_results.json"
    return json.loads(file.read_text())


def test_the_document_names_status_run_results_and_phases(outcome, tmp_path):
    assert outcome.code == 0
    document = outcome.document
    assert list(document) == ["status", "run_id", "results_path", "phases"]
    assert document["status"] == "completed"
    assert document["run_id"].startswith("goog-")
    assert document["results_path"] == str(tmp_path / "results" / "goog")
    assert list(document["phases"]) == ["backtest"]


def test_the_summary_of_the_phase_has_the_known_figures(outcome, tmp_path):
    phase = outcome.document["phases"]["backtest"]
    assert phase["success"] is True
    assert phase["results_saved"] is True
    assert phase["results_path"] == str(tmp_path / "results" / "goog" / "backtest")
    summary = phase["summary"]
    assert summary["total_trades"] == TRADES
    assert summary["failed"] == 0
    assert round(summary["metrics"]["final_equity"], 2) == 35487.31


def test_the_result_of_the_portfolio_has_every_field(portfolio):
    assert portfolio["schema_version"] == 1
    assert portfolio["container_id"] == "portfolio_001"
    assert portfolio["role"] == "portfolio"
    assert portfolio["workflow_id"] == "simple_backtest"
    assert portfolio["phase_name"] == "backtest"
    assert portfolio["window_id"] == ""
    assert portfolio["status"] == "completed"
    assert portfolio["periods_per_year"] == 252
    expected = {"fast": 10, "slow": 50, "mode": "long_flat"}
    assert expected.items() <= portfolio["parameters"].items()
    assert portfolio["data"]["symbols"] == ["GOOG"]
    assert portfolio["data"]["bars"] == BARS
    assert list(portfolio["metrics"]) == [info.name for info in METRICS]


def test_the_known_backtest_is_reproduced_to_the_cent(portfolio):
    assert round(portfolio["metrics"]["final_equity"], 2) == 35487.31
    assert portfolio["metrics"]["trade_count"] == len(portfolio["trades"]) == TRADES
    (position,) = portfolio["open_positions"]
    assert position["symbol"] == "GOOG"
    assert position["side"] == "long"


def test_trades_and_curve_are_complete(portfolio):
    wanted = {
        *("id", "symbol", "side", "quantity", "entry_time", "entry_price", "exit_time"),
        *("exit_price", "pnl", "return", "commission", "bars_held", "mae", "mfe", "exit_reason"),
    }
    assert all(set(trade) == wanted for trade in portfolio["trades"])
    curve = portfolio["equity_curve"]
    assert len(curve["ts"]) == len(curve["equity"]) == BARS
    assert curve["equity"][-1] == portfolio["metrics"]["final_equity"]


def test_the_tracer_accounts_for_every_event(portfolio):
    tracer = portfolio["tracer"]
    assert tracer["policy"] == "trade_complete"
    assert tracer["by_type"] == {
        "FILL": 2 * TRADES + 1,
        "PORTFOLIO_UPDATE": BARS,
        "POSITION_CLOSE": TRADES,
        "POSITION_OPEN": TRADES + 1,
    }
    assert tracer["observed"] == sum(tracer["by_type"].values())
    assert tracer["observed"] == tracer["retained"] + tracer["dropped"]


def test_times_are_iso_8601_in_utc(portfolio):
    times = [
        *portfolio["equity_curve"]["ts"],
        *(trade[key] for trade in portfolio["trades"] for key in ("entry_time", "exit_time")),
        portfolio["data"]["start"],
        portfolio["data"]["end"],
    ]
    assert all(time.endswith("Z") and datetime.fromisoformat(time) for time in times)
    assert times[0] == "2004-08-19T00:00:00Z"
