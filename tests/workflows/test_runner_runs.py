"""A host's runs: submitted, queued, followed, cancelled and closed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from admf.containers import Bar
from admf.containers.config import StrategyConfig
from admf.containers.strategies import Context, Strategy
from admf.engine.errors import (
    ConfigError,
    DataError,
    FolderInUseError,
    ResultExistsError,
    StateError,
)
from admf.workflows.experiment import Experiment
from admf.workflows.outcome import RunResult
from admf.workflows.run import Run
from admf.workflows.run_events import RunEvents
from admf.workflows.simple_backtest import SimpleBacktest
from tests.workflows.hosting import (
    experiment,
    files_of,
    held,
    recorded_status,
    runner,
    solo,
    sweep,
    underway,
)

pytestmark = pytest.mark.anyio


class Straying(SimpleBacktest):
    """Goes on with an experiment that cannot be run."""

    def should_continue(self, result: RunResult, iteration: int) -> bool:
        return True

    def modify_config_for_next(
        self, config: Experiment, result: RunResult, iteration: int
    ) -> Experiment:
        return msgspec.structs.replace(config, strategy=StrategyConfig(type="nothing"))


class Failing(Strategy):
    """Raises in the middle."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        if bar.ts > 20 * 86_400 * 10**9:
            raise RuntimeError("of its own")


def write_bars(file: Path, count: int) -> None:
    rows = (f"{86_400 * day},{day},{day},{day},{day},1\n" for day in range(1, count + 1))
    file.write_text("timestamp,open,high,low,close,volume\n" + "".join(rows))


async def test_submit_returns_while_the_run_runs_and_its_files_are_those_of_a_run_alone(
    tmp_path: Path,
) -> None:
    async with runner(tmp_path / "hosted") as host:
        run = await host.submit(experiment("a"))
        assert run.status == "running"
        result = await run.result()
        assert run.status == result.status == "completed"
        assert run.run_id == result.run_id
        assert await run.result() is result
    alone = await solo(tmp_path / "alone", experiment("a"))
    assert files_of(tmp_path / "hosted") == alone


async def test_runs_begin_in_the_order_of_submission_and_so_many_at_a_time(tmp_path: Path) -> None:
    ended: list[str] = []

    async def wait(run: Run) -> None:
        await run.result()
        ended.append(run.run_id[0])

    async with runner(tmp_path, max_runs=1) as host:
        first = await host.submit(experiment("a"))
        with held(first):
            runs = [first, *[await host.submit(experiment(name)) for name in "bc"]]
            assert [run.status for run in runs] == ["running", "queued", "queued"]
        async with asyncio.TaskGroup() as group:
            for run in reversed(runs):
                group.create_task(wait(run))
        assert ended == ["a", "b", "c"]
        assert host.runs == tuple(runs)


async def test_a_run_takes_the_place_of_one_that_is_over(tmp_path: Path) -> None:
    async with runner(tmp_path, max_runs=2) as host:
        first, second = [await host.submit(experiment(name)) for name in "ab"]
        with held(second):
            third = await host.submit(experiment("c"))
            await first.result()
            await third.result()
            assert second.status == "running"
        assert (await second.result()).status == "completed"


async def test_runs_side_by_side_go_on_together(tmp_path: Path) -> None:
    reached: dict[Run, int] = {}
    least_at_an_end: list[int] = []

    async def follow(run: Run) -> None:
        async for update in run.progress():
            reached[run] = update.bars_done
            if update.status == "completed":
                least_at_an_end.append(min(reached.values()))

    async with runner(tmp_path) as host:
        holds: list[tuple[Run, RunEvents]] = []
        for name in "abcd":
            run = await host.submit(experiment(name))
            holds.append((run, held(run)))
        async with asyncio.TaskGroup() as group:
            for run, _ in holds:
                await underway(run)
                group.create_task(follow(run))
            for _, hold in holds:
                hold.close()
    assert min(least_at_an_end) >= 24


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"workflow": "simple_backtests"}, ConfigError),
        ({"strategy": {"type": "sma_cros"}}, ConfigError),
        ({"data": {"source": "frames", "symbols": ["Y"]}}, DataError),
    ],
)
async def test_a_mistake_is_raised_by_submit(
    tmp_path: Path, change: dict[str, object], error: type[Exception]
) -> None:
    async with runner(tmp_path / "results") as host:
        with pytest.raises(error):
            await host.submit(experiment("a", **change))
        assert host.runs == ()
    assert not (tmp_path / "results").exists()


async def test_submit_takes_a_file_and_what_is_set_on_top_of_it(tmp_path: Path) -> None:
    file = tmp_path / "experiment.yaml"
    write_bars(tmp_path / "X.csv", 20)
    file.write_text(
        "workflow: simple_backtest\n"
        "data: {source: file, symbols: [X], path: X.csv}\n"
        "strategy: {type: sma_cross, params: {fast: 2, slow: 4}}\n"
    )
    async with runner(tmp_path / "results") as host:
        run = await host.submit(file, ["results_dir=chosen", "block_size=8"])
        assert (await run.result()).status == "completed"
        loaded = host.load(experiment("loaded"))
        assert (await (await host.submit(loaded)).result()).status == "completed"
    left = files_of(tmp_path / "results")
    assert {name.partition("/")[0] for name in left} == {"chosen", "loaded"}


async def test_what_is_probably_not_meant_stands_with_the_run(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a", event_tracing=["FILLS"]))
        assert "did you mean 'FILL'" in str(run.warnings[0])
        await run.result()


async def test_a_runner_runs_only_while_it_is_open(tmp_path: Path) -> None:
    host = runner(tmp_path)
    with pytest.raises(StateError, match="not open"):
        await host.submit(experiment("a"))
    await host.start()
    with pytest.raises(StateError, match="once"):
        await host.start()
    await host.aclose()
    await host.aclose()
    with pytest.raises(StateError, match="closed"):
        await host.submit(experiment("a"))


async def test_a_runner_that_is_closed_while_a_run_is_prepared_does_not_begin_it(
    tmp_path: Path,
) -> None:
    async with runner(tmp_path) as host:
        submitting = asyncio.create_task(host.submit(experiment("a")))
        await asyncio.sleep(0)
        await host.aclose()
        with pytest.raises(StateError, match="closed"):
            await submitting
        assert host.runs == ()


async def test_what_went_wrong_is_raised_to_everyone_who_asks_for_the_result(
    tmp_path: Path,
) -> None:
    async with runner(tmp_path) as host:
        await (await host.submit(experiment("a"))).result()
        again = await host.submit(experiment("a"))
        for _ in range(2):
            with pytest.raises(ResultExistsError):
                await again.result()
        assert again.status == "failed"
        other = await host.submit(experiment("a"), overwrite=True)
        assert (await other.result()).status == "completed"


async def test_a_changed_experiment_is_resumed_only_if_that_is_allowed(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        await (await host.submit(experiment("a"))).result()
        changed = await host.submit(experiment("a", seed=5), resume=True)
        with pytest.raises(ResultExistsError, match="seed: 0 then, 5 now"):
            await changed.result()
        allowed = await host.submit(experiment("a", seed=5), allow_changed=True)
        assert (await allowed.result()).status == "completed"


async def test_a_mistake_that_shows_only_later_is_raised_with_the_result(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a", workflow=f"{__name__}:Straying"))
        with pytest.raises(ConfigError, match="unknown name 'nothing'"):
            await run.result()
        assert run.status == "failed"
        assert recorded_status(tmp_path / "a") == "failed"


async def test_windows_that_do_not_fit_the_data_are_refused_by_submit(tmp_path: Path) -> None:
    long = {
        "phases": {"forward": {"sequence": "walk_forward"}},
        "walk_forward": {"train": 100, "test": 10},
    }
    async with runner(tmp_path) as host:
        with pytest.raises(DataError, match="no window fits"):
            await host.submit(sweep("a", **long))


async def test_two_runs_do_not_share_a_folder(tmp_path: Path) -> None:
    async with runner(tmp_path / "hosted") as host:
        first = await host.submit(experiment("a"))
        with held(first):
            await underway(first)
            second = await host.submit(experiment("a"), resume=True)
            with pytest.raises(FolderInUseError, match="in use"):
                await second.result()
        assert (await first.result()).status == "completed"
    alone = await solo(tmp_path / "alone", experiment("a"))
    assert files_of(tmp_path / "hosted") == alone


async def test_a_strategy_that_fails_does_so_alone(tmp_path: Path) -> None:
    names = ["a", "c"]
    async with runner(tmp_path / "hosted") as host:
        runs = [await host.submit(experiment(names[0]))]
        failing = await host.submit(experiment("b", strategy={"type": f"{__name__}:Failing"}))
        runs += [await host.submit(experiment(names[1]))]
        result = await failing.result()
        assert result.status == failing.status == "failed"
        assert "of its own" in result.phases["backtest"].errors[0]
        assert [(await run.result()).status for run in runs] == ["completed"] * 2
    alone = await solo(tmp_path / "alone", *map(experiment, names))
    left = files_of(tmp_path / "hosted")
    assert {name: text for name, text in left.items() if name[0] != "b"} == alone


async def test_a_run_that_is_cancelled_is_flushed_and_can_be_resumed(tmp_path: Path) -> None:
    async with runner(tmp_path / "hosted") as host:
        run = await host.submit(sweep("a"))
        with held(run):
            other = await host.submit(sweep("b"))
            await underway(run)
            run.cancel()
            run.cancel()
            result = await run.result()
        assert result.status == run.status == "cancelled"
        assert recorded_status(tmp_path / "hosted" / "a") == "cancelled"
        assert (await other.result()).status == "completed"
        resumed = await host.submit(sweep("a"), resume=True)
        assert (await resumed.result()).status == "completed"
        assert host.find(run.run_id) is resumed
    alone = await solo(tmp_path / "alone", sweep("a"), sweep("b"))
    assert files_of(tmp_path / "hosted") == alone


async def test_a_queued_run_that_is_cancelled_never_begins(tmp_path: Path) -> None:
    async with runner(tmp_path, max_runs=1) as host:
        first = await host.submit(experiment("a"))
        with held(first):
            second, third = [await host.submit(experiment(name)) for name in "bc"]
            second.cancel()
            assert (await second.result()).status == second.status == "cancelled"
        assert (await third.result()).status == (await first.result()).status == "completed"
    assert {name.partition("/")[0] for name in files_of(tmp_path)} == {"a", "c"}


async def test_nothing_happens_to_a_run_that_is_over(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        await run.result()
        run.cancel()
        run.hurry()
        assert (await run.result()).status == "completed"


async def test_a_run_can_be_hurried_once_it_is_cancelled(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        with held(run):
            await underway(run)
            run.cancel()
            run.hurry()
        assert (await run.result()).status == "cancelled"


async def test_who_waits_for_a_result_can_be_cancelled_without_the_run(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(experiment("a"))
        with held(run):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(run.result(), 0)
            waiting = asyncio.create_task(run.result())
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
        assert (await run.result()).status == "completed"


async def test_runs_are_found_by_their_id_the_newest_first(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        first = await host.submit(experiment("a"))
        await first.result()
        second = await host.submit(experiment("a"), overwrite=True)
        assert first.run_id == second.run_id
        assert host.find(first.run_id) is second
        assert host.find("nobody") is None
        assert first.run_id in repr(first)


async def test_of_the_runs_that_are_over_only_the_latest_are_kept(tmp_path: Path) -> None:
    async with runner(tmp_path, kept_runs=1) as host:
        runs = []
        for name in "abcd":
            runs.append(await host.submit(experiment(name)))
            await runs[-1].result()
        assert host.runs == tuple(runs[2:])


async def test_closing_cancels_what_runs_and_waits_for_its_results(tmp_path: Path) -> None:
    async with runner(tmp_path, max_runs=1) as host:
        running = await host.submit(sweep("a"))
        held(running)
        queued = await host.submit(sweep("b"))
        await underway(running)
    assert running.status == queued.status == "cancelled"
    assert recorded_status(tmp_path / "a") == "cancelled"
    assert not (tmp_path / "b").exists()


async def test_any_task_may_close_a_runner_and_all_wait_for_the_end(tmp_path: Path) -> None:
    async with runner(tmp_path) as host:
        run = await host.submit(sweep("a"))
        held(run)
        await underway(run)

        async def close() -> str:
            await host.aclose()
            return run.status

        async with asyncio.TaskGroup() as group:
            closing = [group.create_task(close()) for _ in range(3)]
        assert [task.result() for task in closing] == ["cancelled"] * 3
        assert (await run.result()).status == "cancelled"


async def test_an_application_keeps_it_open_for_its_lifespan(tmp_path: Path) -> None:
    host = runner(tmp_path)
    async with host.lifespan("the application"):
        run = await host.submit(sweep("a"))
        held(run)
        await underway(run)
    assert run.status == "cancelled"
    with pytest.raises(StateError, match="closed"):
        await host.submit(sweep("b"))


def test_it_takes_at_least_one_run_at_a_time() -> None:
    with pytest.raises(ValueError, match="max_runs must be at least 1, got 0"):
        runner(Path("unused"), max_runs=0)


async def test_a_file_that_has_changed_between_two_runs_is_read_again(tmp_path: Path) -> None:
    data = tmp_path / "X.csv"
    source = {"source": "file", "symbols": ["X"], "path": str(data)}
    async with runner(tmp_path / "results") as host:
        totals = []
        for count in (10, 19):
            write_bars(data, count)
            run = await host.submit(experiment(f"r{count}", data=source))
            assert (await run.result()).status == "completed"
            totals += [update.bars_total async for update in run.progress()]
    assert totals == [10, 19]
