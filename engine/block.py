"""Columnar batches of consecutive events of one type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.engine.events import Event, event_name

if TYPE_CHECKING:
    from typing_extensions import TypeIs

__all__ = [
    "Block",
    "Column",
    "DictionaryColumn",
    "LateColumn",
    "event_class",
    "is_block",
    "last_ts",
]

E = TypeVar("E", bound=Event)
T = TypeVar("T", bound=Event)

UNROLLED_AT_ONCE = 1024
"""Rows made into events in one go, which takes about half a millisecond."""


class DictionaryColumn:
    """A dictionary-encoded column: small integer codes into a tuple of values.

    Args:
        codes: integer (n,), each an index into ``values``.
        values: The distinct values.
    """

    __slots__ = ("codes", "values")

    def __init__(self, codes: NDArray[np.integer[Any]], values: Sequence[str]) -> None:
        self.codes = codes
        self.values = tuple(values)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | NDArray[np.bool_]) -> DictionaryColumn:
        return DictionaryColumn(self.codes[rows], self.values)

    def tolist(self) -> list[str]:
        """Return the decoded values."""
        values = self.values
        return [values[code] for code in self.codes.tolist()]


class LateColumn:
    """A column that is computed when somebody reads it, if ever.

    Args:
        length: Its rows.
        compute: Returns the column, (n,) or two-dimensional; called once.
    """

    __slots__ = ("_compute", "_length", "_values")

    def __init__(self, length: int, compute: Callable[[], NDArray[Any]]) -> None:
        self._length = length
        self._compute: Callable[[], NDArray[Any]] | None = compute
        self._values: NDArray[Any] | None = None

    def __len__(self) -> int:
        return self._length

    @property
    def values(self) -> NDArray[Any]:
        """The column."""
        if self._compute is not None:
            self._values, self._compute = self._compute(), None
        return cast("NDArray[Any]", self._values)

    @property
    def nbytes(self) -> int:
        """Bytes that it has taken so far."""
        return 0 if self._values is None else self._values.nbytes


_ROWS = (np.ndarray, DictionaryColumn, LateColumn)
"""What has a value for each row."""

Column: TypeAlias = (
    "NDArray[Any] | DictionaryColumn | LateColumn | str | int | float | tuple[str, ...] | None"
)


class Block(Generic[E]):
    """Consecutive events of one type, as one column per field.

    A column is a numpy array of n rows (two-dimensional for tuple fields), a `DictionaryColumn`, a
    `LateColumn`, or a plain value that all rows share. Blocks are never changed after they were
    published.

    Args:
        cls: The event class; every field needs a column.
        columns: Field name -> column; ``ts`` must be int64 (n,).

    Raises:
        ValueError: A field has no column, a column no field, lengths differ, or ``ts`` is not
            int64.
    """

    __slots__ = ("_columns", "_events", "cls", "length")

    def __init__(self, cls: type[E], columns: Mapping[str, Column]) -> None:
        fields = cls.__struct_fields__
        if tuple(columns) != fields and set(columns) != set(fields):
            odd = sorted(set(columns) ^ set(fields))
            raise ValueError(f"columns of a {event_name(cls)} block do not match its fields: {odd}")
        ts = columns["ts"]
        if not isinstance(ts, np.ndarray) or ts.dtype != np.int64 or ts.ndim != 1:
            raise ValueError(f"column 'ts' of a {event_name(cls)} block must be int64 (n,)")
        self.cls = cls
        self._columns: Mapping[str, Column] | None = {name: columns[name] for name in fields}
        self.length = len(ts)
        self._events: list[E] | None = None
        for name, column in self.columns.items():
            if isinstance(column, _ROWS) and len(column) != self.length:
                raise ValueError(f"column {name!r} has {len(column)} rows, ts has {self.length}")

    def __len__(self) -> int:
        return self.length

    def __repr__(self) -> str:
        return f"<Block of {self.length} {event_name(self.cls)}>"

    @staticmethod
    def of(events: Sequence[T]) -> Block[T]:
        """Return a block of the given events, which must be of one type and at least one."""
        kind = type(events[0])
        fields = zip(*map(msgspec.structs.astuple, events), strict=True)
        return Block(kind, dict(zip(kind.__struct_fields__, map(_column, fields), strict=True)))

    @staticmethod
    def holding(events: Sequence[T]) -> Block[T]:
        """Return what `of` does, but make the columns only when somebody asks for one."""
        block: Block[T] = object.__new__(cast("type[Block[T]]", Block))
        block.cls = type(events[0])
        block.length = len(events)
        block._columns = None
        block._events = list(events)
        return block

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns by field."""
        if self._columns is None:
            made = self._columns = Block.of(self.events()).columns
            self._events = None  # they are made again if somebody asks
            return made
        return self._columns

    @property
    def ts(self) -> NDArray[np.int64]:
        """int64 (n,), nanoseconds UTC."""
        return cast("NDArray[np.int64]", self.columns["ts"])

    def column(self, name: str) -> NDArray[Any]:
        """Return one column as an array (n,), whatever its encoding."""
        column = _present(self.columns[name])
        if isinstance(column, np.ndarray):
            return column
        if isinstance(column, DictionaryColumn):
            decoded: NDArray[Any] = np.array(column.values, dtype=object)[column.codes]
            return decoded
        if isinstance(column, tuple):
            return _objects([column] * self.length)
        return np.full(self.length, column)

    def listed(self, name: str) -> list[Any]:
        """Return one column as a list (n,) of the fields' own values."""
        return _listed(self.columns[name], self.length)

    def rows_where(self, name: str, value: object) -> NDArray[np.bool_]:
        """Return which rows, bool (n,), have this value in a column."""
        column = _present(self.columns[name])
        if isinstance(column, DictionaryColumn):
            wanted = np.array([known == value for known in column.values], dtype=np.bool_)
            rows: NDArray[np.bool_] = wanted[column.codes]
            return rows
        if isinstance(column, np.ndarray):
            values = _listed(column, self.length)
            return np.array([item == value for item in values], dtype=np.bool_)
        return np.full(self.length, column == value, dtype=np.bool_)

    def slice(self, start: int, stop: int) -> Block[E]:
        """Return the rows ``start`` to ``stop`` as views of the same arrays."""
        rows = slice(start, stop)
        return self._of_columns({name: _rows(it, rows) for name, it in self.columns.items()})

    def select(self, rows: NDArray[np.bool_]) -> Block[E]:
        """Return a copy of the rows where ``rows``, bool (n,), is true."""
        return self._of_columns({name: _rows(it, rows) for name, it in self.columns.items()})

    def copy(self) -> Block[E]:
        """Return a block that owns its arrays, so that a slice does not keep its base alive."""
        return self._of_columns({name: _copy(it, np.copy) for name, it in self.columns.items()})

    def compact(self) -> Block[E]:
        """Return a block that keeps no larger arrays alive, which owns or shares those it has."""
        return self._of_columns({name: _copy(it, _whole) for name, it in self.columns.items()})

    def events(self) -> list[E]:
        """Return the block as single events; made once and shared by all who ask."""
        return self._unrolled(self.length)

    def __iter__(self) -> Iterator[E]:
        """Yield the block's events, made a chunk at a time so that a long block holds up nobody."""
        done = 0
        while done < self.length:
            chunk = self._unrolled(min(done + UNROLLED_AT_ONCE, self.length))[done:]
            yield from chunk
            done += len(chunk)

    def _of_columns(self, columns: dict[str, Column]) -> Block[E]:
        """Return a block of other columns, which fit each other as those of this one do."""
        block: Block[E] = object.__new__(type(self))
        block.cls = self.cls
        block._columns = columns
        block.length = len(block.ts)
        block._events = None
        return block

    def _unrolled(self, count: int) -> list[E]:
        """Return the events made so far, at least ``count`` of them."""
        made = self._events = self._events or []
        if len(made) < count:
            rows = slice(len(made), count)
            parts = (_rows(column, rows) for column in self.columns.values())
            columns = [_listed(part, count - len(made)) for part in parts]
            made.extend(map(self.cls, *columns))
        return made

    @property
    def size_bytes(self) -> int:
        """Bytes of the arrays that there are."""
        return sum(_size(column) for column in self.columns.values())


def is_block(item: object) -> TypeIs[Block[Any]]:
    """Whether a published item is a block rather than a single event."""
    return item.__class__ is Block


def event_class(item: Event | Block[Any]) -> type[Event]:
    """Return the class of an event, or of the events in a block."""
    return item.cls if is_block(item) else type(item)


def last_ts(item: Event | Block[Any]) -> int:
    """Return the time of an event, or of the last event in a block."""
    return int(item.ts[-1]) if is_block(item) else item.ts


def _column(values: tuple[Any, ...]) -> Column:
    """Return the most compact column from which the very same values come back."""
    kinds: set[type[object]] = set(map(type, values))
    kind = kinds.pop() if len(kinds) == 1 else object
    if kind is NoneType:
        return None
    if kind is str and values.count(values[0]) == len(values):
        return cast("str", values[0])
    if kind is str:
        codes = {value: code for code, value in enumerate(dict.fromkeys(values))}
        rows = np.fromiter(map(codes.__getitem__, values), np.int32, len(values))
        return DictionaryColumn(rows, tuple(codes))
    if kind in (int, float, bool):
        return _numbers(values, np.int64 if kind is int else kind)
    if kind is tuple and _are_floats(values):
        return np.array(values, dtype=np.float64)
    return _objects(values)


def _numbers(values: tuple[Any, ...], dtype: type[Any]) -> NDArray[Any]:
    try:
        return np.fromiter(values, dtype, len(values))
    except OverflowError:
        return _objects(values)


def _are_floats(rows: tuple[tuple[object, ...], ...]) -> bool:
    widths = {len(row) for row in rows}
    return len(widths) == 1 and all(type(value) is float for row in rows for value in row)


def _objects(values: Sequence[object]) -> NDArray[Any]:
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):  # an assignment of the whole would unpack sequences
        column[row] = value
    return column


def _present(column: Column) -> Column:
    """Return a column that is there."""
    return column.values if isinstance(column, LateColumn) else column


def _rows(column: Column, rows: slice | NDArray[np.bool_]) -> Column:
    column = _present(column)
    return column[rows] if isinstance(column, (np.ndarray, DictionaryColumn)) else column


def _copy(column: Column, copy: Callable[[NDArray[Any]], NDArray[Any]]) -> Column:
    """Return a column with its arrays copied; one that is not there yet has none."""
    if isinstance(column, np.ndarray):
        return copy(column)
    if isinstance(column, DictionaryColumn):
        return DictionaryColumn(copy(column.codes), column.values)
    return column


def _whole(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.base is None else values.copy()


def _listed(column: Column, length: int) -> list[Any]:
    column = _present(column)
    if isinstance(column, np.ndarray):
        listed: list[Any] = column.tolist()
        return [tuple(row) for row in listed] if column.ndim > 1 else listed
    if isinstance(column, DictionaryColumn):
        return column.tolist()
    return [column] * length


def _size(column: Column) -> int:
    if isinstance(column, (np.ndarray, LateColumn)):
        return column.nbytes
    return column.codes.nbytes if isinstance(column, DictionaryColumn) else 0
