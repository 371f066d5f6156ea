"""The files of a run, each held against the commit record that lists it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from admf.engine.documents import FileRecord, read_document_from
from admf.engine.errors import MissingFileError, StorageError, TornFileError
from admf.engine.files import SystemCall
from admf.engine.local_folder import LocalFolder, call_system
from admf.engine.packing import plain_name
from admf.engine.result_names import AGGREGATE_FILE, COMMIT_FILE, RUN_FILE
from admf.workflows.results.records import (
    CommitRecord,
    LaneRow,
    RunDocument,
    Stamp,
    WindowRows,
)
from admf.workflows.results.run_folder import require_run

__all__ = ["RunTree"]

T = TypeVar("T")

_REMEDY = "restore it, or run again with --resume"
_NUMBER = re.compile(r"([0-9]+)")


class RunTree:
    """Reads the files of a run.

    A file that a commit record lists is returned as it was written, or not at all; the record of a
    window is listed by that of its phase once the phase is over.

    Args:
        path: The run's folder.
        call: How to reach the operating system.

    Attributes:
        folder: The run's folder.
        run: Its ``run.json``, as it was when the tree was opened.

    Raises:
        StorageError: It is not the folder of a run, or was written by a later version.
        TornFileError: Its ``run.json`` is not as it was written.
    """

    def __init__(self, path: str | os.PathLike[str], call: SystemCall = call_system) -> None:
        self.folder = LocalFolder(path, call)
        self._call = call
        self._sequences: dict[str, _Sequence] = {}
        require_run(Path(path))
        witness = _OneFile(self.folder.root, call, RUN_FILE)
        self.run = read_document_from(witness, RUN_FILE, RunDocument)
        self._digest = witness.digest

    def document(self) -> dict[str, Any]:
        """Return all of ``run.json`` as it is now."""
        return read_document_from(self.folder, RUN_FILE, dict[str, Any])

    def phase_status(self, phase: str) -> str:
        """Return how a phase ended; ``running`` if it is not over."""
        run = self.run
        if phase in run.skipped:
            return "skipped"
        if phase in run.results:
            ended = "cancelled" if run.status == "cancelled" else "failed"
            return "completed" if run.results[phase] else ended
        return run.status

    def windows(self, phase: str) -> Iterator[tuple[str, CommitRecord]]:
        """Yield the complete windows of a phase and their records, in the order of their numbers.

        Raises:
            TornFileError: A record is missing, or is not as it was written.
        """
        record = self._phase_record(phase)
        found = self._begun(phase) if record is None else self._listed(phase, "", record)
        yield from sorted(found, key=lambda it: _natural(it[0]))

    def window(self, phase: str, window_id: str) -> CommitRecord:
        """Return the record of a window; only those that lead to it are read.

        Raises:
            MissingFileError: There is no such window, or it is not complete.
            TornFileError: A record is missing, or is not as it was written.
        """
        folder, record, rest = phase, self._phase_record(phase), window_id
        if record is None:
            record, rest = self._own_record(_join(phase, window_id)), ""
        while rest and record.windows:
            below = self._below(folder, record)
            step = next((it for it in _prefixes(rest) if it in below), "")
            if not step:
                break
            folder, rest = f"{folder}/{step}", rest[len(step) + 1 :]
            record = self._read(below[step], CommitRecord)
        if rest or not record.is_window:
            place = self.folder.locate(_join(phase, window_id))
            raise MissingFileError(f"{place} is not the folder of a window that is complete")
        return record

    def rows(self, phase: str, window_id: str, record: CommitRecord) -> tuple[LaneRow, ...]:
        """Return the portfolios of a window; none if it was cut off before it said so.

        Raises:
            TornFileError: Its ``aggregate_results.json`` is missing, or is not as it was written.
        """
        found = self.read(phase, window_id, record, AGGREGATE_FILE, WindowRows)
        return () if found is None else found.portfolios

    def read(
        self, phase: str, window_id: str, record: CommitRecord, name: str, kind: type[T]
    ) -> T | None:
        """Return a file of a window, decoded as ``kind``; None if the window has no such file.

        Args:
            phase: Name of the phase.
            window_id: Id of the window.
            record: The window's record.
            name: Path in its folder, without the suffix of a compression.
            kind: What to decode it as.

        Raises:
            TornFileError: The file is missing, or is not as it was written.
        """
        file = record.file(name)
        return None if file is None else self._read(_at(_join(phase, window_id), file), kind)

    def stamp(self) -> Stamp | None:
        """Return what the files are now; None if some of them may still change.

        Raises:
            StorageError: The run is not the one that was opened any more.
        """
        if self.run.status == "running":
            return None
        if self._sha256(RUN_FILE) != self._digest:
            raise StorageError(f"the run in {self.folder.root} has changed: open it again")
        phases: dict[str, str] = {}
        for phase in self.run.phases:
            if self.folder.exists(f"{phase}/{COMMIT_FILE}"):
                phases[phase] = self._sha256(f"{phase}/{COMMIT_FILE}")
            elif self.folder.exists(phase) or self._is_due(phase):
                return None
            else:
                phases[phase] = ""
        return Stamp(self._digest, phases)

    def _phase_record(self, phase: str) -> CommitRecord | None:
        """Return the record that covers all of a phase; None if it has none yet."""
        if phase in self._sequences:
            return self._sequences[phase].record
        path = f"{phase}/{COMMIT_FILE}"
        if self.folder.exists(path):
            return self._own_record(phase)
        if self._is_due(phase):
            place = self.folder.locate(path)
            raise TornFileError(f"{place} is missing, though the phase was completed; {_REMEDY}")
        return None

    def _is_due(self, phase: str) -> bool:
        run = self.run
        is_over = phase in run.saved and run.results.get(phase, False)
        return is_over and run.phases[phase].has_record

    def _own_record(self, folder: str) -> CommitRecord:
        return read_document_from(self.folder, f"{folder}/{COMMIT_FILE}", CommitRecord)

    def _listed(
        self, folder: str, window_id: str, record: CommitRecord
    ) -> Iterator[tuple[str, CommitRecord]]:
        """Yield a window, or the windows of a sequence, as its record lists them."""
        if record.is_window:
            yield window_id, record
        for step, file in self._below(folder, record).items():
            child = self._read(file, CommitRecord)
            yield from self._listed(f"{folder}/{step}", _join(window_id, step), child)

    def _begun(self, phase: str) -> Iterator[tuple[str, CommitRecord]]:
        """Yield the windows of a phase that is not over, as they are found."""
        for path in self.folder.list_files(phase):
            folder, _, name = path.rpartition("/")
            if name != COMMIT_FILE or "/." in folder:
                continue
            try:
                record = self._own_record(folder)
            except TornFileError:
                continue  # not complete, and to be run again
            if record.is_window:
                yield folder[len(phase) + 1 :], record

    def _below(self, folder: str, record: CommitRecord) -> Mapping[str, FileRecord]:
        """Return the records below the folder of a sequence, by their folder in it."""
        if not record.windows:
            return {}
        if folder not in self._sequences:
            found = {it.path.rpartition("/")[0]: _at(folder, it) for it in record.windows}
            self._sequences[folder] = _Sequence(record, found)
        return self._sequences[folder].below

    def _read(self, file: FileRecord, kind: type[T]) -> T:
        one = _OneFile(self.folder.root, self._call, file.path, file)
        return read_document_from(one, plain_name(file.path), kind)

    def _sha256(self, path: str) -> str:
        return hashlib.sha256(self.folder.read(path)).hexdigest()


class _Sequence(NamedTuple):
    record: CommitRecord
    below: Mapping[str, FileRecord]


class _OneFile(LocalFolder):
    """A folder with one file in it, which must be as a record tells, if there is one.

    Attributes:
        digest: SHA-256 of the file, once it was read.
    """

    def __init__(
        self, root: Path, call: SystemCall, path: str, record: FileRecord | None = None
    ) -> None:
        super().__init__(root, call)
        self._path = path
        self._record = record
        self.digest = ""

    def read(self, path: str) -> bytes:
        if path != self._path:
            raise MissingFileError(f"{self.locate(path)} is not listed by its {COMMIT_FILE}")
        try:
            content = super().read(path)
        except MissingFileError as error:
            raise TornFileError(f"{self.locate(path)} is missing; {_REMEDY}") from error
        self.digest = hashlib.sha256(content).hexdigest()
        expected = self._record
        if expected and (len(content), self.digest) != (expected.size, expected.sha256):
            raise TornFileError(
                f"{self.locate(path)} is cut, or was changed: it is not what its {COMMIT_FILE} "
                f"lists; {_REMEDY}"
            )
        return content


def _at(folder: str, file: FileRecord) -> FileRecord:
    return FileRecord(f"{folder}/{file.path}", file.size, file.sha256)


def _join(folder: str, name: str) -> str:
    return "/".join(filter(None, (folder, name)))


def _prefixes(path: str) -> Iterator[str]:
    """Yield a path, and the folders above it, the longest first."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _natural(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts numbers in a path by value."""
    parts = _NUMBER.split(path)
    return [(int(it), it) if index % 2 else (0, it) for index, it in enumerate(parts)]
