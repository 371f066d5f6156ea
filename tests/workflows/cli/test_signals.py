from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from admf.engine.storage import LocalStorage
from admf.engine.verification import verify_window
from admf.workflows.cli import run as run_module
from admf.workflows.cli.signals import escalating_signals
from admf.workflows.run_execution import RunExecution
from admf.workflows.runner import Runner

SIGNALS = ("SIGINT", "SIGTERM")


def _raise_at(bar: int, name: str) -> str:
    return f"if ctx.bar_index == {bar}: signal.raise_signal(signal.{name})"


@pytest.mark.parametrize("name", SIGNALS)
def test_the_first_signal_ends_the_run_with_whole_results(admf, project, use_strategy, name):
    use_strategy(_raise_at(20, name))
    outcome = admf("run", "experiment.yaml", "--quiet", "--json")
    assert outcome.code == 130
    assert outcome.document["status"] == "cancelled"
    assert outcome.document["phases"]["backtest"]["success"] is False
    assert "interrupted; results of what ran are in results/study" in outcome.err
    assert "Traceback" not in outcome.err
    check = anyio.run(verify_window, LocalStorage(project / "results"), "study/backtest")
    assert check.complete
    run = json.loads((project / "results" / "study" / "run.json").read_text())
    assert run["status"] == "cancelled"
    file = project / "results/study/backtest/containers/portfolio_001_results.json"
    portfolio = json.loads(file.read_text())
    assert portfolio["status"] == "cancelled"
    assert 20 <= len(portfolio["equity_curve"]["ts"]) < 60


def test_an_interrupted_run_is_summarised(admf, project, use_strategy):
    use_strategy(_raise_at(20, "SIGINT"))
    outcome = admf("run", "experiment.yaml", "--quiet")
    assert outcome.code == 130
    assert "cancelled" in outcome.out.splitlines()[0]
    assert " of 60 bars" in outcome.out


def test_what_an_interrupted_run_has_in_memory_is_handed_over(admf, project, use_strategy):
    use_strategy(_raise_at(20, "SIGINT"))
    outcome = admf("run", "experiment.yaml", "--json", "--set", "results_storage=memory")
    assert outcome.code == 130
    (phase,) = outcome.document["phases"].values()
    assert "containers/portfolio_001_results.json" in phase["phase_results"]["files"]
    assert outcome.err.splitlines()[-1] == "error: interrupted"


def test_a_second_signal_hurries_the_run(admf, project, use_strategy, monkeypatch):
    hurried: list[RunExecution] = []

    def hurry(run: RunExecution) -> None:
        hurried.append(run)

    monkeypatch.setattr(RunExecution, "hurry", hurry)
    use_strategy(_raise_at(20, "SIGINT"), _raise_at(20, "SIGTERM"))
    outcome = admf("run", "experiment.yaml", "--quiet")
    assert outcome.code == 130
    assert len(hurried) == 1
    assert "hurrying" in outcome.err


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_signal_before_the_run_begins_leaves_nothing(admf, project, monkeypatch, json_option):
    noticed = threading.Event()
    say = run_module.say

    def listen(label: str, message: str) -> None:
        noticed.set()
        say(label, message)

    def interrupted(*_: object) -> None:
        for _ in range(2):
            noticed.clear()
            os.kill(os.getpid(), signal.SIGINT)
            assert noticed.wait(10)

    async def prepare(self: Runner, _: object) -> None:
        await anyio.to_thread.run_sync(interrupted)
        await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(run_module, "say", listen)
    monkeypatch.setattr(Runner, "prepare", prepare)
    outcome = admf("run", "experiment.yaml", "--quiet", *json_option)
    assert outcome.code == 130
    assert outcome.err.endswith("interrupted before the run began; nothing was written\n")
    assert not (project / "results").exists()
    if json_option:
        assert outcome.document["status"] == "cancelled"
        assert outcome.document["phases"] == {}


def test_the_third_signal_ends_the_process_at_once_even_if_the_loop_is_stuck(
    project: Path, use_strategy: Callable[..., None]
):
    use_strategy("while True: signal.raise_signal(signal.SIGINT)")
    done = subprocess.run(
        [sys.executable, "-m", "admf", "run", "experiment.yaml"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 130
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_signal_beyond_the_answers_ends_the_process(monkeypatch):
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)

    async def run() -> None:
        with escalating_signals(lambda: None):
            signal.raise_signal(signal.SIGINT)
            assert codes == []
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(IndexError):  # nothing is left to be called, had the process not ended
        anyio.run(run)
    assert codes == [130]


async def _raise(*names: str, answers: list[Callable[[], None]]) -> None:
    with escalating_signals(*answers):
        for name in names:
            signal.raise_signal(signal.Signals[name])
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()


def test_answers_are_called_in_turn_and_the_handlers_are_put_back():
    before = [signal.getsignal(signal.Signals[name]) for name in SIGNALS]
    calls: list[str] = []
    answers = [lambda: calls.append("first"), lambda: calls.append("second")]

    async def run() -> None:
        inside = [signal.getsignal(signal.Signals[name]) for name in SIGNALS]
        await _raise(*SIGNALS, answers=answers)
        assert [signal.getsignal(signal.Signals[name]) for name in SIGNALS] == inside

    anyio.run(run)
    assert calls == ["first", "second"]
    assert [signal.getsignal(signal.Signals[name]) for name in SIGNALS] == before


def test_outside_the_main_thread_signals_are_left_alone():
    handlers: list[object] = []

    async def run() -> None:
        with escalating_signals():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=lambda: anyio.run(run))
    thread.start()
    thread.join()
    assert handlers == [before]
