from __future__ import annotations

import os
import runpy
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from admf.workflows.cli import main
from admf.workflows.runner import Runner

COMMANDS = ("run", "validate", "check-lookahead", "init", "list", "schema")
HEAVY = ("polars", "talib", "jsonschema", "pandas")


def _process(*words: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "admf", *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_version(admf):
    assert admf("--version") == (0, f"admf {version('admf')}\n", "")


@pytest.mark.parametrize("words", [["--help"], ["-h"], []])
def test_help_names_every_command_and_the_exit_codes(admf, words):
    outcome = admf(*words)
    assert outcome.code == 0
    assert all(command in outcome.out for command in (*COMMANDS, "results", "130 interrupted"))


@pytest.mark.parametrize("command", [*COMMANDS, "results show"])
def test_the_help_of_each_command_has_an_example(admf, command):
    outcome = admf(*command.split(), "--help")
    assert outcome.code == 0
    assert f"Example: admf {command} " in outcome.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("rum", 'Unknown command "rum". Did you mean "run"?'),
        ("--foo", 'Unknown command "--foo"'),
        ("run", "requires an argument"),
        ("run a.yaml b.yaml", "['b.yaml']"),
        ("run a.yaml --jsn", "Did you mean --json?"),
        ("run a.yaml --set", "--set requires an argument"),
        ("list strategy", '"strategies"'),
        ("results shwo", 'Unknown command "shwo"'),
        ("results show", "requires an argument"),
    ],
)
def test_wrong_usage_exits_with_2_and_points_to_the_help(admf, words, message):
    outcome = admf(*words.split())
    assert outcome.code == 2
    assert outcome.out == ""
    assert message in outcome.err
    assert "--help" in outcome.err.splitlines()[-1]


def test_an_interruption_outside_a_run_ends_quietly(admf, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Runner, "load", interrupt)
    assert admf("validate", "experiment.yaml") == (130, "", "error: interrupted\n")


def test_the_words_of_the_process_are_taken_if_none_are_given(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["admf", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("admf ")


@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_help_and_version_import_nothing_heavy(tmp_path, words):
    code = (
        "import sys; from admf.workflows.cli import main; "
        f"main({words}); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert not set(HEAVY) & set(done.stderr.split())


def test_python_m_admf_exits_with_the_code(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["admf", "run", "nope.yaml"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("admf", run_name="__main__")
    assert caught.value.code == 3
    assert capsys.readouterr() == ("", "nope.yaml: no such file\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    with _process("list", "metrics", folder=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_reader_of_messages_that_goes_away_does_not_change_the_exit_code(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    with subprocess.Popen(
        [sys.executable, "-m", "admf", "run", "nope.yaml"], cwd=tmp_path, stderr=writing
    ) as process:
        os.close(writing)
    assert process.returncode == 3
