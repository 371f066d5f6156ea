"""A first project: an experiment, a strategy and data that run at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

import msgspec

from admf.engine.errors import ConfigError, Problem, StorageError
from admf.workflows.schema import experiment_schema

__all__ = ["init_project"]

_SCHEMA = PurePosixPath("schema.json")


def init_project(directory: str | os.PathLike[str]) -> list[Path]:
    """Write a first project into a folder, which is made if need be.

    All files are written, or none: on an error, what was written is removed again.

    Args:
        directory: The folder; it may hold other files.

    Returns:
        The files that were written.

    Raises:
        ConfigError: Some of the files exist; the message names them.
        StorageError: A file cannot be written.
    """
    root = Path(directory)
    files = _project_files()
    present = [root / name for name in files if os.path.lexists(root / name)]
    if present:
        raise ConfigError(
            [Problem("exists and is not overwritten", file=str(path)) for path in present]
        )
    try:
        with ExitStack() as undo:
            written = [_write(root / name, content, undo) for name, content in files.items()]
            undo.pop_all()
    except OSError as error:
        raise StorageError(f"cannot write the project into {root}: {error}") from error
    return written


def _project_files() -> dict[PurePosixPath, bytes]:
    templates = resources.files("admf.workflows") / "templates"
    files = dict(_files_in(templates, PurePosixPath()))
    schema = msgspec.json.format(msgspec.json.encode(experiment_schema()), indent=2)
    return {**files, _SCHEMA: schema + b"\n"}


def _files_in(folder: Traversable, name: PurePosixPath) -> Iterator[tuple[PurePosixPath, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir() and entry.name != "__pycache__":
            yield from _files_in(entry, name / entry.name)
        elif entry.is_file():
            yield name / entry.name, entry.read_bytes()


def _write(path: Path, content: bytes, undo: ExitStack) -> Path:
    """Write a new file; ``undo`` learns how to remove it and the folders made for it."""
    missing = [folder for folder in path.parents if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        undo.callback(folder.rmdir)
    with path.open("xb") as file:
        undo.callback(path.unlink)
        file.write(content)
    return path
