"""A run that was cut anywhere is resumed to the tree that it would have made undisturbed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import polars as pl
import pytest

from admf.engine.errors import FolderInUseError, ResultExistsError, StorageError
from admf.engine.lifecycle import LifecycleManager
from admf.engine.lock import LOCK_FOLDER
from admf.engine.result_names import COMMIT_FILE
from admf.engine.results import WindowResults
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from admf.workflows.cli import main as admf
from admf.workflows.outcome import RunResult
from admf.workflows.progress import RunProgress
from admf.workflows.run_execution import RunExecution
from admf.workflows.runner import Runner
from admf.workflows.scripting import run as run_experiment
from admf.workflows.versions import installed_versions
from tests.kill_and_resume import (
    RUN,
    STUDIES,
    commits,
    completed_windows,
    differing,
    experiment,
    torn,
    tree,
    write_project,
)
from tests.prompt import PromptFaultStorage, PromptStorage
from tests.sealing import change

pytestmark = pytest.mark.timeout(180)

CUTS = 2
"""At how many moments each study is cut: halfway, and at the very end."""


class Reference(NamedTuple):
    """An undisturbed run of a study.

    Args:
        file: The experiment.
        root: Where its results are.
        tree: What they are.
        result: How it ended.
        windows: The folders of the windows that it ran.
        calls: How often it called the operating system for its results.
        reports: How often it told of its progress.
    """

    file: Path
    root: Path
    tree: dict[str, bytes]
    result: RunResult
    windows: list[str]
    calls: int
    reports: int


class Attempt:
    """A run of an experiment's file.

    Args:
        file: The experiment.
        root: Where its results go.
        cancel_at: The report of progress at which it is cancelled, from 1.
        options: Of the `Runner`.

    Attributes:
        windows: The folders of the windows that it ran.
        reports: How often it told of its progress.
        notes: What it had to say.
        result: How it ended.
    """

    def __init__(self, file: Path, root: Path, *, cancel_at: int = 0, **options: Any) -> None:
        self.windows: list[str] = []
        self.reports = 0
        self.notes: list[str] = []
        self._cancel_at = cancel_at
        self._run: RunExecution | None = None
        runner = Runner(**{"storage": PromptStorage(root), **options})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LifecycleManager, "window", self._window(LifecycleManager.window))
            self.result: RunResult = anyio.run(self._execute, runner, file)

    async def _execute(self, runner: Runner, file: Path) -> RunResult:
        self._run = await runner.prepare(file)
        return await self._run.execute(self._report, self.notes.append)

    def _report(self, _: RunProgress) -> None:
        self.reports += 1
        if self.reports == self._cancel_at and self._run is not None:
            self._run.cancel()

    def _window(
        self, make: Callable[..., ExecutionWindow]
    ) -> Callable[[LifecycleManager, WindowSpec, WindowResults], ExecutionWindow]:
        def window(
            lifecycle: LifecycleManager, spec: WindowSpec, results: WindowResults
        ) -> ExecutionWindow:
            self.windows.append(results.path)
            return make(lifecycle, spec, results)

        return window


References = Callable[[str], Reference]


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> References:
    """Return a function that runs a study undisturbed; each runs once."""
    known: dict[str, Reference] = {}

    def reference(study: str) -> Reference:
        if study not in known:
            folder = tmp_path_factory.mktemp(study)
            file, root = write_project(folder / "project", study), folder / "results"
            storage = PromptFaultStorage(root)
            attempt = Attempt(file, root, storage=storage)
            assert attempt.result.status == "completed"
            known[study] = Reference(
                file,
                root,
                tree(root / RUN),
                attempt.result,
                attempt.windows,
                len(storage.calls),
                attempt.reports,
            )
        return known[study]

    return reference


def spread(count: int, number: int = CUTS) -> Iterator[int]:
    """Yield whole numbers up to a count, the last of them, spread evenly."""
    yield from sorted({max(1, count * row // number) for row in range(1, number + 1)})


def let_die(run: Path) -> None:
    """Have the lock that this process left say that its owner was another process."""
    for claim in run.glob(f"{LOCK_FOLDER}/*"):
        file = claim / "owner.json"
        if not file.exists():
            shutil.rmtree(claim)  # so that nobody need wait for it to say whose it is
            continue
        owner = json.loads(file.read_text())["owner"]
        text = json.dumps({**owner, "started_s": owner["started_s"] - 1000}, separators=(",", ":"))
        seal = hashlib.sha256(text.encode()).hexdigest()
        file.write_text(f'{{"owner":{text},"sha256":"{seal}"}}\n')


def resume_and_compare(found: Reference, root: Path) -> Attempt:
    """Resume a run that was cut; check what it makes, and what it leaves alone."""
    complete = completed_windows(root / RUN)
    attempt = Attempt(found.file, root, resume=True)
    assert attempt.result.status == "completed"
    assert differing(tree(root / RUN), found.tree) == []
    kept = {path.parent.relative_to(root).as_posix() for path in complete}
    assert sorted(attempt.windows) == sorted(it for it in found.windows if it not in kept)
    after = completed_windows(root / RUN)
    assert {path: after[path] for path in complete} == complete
    assert told(attempt.result) == told(found.result)
    return attempt


def told(result: RunResult) -> object:
    """Return what a run hands back, but for where its results are."""
    phases = {name: (it.success, it.summary, it.output) for name, it in result.phases.items()}
    return result.status, result.run_id, phases


@pytest.mark.parametrize("study", STUDIES)
def test_a_run_whose_storage_died_is_resumed(reference, tmp_path, study) -> None:
    found = reference(study)
    for number in spread(found.calls):
        root = tmp_path / str(number)
        storage = PromptFaultStorage(root, fail_at=number, dead=True)
        with suppress(StorageError):
            Attempt(found.file, root, storage=storage)
            assert len(storage.calls) < number
        assert torn(root / RUN) == []
        let_die(root / RUN)
        resume_and_compare(found, root)


@pytest.mark.parametrize("study", STUDIES)
def test_a_run_that_was_cancelled_is_resumed(reference, tmp_path, study) -> None:
    found = reference(study)
    for number in spread(found.reports):
        root = tmp_path / str(number)
        cut = Attempt(found.file, root, cancel_at=number)
        assert cut.result.status == "cancelled"
        assert torn(root / RUN) == []
        resume_and_compare(found, root)


@pytest.mark.parametrize("study", STUDIES)
def test_a_finished_run_is_resumed_without_a_change(reference, tmp_path, study) -> None:
    found = reference(study)
    shutil.copytree(found.root, tmp_path / "again")
    attempt = resume_and_compare(found, tmp_path / "again")
    assert [it for it in attempt.windows if (found.root / it).exists()] == []


def _delete(file: Path) -> None:
    file.unlink()


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _delete_folder(file: Path) -> None:
    shutil.rmtree(file.parent)


def _records(run: Path) -> list[Path]:
    return sorted(completed_windows(run))


def _containers(run: Path) -> list[Path]:
    return sorted(path for path in run.rglob("*_results.json*") if path.parent.name == "containers")


def _phases(run: Path) -> list[Path]:
    return sorted(run.glob(f"*/{COMMIT_FILE}"))


def _aggregates(run: Path) -> list[Path]:
    return sorted(run.rglob("aggregate_results.json*"))


def _own_files(window: Path) -> dict[Path, bytes]:
    files = (*window.glob("*"), *window.glob("containers/*"))
    return {file: file.read_bytes() for file in files if file.is_file()}


@pytest.mark.parametrize("study", ["zstd", "iterations"])
@pytest.mark.parametrize("files", [_records, _containers, _phases, _aggregates])
@pytest.mark.parametrize("damage", [_delete, _flip, _delete_folder])
def test_what_is_damaged_is_made_anew_and_nothing_else(
    reference, tmp_path, study, files, damage
) -> None:
    found, root = reference(study), tmp_path / "damaged"
    shutil.copytree(found.root, root)
    run = root / RUN
    windows = {path: _own_files(path.parent) for path in _records(run)}
    before = completed_windows(run)
    damaged = files(run)
    damage(damaged[len(damaged) // 2])
    unhurt = {path for path, content in windows.items() if _own_files(path.parent) == content}
    attempt = Attempt(found.file, root, resume=True)
    assert attempt.result.status == "completed"
    assert differing(tree(run), found.tree) == []
    hurt = {path.parent.relative_to(root).as_posix() for path in windows if path not in unhurt}
    assert set(attempt.windows) == hurt
    after = completed_windows(run)
    assert {path for path, stats in before.items() if after[path] == stats} == unhurt


def test_a_window_that_is_run_again_never_has_a_record_of_other_files(reference, tmp_path) -> None:
    """What a cancelled window left is not taken for what the resumed run has written so far."""
    found = reference("sweep")
    cut = tmp_path / "cut"
    Attempt(found.file, cut, cancel_at=2)
    (record,) = [path for path, it in commits(cut / RUN).items() if it.status == "cancelled"]
    whole = PromptFaultStorage(tmp_path / "whole")
    shutil.copytree(cut, tmp_path / "whole")
    Attempt(found.file, tmp_path / "whole", storage=whole, resume=True)
    replaced = 0
    for number in spread(len(whole.calls), 8):
        root = tmp_path / str(number)
        shutil.copytree(cut, root)
        storage = PromptFaultStorage(root, fail_at=number, dead=True)
        with suppress(StorageError):
            Attempt(found.file, root, storage=storage, resume=True)
        assert torn(root / RUN) == []
        replaced += not (root / record.relative_to(cut)).exists()
    assert replaced


def test_what_dead_writers_left_is_swept(reference, tmp_path) -> None:
    found, root = reference("sweep"), tmp_path / "results"
    shutil.copytree(found.root, root)
    for place in (".x.tmp", "sweep/.y.tmp", "sweep/sweep/batch_001/containers/.z.tmp"):
        (root / RUN / place).write_text("{")
    resume_and_compare(found, root)


def test_a_damaged_record_of_the_run_is_told_and_nothing_touched(reference, tmp_path) -> None:
    found, root = reference("sweep"), tmp_path / "results"
    shutil.copytree(found.root, root)
    _flip(root / RUN / "run.json")
    before = states(root)
    with pytest.raises(StorageError, match=r"run\.json is damaged"):
        Attempt(found.file, root, resume=True)
    assert states(root) == before


def states(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return what tells whether a file was touched, of all files."""
    files = {path: path.stat() for path in sorted(root.rglob("*")) if path.is_file()}
    return {
        path.relative_to(root).as_posix(): (it.st_ino, it.st_mtime_ns, it.st_size)
        for path, it in files.items()
    }


# -- admf resume ----------------------------------------------------------------------------------


class Said(NamedTuple):
    """How a command ended, and what it wrote to standard error."""

    code: int
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that carries out a command in this process."""

    def command(*words: str | Path) -> Said:
        code = admf([str(word) for word in words])
        return Said(code, capsys.readouterr().err)

    return command


STRATEGY = """\
from admf.containers.strategies.base import Strategy


class Mine(Strategy):
    period: int = 3
    size: float = 1.0

    def on_bar(self, bar, ctx):
        if bar.ts // 86_400_000_000_000 % self.period == 0:
            ctx.close() if ctx.position else ctx.buy()
"""


def _own(project: Path) -> Path:
    """Return an experiment with a strategy of its own beside it."""
    (project / "my_strategy.py").write_text(STRATEGY)
    text = {
        **experiment("sweep"),
        "strategy": {"type": "my_strategy:Mine"},
        "parameter_space": {"period": [2, 3, 4, 5]},
        "phase_overrides": {"sweep": {"seed": 3, "search": {"top_k": 2}}},
    }
    file = project / "experiment.yaml"
    file.write_text(json.dumps(text))
    return file


OVERRIDES = ("--set", "seed=9", "--set", "search.top_k=3", "--set", "strategy.params.size=0.5")


def test_resume_takes_experiment_module_and_overrides_from_the_folder(
    tmp_path, monkeypatch, command
) -> None:
    file = _own(write_project(tmp_path / "project", "sweep").parent)
    monkeypatch.chdir(file.parent)
    words = ("run", file.name, "--quiet", "--results-root", "out", *OVERRIDES)
    assert command(*words).code == 0
    run = file.parent / "out" / RUN
    before = tree(run)
    assert json.loads(before["run.json"])["phases"]["sweep"]["settings"]["seed"] == 9
    shutil.rmtree(run / "sweep/sweep/batch_002")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert command("resume", f"../project/out/{RUN}", "--quiet") == (0, "")
    assert differing(tree(run), before) == []
    assert list(elsewhere.iterdir()) == []


def test_resume_goes_on_with_an_experiment_from_python(tmp_path, monkeypatch, command) -> None:
    project = write_project(tmp_path / "project", "sweep").parent
    monkeypatch.chdir(project)
    mapping = {**experiment("sweep"), "data": {"path": project / "data", "symbols": ("X",)}}
    assert run_experiment(mapping, overrides=["seed=4"], results_root="out").status == "completed"
    run = project / "out" / RUN
    before = tree(run)
    shutil.rmtree(run / "sweep/sweep/batch_001")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert command("resume", run, "--quiet") == (0, "")
    assert differing(tree(run), before) == []


def test_resume_finds_a_run_that_lies_deeper(tmp_path, monkeypatch, command) -> None:
    file = write_project(tmp_path / "project", "sweep")
    words = ("--quiet", "--results-root", tmp_path / "out", "--set", "results_dir=deep/er")
    assert command("run", file, *words).code == 0
    before = tree(tmp_path / "out/deep/er")
    shutil.rmtree(tmp_path / "out/deep/er/sweep")
    monkeypatch.chdir(tmp_path / "out/deep/er")
    assert command("resume", ".", "--quiet") == (0, "")
    assert differing(tree(tmp_path / "out/deep/er"), before) == []


def test_resume_tells_of_a_folder_that_was_renamed(reference, tmp_path, command) -> None:
    shutil.copytree(reference("sweep").root / RUN, tmp_path / "renamed")
    before = states(tmp_path)
    code, err = command("resume", tmp_path / "renamed", "--quiet")
    assert code == 6
    assert f"it was called {RUN}" in err
    assert states(tmp_path) == before


def test_resume_refuses_what_has_changed_and_allows_it(changing, tmp_path, command) -> None:
    file, root = _copy(changing, tmp_path)
    record = json.loads((root / RUN / "run.json").read_bytes())
    change(root / RUN / "run.json", folder=str(file.parent))
    _price(record, file.parent)
    code, err = command("resume", root / RUN, "--quiet")
    assert code == 6
    assert "data of first: fingerprint" in err
    assert command("resume", root / RUN, "--quiet", "--allow-changed").code == 0
    Attempt(file, tmp_path / "fresh")
    now, fresh = tree(root / RUN), tree(tmp_path / "fresh" / RUN)
    assert differing(_without_changes(now), _without_changes(fresh)) == []


def _frames(project: Path) -> dict[str, pl.DataFrame]:
    return {"X": pl.read_csv(project / "data" / "X.csv", try_parse_dates=True)}


def test_frames_are_resumed_from_python_and_elsewhere_it_is_told(tmp_path, command) -> None:
    project = write_project(tmp_path / "project", "sweep").parent
    mapping = {**experiment("sweep"), "data": {"source": "frames", "symbols": ["X"]}}
    again = partial(
        run_experiment, mapping, results_root=tmp_path / "results", frames=_frames(project)
    )
    assert again().status == "completed"
    run = tmp_path / "results" / RUN
    before = tree(run)
    shutil.rmtree(run / "sweep/sweep/batch_001")
    touched = states(run)
    code, err = command("resume", run, "--quiet")
    assert code == 3
    assert "'sweep' ran on data frames" in err
    assert "frames=..., resume=True" in err
    assert states(run) == touched
    assert again(resume=True).status == "completed"
    assert differing(tree(run), before) == []


# -- what has changed -----------------------------------------------------------------------------

CHANGING: dict[str, Any] = {
    "phases": {
        "first": {"sequence": "parameter_sweep", "search": {"batch_size": 2}},
        "second": {"sequence": "single_pass", "inputs": {"parameters": "{first.best_parameters}"}},
        "third": {"sequence": "single_pass", "depends_on": ["second"]},
        "alone": {"sequence": "parameter_sweep", "parameter_space": {"fast": [2], "slow": [6, 7]}},
    },
}
ALL = {"first", "second", "third", "alone"}


class Change(NamedTuple):
    """A change of an experiment.

    Args:
        apply: Changes the experiment, or what is beside it in the folder.
        shown: A pattern of what is told of it.
        affected: The phases that it makes run again.
    """

    apply: Callable[[dict[str, Any], Path], None]
    shown: str
    affected: set[str]


def _param(it: dict[str, Any], _: Path) -> None:
    it["strategy"]["params"]["signal"] = "cross"


def _override(it: dict[str, Any], _: Path) -> None:
    it["phase_overrides"] = {"alone": {"parameter_space": {"fast": [2], "slow": [6, 8]}}}


def _override_first(it: dict[str, Any], _: Path) -> None:
    it["phase_overrides"] = {"first": {"search": {"batch_size": 4}}}


def _seed(it: dict[str, Any], _: Path) -> None:
    it["seed"] = 5


def _range(it: dict[str, Any], _: Path) -> None:
    it["data"]["start"] = "2023-02-01"


def _price(_: dict[str, Any], project: Path) -> None:
    file = project / "data" / "X.csv"
    lines = file.read_text().splitlines()
    *rest, close, volume = lines[50].split(",")
    lines[50] = ",".join([*rest, f"{float(close) - 0.01:.2f}", volume])
    file.write_text("\n".join(lines) + "\n")


def _compressed(it: dict[str, Any], _: Path) -> None:
    it["phases"]["alone"]["compression"] = "zstd"


def _without_alone(it: dict[str, Any], _: Path) -> None:
    del it["phases"]["alone"]


def _renamed(it: dict[str, Any], _: Path) -> None:
    it["phases"]["other"] = it["phases"].pop("alone")


def _in_memory(it: dict[str, Any], _: Path) -> None:
    it["phases"]["alone"]["results_storage"] = "memory"


def _workflow(it: dict[str, Any], _: Path) -> None:
    it["workflow"] = "another"


CHANGES = {
    "strategy parameter": Change(_param, r'params\.signal: "state" then, "cross" now', ALL),
    "phase override": Change(_override, r"phases\.alone\.\S+slow: \[6,7\] then", {"alone"}),
    "first phase": Change(
        _override_first, r"batch_size: 2 then, 4 now", {"first", "second", "third"}
    ),
    "seed": Change(_seed, r"seed: 0 then, 5 now", ALL),
    "data range": Change(_range, r"data of first: fingerprint \w{12}\.\.\. then", ALL),
    "price": Change(_price, r"data of alone: fingerprint \w{12}\.\.\. then, \w{12}\.", ALL),
    "compression": Change(_compressed, r'compression: "none" then, "zstd" now', {"alone"}),
    "phase removed": Change(_without_alone, r"phases\.alone: \{.* then, nothing now", set()),
    "phase renamed": Change(_renamed, r"phases\.other: nothing then", {"other"}),
    "storage": Change(_in_memory, r'results_storage: "disk" then, "memory" now', {"alone"}),
    "workflow": Change(_workflow, r'workflow: "changing" then, "another" now', ALL),
}


class Changed(NamedTuple):
    """A finished run, and an experiment that is no longer that which ran."""

    file: Path
    root: Path


@pytest.fixture(scope="session")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a project and its finished run."""
    folder = tmp_path_factory.mktemp("changing")
    file = write_project(folder / "project", "sweep")
    file.write_text(json.dumps({**experiment("sweep"), "workflow": "changing", **CHANGING}))
    assert Attempt(file, folder / "results").result.status == "completed"
    return folder


def _copy(changing: Path, folder: Path) -> Changed:
    shutil.copytree(changing, folder, dirs_exist_ok=True)
    return Changed(folder / "project" / "experiment.yaml", folder / "results")


def _changed(changing: Path, folder: Path, change: Change) -> Changed:
    """Copy the project and its run, and change the experiment."""
    changed = _copy(changing, folder)
    text = json.loads(changed.file.read_text())
    change.apply(text, changed.file.parent)
    changed.file.write_text(json.dumps(text))
    return changed


def _without_changes(found: dict[str, bytes]) -> dict[str, bytes]:
    record = json.loads(found["run.json"])
    assert isinstance(record.pop("changes"), list)
    return {**found, "run.json": json.dumps(record).encode()}


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_changed_is_refused_with_the_difference(changing, tmp_path, command, name) -> None:
    file, root = _changed(changing, tmp_path, CHANGES[name])
    before = states(root)
    code, err = command("run", file, "--quiet", "--resume", "--results-root", root)
    assert code == 6
    assert re.search(CHANGES[name].shown, err)
    assert "--allow-changed" in err
    assert states(root) == before
    assert not list(root.rglob(LOCK_FOLDER))


@pytest.mark.parametrize("name", CHANGES)
def test_allow_changed_runs_what_a_change_affects(changing, tmp_path, name) -> None:
    file, root = _changed(changing, tmp_path, CHANGES[name])
    before = completed_windows(root / RUN)
    attempt = Attempt(file, root, allow_changed=True)
    assert attempt.result.status == "completed"
    assert {it.split("/")[1] for it in attempt.windows} == CHANGES[name].affected
    after = completed_windows(root / RUN)
    kept = {path for path in after if path.relative_to(root).parts[1] not in CHANGES[name].affected}
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    fresh = tmp_path / "fresh"
    Attempt(file, fresh)
    now = tree(root / RUN)
    changes = json.loads(now["run.json"])["changes"]
    assert re.search(CHANGES[name].shown, "\n".join(changes))
    assert differing(_without_changes(now), _without_changes(tree(fresh / RUN))) == []
    again = Attempt(file, root, resume=True)
    assert [it for it in again.windows if (root / it).exists()] == []
    assert differing(tree(root / RUN), now) == []


def _set_version(patch: pytest.MonkeyPatch, **versions: str) -> None:
    known = installed_versions(())
    patch.setattr("admf.workflows.preparation.installed_versions", lambda _: {**known, **versions})


def test_another_version_is_refused_and_allowed(changing, tmp_path, command, monkeypatch) -> None:
    file, root = _copy(changing, tmp_path)
    _set_version(monkeypatch, polars="0.0.1")
    before = states(root)
    code, err = command("run", file, "--quiet", "--resume", "--results-root", root)
    assert code == 6
    assert re.search(r'versions\.polars: "[\d.]+" then, "0\.0\.1" now', err)
    assert states(root) == before
    attempt = Attempt(file, root, allow_changed=True)
    assert attempt.windows == []
    record = json.loads((root / RUN / "run.json").read_bytes())
    assert record["versions"]["polars"] == "0.0.1"
    assert len(record["changes"]) == 1


@pytest.mark.parametrize("name", ["first phase", "price", "phase renamed"])
def test_a_run_with_changes_may_die_anywhere_and_go_on(changing, tmp_path, name) -> None:
    file, root = _changed(changing, tmp_path, CHANGES[name])
    whole = tmp_path / "whole"
    shutil.copytree(root, whole)
    storage = PromptFaultStorage(whole)
    Attempt(file, whole, allow_changed=True, storage=storage)
    wanted = tree(whole / RUN)
    for number in spread(len(storage.calls) // 2, 5):
        cut = tmp_path / str(number)
        shutil.copytree(root, cut)
        with pytest.raises(StorageError):
            Attempt(
                file,
                cut,
                allow_changed=True,
                storage=PromptFaultStorage(cut, fail_at=number, dead=True),
            )
        let_die(cut / RUN)
        assert Attempt(file, cut, allow_changed=True).result.status == "completed"
        assert differing(tree(cut / RUN), wanted) == []


def test_a_change_of_an_iterating_study_begins_its_iterations_anew(reference, tmp_path) -> None:
    found = reference("iterations")
    project, root = tmp_path / "project", tmp_path / "results"
    shutil.copytree(found.file.parent, project)
    shutil.copytree(found.root, root)
    file = project / "experiment.yaml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_iterations": 1}))
    with pytest.raises(ResultExistsError, match="max_iterations"):
        Attempt(file, root, resume=True)
    attempt = Attempt(file, root, allow_changed=True)
    assert attempt.windows == []
    Attempt(file, tmp_path / "fresh")
    now, fresh = tree(root / RUN), tree(tmp_path / "fresh" / RUN)
    assert differing(_without_changes(now), _without_changes(fresh)) == []


def test_the_size_of_blocks_and_the_place_of_the_data_are_no_change(changing, tmp_path) -> None:
    file, root = _copy(changing, tmp_path)
    (file.parent / "data").rename(file.parent / "moved")
    text = json.loads(file.read_text())
    moved = {**text, "block_size": 7, "data": {**text["data"], "path": "moved"}}
    file.write_text(json.dumps(moved))
    shutil.rmtree(root / RUN / "first/sweep/batch_002")
    before = tree(changing / "results" / RUN)
    attempt = Attempt(file, root, resume=True)
    assert attempt.windows == [f"{RUN}/first/sweep/batch_002"]
    assert differing(tree(root / RUN), before) == ["run.json"]


# -- one run per folder ---------------------------------------------------------------------------


def _beside(file: Path, root: Path, act: Callable[[], None]) -> RunResult:
    """Run an experiment, and do something in the middle of it."""
    done: list[None] = []

    def report(progress: RunProgress) -> None:
        if progress.bars_done and not done:
            done.append(None)
            act()

    async def main() -> RunResult:
        run = await Runner(results_root=root).prepare(file)
        return await run.execute(report)

    return anyio.run(main)


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}, {}])
def test_two_runs_of_one_process_do_not_share_a_folder(reference, tmp_path, options) -> None:
    found, root = reference("sweep"), tmp_path / "results"

    def second() -> None:
        with ThreadPoolExecutor(1) as pool:
            error = pool.submit(Attempt, found.file, root, **options).exception()
        assert isinstance(error, ResultExistsError if not options else FolderInUseError)
        assert not options or f"pid {os.getpid()}" in str(error)

    assert _beside(found.file, root, second).status == "completed"
    assert differing(tree(root / RUN), found.tree) == []


def test_two_processes_do_not_share_a_folder(reference, tmp_path) -> None:
    found, root = reference("sweep"), tmp_path / "results"
    words = ["run", str(found.file), "--quiet", "--results-root", str(root)]

    def second() -> None:
        ended = subprocess.run(  # noqa: S603 - our own interpreter
            [sys.executable, "-m", "admf", *words, "--resume"],
            check=False,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 6
        assert f"pid {os.getpid()}" in ended.stderr

    assert _beside(found.file, root, second).status == "completed"
    assert differing(tree(root / RUN), found.tree) == []


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_the_lock_of_a_killed_run_is_told_and_taken_over(reference, tmp_path, options) -> None:
    found, root = reference("sweep"), tmp_path / "results"
    storage = PromptFaultStorage(root, fail_at=found.calls // 2, dead=True)
    with pytest.raises(StorageError):
        Attempt(found.file, root, storage=storage)
    let_die(root / RUN)
    attempt = Attempt(found.file, root, **options)
    (note,) = attempt.notes
    assert f"pid {os.getpid()}" in note
    assert "did not end by itself" in note
    assert attempt.result.status == "completed"
    assert differing(tree(root / RUN), found.tree) == []


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}])
def test_a_run_that_wrote_no_more_than_its_lock_is_gone_on_with(
    reference, tmp_path, options
) -> None:
    found, root = reference("sweep"), tmp_path / "results"
    storage = PromptFaultStorage(root, fail_at=2, only="replace", dead=True)
    with pytest.raises(StorageError):
        Attempt(found.file, root, storage=storage)
    let_die(root / RUN)
    assert not (root / RUN / "run.json").exists()
    assert Attempt(found.file, root, **options).result.status == "completed"
    assert differing(tree(root / RUN), found.tree) == []


def test_a_folder_without_anything_to_resume_is_told(reference, tmp_path) -> None:
    found = reference("sweep")
    attempt = Attempt(found.file, tmp_path, resume=True)
    assert attempt.notes == ["there is nothing to resume, so this run begins anew"]
    assert differing(tree(tmp_path / RUN), found.tree) == []


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("notes.txt", {"resume": True}, "holds no run to continue"),
        ("notes.txt", {"overwrite": True}, "holds files that admf did not write"),
        (".hidden", {"overwrite": True}, "holds files that admf did not write"),
    ],
)
def test_a_folder_of_something_else_is_left_alone(reference, tmp_path, name, options, told) -> None:
    (tmp_path / RUN).mkdir()
    (tmp_path / RUN / name).write_text("mine")
    before = states(tmp_path)
    with pytest.raises(ResultExistsError, match=told):
        Attempt(reference("sweep").file, tmp_path, **options)
    assert states(tmp_path) == before
