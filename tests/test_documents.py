"""What the README and the guides show runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
STUDIES = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")
SAMPLE = "data: {source: sample, symbols: [GOOG]}\n"
SEARCH = f"workflow: walk_forward_optimization\n{SAMPLE}strategy: {{type: sma_cross}}\n"


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the README's experiment, and its strategies in one module."""
    (tmp_path / "goog.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    strategies = [code for code in blocks("python") if "(Strategy)" in code]
    (tmp_path / "my_strategies.py").write_text("\n".join(strategies), encoding="utf-8")
    return tmp_path


def python(folder: Path, *args: str) -> str:
    result = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_readme_experiment_runs(folder: Path) -> None:
    assert "35,487.31" in python(folder, "-m", "admf", "run", "goog.yaml")


def test_the_readme_search_runs(folder: Path) -> None:
    (folder / "search.yaml").write_text(blocks("yaml")[1], encoding="utf-8")
    output = python(folder, "-m", "admf", "run", "search.yaml")
    assert "Probability of backtest overfitting" in output


@pytest.mark.parametrize("block", blocks("yaml", STUDIES))
def test_what_the_guide_to_studies_shows_is_valid(tmp_path: Path, block: str) -> None:
    if "workflow:" not in block:
        block = SEARCH + block
    if "symbols: [SPY]" in block:
        block = re.sub(r"data: \{symbols: \[SPY\]\}", SAMPLE.strip(), block)
    (tmp_path / "study.yaml").write_text(block, encoding="utf-8")
    python(tmp_path, "-m", "admf", "validate", "study.yaml")


def test_every_file_that_the_guide_names_exists() -> None:
    for target in re.findall(r"`(examples/[^`]+)`", STUDIES):
        assert (ROOT / target).exists(), target


def test_the_python_example_runs(folder: Path) -> None:
    (code,) = [code for code in blocks("python") if "admf.run(" in code]
    assert float(python(folder, "-c", code)) == pytest.approx(0.62, abs=0.3)


@pytest.mark.parametrize("name", ["Dip", "Trend"])
def test_the_readme_strategies_run(folder: Path, name: str) -> None:
    command = ["-m", "admf", "run", "goog.yaml", "--json", "--set"]
    output = python(folder, *command, f"strategy={{type: 'my_strategies:{name}'}}")
    assert '"status":"completed"' in output.replace(" ", "")


def test_the_readme_strategies_have_fewer_than_15_lines() -> None:
    for code in blocks("python"):
        if "(Strategy)" in code:
            assert len(code.strip().splitlines()) < 15


def test_the_engine_example_runs(folder: Path) -> None:
    (code,) = [code for code in blocks("python") if "asyncio.run" in code]
    assert python(folder, "-c", code) == "got 42.0\n"


def test_every_linked_file_exists() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
