"""Fixtures of the command line's tests: commands run in this process, and a small project."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from admf.workflows.cli import main

EXPERIMENT = """\
workflow: simple_backtest
data: {path: data, symbols: [GOOG]}
strategy: {type: sma_cross, params: {fast: 2, slow: 5}}
results_dir: study
"""


class Outcome(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which is to be one JSON document."""
        return json.loads(self.out)


Admf = Callable[..., Outcome]


@pytest.fixture
def admf(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Admf:
    """Return a function that carries out a command in ``tmp_path``."""
    monkeypatch.chdir(tmp_path)

    def admf(*words: str) -> Outcome:
        code = main(words)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return admf


def lines_of_bars() -> list[str]:
    """Return the lines of a file of 60 daily bars whose moving averages cross often."""
    lines = ["timestamp,open,high,low,close,volume"]
    for bar in range(60):
        price = 100 + (bar % 10 if bar % 20 < 10 else 10 - bar % 10)
        day = f"2024-{1 + bar // 28:02}-{1 + bar % 28:02}"
        lines.append(f"{day},{price},{price + 1},{price - 1},{price}.5,1000")
    return lines


@pytest.fixture
def bars() -> list[str]:
    """Return the lines of the project's data file."""
    return lines_of_bars()


@pytest.fixture
def project(tmp_path: Path, bars: list[str]) -> Path:
    """Return a folder with ``experiment.yaml`` and its data."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "GOOG.csv").write_text("\n".join(bars) + "\n")
    (tmp_path / "experiment.yaml").write_text(EXPERIMENT)
    return tmp_path


@pytest.fixture
def use_strategy(project: Path) -> Callable[[str], None]:
    """Return a function that has the project use a strategy, given the body of its ``on_bar``."""

    def use_strategy(*body: str) -> None:
        lines = [
            "import signal",
            "from admf.containers.strategies.base import Strategy",
            "class Mine(Strategy):",
            "    period: int = 3",
            "    def on_bar(self, bar, ctx):",
            *(f"        {line}" for line in body),
        ]
        (project / "mine.py").write_text("\n".join(lines) + "\n")
        text = EXPERIMENT.replace("sma_cross", '"mine:Mine"').replace("{fast: 2, slow: 5}", "{}")
        (project / "experiment.yaml").write_text(text + "block_size: 1\n")

    return use_strategy
