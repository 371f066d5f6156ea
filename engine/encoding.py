"""JSON of result documents, made piece by piece so that nobody waits long for a large one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias, TypeGuard, TypeVar, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.engine.errors import StorageError

__all__ = ["CHUNK_RECORDS", "CHUNK_VALUES", "iter_json"]

T = TypeVar("T")
Piece: TypeAlias = tuple[bytes, int]

CHUNK_RECORDS = 270
CHUNK_VALUES = 8_000
"""Values in a chunk: about 150 KB of text, and a millisecond or two to gather and encode them."""

MOST_TAKEN = 1_024
"""Items that are taken out of an iterator at the start."""

_ATOMS = frozenset([str, int, float, bool, type(None)])


def iter_json(body: Mapping[str, object], name: str) -> Iterator[bytes]:
    """Encode a document as JSON on one line, in chunks that each take a millisecond or two.

    Keys keep their order. NaN and the infinities become null at any depth. Numpy arrays and
    scalars, msgspec Structs, and iterators of values (read once, never held as a whole) may stand
    anywhere. A Struct is one record and is not cut: large series belong in lists and arrays.

    Args:
        body: The document.
        name: What the document is called in an error.

    Yields:
        Consecutive parts of the text, UTF-8; the last ends with a line feed.

    Raises:
        StorageError: A value has no JSON form, or a set has no order to write it in.
    """
    parts: list[bytes] = []
    waiting = 0
    try:
        for part, weight in _pieces(_taken(body)):
            parts.append(part)
            waiting += weight
            if waiting >= CHUNK_VALUES:
                yield b"".join(parts)
                parts.clear()
                waiting = 0
    except _NoJsonFormError as error:
        raise StorageError(f"cannot write {name}: {error}") from error
    parts.append(b"\n")
    yield b"".join(parts)


def _taken(value: object) -> object:
    """Return a document whose short iterators are lists: what is held is encoded in fewer steps."""
    if isinstance(value, Iterator):
        source = cast("Iterator[object]", value)
        first = list(islice(source, MOST_TAKEN))
        return first if len(first) < MOST_TAKEN else chain(first, source)
    if isinstance(value, dict):
        fields = cast("dict[object, object]", value)
        return {key: it if type(it) in _ATOMS else _taken(it) for key, it in fields.items()}
    return value


class _NoJsonFormError(Exception):
    """A value cannot be written."""


def _pieces(value: object) -> Iterator[Piece]:
    """Encode a document, or a value that weighs more than a chunk."""
    if _is_array(value):
        yield from _enclosed(b"[", _array_pieces(value), b"]")
    elif isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        yield from _enclosed(b"{", _member_pieces(items), b"}")
    else:  # nothing else weighs more than a chunk
        yield from _enclosed(b"[", _item_pieces(cast("Iterable[object]", value)), b"]")


def _enclosed(opening: bytes, pieces: Iterator[Piece], closing: bytes) -> Iterator[Piece]:
    yield opening, 0
    yield from pieces
    yield closing, 0


def _array_pieces(array: NDArray[Any]) -> Iterator[Piece]:
    row_size = max(1, array[:1].size)
    rows = max(1, CHUNK_VALUES // row_size)
    for start in range(0, len(array), rows):
        yield b"," if start else b"", 0
        yield _encode(array[start : start + rows])[1:-1], rows * row_size


def _item_pieces(items: Iterable[object]) -> Iterator[Piece]:
    separator = b""
    for batch, weight in _batches(items, _weight):
        yield separator, 0
        separator = b","
        if weight > CHUNK_VALUES:
            yield from _pieces(batch[0])
        else:
            yield _encode(batch)[1:-1], weight


def _member_pieces(items: Iterable[tuple[object, object]]) -> Iterator[Piece]:
    separator = b""
    for batch, weight in _batches(items, _weight_of_member):
        yield separator, 0
        separator = b","
        if weight > CHUNK_VALUES:
            key, value = batch[0]
            yield _encode({key: None})[1:-5], 0
            yield from _pieces(value)
        else:
            yield _encode(dict(batch))[1:-1], weight


def _batches(items: Iterable[T], weigh: Callable[[T], int]) -> Iterator[tuple[list[T], int]]:
    """Group consecutive items into batches no larger than a chunk; a larger item stands alone."""
    source = iter(items)
    while batch := list(islice(source, CHUNK_RECORDS)):
        weight = _weight_of_like(batch)
        if 0 < weight <= CHUNK_VALUES:
            yield batch, weight
        else:
            yield from _parts(batch, weigh)


def _parts(batch: list[T], weigh: Callable[[T], int]) -> Iterator[tuple[list[T], int]]:
    part: list[T] = []
    total = 0
    for item in batch:
        weight = weigh(item)
        if part and total + weight > CHUNK_VALUES:
            yield part, total
            part, total = [], 0
        part.append(item)
        total += weight
    yield part, total


def _weight(value: object) -> int:
    """Count the values below this one, up to just beyond the size of a chunk."""
    if type(value) in _ATOMS:
        return 1
    if isinstance(value, msgspec.Struct):
        return min(len(value.__struct_fields__), CHUNK_VALUES)  # it is not cut
    if isinstance(value, (list, tuple)):
        return _weight_of_all(cast("Sequence[object]", value))
    if isinstance(value, (dict, Mapping)):
        return _weight_of_all(cast("Mapping[object, object]", value).values())
    if _is_array(value):
        return max(1, value.size)
    if isinstance(value, (set, frozenset)):
        raise _NoJsonFormError("a set has no order to write it in: sort it into a list first")
    return CHUNK_VALUES + 1 if isinstance(value, Iterator) else 1


def _weight_of_member(member: tuple[object, object]) -> int:
    return _weight(member[1])


def _weight_of_all(values: Collection[object]) -> int:
    total = 1 + _weight_of_like(values)
    if total > 1:
        return total
    for value in values:
        total += _weight(value)
        if total > CHUNK_VALUES:
            break
    return total


def _weight_of_like(values: Collection[object]) -> int:
    """Return the weight of values that are all plain, or all of one Struct; of others 0."""
    kinds = set(map(type, values))
    if kinds <= _ATOMS:
        return len(values)
    if len(kinds) == 1:
        (kind,) = kinds
        if issubclass(kind, msgspec.Struct):
            return len(kind.__struct_fields__) * len(values)
    return 0


def _is_array(value: object) -> TypeGuard[NDArray[Any]]:
    return isinstance(value, np.ndarray)


def _encode(value: object) -> bytes:
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except (TypeError, ValueError, OverflowError) as error:
        raise _NoJsonFormError(f"a value has no JSON form: {error}") from error


def _plain(value: object) -> object:
    if _is_array(value) or isinstance(value, np.generic):
        return cast("object", value.tolist())
    if isinstance(value, Mapping):
        return dict(cast("Mapping[object, object]", value))
    raise TypeError(f"objects of type {type(value).__name__} are not supported")
