"""What is in the sdist, and in the wheel that is built from it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.build, pytest.mark.timeout(300)]

ROOT = Path(__file__).parent.parent
LINKED = ("engine", "containers", "sequences", "workflows")


def tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files"],  # noqa: S607 - whichever git is there
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(listed.stdout.splitlines())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist from what git has, and the wheel from the sdist."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    archive = source / "source.tar"
    subprocess.run(  # noqa: S603 - fixed arguments
        ["git", "archive", "--output", str(archive), "HEAD"],  # noqa: S607
        cwd=ROOT, check=True,
    )  # fmt: skip
    with tarfile.open(archive) as tar:
        tar.extractall(source / "admf", filter="data")
    subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "build", "--outdir", str(target), str(source / "admf")],
        check=True, capture_output=True, env={**os.environ, "PYTHONHASHSEED": "0"},
    )  # fmt: skip
    return target


def test_the_wheel_holds_every_tracked_source_file_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packaged = {name for name in names if not name.startswith("admf-")}
    wanted = {f"admf/{name}" for name in tracked() if name.split("/")[0] in LINKED}
    wanted |= {"admf/__init__.py", "admf/__main__.py", "admf/py.typed", "admf/results.py"}
    assert packaged == wanted


def test_the_wheel_brings_command_entry_points_and_licence(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    text = archive.read(entry_points).decode()
    assert "admf = admf.workflows.cli:main" in text
    assert "[admf.strategies]" in text
    assert any(name.endswith("licenses/LICENSE") for name in archive.namelist())


def test_the_sdist_holds_the_linked_folders_once(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    for name in tracked():
        if name.split("/")[0] in LINKED and name.endswith(".py"):
            assert f"src/admf/{name}" in names or name in names
