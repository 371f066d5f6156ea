"""Where the bars of an experiment file lie if it does not say so: in ``data`` beside it."""

from __future__ import annotations

from pathlib import Path

import msgspec

from admf.workflows.nodes import Node, Place, find

__all__ = ["DATA_FOLDER", "data_folder", "with_data_folder"]

DATA_FOLDER = "data"
_BESIDE = Place("the folder beside the experiment")


def data_folder(data: Node | None, folder: Path | None) -> str | None:
    """Return the folder to read bars from if an experiment file names none and this one exists.

    Args:
        data: The section ``data``.
        folder: Where the file is; None for an experiment made in Python.

    Returns:
        The folder, relative to ``folder``.
    """
    if data is None or folder is None or not isinstance(data.value, dict):
        return None
    source, path = find(data, ("source",)), find(data, ("path",))
    reads_files = source is None or source.value == "file"
    is_named = path is not None and path.value is not None
    exists = reads_files and not is_named and (folder / DATA_FOLDER).is_dir()
    return DATA_FOLDER if exists else None


def with_data_folder(section: Node, folder: Path | None) -> Node:
    """Return a section with ``data.path`` filled in; see `data_folder`."""
    data = find(section, ("data",))
    path = data_folder(data, folder)
    if path is None or data is None:
        return section
    fields = dict(data.value) if isinstance(data.value, dict) else {}
    filled = msgspec.structs.replace(data, value={**fields, "path": Node(path, _BESIDE)})
    settings = dict(section.value) if isinstance(section.value, dict) else {}
    return msgspec.structs.replace(section, value={**settings, "data": filled})
