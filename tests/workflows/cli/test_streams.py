from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from admf.engine.errors import ConfigError, DataError, Problem, StorageError
from admf.workflows.cli.logs import configure_logging
from admf.workflows.cli.streams import report, say, write_out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def use_terminal(monkeypatch) -> Callable[[], Terminal]:
    """Return a function that makes standard error a terminal."""

    def use_terminal() -> Terminal:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        return terminal

    return use_terminal


class Broken(io.StringIO):
    """A stream that cannot be written; its descriptor is that of a file to spare."""

    def __init__(self, descriptor: int, error: OSError) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._error = error

    def write(self, _: str) -> int:
        raise self._error

    def fileno(self) -> int:
        return self._descriptor


@pytest.fixture
def spare(tmp_path) -> Iterator[int]:
    with (tmp_path / "spare").open("w") as file:
        yield file.fileno()


def test_a_reader_of_standard_output_that_has_gone_is_no_error(monkeypatch, spare):
    monkeypatch.setattr(sys, "stdout", Broken(spare, BrokenPipeError()))
    write_out("text")
    assert os.path.samestat(os.fstat(spare), Path(os.devnull).stat())


def test_a_standard_output_that_cannot_be_written_is_a_storage_error(monkeypatch, spare):
    error = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(sys, "stdout", Broken(spare, error))
    with pytest.raises(StorageError, match="cannot write to standard output: No space left"):
        write_out("text")


def test_messages_that_cannot_be_written_are_no_error(monkeypatch, spare):
    monkeypatch.setattr(sys, "stderr", Broken(spare, BrokenPipeError()))
    say("error", "text")


def test_labels_are_plain_without_a_terminal(capsys):
    say("error", "first\nsecond")
    assert capsys.readouterr().err == "error: first\n       second\n"


def test_labels_are_coloured_on_a_terminal(use_terminal):
    terminal = use_terminal()
    say("error", "text")
    assert terminal.getvalue() == "\x1b[1;31merror:\x1b[0m text\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_labels_are_plain_on_a_terminal_that_is_told_to(use_terminal, monkeypatch, name, value):
    terminal = use_terminal()
    monkeypatch.setenv(name, value)
    say("error", "text")
    assert terminal.getvalue() == "error: text\n"


def test_problems_with_a_place_begin_with_it(capsys):
    problems = [Problem("is odd", "seed", "a.yaml", 3, 7), Problem("is missing", "data")]
    report(ConfigError(problems))
    assert capsys.readouterr().err == "a.yaml:3:7: seed: is odd\nerror: data: is missing\n"


def test_other_errors_are_labelled(capsys):
    report(DataError("a.csv:3: close: is NaN"))
    assert capsys.readouterr().err == "error: a.csv:3: close: is NaN\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_the_log_goes_to_standard_error_in_plain_lines(capsys, verbose):
    configure_logging(verbose=verbose)
    log = structlog.get_logger()
    log.info("noted", bars=3)
    log.warning("slow", bars=4)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ["[info]" in captured.err, "slow bars=4" in captured.err] == [verbose, True]
    assert "\x1b" not in captured.err


def test_the_log_is_coloured_on_a_terminal(use_terminal):
    terminal = use_terminal()
    configure_logging(verbose=True)
    structlog.get_logger().info("noted")
    assert "\x1b[" in terminal.getvalue()
