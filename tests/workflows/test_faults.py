"""Whatever call to the operating system fails, no file is torn and no run claims what it lacks."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

import anyio
import pytest

from admf.engine.errors import StorageError
from admf.engine.files import is_temporary
from admf.engine.lock import LOCK_FOLDER
from admf.engine.storage import LocalStorage
from admf.workflows.cli import main as admf
from admf.workflows.loading import LoadedExperiment
from admf.workflows.runner import Runner
from tests.kill_and_resume import RUN, commits, differing, experiment, torn, tree, write_project
from tests.prompt import PromptFaultStorage
from tests.workflows.test_resume import let_die

pytestmark = pytest.mark.timeout(180)

P = ParamSpec("P")
T = TypeVar("T")

ERRORS = [errno.ENOSPC, errno.EIO, errno.EMFILE, errno.EACCES]
PARTS = 4
"""Of the calls of a study, each of which fails once."""

ASIDE = f".{RUN}.replaced"
SEARCH: dict[str, Any] = {"sequence": "parameter_sweep", "search": {"batch_size": 2}}
CHECK = {"sequence": "single_pass", "inputs": {"parameters": "{search.best_parameters}"}}
STUDY: dict[str, Any] = {
    "workflow": "study",
    "event_tracing": ["PORTFOLIO_UPDATE"],
    "phases": {"search": SEARCH, "check": CHECK},
}
STUDIES: Mapping[str, dict[str, Any]] = {
    # one container in each window: nothing is written side by side, so calls have an order
    "plain": {
        **STUDY,
        "parameter_space": {"fast": [2, 3], "slow": [6]},
        "phases": {"search": {**SEARCH, "search": {"batch_size": 1}}, "check": CHECK},
    },
    "other": {**STUDY, "parameter_space": {"fast": [4], "slow": [9]}},
    "zstd": {**STUDY, "compression": "zstd"},
    # longer than what waits in memory for a log of events, so that some waits in files
    "traced": {
        **STUDY,
        "parameter_space": {"fast": [2, 3], "slow": [6]},
        "trace": {"store": "all"},
    },
}
BARS = {"traced": 1_100}


class Faulty(PromptFaultStorage):
    """A fault store that tells which call failed: its name, and the path that it was about.

    Attributes:
        hit: The call that failed.
        kinds: All calls so far, each by its name and that of the file or folder, without numbers.
    """

    def __init__(self, root: Path, *, error: int = errno.EIO, **options: Any) -> None:
        super().__init__(root, error=error, **options)
        self.hit = ""
        self.kinds: list[str] = []
        self._errno = error
        self._opened: dict[int, Any] = {}

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        place = self._place(function, args)
        call = f"{function.__name__} {place}"
        name = re.sub(r"[0-9a-f]{16}|[0-9]+", "N", Path(place).name)
        self.kinds.append(f"{function.__name__} {name}")
        try:
            result = super().system_call(function, *args, **kwargs)
        except OSError as error:
            if error.errno == self._errno:
                self.hit = call
            raise
        if isinstance(result, int) and function.__name__ == "open":
            self._opened[result] = args[0]
        return result

    def _place(self, function: Callable[..., object], args: tuple[Any, ...]) -> str:
        """Return what a call is about: the path of a bound method, or the first argument."""
        owner = getattr(function, "__self__", None)
        about = owner if isinstance(owner, Path) else getattr(owner, "name", None)
        about = args[0] if about is None else about
        return os.path.relpath(self._opened.get(about, about), self.folder.root)


class Ended(NamedTuple):
    """How a run ended: its status, or that it raised, and what it said went wrong."""

    status: str
    text: str


class Reference(NamedTuple):
    """An undisturbed run of a study, and what it takes to run it again."""

    loaded: LoadedExperiment
    file: Path
    root: Path
    tree: dict[str, bytes]
    calls: list[str]
    kinds: list[str]


Run = Callable[..., Ended]
References = Callable[[str], Reference]


@pytest.fixture(scope="module")
def run() -> Run:
    """Return a function that runs an experiment; plug-ins are imported once."""
    registry = Runner().registry

    def run(loaded: LoadedExperiment, storage: LocalStorage, **options: Any) -> Ended:
        runner = Runner(storage=storage, registry=registry, **options)
        try:
            result = anyio.run(runner.run, loaded)
        except StorageError as error:
            return Ended("raised", str(error))
        errors = [error for phase in result.phases.values() for error in phase.errors]
        return Ended(result.status, "\n".join(errors))

    return run


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, run: Run) -> References:
    """Return a function that runs a study undisturbed; each runs once."""
    known: dict[str, Reference] = {}

    def reference(study: str) -> Reference:
        if study not in known:
            folder = tmp_path_factory.mktemp(study)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("tests.kill_and_resume.BARS", BARS.get(study, 100))
                file = write_project(folder / "project", "sweep")
            file.write_text(json.dumps({**experiment("sweep"), **STUDIES[study]}))
            loaded = Runner().load(file)
            storage = Faulty(folder / "results")
            assert run(loaded, storage).status == "completed"
            found = tree(folder / "results" / RUN)
            known[study] = Reference(
                loaded, file, folder / "results", found, storage.calls, storage.kinds
            )
        return known[study]

    return reference


# -- a fault at any call --------------------------------------------------------------------------


class Trial:
    """Runs a study with a fault, again and again in one folder, and judges what that leaves.

    Args:
        run: Runs an experiment.
        found: The study, as it is undisturbed.
        root: The folder.
        before: A folder to begin with, if it is not to be empty.
        options: Of the runner.

    Attributes:
        states: What was left, as far as it has been healed to the tree of an undisturbed run.
    """

    def __init__(
        self, run: Run, found: Reference, root: Path, before: Path | None = None, **options: Any
    ) -> None:
        self.states: set[str] = set()
        self._run = run
        self._found = found
        self._root = root
        self._before = before
        self._old = {} if before is None else tree(before / RUN)
        self._options = options

    def calls(self) -> list[str]:
        """Return the calls of a run without a fault."""
        self._begin()
        storage = Faulty(self._root)
        assert self._run(self._found.loaded, storage, **self._options).status == "completed"
        assert differing(tree(self._root / RUN), self._found.tree) == []
        return storage.calls

    def fail(self, number: int, error: int = errno.EIO, only: str = "") -> None:
        """Have a call fail; judge how the run ends and what it leaves; heal that."""
        self._begin()
        storage = Faulty(self._root, fail_at=number, error=error, only=only)
        ended = self._run(self._found.loaded, storage, **self._options)
        where = f"call {number}, {storage.hit}: {ended}"
        if not storage.hit:  # containers are written side by side: how many calls varies a little
            assert number > sum(only in {"", call} for call in storage.calls)
        else:  # none is survived: not even that of a scratch file, or of the lock, at the end
            assert ended.status == "raised", where
            assert f"[{errno.errorcode[error]}]" in ended.text, where
        self._look(ended, where)
        self._heal(where)

    def _begin(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        if self._before is not None:
            shutil.copytree(self._before, self._root)

    def _look(self, ended: Ended, where: str) -> None:
        """See that each file is absent, old, or whole and new, and that none says too much."""
        folder = self._root / RUN
        if self._old and not folder.exists():
            folder = self._root / ASIDE
            assert folder.exists(), where
        assert torn(folder) == [], where
        found = visible(tree(folder))
        if visible(self._old) == found:
            return
        unlike = [it for it in differing(found, self._found.tree) if it in found]
        kept = {} if "overwrite" in self._options else self._old
        strange = [it for it in unlike if found[it] != kept.get(it)]
        assert [it for it in strange if _completed(folder, it)] == [], where
        status = json.loads(found.get("run.json", b'{"status": "running"}'))["status"]
        whole = differing(found, visible(self._found.tree)) == []
        assert status != "completed" or whole, where
        assert ended.status != "completed" or (whole and status == "completed"), where

    def _heal(self, where: str) -> None:
        """Run again without a fault, unless that has been done from the same state."""
        state = _state(self._root)
        if state in self.states:
            return
        let_die(self._root / RUN)
        options = self._options or {"resume": True}
        ended = self._run(self._found.loaded, Faulty(self._root), **options)
        assert ended == ("completed", ""), where
        assert differing(tree(self._root / RUN), self._found.tree) == [], where
        assert sorted(self._root.iterdir()) == [self._root / RUN], where
        self.states.add(state)


def visible(found: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a tree that are results: no folders, no lock, nothing temporary."""
    return {
        name: content
        for name, content in found.items()
        if content != b"a folder" and not is_temporary(name) and LOCK_FOLDER not in name.split("/")
    }


def _completed(folder: Path, name: str) -> bool:
    """Whether a file is one of a window or a phase that claims to be complete."""
    records = {path.parent: it.status for path, it in commits(folder).items()}
    above = [records.get(parent) for parent in (folder / name).parents]
    return next((it for it in above if it is not None), "") == "completed"


def _state(root: Path) -> str:
    """Return a digest of a folder; names of drafts and owners of locks do not count."""
    digest = hashlib.sha256()
    for folder in (RUN, ASIDE):
        for path, content in tree(root / folder).items():
            name = re.sub(r"[0-9a-f]{16}\.tmp$", "tmp", f"{folder}/{path}")
            said = b"" if LOCK_FOLDER in path.split("/") else content
            digest.update(b"%b %d %b " % (name.encode(), len(said), said))
    return digest.hexdigest()


def representative(kinds: Sequence[str]) -> list[int]:
    """Return the first, a middle and the last call of each kind, as numbers from 1."""
    numbers: dict[str, list[int]] = {}
    for number, kind in enumerate(kinds, 1):
        numbers.setdefault(kind, []).append(number)
    return sorted({same[place] for same in numbers.values() for place in (0, len(same) // 2, -1)})


@pytest.mark.parametrize("part", range(PARTS))
def test_a_fault_at_any_call_is_told_and_healed(run, reference, tmp_path, part) -> None:
    found = reference("plain")
    trial = Trial(run, found, tmp_path / "results")
    numbers = representative(found.kinds)
    first, last = (len(numbers) * it // PARTS for it in (part, part + 1))
    for number in numbers[first:last]:
        trial.fail(number)
    assert len(trial.states) > 3


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE, errno.EACCES])
def test_a_fault_of_any_kind_is_told_and_healed(run, reference, tmp_path, error) -> None:
    trial = Trial(run, reference("plain"), tmp_path / "results")
    for number in sample(len(trial.calls()), 6, seed=error):
        trial.fail(number, error)


def sample(count: int, size: int, seed: int) -> list[int]:
    """Return some of the numbers from 1 to a count."""
    return sorted(random.Random(seed).sample(range(1, count + 1), min(size, count)))


@pytest.fixture
def half_a_run(run, reference, tmp_path) -> Path:
    """Return a folder with a run whose process died."""
    found, root = reference("plain"), tmp_path / "half"
    storage = Faulty(root, fail_at=len(found.calls) // 2, dead=True)
    assert run(found.loaded, storage).status == "raised"
    let_die(root / RUN)
    return root


@pytest.fixture
def trial(request, run, reference, tmp_path) -> Trial:
    """Return the trial of a name."""
    root = tmp_path / "results"
    if request.param == "resume":
        half = request.getfixturevalue("half_a_run")
        return Trial(run, reference("plain"), root, half, resume=True)
    if request.param == "overwrite":
        return Trial(run, reference("plain"), root, reference("other").root, overwrite=True)
    return Trial(run, reference(request.param), root)


@pytest.mark.parametrize("trial", ["zstd", "traced", "resume", "overwrite"], indirect=True)
@pytest.mark.parametrize("only", ["", "fsync"])
def test_a_fault_is_told_and_healed_however_results_are_kept(trial: Trial, only: str) -> None:
    calls = [call for call in trial.calls() if only in {"", call}]
    for place, number in enumerate(sample(len(calls), 5, seed=len(only))):
        trial.fail(number, errno.EIO if only else ERRORS[place % len(ERRORS)], only)


# -- the command line -----------------------------------------------------------------------------

FAULTS = [
    ("write", 1, errno.ENOSPC, "free some space"),
    ("write", -1, errno.ENOSPC, "free some space"),
    ("open", 12, errno.EMFILE, "ulimit -n"),
    ("mkdir", 1, errno.EACCES, "check who owns it"),
    ("mkdir", -1, errno.EACCES, "check who owns it"),
    ("fsync", 20, errno.EIO, "check it before trusting"),
    ("replace", 8, errno.EIO, "check it before trusting"),
    ("rmtree", -1, errno.EACCES, "check who owns it"),
]
"""Calls, by which of its name it is; the error; and the remedy that is told."""


@pytest.mark.parametrize(("name", "place", "error", "remedy"), FAULTS)
@pytest.mark.parametrize("json_too", [False, True])
def test_the_command_line_tells_of_a_fault(
    reference, tmp_path, monkeypatch, capsys, name, place, error, remedy, json_too
) -> None:
    found, root = reference("plain"), tmp_path / "results"
    number = place if place > 0 else found.calls.count(name) + 1 + place
    faulty = partial(Faulty, fail_at=number, only=name, error=error)
    monkeypatch.setattr("admf.workflows.runner.LocalStorage", faulty)
    words = ["run", str(found.file), "--quiet", "--results-root", str(root)]
    assert admf([*words, "--json"] if json_too else words) == StorageError.exit_code
    out, err = capsys.readouterr()
    assert err.startswith("error: cannot ")
    assert f" {root}" in err
    assert f"[{errno.errorcode[error]}]; " in err
    assert remedy in err
    assert "Traceback" not in err
    if json_too:
        document = json.loads(out)
        assert document["status"] == "failed"
        assert document["error"] in err
    else:
        assert out == ""


# -- a full disk ----------------------------------------------------------------------------------

Disk = Callable[[Path, int], AbstractContextManager["SmallDisk"]]


class SmallDisk(NamedTuple):
    """A folder for results that has room for some bytes.

    Args:
        storage: Results in it.
        grow: Makes room.
    """

    storage: LocalStorage
    grow: Callable[[], object]


class SmallStorage(LocalStorage):
    """A storage that takes some bytes, and of the write that goes beyond them only a part."""

    def __init__(self, root: Path, size: int) -> None:
        super().__init__(root)
        self._room = size

    def system_call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if function is not os.write:
            return super().system_call(function, *args, **kwargs)
        descriptor, data = args
        if self._room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = os.write(descriptor, data[: self._room])
        self._room -= written
        return written

    def grow(self) -> None:
        self._room = 1 << 30


@contextmanager
def small_storage(folder: Path, size: int) -> Iterator[SmallDisk]:
    storage = SmallStorage(folder, size)
    yield SmallDisk(storage, storage.grow)


@contextmanager
def small_tmpfs(folder: Path, size: int) -> Iterator[SmallDisk]:
    folder.mkdir()
    system("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        grow = partial(system, "mount", "-o", "remount,size=4m", str(folder))
        yield SmallDisk(LocalStorage(folder), grow)
    finally:
        system("umount", str(folder))


def system(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)  # noqa: S603 - our own words


def _can_mount() -> bool:
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as folder:
        try:
            with small_tmpfs(Path(folder) / "tmpfs", 4096):
                return True
        except (OSError, subprocess.CalledProcessError):
            return False


DISKS: list[Disk] = [small_storage, *([small_tmpfs] if _can_mount() else [])]


@pytest.mark.parametrize("disk", DISKS)
@pytest.mark.parametrize("percent", [5, 40, 70, 95])
def test_a_run_on_a_full_disk_is_told_and_resumed_when_there_is_room(
    run, reference, tmp_path, disk, percent
) -> None:
    found = reference("plain")
    folder = tmp_path / "disk"
    size = sum(map(len, visible(found.tree).values())) * percent // 100
    with disk(folder, size) as small:
        ended = run(found.loaded, small.storage)
        assert ended.status == "raised"
        assert "[ENOSPC]; free some space" in ended.text
        assert torn(folder / RUN) == []
        files = visible(tree(folder / RUN))
        unlike = [it for it in differing(files, found.tree) if it in files]
        assert [it for it in unlike if _completed(folder / RUN, it)] == []
        assert json.loads(files.get("run.json", b'{"status": ""}'))["status"] != "completed"
        small.grow()
        let_die(folder / RUN)
        assert run(found.loaded, small.storage, resume=True) == ("completed", "")
        assert differing(tree(folder / RUN), found.tree) == []
