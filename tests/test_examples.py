"""Every example runs."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest

from admf.workflows.cli import main

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_experiment_completes(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["run", str(path), "--results-root", str(tmp_path), "--json", "--quiet"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert '"status":"completed"' in out.replace(" ", "")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_script_runs(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    run_path(str(path), run_name="__main__")
    assert capsys.readouterr().out
