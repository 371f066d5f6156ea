from __future__ import annotations

import json
from pathlib import Path

import anyio
import anyio.lowlevel
import polars as pl
import pytest

import admf
from admf.containers import Bar
from admf.containers.strategies import Context, Strategy
from admf.containers.strategies.baseline import BuyAndHold
from admf.engine.errors import ConfigError, DataError, ResultExistsError
from admf.engine.retention import SlidingWindow
from admf.workflows.plugins import installed_plugins
from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner
from admf.workflows.scripting import run_async

pytestmark = pytest.mark.anyio

GOOG = {
    "workflow": "simple_backtest",
    "data": {"source": "sample", "symbols": ["GOOG"]},
    "strategy": {"type": "sma_cross", "params": {"fast": 10, "slow": 50}},
    "portfolio": {"initial_capital": 10000},
    "execution": {"commission": {"type": "rate", "value": 0.001}, "slippage_bps": 5},
    "results_dir": "goog",
}
CENT = 0.005


def files_of(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "run.json"
    }


async def test_on_disk_a_phase_returns_its_summary_and_where_its_results_are(
    tmp_path: Path,
) -> None:
    result = await run_async(GOOG, results_root=tmp_path)
    phase = result.phases["backtest"]
    assert result.status == "completed"
    assert phase.success
    assert phase.results_saved
    assert phase.phase_results is None
    assert Path(str(phase.results_path)) == tmp_path / "goog" / "backtest"
    assert phase.summary is not None
    assert phase.summary.metrics is not None
    assert phase.summary.metrics["final_equity"] == pytest.approx(35487.31, abs=CENT)
    assert phase.summary.total_trades == 19


async def test_in_memory_a_phase_returns_its_results_and_nothing_is_written(
    tmp_path: Path,
) -> None:
    in_memory = await run_async({**GOOG, "results_storage": "memory"}, results_root=tmp_path)
    phase = in_memory.phases["backtest"]
    assert in_memory.results_path is None
    assert not phase.results_saved
    assert files_of(tmp_path) == {}
    await run_async(GOOG, results_root=tmp_path)
    on_disk = files_of(tmp_path / "goog" / "backtest")
    assert phase.phase_results is not None
    assert phase.phase_results.files == {name: json.loads(text) for name, text in on_disk.items()}


async def test_the_record_of_a_run_has_what_is_needed_to_run_it_again(tmp_path: Path) -> None:
    result = await run_async({**GOOG, "seed": 7}, results_root=tmp_path)
    record = json.loads((tmp_path / "goog" / "run.json").read_text())
    assert record["status"] == "completed"
    assert record["run_id"] == result.run_id
    assert record["seed"] == 7
    assert record["experiment"]["strategy"] == GOOG["strategy"]
    assert record["phases"]["backtest"]["settings"]["strategy"] == GOOG["strategy"]
    assert record["phases"]["backtest"]["settings"]["portfolio"]["sizing"]["value"] == 1.0
    assert len(record["data"]["backtest"]["fingerprint"]) == 64
    assert {"admf", "python", "numpy", "polars", "TA-Lib"} <= set(record["versions"])


async def test_the_same_experiment_gives_the_same_bytes(tmp_path: Path) -> None:
    first = await run_async(GOOG, results_root=tmp_path / "a")
    second = await run_async({**GOOG, "block_size": 13}, results_root=tmp_path / "b")
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert first.run_id != second.run_id


async def test_runs_side_by_side_do_not_touch_each_other(tmp_path: Path) -> None:
    symbols = ("AAPL", "GOOG", "IBM", "MSFT")
    runner = Runner(results_root=tmp_path / "together")

    async def one(host: Runner, symbol: str) -> None:
        data = {"source": "sample", "symbols": [symbol]}
        await host.run({**GOOG, "data": data, "results_dir": symbol, "block_size": 50})

    async with anyio.create_task_group() as group:
        for symbol in symbols:
            group.start_soon(one, runner, symbol)
    for symbol in symbols:
        await one(Runner(results_root=tmp_path / "alone"), symbol)
    assert files_of(tmp_path / "together") == files_of(tmp_path / "alone")


async def test_existing_results_are_refused_unless_they_may_be_replaced(tmp_path: Path) -> None:
    await run_async(GOOG, results_root=tmp_path)
    before = files_of(tmp_path)
    with pytest.raises(ResultExistsError, match="--overwrite"):
        await run_async({**GOOG, "strategy": {"type": "buy_and_hold"}}, results_root=tmp_path)
    assert files_of(tmp_path) == before
    await run_async(
        {**GOOG, "strategy": {"type": "buy_and_hold"}}, results_root=tmp_path, overwrite=True
    )
    assert files_of(tmp_path) != before


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"workflow": "simple_backtests"}, ConfigError),
        ({"strategy": {"type": "sma_cros"}}, ConfigError),
        ({"data": {"source": "sample", "symbols": ["GOOGL"]}}, DataError),
        ({"benchmark": "SPY"}, DataError),
    ],
)
async def test_a_mistake_is_found_before_anything_is_written(
    tmp_path: Path, change: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await run_async({**GOOG, **change}, results_root=tmp_path / "results")
    assert not (tmp_path / "results").exists()


async def test_overrides_change_the_experiment(tmp_path: Path) -> None:
    result = await run_async(
        GOOG,
        overrides=["strategy.params.mode=long_short", "results_storage=memory"],
        results_root=tmp_path,
    )
    summary = result.phases["backtest"].summary
    assert summary is not None
    assert summary.metrics is not None
    assert summary.metrics["final_equity"] == pytest.approx(20387.44, abs=CENT)
    assert summary.total_trades == 39


async def test_a_benchmark_gives_alpha_and_beta(tmp_path: Path) -> None:
    result = await run_async(
        {**GOOG, "benchmark": "IBM", "results_storage": "memory"}, results_root=tmp_path
    )
    summary = result.phases["backtest"].summary
    assert summary is not None
    assert summary.metrics is not None
    assert all(summary.metrics[name] is not None for name in ("alpha", "beta", "information_ratio"))


async def test_progress_goes_up_to_all_bars(tmp_path: Path) -> None:
    seen: list[RunProgress] = []
    await run_async(
        {**GOOG, "block_size": 500, "results_storage": "memory"},
        results_root=tmp_path,
        on_progress=seen.append,
    )
    done = [progress.bars_done for progress in seen]
    assert done == sorted(done)
    assert done[-1] == seen[-1].bars_total == 2148


async def test_refusals_are_counted_in_the_summary(tmp_path: Path) -> None:
    sizing = {"type": "fixed_notional", "value": 50_000}
    experiment = {**GOOG, "portfolio": {"initial_capital": 10000, "sizing": sizing}}
    result = await run_async({**experiment, "results_storage": "memory"}, results_root=tmp_path)
    summary = result.phases["backtest"].summary
    assert summary is not None
    assert summary.rejects == {"max_leverage": 20}
    assert summary.total_trades == 0


def test_a_script_runs_a_data_frame_and_gets_its_results() -> None:
    close = [100.0, 101.0, 102.0]
    frame = pl.DataFrame(
        {
            "timestamp": ["2024-01-01", "2024-01-02", "2024-01-03"],
            "open": close,
            "high": close,
            "low": close,
            "close": close,
            "volume": [1.0, 1.0, 1.0],
        }
    )
    experiment = {
        "workflow": "simple_backtest",
        "data": {"source": "frames", "symbols": ["X"]},
        "strategy": {"type": "buy_and_hold"},
        "portfolio": {"initial_capital": 1010.0},
        "results_storage": "memory",
    }
    result = admf.run(experiment, frames={"X": frame})
    assert result.phases["backtest"].phase_results is not None
    document = result.phases["backtest"].phase_results.files[
        "containers/portfolio_001_results.json"
    ]
    # bought 10 units at the second open, marked at the third close
    assert document["equity_curve"]["equity"] == [1010.0, 1010.0, 1020.0]
    assert document["open_positions"][0]["quantity"] == 10.0


class Slow(Strategy):
    """Takes a millisecond of the bus's clock at each bar, and never acts."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        clock.now += 0.001
        clock.turns_seen.append(clock.turns)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.turns = 0
        self.turns_seen: list[int] = []


clock = Clock()


async def test_the_hosts_loop_runs_while_a_strategy_does_not_act(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("drive", "pace"):
        monkeypatch.setattr(f"admf.engine.{module}.monotonic", lambda: clock.now)
    experiment = {
        **GOOG,
        "strategy": {"type": f"{__name__}:Slow"},
        "results_storage": "memory",
    }
    async with anyio.create_task_group() as group:

        async def host() -> None:
            while True:
                clock.turns += 1
                await anyio.lowlevel.checkpoint()

        group.start_soon(host)
        await run_async(experiment, results_root=tmp_path)
        group.cancel_scope.cancel()
    bars = len(clock.turns_seen)
    assert bars == 2148
    assert len(set(clock.turns_seen)) >= bars // 16  # a look at the clock every 16 bars


async def test_a_retention_policy_and_a_strategy_of_ones_own_are_used_by_name(
    tmp_path: Path,
) -> None:
    registry = installed_plugins()
    registry.register("retention", "last_two", lambda _: SlidingWindow(2))
    registry.register("strategies", "hold", BuyAndHold)
    runner = Runner(results_root=tmp_path, registry=registry)
    experiment = {
        **GOOG,
        "strategy": {"type": "hold"},
        "retention_policy": "last_two",
        "event_tracing": ["PORTFOLIO_UPDATE"],
        "results_storage": "memory",
    }
    result = await runner.run(experiment)
    results = result.phases["backtest"].phase_results
    assert results is not None
    tracer = results.files["containers/portfolio_001_results.json"]["tracer"]
    assert (tracer["policy"], tracer["retained"], tracer["observed"]) == ("last_two", 2, 2148)
