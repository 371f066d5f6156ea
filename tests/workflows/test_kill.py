"""A run that is killed at any moment leaves no torn file, and is resumed to the same tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "kill_and_resume.py"


@pytest.mark.timeout(180)
def test_runs_that_are_killed_are_resumed_to_the_same_tree(tmp_path: Path) -> None:
    words = [sys.executable, str(SCRIPT), "--kills", "12", "--seed", "7"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(  # noqa: S603 - our own interpreter
        [*words, "--study", "bayesian"],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "; 0 failures" in ended.stdout
