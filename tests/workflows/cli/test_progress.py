from __future__ import annotations

import io
import sys
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.progress import Progress as Display
from rich.progress import TextColumn

from admf.workflows.cli.progress import ProgressBar, ProgressLines, progress_report
from admf.workflows.progress import RunProgress


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _progress(
    done: int, window_id: str = "", total: int = 1_000_000, windows: int = 0, phase: str = ""
) -> RunProgress:
    return RunProgress(phase or "backtest", window_id, done, total, 1, windows)


def _windows(count: int, seconds: float, phase: str = "forward") -> list[tuple[float, RunProgress]]:
    """Return the beginning and the end of windows of 10 bars that follow each other."""
    return [
        (seconds * (number + share), _progress(10 * share, f"wf_{number}", 10, number, phase))
        for number in range(count)
        for share in (0, 1)
    ]


@pytest.fixture
def lines(capsys) -> Callable[..., list[str]]:
    """Return a function that shows progress at given seconds and returns what was written."""

    def lines(*steps: tuple[float, RunProgress]) -> list[str]:
        clock = Clock()
        shown = ProgressLines(clock)
        for now, progress in steps:
            clock.now = now
            shown.show(progress)
        shown.finish()
        return capsys.readouterr().err.splitlines()

    return lines


def test_a_line_tells_bars_speed_and_what_is_left(lines):
    assert lines((0, _progress(0)), (10, _progress(250_000))) == [
        "backtest: 250,000 of 1,000,000 bars, 25,000 bars/s, 0:00:30 left"
    ]


def test_lines_come_every_few_seconds(lines):
    steps = [(second, _progress(1_000 * second)) for second in range(13)]
    assert len(lines(*steps)) == 2


def test_the_end_is_always_told(lines):
    assert lines((0, _progress(0)), (2, _progress(1_000_000))) == [
        "backtest: 1,000,000 of 1,000,000 bars, 500,000 bars/s, 2.0 s"
    ]


def test_each_window_has_a_pace_of_its_own(lines):
    steps = [(0, _progress(0, "w1")), (8, _progress(0, "w2")), (9, _progress(1_000_000, "w2"))]
    assert lines(*steps)[-1] == "backtest w2: 1,000,000 of 1,000,000 bars, 1,000,000 bars/s, 1.0 s"


def test_a_thousand_windows_get_a_line_now_and_then_and_one_for_their_end(lines):
    told = lines(*_windows(1_000, 1 / 64))
    assert told[0] == "forward wf_0: 10 of 10 bars, 640 bars/s, 0.0 s"
    assert told[1] == "forward wf_319: 319 windows done, 10 of 10 bars, 640 bars/s, 0.0 s"
    assert told[-1] == "forward: 1,000 windows, 10,000 bars, 15.6 s"
    assert len(told) == 5


def test_the_end_of_a_phase_is_told_when_the_next_begins(lines):
    steps = _windows(3, 1.0, "search")
    steps.append((4.0, _progress(0, total=5, phase="test")))
    steps.append((4.5, _progress(5, total=5, phase="test")))
    assert lines(*steps) == [
        "search wf_0: 10 of 10 bars, 10 bars/s, 1.0 s",
        "search: 3 windows, 30 bars, 4.0 s",
        "test: 5 of 5 bars, 10 bars/s, 0.5 s",
    ]


def test_a_phase_of_one_window_is_told_once(lines):
    assert len(lines((0, _progress(0)), (1, _progress(1_000_000)))) == 1


def test_phases_side_by_side_do_not_get_a_line_at_each_turn(lines):
    pairs = zip(_windows(200, 0.01, "a"), _windows(200, 0.01, "b"), strict=True)
    told = lines(*[step for pair in pairs for step in pair])
    assert len(told) == 4
    assert [line.partition(",")[0] for line in told[-2:]] == ["a: 200 windows", "b: 200 windows"]


def test_there_is_no_speed_before_there_is_something_to_measure(lines):
    assert lines((0, _progress(0)), (6, _progress(0))) == ["backtest: 0 of 1,000,000 bars"]
    assert lines((0, _progress(5, total=5))) == ["backtest: 5 of 5 bars"]


def test_a_bar_is_drawn_at_most_ten_times_a_second():
    clock, file = Clock(), io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, color_system=None)
    columns = [TextColumn("{task.description} {task.fields[text]}")]
    with Display(*columns, console=console, auto_refresh=False) as display:
        bar = ProgressBar(display, clock)
        for step in range(40):
            clock.now = step / 40
            bar.show(_progress(step * 1_000, total=40_000))
        drawn = file.getvalue().count("left")
    assert 8 <= drawn <= 11
    assert "backtest 39,000 of 40,000 bars, 40,000 bars/s" in file.getvalue()


def test_a_terminal_gets_a_bar_that_is_gone_in_the_end(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress_report(quiet=False) as report:
        assert report is not None
        report(_progress(0))
        report(_progress(1_000_000))
    text = terminal.getvalue()
    assert "reading data" in text
    assert "1,000,000 of 1,000,000 bars" in text
    assert text.endswith("\x1b[2K")


def test_without_a_terminal_the_last_phase_is_told_in_the_end(capsys):
    with progress_report(quiet=False) as report:
        assert report is not None
        for _, progress in _windows(2, 1.0):
            report(progress)
    assert capsys.readouterr().err.splitlines()[-1].startswith("forward: 2 windows, 20 bars, ")


def test_quiet_shows_nothing(capsys):
    with progress_report(quiet=True) as report:
        assert report is None
    assert capsys.readouterr().err == ""
