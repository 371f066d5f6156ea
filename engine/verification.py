"""Whether results are as they were written: files against the commit records that list them."""

from __future__ import annotations

import msgspec

from admf.engine.documents import DocumentHead, FileRecord, is_whole, read_document
from admf.engine.errors import TornFileError
from admf.engine.result_names import COMMIT_FILE
from admf.engine.storage import Storage

__all__ = ["CommitRecord", "WindowCheck", "verify_window"]


class CommitRecord(DocumentHead, frozen=True, kw_only=True):
    """The part of a commit record that tells of files.

    Args:
        files: Those of the folder that it is in.
        windows: The commit records of the windows below that folder.
        phase_name: What it is of.
        window_id: Likewise; empty for the phase's own folder.
    """

    files: tuple[FileRecord, ...]
    windows: tuple[FileRecord, ...] = ()
    phase_name: str | None = None
    window_id: str | None = None


class WindowCheck(msgspec.Struct, frozen=True):
    """How a window's files compare with its commit record.

    Args:
        committed: There is a readable commit record.
        missing: Paths that it lists and that are not there.
        torn: Paths whose content is not what was written, in the window's folder.
    """

    committed: bool
    missing: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every file is there as it was written."""
        return self.committed and not self.missing and not self.torn


async def verify_window(storage: Storage, path: str) -> WindowCheck:
    """Compare the files of a window with its commit record, byte by byte.

    Of windows below its folder, only the commit records are looked at.

    Args:
        storage: Where it is kept.
        path: The window's folder, as in `WindowResults.path`.

    Raises:
        StorageError: A file is there and cannot be read.
    """
    if not await storage.exists(f"{path}/{COMMIT_FILE}"):
        return WindowCheck(committed=False)
    try:
        record = await read_document(storage, f"{path}/{COMMIT_FILE}", CommitRecord)
    except TornFileError:
        return WindowCheck(committed=False, torn=(COMMIT_FILE,))
    missing: list[str] = []
    torn: list[str] = []
    for file in (*record.files, *record.windows):
        if not await storage.exists(f"{path}/{file.path}"):
            missing.append(file.path)
        elif not await is_whole(storage, path, file):
            torn.append(file.path)
    return WindowCheck(committed=True, missing=tuple(missing), torn=tuple(torn))
