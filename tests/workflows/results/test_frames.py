"""Frames of metrics, trades and equity, against the files read by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from admf.containers.metrics.catalogue import METRICS
from admf.engine.errors import ConfigError
from admf.workflows.results import RunResults, open_run
from tests.workflows.results.conftest import Calls, lanes_by_hand, load, seal

PHASES = ["sweep", "walk", "paths"]
PARAMETERS = ["fast", "slow", "mode", "signal", "risk.stop_loss_pct"]
TRADE = [
    "id", "symbol", "side", "quantity", "entry_time", "exit_time", "entry_price", "exit_price",
    "pnl", "return", "commission", "bars_held", "mae", "mfe", "exit_reason",
]  # fmt: skip
Chosen = Callable[[dict[str, Any]], bool]


@pytest.fixture
def study(made: Path) -> RunResults:
    return open_run(made / "study")


@pytest.fixture
def backtest(made: Path) -> RunResults:
    return open_run(made / "backtest")


def by_hand(study: RunResults, phases: list[str] = PHASES) -> list[dict[str, Any]]:
    """Return the rows that `metrics` is to give."""
    return [
        {"phase": phase, "window": window, "container": row["container_id"]}
        | {name: row[name] for name in ("status", "error")}
        | {name: row["parameters"].get(name) for name in PARAMETERS}
        | {info.name: row["metrics"].get(info.name) for info in METRICS}
        for phase, window, row in lanes_by_hand(study.path, phases)
    ]


def series_by_hand(study: RunResults, name: str, chosen: Chosen) -> list[dict[str, Any]]:
    """Return what containers' files say under a name, with the place and the parameters."""
    found: list[dict[str, Any]] = []
    for row in by_hand(study):
        folder = study.path / row["phase"] / row["window"] / "containers"
        if chosen(row) and list(folder.glob(f"{row['container']}_results*")):
            document = load(folder / f"{row['container']}_results.json")
            values = document[name] or []
            if name == "equity_curve":
                points = zip(values["ts"], values["equity"], strict=True) if values else ()
                values = [{"ts": ts, "equity": equity} for ts, equity in points]
            head = {key: row[key] for key in ("phase", "window", "container", *PARAMETERS)}
            found += [{**head, **value} for value in values]
    return found


def plain(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame, with times as they are written in files of daily bars."""
    times = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Datetime)]
    text = [pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%SZ") for name in times]
    return frame.with_columns(text).to_dicts()


def good(row: dict[str, Any], bound: float = 1.0) -> bool:
    return row["sharpe_ratio"] is not None and row["sharpe_ratio"] > bound


def test_metrics_are_those_of_the_files_in_the_order_of_the_tree(study: RunResults) -> None:
    frame = study.metrics()
    assert frame.to_dicts() == by_hand(study)
    assert frame.columns == list(by_hand(study)[0])
    assert frame.height == 53
    assert frame.filter(pl.col("error").is_not_null()).height == 14


def test_columns_have_the_types_of_the_parameters_and_metrics_are_float64(
    study: RunResults,
) -> None:
    schema = study.metrics().schema
    assert [schema[name] for name in PARAMETERS] == [
        pl.Int64, pl.Int64, pl.String, pl.String, pl.Float64,
    ]  # fmt: skip
    assert {schema[info.name] for info in METRICS} == {pl.Float64()}


def test_a_phase_and_a_window_give_their_rows_and_the_parameters_of_the_phase(
    study: RunResults,
) -> None:
    rows = by_hand(study)
    assert study["walk"].metrics().to_dicts() == [it for it in rows if it["phase"] == "walk"]
    window = study["walk"]["wf_002/train"].metrics().to_dicts()
    assert window == [it for it in rows if it["window"] == "wf_002/train"]
    assert "risk.stop_loss_pct" not in study["paths"].metrics().columns
    assert "risk.stop_loss_pct" in study["sweep"].trades().columns


def test_a_phase_in_memory_has_no_rows_but_the_columns(study: RunResults) -> None:
    phase = study["gone"]
    assert not phase.saved
    assert phase.metrics().shape == (0, 5 + len(METRICS))
    assert phase.metrics(by="sharpe_ratio", top=3).is_empty()
    assert phase.trades(where="pnl > 0").columns == ["phase", "window", "container", *TRADE]
    assert phase.equity().schema["ts"] == pl.Datetime("ns", "UTC")


def test_trades_are_those_of_the_files(study: RunResults) -> None:
    frame = study.trades()
    assert plain(frame) == series_by_hand(study, "trades", lambda _: True)
    assert frame.columns == ["phase", "window", "container", *PARAMETERS, *TRADE]
    assert frame.schema["entry_time"] == pl.Datetime("ns", "UTC")
    assert frame.schema["bars_held"] == pl.Int64


def test_the_equity_is_that_of_the_files(study: RunResults) -> None:
    frame = study.equity()
    assert plain(frame) == series_by_hand(study, "equity_curve", lambda _: True)
    assert frame.columns == ["phase", "window", "container", *PARAMETERS, "ts", "equity"]
    assert set(frame["phase"]) == {"sweep"}


def test_compressed_results_of_two_symbols_are_read_alike(backtest: RunResults) -> None:
    file = backtest.path / "backtest" / "containers" / "portfolio_001_results.json"
    document = load(file)
    container = backtest["backtest"][""]["portfolio_001"]
    assert not file.exists()
    assert container.document() == document
    assert dict(container.metrics()) == document["metrics"]
    assert set(backtest.trades()["symbol"]) == {"GOOG", "IBM"}
    assert plain(container.trades().select(TRADE)) == document["trades"]
    assert container.equity()["equity"].to_list() == document["equity_curve"]["equity"]


@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("sharpe_ratio > 1", good),
        ("fast = 3 AND slow < 30", lambda it: it["fast"] == 3 and it["slow"] < 30),
        ("fast = 3 OR slow < 30", lambda it: it["fast"] == 3 or it["slow"] < 30),
        ("fast IN (3, 40)", lambda it: it["fast"] in {3, 40}),
        ('"risk.stop_loss_pct" >= 10', lambda it: (it["risk.stop_loss_pct"] or 0) >= 10),
        ('"risk.stop_loss_pct" IS NULL', lambda it: it["risk.stop_loss_pct"] is None),
        ("phase = 'walk' AND window LIKE '%/test'", lambda it: it["window"].endswith("/test")),
        ("status <> 'completed'", lambda it: it["status"] != "completed"),
        ("error IS NOT NULL", lambda it: it["error"] is not None),
        ("NOT (container = 'portfolio_001')", lambda it: it["container"] != "portfolio_001"),
        ("total_return BETWEEN 0 AND 0.1", lambda it: 0 <= (it["total_return"] or -1) <= 0.1),
        ("1 = 2", lambda _: False),
    ],
)
def test_where_is_a_condition_in_sql(study: RunResults, where: str, chosen: Chosen) -> None:
    assert study.metrics(where).to_dicts() == [it for it in by_hand(study) if chosen(it)]
    assert plain(study.trades(where)) == series_by_hand(study, "trades", chosen)
    assert plain(study.equity(where)) == series_by_hand(study, "equity_curve", chosen)


def test_a_where_of_trades_filters_trades_and_may_name_what_is_no_column_of_theirs(
    study: RunResults,
) -> None:
    every = series_by_hand(study, "trades", good)
    found = study.trades("sharpe_ratio > 1 AND pnl < 0 AND side = 'long' AND \"return\" < 0")
    assert plain(found) == [it for it in every if it["pnl"] < 0]
    mixed = study.trades("pnl < 0 OR sharpe_ratio > 2.5")
    every = series_by_hand(study, "trades", lambda _: True)
    best = series_by_hand(study, "trades", lambda it: good(it, 2.5))
    assert best
    assert plain(mixed) == [it for it in every if it["pnl"] < 0 or it in best]
    assert mixed.columns == study.trades().columns


@pytest.mark.parametrize("literal", ["TIMESTAMP '2010-02-01 00:00:00'", "DATE '2010-02-01'"])
def test_times_compare_with_literals_and_stay_utc(study: RunResults, literal: str) -> None:
    found = study["sweep"].equity(f"ts >= {literal}")
    every = study["sweep"].equity()
    wanted = every.filter(pl.col("ts") >= datetime(2010, 2, 1, tzinfo=UTC))
    assert 0 < found.height < every.height
    assert found.equals(wanted)


@pytest.mark.parametrize(
    ("by", "is_better"),
    [("sharpe_ratio", max), ("max_drawdown", max), ("annual_volatility", min), ("kurtosis", max)],
)
@pytest.mark.parametrize("top", [None, 1, 7, 1000])
def test_by_sorts_the_best_first_and_what_has_no_value_last(
    study: RunResults, by: str, is_better: Callable[..., float], top: int | None
) -> None:
    sign = -1 if is_better is max else 1
    rows = by_hand(study)
    worst = math.inf
    rows.sort(key=lambda it: worst if it[by] is None else sign * it[by])  # stable
    assert study.metrics(by=by, top=top).to_dicts() == rows[:top]


def test_top_alone_takes_the_leading_objective(study: RunResults) -> None:
    walk, sweep = study["walk"], study["sweep"]
    assert walk.metrics(top=4).equals(walk.metrics(by="total_return", top=4))
    assert sweep.metrics(top=4).equals(sweep.metrics(by="sharpe_ratio", top=4))
    assert study.metrics(top=4).equals(study.metrics(by="sharpe_ratio", top=4)), "they differ"
    assert walk.objective.name == "total_return"


def test_trades_and_equity_of_the_best_come_best_first(study: RunResults) -> None:
    best = study["sweep"].metrics(by="total_return", top=3)["container"].to_list()
    trades = study["sweep"].trades(by="total_return", top=3)
    equity = study["sweep"].equity(by="total_return", top=3)
    assert trades["container"].unique(maintain_order=True).to_list() == best
    assert equity["container"].unique(maintain_order=True).to_list() == best
    one = trades.filter(pl.col("container") == best[1])
    assert one.equals(study["sweep"].trades(f"container = '{best[1]}'"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"where": "sharp_ratio > 1"}, r"^where: 'sharp_ratio > 1' names 'sharp_ratio', which is "),
        (
            {"where": "sharp_ratio > 1"},
            r"did you mean 'sharpe_ratio'\?\); columns: phase, window, ",
        ),
        (
            {"where": "risk.stop_loss_pct > 1"},
            r'needs double quotes: "risk.stop_loss_pct"; columns',
        ),
        ({"where": 'mode = "long_flat"'}, r"text needs single quotes: 'long_flat'"),
        ({"where": "fast >"}, r"'fast >' is no condition in SQL: "),
        ({"where": ""}, r"'' is no condition in SQL: "),
        ({"where": "fast > 1; DROP TABLE x"}, r"is no condition in SQL: "),
        ({"where": "SELECT fast"}, r"has the word SELECT in it: "),
        ({"where": "*"}, r"is no condition in SQL: "),
        ({"where": "pnl > 1"}, r"names 'pnl', which is no column"),
        (
            {"where": "fast"},
            r"'fast' cannot be computed: filter predicate must be of type `Boolean`",
        ),
        ({"where": "mode > 1"}, r"cannot be computed: cannot compare string with numeric type"),
        (
            {"where": "fast IN (select a from read_csv('/etc/passwd'))"},
            r"has the word SELECT in it",
        ),
        ({"where": "random() > 1"}, r"is no condition in SQL: unsupported function"),
        ({"where": '"^fa.*$" > 1'}, r"has a pattern that stands for several columns"),
        ({"where": "fast > 1 AND COLUMNS('fa.*') > 1"}, r"has a pattern that stands for several c"),
        (
            {"by": "sharp_ratio"},
            r"^by: 'sharp_ratio' is no metric \(did you mean 'sharpe_ratio'\?\)",
        ),
        ({"by": "fast"}, r"^by: 'fast' is no metric.*; metrics: initial_capital, final_equity, "),
        ({"top": 0}, r"^top: must be at least 1, and is 0"),
        ({"top": -3}, r"^top: must be at least 1, and is -3"),
    ],
)
def test_what_cannot_be_used_is_refused(
    study: RunResults, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        study.metrics(**options)
    if "pnl" not in message:
        with pytest.raises(ConfigError, match=message.partition("; columns")[0]):
            study.trades(**options)


def test_a_direction_that_the_objective_gives_counts(root: Path) -> None:
    path = root / "study"
    body = load(path / "run.json")
    body["phases"]["walk"]["settings"]["objective_function"]["direction"] = "minimize"
    seal(path / "run.json", body)
    study = open_run(path)
    up = study["walk"].metrics(by="total_return")["total_return"].drop_nulls().to_list()
    assert up == sorted(up)
    down = study["sweep"].metrics(by="total_return")["total_return"].drop_nulls().to_list()
    assert down == sorted(down, reverse=True)


def test_metrics_read_nothing_of_the_containers_and_from_an_index_nothing_of_the_windows(
    watched: RunResults, calls: Calls
) -> None:
    watched.metrics()
    assert not [it for it in calls.take() if "containers/" in it or "all_trades" in it]
    watched.metrics(where="sharpe_ratio > 1", top=3)
    assert calls.take() == []


def test_a_condition_on_portfolios_keeps_the_files_of_others_closed(
    watched: RunResults, calls: Calls
) -> None:
    watched.metrics()
    calls.take()
    place = "sweep/sweep/batch_001"
    container = f"{place}/containers/portfolio_002_results.json.zst"
    watched.equity(where=f"window = '{place[6:]}' AND container = 'portfolio_002'")
    assert calls.take() == [f"{place}/phase_summary.json", container]
    watched.equity(where="equity > 0", top=1, by="sharpe_ratio")
    assert len([it for it in calls.take() if "containers/" in it]) <= 1


def test_trades_come_from_the_file_of_the_window_or_of_a_portfolio_whichever_is_smaller(
    watched: RunResults, calls: Calls
) -> None:
    watched.metrics()
    calls.take()
    whole = watched["sweep"]["sweep/batch_001"].trades()
    assert [it for it in calls.take() if "results" in it or "trades" in it] == [
        "sweep/sweep/batch_001/all_trades.json.zst"
    ]
    record = load(watched.path / "sweep/sweep/batch_001/phase_summary.json")
    sizes = {it["path"]: it["size"] for it in record["files"]}
    one = "containers/portfolio_001_results.json.zst"
    wanted = one if sizes[one] < sizes["all_trades.json.zst"] else "all_trades.json.zst"
    found = watched["sweep"]["sweep/batch_001"]["portfolio_001"].trades()
    assert calls.take()[-1] == f"sweep/sweep/batch_001/{wanted}"
    assert found.equals(whole.filter(pl.col("container") == "portfolio_001"))


def test_frames_become_those_of_pandas(study: RunResults) -> None:
    frame = study.metrics(top=2).to_pandas()
    assert list(frame["container"]) == study.metrics(top=2)["container"].to_list()


def test_frames_are_read_in_batches(study: RunResults, monkeypatch: pytest.MonkeyPatch) -> None:
    trades, equity = study.trades(top=9), study["sweep"].equity(top=3)
    monkeypatch.setattr("admf.workflows.results.series._BATCH", 7)
    assert study.trades(top=9).equals(trades)
    assert study["sweep"].equity(top=3).equals(equity)


async def _frame_in_a_loop(path: Path) -> int:
    import admf.results

    return admf.results.open(path).metrics().height


def test_results_can_be_read_where_a_loop_runs(study: RunResults) -> None:
    import anyio

    assert anyio.run(_frame_in_a_loop, study.path) == 53
