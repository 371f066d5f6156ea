"""What a container gathers leaves memory, beyond a bound and while that is wanted."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec
import numpy as np

from admf.engine.errors import TornFileError
from admf.engine.frames import FrameWriter, read_frame
from admf.engine.journal import Journal

__all__ = ["Overflow", "OverflowFile", "RecordList", "plain_number"]

S = TypeVar("S", bound=msgspec.Struct)


class Overflow(Protocol):
    """Says whether what a container gathers is to leave memory, and where it goes."""

    @property
    def active(self) -> bool:
        """Whether it is to leave memory now; may change at any time."""
        ...

    def journal(self, name: str) -> Journal:
        """Return a new file of the container.

        Args:
            name: Tells its files apart, e.g. ``trades``; each is asked for once.

        Raises:
            StorageError: There can be none.
        """
        ...


class OverflowFile:
    """A file of frames that only its writer reads; made when something first goes there.

    Args:
        overflow: Where it is, and whether to use it.
        name: Names it among the container's files.
    """

    def __init__(self, overflow: Overflow, name: str) -> None:
        self._overflow = overflow
        self._name = name
        self._journal: Journal | None = None
        self._writer: FrameWriter | None = None

    @property
    def active(self) -> bool:
        """Whether memory is to be left for it now."""
        return self._overflow.active

    def append(self, *payloads: bytes) -> tuple[int, ...]:
        """Add payloads, all of them or none, and return the place of each.

        Raises:
            StorageError: They cannot be written.
        """
        if self._writer is None:
            self._journal = self._overflow.journal(self._name)
            self._writer = FrameWriter(self._journal)
        return self._writer.append(*payloads)

    def read(self, place: int) -> bytes:
        """Return the payload at a place.

        Raises:
            TornFileError: It is not as it was written, or was discarded.
            StorageError: It cannot be read.
        """
        if self._journal is None:
            raise TornFileError(f"{self._name!r} holds nothing that could be read back")
        try:
            return read_frame(self._journal.read, place)
        except TornFileError as error:
            raise TornFileError(
                f"what left memory for {self._name!r} cannot be read back: {error}; "
                "look after the disk and run again"
            ) from error

    def discard(self) -> None:
        """Remove it with all that is in it; idempotent.

        Raises:
            StorageError: It cannot be removed.
        """
        if self._journal is not None:
            self._journal.discard()


class RecordList(Generic[S]):
    """Structs in the order in which they came; while the file is active, the oldest go there.

    What is read back equals what was added if every field is text, a number, a bool or None.

    Args:
        cls: Class of the records, with two or more fields; of subclasses its own fields are kept.
        held: Records that stay in memory, and that a frame holds.
        limit: Keep this many of the last records, in memory; None keeps all.
        file: Where records go; None holds all in memory.
    """

    def __init__(
        self, cls: type[S], held: int, *, limit: int | None = None, file: OverflowFile | None = None
    ) -> None:
        self._cls = cls
        self._values: Callable[[S], tuple[Any, ...]] = attrgetter(*cls.__struct_fields__)
        self._held = held
        self._file = None if limit is not None else file
        self._records: deque[S] = deque(maxlen=limit)
        self._places: list[int] = []

    def append(self, record: S) -> None:
        """Add a record.

        Raises:
            StorageError: Older records cannot be written; they and this one stay in memory.
        """
        self._records.append(record)
        if len(self._records) > self._held:
            self._move()

    def extend(self, records: Iterable[S]) -> None:
        """Add several records.

        Raises:
            StorageError: As for `append`.
        """
        self._records.extend(records)
        if len(self._records) > self._held:
            self._move()

    def batches(self) -> Iterator[list[S]]:
        """Return the records there are now, a batch at a time.

        Records that are added meanwhile do not disturb it.

        Raises:
            StorageError: They cannot be read back.
        """
        records = list(self._records)
        starts = range(0, len(records), self._held)
        rest = (records[start : start + self._held] for start in starts)
        return chain(map(self._read, tuple(self._places)), rest)

    def __iter__(self) -> Iterator[S]:
        """Return the records there are now."""
        return chain.from_iterable(self.batches())

    def size_bytes(self) -> int:
        """Estimate the memory of what is held, by the first record."""
        if not self._records:
            return 0
        first = self._records[0]
        sizes = map(sys.getsizeof, self._values(first))
        return (sys.getsizeof(first) + sum(sizes)) * len(self._records)

    def _move(self) -> None:
        file = self._file
        if file is None or not file.active:
            return
        while len(self._records) > self._held:
            rows = [self._values(record) for record in islice(self._records, self._held)]
            self._places.extend(file.append(msgspec.msgpack.encode(rows, enc_hook=plain_number)))
            for _ in rows:
                self._records.popleft()

    def _read(self, place: int) -> list[S]:
        file = cast("OverflowFile", self._file)
        rows = msgspec.msgpack.decode(file.read(place), type=list[list[Any]])
        names = self._cls.__struct_fields__
        return [self._cls(**dict(zip(names, row, strict=True))) for row in rows]


def plain_number(value: object) -> object:
    """Return a number of numpy as one of Python, as it would be written to a result file."""
    if isinstance(value, np.generic):
        return cast("object", value.item())
    raise TypeError(f"objects of type {type(value).__name__} are not supported")
