"""The index of a run: the portfolios of all windows in one file, made again whenever it must be.

The file is ``.index`` in the run's folder. It begins with a line that is the SHA-256 of all that
follows, then a line of JSON says which run it is of; the rest is an Arrow IPC file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

import msgspec

from admf.engine.errors import StorageError
from admf.workflows.results.columns import LaneColumns
from admf.workflows.results.records import Stamp
from admf.workflows.results.tree import RunTree

if TYPE_CHECKING:
    import polars as pl

__all__ = ["INDEX_FILE", "Index", "build_index", "read_index"]

INDEX_FILE = ".index"

_FORMAT = 1


class Index(msgspec.Struct, frozen=True):
    """The portfolios of a run.

    Args:
        frame: A row for each, in the order of the tree; see `LaneColumns`.
        parameters: The columns of the parameters of each phase that has portfolios.
        metrics: The columns of the metrics.
    """

    frame: pl.DataFrame
    parameters: Mapping[str, tuple[str, ...]]
    metrics: tuple[str, ...]


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    stamp: Stamp
    parameters: Mapping[str, tuple[str, ...]]
    metrics: tuple[str, ...]


def read_index(tree: RunTree) -> Index:
    """Return the index of a run; it is made if there is none, or that is of something else.

    Raises:
        StorageError: A file cannot be read.
        TornFileError: A file is missing, or is not as it was written.
    """
    stamp = tree.stamp()
    stored = None if stamp is None else _stored(tree, stamp)
    return stored or build_index(tree)


def build_index(tree: RunTree) -> Index:
    """Make the index of a run from its files; keep it if the run is over and that can be done.

    Raises:
        StorageError: A file cannot be read.
        TornFileError: A file is missing, or is not as it was written.
    """
    stamp = tree.stamp()
    columns = LaneColumns()
    for phase in tree.run.phases:
        for window_id, record in tree.windows(phase):
            for row in tree.rows(phase, window_id, record):
                columns.add(phase, window_id, row)
    index = Index(columns.frame(), columns.parameters(), columns.metrics())
    if stamp is not None:
        with suppress(StorageError):  # a folder that cannot be written to is read all the same
            tree.folder.write_atomic(INDEX_FILE, [_encoded(index, stamp)])
    return index


def _encoded(index: Index, stamp: Stamp) -> bytes:
    head = _Head(format=_FORMAT, stamp=stamp, parameters=index.parameters, metrics=index.metrics)
    buffer = BytesIO()
    index.frame.write_ipc(buffer, compression="zstd")
    content = b"\n".join([msgspec.json.encode(head), buffer.getvalue()])
    return b"\n".join([hashlib.sha256(content).hexdigest().encode(), content])


def _stored(tree: RunTree, stamp: Stamp) -> Index | None:
    """Return the index that is kept; None if there is none, it is damaged, or of other files."""
    import polars as pl

    try:
        digest, _, content = tree.folder.read(INDEX_FILE).partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            return None
        line, _, table = content.partition(b"\n")
        head = msgspec.json.decode(line, type=_Head)
        if head.format != _FORMAT or head.stamp != stamp:
            return None
        frame = pl.read_ipc(table)
    except (StorageError, msgspec.DecodeError, pl.exceptions.PolarsError):
        return None
    return Index(frame, head.parameters, head.metrics)
