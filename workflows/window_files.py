"""The files of one window of an earlier run, each as the window's commit record tells of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

from admf.engine.documents import FileRecord, read_document_from
from admf.engine.errors import MissingFileError, TornFileError, did_you_mean
from admf.engine.local_folder import LocalFolder
from admf.engine.packing import compression_of, plain_name, whole_text
from admf.engine.result_names import (
    AGGREGATE_FILE,
    COMMIT_FILE,
    CONTAINERS,
    container_of,
    results_path,
    trace_path,
)
from admf.engine.verification import CommitRecord

__all__ = ["WindowFiles"]

_MOST_NAMES = 10


class _Record(CommitRecord, frozen=True, kw_only=True):
    errors: tuple[str, ...] = ()


class _Lane(msgspec.Struct, frozen=True):
    container_id: str
    error: str | None = None


class _Lanes(msgspec.Struct, frozen=True):
    portfolios: tuple[_Lane, ...] = ()


class WindowFiles:
    """Reads files of a window; what its commit record does not list is not looked at.

    Args:
        folder: The run's folder.
        window: Path of the window in it.
        place: What the user asked for, to be told in errors.

    Attributes:
        window: Path of the window.
        place: What the user asked for.
        errors: Why the window failed, if it did.

    Raises:
        MissingFileError: There is no such window, or it was cut short.
        TornFileError: Its commit record is damaged.
    """

    def __init__(self, folder: LocalFolder, window: str, place: str) -> None:
        self.window = window
        self.place = place
        self._folder = folder
        self._record = self._read_record()
        self._listed = {plain_name(file.path): file for file in self._record.files}

    @property
    def errors(self) -> tuple[str, ...]:
        """Why the window failed, if it did."""
        return self._record.errors

    def containers(self) -> list[str]:
        """Return the ids of the containers that left a file."""
        inside = [it for it in self._listed if it.startswith(f"{CONTAINERS}/")]
        found = map(container_of, inside)
        return [it.removeprefix(f"{CONTAINERS}/") for it in found if it is not None]

    def text(self, container_id: str) -> bytes:
        """Return the file of a container, uncompressed.

        Raises:
            MissingFileError: There is none; the message says why, or what there is.
            TornFileError: It is not as it was written.
        """
        file = self._listed.get(results_path(container_id))
        if file is None:
            raise MissingFileError(f"{self.place}: {self._why_missing(container_id)}")
        return self._text(file)

    def trace(self, container_id: str) -> bytes | None:
        """Return the trace of a container; None if it has none.

        Raises:
            TornFileError: It is not as it was written.
        """
        file = self._listed.get(trace_path(container_id))
        return None if file is None else self._whole(file)

    def _read_record(self) -> _Record:
        try:
            return read_document_from(self._folder, f"{self.window}/{COMMIT_FILE}", _Record)
        except MissingFileError as error:
            if self._folder.exists(self.window):
                why = f"{self.window} has no {COMMIT_FILE}: it was cut short, see `admf resume`"
            else:
                records = (it.rpartition("/") for it in self._folder.list_files())
                known = [folder for folder, _, name in records if name == COMMIT_FILE]
                why = f"there is no {self.window!r}{did_you_mean(self.window, known)}"
            raise MissingFileError(f"{self.place}: {why}") from error

    def _text(self, file: FileRecord) -> bytes:
        content = self._whole(file)
        try:
            return whole_text(content, compression_of(file.path))
        except ValueError as error:
            raise TornFileError(f"{self.window}/{file.path} is damaged: {error}") from error

    def _whole(self, file: FileRecord) -> bytes:
        content = self._folder.read(f"{self.window}/{file.path}")
        if (len(content), hashlib.sha256(content).hexdigest()) != (file.size, file.sha256):
            raise TornFileError(
                f"{self.window}/{file.path} is cut, or was changed: it is not what the "
                f"{COMMIT_FILE} of its window lists"
            )
        return content

    def _why_missing(self, container_id: str) -> str:
        known = self.containers()
        if not known:
            windows = [it.path.removesuffix(f"/{COMMIT_FILE}") for it in self._record.windows]
            return f"there are no containers in {self.window}, only windows: {_some(windows)}"
        refused = self._refused(container_id)
        if refused is not None:
            return f"{container_id} left no file, as it could not be set up: {refused}"
        hint = did_you_mean(container_id, known)
        where = f"there is no container {container_id!r} in {self.window}{hint}"
        return f"{where}; there are {_some(known)}"

    def _refused(self, container_id: str) -> str | None:
        """Return why a lane could not be set up; None if there is no such lane."""
        file = self._listed.get(AGGREGATE_FILE)
        if file is None:
            return None
        lanes = msgspec.json.decode(self._text(file), type=_Lanes).portfolios
        return next((it.error for it in lanes if it.container_id == container_id), None)


def _some(names: Iterable[str]) -> str:
    found = list(names)
    shown = ", ".join(found[:_MOST_NAMES]) or "none"
    return shown if len(found) <= _MOST_NAMES else f"{shown} and {len(found) - _MOST_NAMES:,} more"
