"""Kills runs at random moments, resumes them, and compares with a run that nobody disturbed.

``python tests/kill_and_resume.py --kills 200 --seed 7 --study walk_forward``

admf is imported once; each attempt is a process of its own, forked from this one, that carries out
``admf run`` and is ended by SIGKILL. After each kill no visible file may be torn; after the last
one ``admf run --resume`` must make the tree of an undisturbed run, and leave alone each window that
was complete.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from admf.engine.documents import read_document_from
from admf.engine.local_folder import LocalFolder
from admf.engine.lock import LOCK_FOLDER
from admf.engine.packing import plain_name
from admf.engine.result_names import COMMIT_FILE, RUN_FILE
from admf.workflows.cli import main as admf
from admf.workflows.cli.exits import ExitCode

RUN = "study"
BARS = 160
MODULE = """\
import msgspec

from admf.sequences import PhaseConfig


class Studies:
    def get_phases(self, config):
        self.config = config
        output = ("best_parameters",)
        return {"search": PhaseConfig(name="search", sequence="parameter_sweep", output=output)}

    def should_continue(self, result, iteration):
        return iteration < 2

    def modify_config_for_next(self, config, result, iteration):
        best = list(result.phases.values())[-1].output["best_parameters"]
        space = {"fast": (best["fast"], best["fast"] + 1), "slow": (best["slow"], 11)}
        return msgspec.structs.replace(config, parameter_space=space)

    def get_branches(self, result):
        return {"other": msgspec.structs.replace(self.config, seed=5)}
"""

_SPACE = {"fast": [2, 3], "slow": [6, 9]}
_SEARCH: dict[str, Any] = {"sequence": "parameter_sweep", "search": {"batch_size": 2}}
_FORWARD: dict[str, Any] = {
    "sequence": "walk_forward",
    "walk_forward": {"train": 60, "test": 30},
    "search": {"method": "random", "max_trials": 3},
}
_BAYESIAN = {"method": "bayesian", "max_trials": 12, "batch_size": 4}
_WIDE = {"fast": {"min": 2, "max": 6}, "slow": {"min": 7, "max": 20}}

STUDIES: Mapping[str, Mapping[str, Any]] = {
    "single_pass": {
        "workflow": "simple_backtest",
        "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 6}},
        "parameter_space": None,
    },
    "sweep": {"phases": {"sweep": _SEARCH}},
    "train_test_optimization": {"workflow": "train_test_optimization"},
    "walk_forward": {"phases": {"forward": _FORWARD}},
    "k_fold": {"phases": {"folds": {"sequence": "k_fold", "k_fold": {"folds": 3}}}},
    "monte_carlo": {
        "phases": {
            "paths": {
                "sequence": "monte_carlo",
                "monte_carlo": {
                    "method": "price_path",
                    "batches": 2,
                    "simulations": 2,
                    "inner": "walk_forward",
                },
                "walk_forward": {"train": 80, "test": 60},
            },
            "trades": {
                "sequence": "monte_carlo",
                "monte_carlo": {"method": "trade_bootstrap", "batches": 3, "simulations": 30},
                "depends_on": ["paths"],
                "parameter_space": {},
                "strategy": {"type": "sma_cross", "params": {"fast": 2, "slow": 6}},
            },
        },
    },
    "bayesian": {
        "parameter_space": _WIDE,
        "phases": {
            "search": {"sequence": "train_test", "search": _BAYESIAN},
            "check": {
                "sequence": "single_pass",
                "inputs": {"parameters": "{search.best_parameters}"},
            },
        },
    },
    "iterations": {"workflow": "own_studies:Studies"},
    "memory_between": {
        "phases": {
            "search": _SEARCH,
            "middle": {
                "sequence": "train_test",
                "depends_on": ["search"],
                "results_storage": "memory",
            },
            "last": {
                "sequence": "single_pass",
                "inputs": {"parameters": "{middle.best_parameters}"},
            },
        },
    },
    "zstd": {"compression": "zstd", "phases": {"forward": _FORWARD}},
    "traced": {"trace": {"store": "all"}, "phases": {"sweep": _SEARCH}},
    "side_by_side": {"phases": {"left": _SEARCH, "right": _FORWARD}},
}


def write_project(folder: Path, study: str) -> Path:
    """Write an experiment, its data and its module to a folder; return the experiment's file."""
    (folder / "data").mkdir(parents=True)
    lines = ["timestamp,open,high,low,close,volume"]
    for bar in range(BARS):
        price = 100 + 8 * math.sin(bar / 3) + 5 * math.sin(bar / 7.3) + bar % 3
        day = f"{2023 + bar // 336}-{1 + bar // 28 % 12:02}-{1 + bar % 28:02}"
        lines.append(f"{day},{price:.2f},{price + 1:.2f},{price - 1:.2f},{price + 0.5:.2f},1000")
    (folder / "data" / "X.csv").write_text("\n".join(lines) + "\n")
    (folder / "own_studies.py").write_text(MODULE)
    file = folder / "experiment.yaml"
    file.write_text(json.dumps(experiment(study)))  # YAML is a superset of JSON
    return file


def experiment(study: str) -> dict[str, Any]:
    """Return the experiment of a study."""
    base = {
        "workflow": study,
        "data": {"path": "data", "symbols": ["X"]},
        "strategy": {"type": "sma_cross", "params": {"signal": "state"}},
        "parameter_space": _SPACE,
        "results_dir": RUN,
        "block_size": 40,
    }
    merged = {**base, **STUDIES[study]}
    return {name: value for name, value in merged.items() if value is not None}


def tree(run: Path) -> dict[str, bytes]:
    """Return every file of a run, hidden ones too, and its folders; without times in run.json."""
    found: dict[str, bytes] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        found[name] = b"a folder" if path.is_dir() else path.read_bytes()
    if RUN_FILE in found:
        record = json.loads(found[RUN_FILE])
        times = ("started_at", "finished_at", "content_sha256")
        kept = {key: value for key, value in record.items() if key not in times}
        found[RUN_FILE] = json.dumps(kept).encode()
    return found


def differing(tree: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """Return the names that are not the same in two trees."""
    return sorted(name for name in {*tree, *other} if tree.get(name) != other.get(name))


class _Record(msgspec.Struct):
    status: str
    files: list[dict[str, Any]]
    windows: list[dict[str, Any]] = []
    fingerprint: str = ""


def commits(run: Path) -> dict[Path, _Record]:
    """Return the commit records in a run."""
    folder = LocalFolder(run)
    return {
        path: read_document_from(folder, path.relative_to(run).as_posix(), _Record)
        for path in sorted(run.rglob(COMMIT_FILE))
    }


def torn(run: Path) -> list[str]:
    """Return what is wrong with the visible files of a run that was killed."""
    wrong: list[str] = []
    folder = LocalFolder(run)
    for path in folder.list_files() if run.exists() else []:
        if LOCK_FOLDER in path.split("/") or path.endswith(".frames"):
            continue
        try:
            read_document_from(folder, plain_name(path), dict)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure to be told
            wrong.append(f"{path}: {error}")
    if wrong:
        return wrong
    for commit, record in commits(run).items():
        for file in (*record.files, *record.windows):
            place = commit.parent / file["path"]
            content = place.read_bytes() if place.exists() else b""
            if hashlib.sha256(content).hexdigest() != file["sha256"]:
                wrong.append(f"{place.relative_to(run)}: not as {commit.relative_to(run)} has it")
    return wrong


def completed_windows(run: Path) -> dict[Path, tuple[int, int]]:
    """Return the commit records of completed windows, and what tells if they are replaced."""
    stats = {
        path: path.stat()
        for path, it in commits(run).items()
        if it.status == "completed" and it.fingerprint
    }
    return {path: (it.st_ino, it.st_mtime_ns) for path, it in stats.items()}


class Killer:
    """Runs a study many times over in a folder of its own, and kills it.

    Args:
        folder: An empty folder.
        study: Name of the study.
        seed: Of the moments.
    """

    def __init__(self, folder: Path, study: str, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._folder = folder
        self._file = write_project(folder, study)
        self._random = random.Random(seed)
        reference = self._root("reference")
        self._preload(reference)
        self._run_s = self._timed("run", reference)
        self._reference = tree(reference / RUN)
        self._windows = len(completed_windows(reference / RUN))
        self._resume_s = self._timed("resume", reference)

    def attempt(self) -> None:
        """Run, kill, look, perhaps resume and kill again, then resume to the end and compare.

        Some runs replace a finished one, and some are interrupted before.
        """
        self.counts["attempts"] += 1
        root, chance = self._root("killed"), self._random.random()
        if chance < 0.1:
            shutil.copytree(self._root("reference"), root)
            self._kill("overwrite", root, self._run_s)
        elif chance < 0.2:
            self._interrupt(root)
            self._kill("resume", root, self._run_s)
        else:
            self._kill("run", root, self._run_s)
        while self._random.random() < 0.3:
            self.counts["kills while resuming"] += self._kill(
                "resume", root, self._random.choice((self._run_s, self._resume_s))
            )
        self._finish(root)
        shutil.rmtree(root)

    def summary(self) -> str:
        """Return what was done, on a line."""
        counts = self.counts
        return (
            f"{counts['attempts']} runs, {counts['killed']} kills "
            f"({counts['kills while resuming']} while resuming; {counts['ended before']} came too "
            f"late), {counts['interrupted']} interrupted, "
            f"{counts['windows kept']} windows kept and {counts['windows run again']} run by the "
            f"last resume; a run takes {self._run_s:.2f} s; {len(self.failures)} failures"
        )

    def _root(self, name: str) -> Path:
        return self._folder / name

    def _preload(self, root: Path) -> None:
        """Import here what a run imports, so that its children need not."""
        modules = self._folder / "modules"

        def run() -> int:
            code = admf(self._words("run", root))
            modules.write_text("\n".join(sys.modules))
            return code

        if self._wait(_forked(run, self._folder / "log")) != 0:
            raise SystemExit(f"it does not run: {self._said()}")
        for name in modules.read_text().split():
            with suppress(ImportError):
                importlib.import_module(name)
        shutil.rmtree(root)

    def _finish(self, root: Path) -> None:
        run = root / RUN
        before = completed_windows(run)
        code = self._wait(self._start("resume", root))
        if code != 0:
            self._fail(f"resume ended with {code}: {self._said()}")
            return
        after = completed_windows(run)
        again = [path for path, stats in before.items() if after.get(path) != stats]
        self.counts["windows kept"] += len(before)
        self.counts["windows run again"] += self._windows - len(before)
        for path in again:
            self._fail(f"{path.relative_to(run)} was complete, and ran again")
        for name in differing(tree(run), self._reference):
            self._fail(f"{name} is not as it is without a kill")

    def _kill(self, command: str, root: Path, duration_s: float) -> bool:
        """Begin a command, kill it at some moment, look at what it leaves; return if it was."""
        pid = self._start(command, root)
        self._let_run(pid, duration_s)
        os.kill(pid, signal.SIGKILL)
        killed = self._wait(pid) == -signal.SIGKILL
        self.counts["killed" if killed else "ended before"] += 1
        for line in torn(root / RUN):
            self._fail(f"torn: {line}")
        return killed

    def _let_run(self, pid: int, duration_s: float) -> None:
        """Return at some moment, or when a child has ended, which is waited for by `_wait`."""
        child = os.pidfd_open(pid)
        try:
            select.select([child], [], [], self._random.uniform(0, duration_s))
        finally:
            os.close(child)

    def _interrupt(self, root: Path) -> None:
        """Run, and end that early, so that windows are left which say that they were cancelled."""
        pid = self._start("run", root)
        self._let_run(pid, self._run_s)
        os.kill(pid, signal.SIGINT)
        self.counts["interrupted"] += self._wait(pid) == ExitCode.INTERRUPTED
        for line in torn(root / RUN):
            self._fail(f"torn: {line}")

    def _timed(self, command: str, root: Path) -> float:
        began = time.perf_counter()
        code = self._wait(self._start(command, root))
        if code != 0:
            raise SystemExit(f"{command} ended with {code} undisturbed: {self._said()}")
        return time.perf_counter() - began

    def _start(self, command: str, root: Path) -> int:
        words = self._words(command, root)
        return _forked(lambda: admf(words), self._folder / "log")

    def _words(self, command: str, root: Path) -> list[str]:
        words = ["run", str(self._file), "--quiet", "--results-root", str(root)]
        return words if command == "run" else [*words, f"--{command}"]

    @staticmethod
    def _wait(pid: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def _said(self) -> str:
        return (self._folder / "log").read_text()

    def _fail(self, text: str) -> None:
        self.failures.append(f"attempt {self.counts['attempts']}: {text}")


def _forked(work: Callable[[], int], log: Path) -> int:
    """Begin some work in a child process, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(descriptor, number)
        code = work()
    except BaseException:  # noqa: BLE001 - nothing may get out of the child
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> int:
    """Carry out the attempts that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--study", choices=STUDIES, default="walk_forward")
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        killer = Killer(Path(folder) / "project", options.study, options.seed)
        while killer.counts["killed"] < options.kills and len(killer.failures) < 20:
            killer.attempt()
    seconds = time.perf_counter() - began
    summary = f"{options.study}, seed {options.seed}: {killer.summary()}, {seconds:.0f} s"
    sys.stdout.write("\n".join([*killer.failures, summary, ""]))
    return 1 if killer.failures else 0


if __name__ == "__main__":
    sys.exit(main())
