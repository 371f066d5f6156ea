"""The same study gives the same bytes, whatever the hash seed and the block size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STUDY = """\
workflow: everything
data: {source: sample, symbols: [GOOG], start: "2010-01-01", end: "2011-12-31"}
strategy: {type: sma_cross, params: {signal: state}}
parameter_space: {fast: {min: 2, max: 8}, slow: {min: 10, max: 40}}
phases:
  bayesian:
    sequence: train_test
    search: {method: bayesian, max_trials: 12, batch_size: 4}
  walk_forward:
    sequence: walk_forward
    walk_forward: {train: 1Y, test: 6M}
    search: {method: random, max_trials: 5}
  monte_carlo:
    sequence: monte_carlo
    monte_carlo: {method: price_path, batches: 2, simulations: 3}
    inputs: {parameters: "{bayesian.best_parameters}"}
results_dir: study
"""


def tree(folder: Path, *, hash_seed: int, block_size: int) -> dict[str, bytes]:
    file = folder / "study.yaml"
    file.write_text(STUDY)
    root = folder / f"results_{hash_seed}"
    words = ["run", str(file), "--quiet", "--results-root", str(root)]
    subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "admf", *words, "--set", f"block_size={block_size}"],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        check=True,
        capture_output=True,
    )
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*.json"))
        if path.name != "run.json"
    }


def test_a_study_does_not_depend_on_the_hash_seed_or_the_size_of_blocks(tmp_path: Path) -> None:
    first = tree(tmp_path, hash_seed=1, block_size=4096)
    second = tree(tmp_path, hash_seed=2, block_size=64)
    assert len(first) > 30
    assert first == second
