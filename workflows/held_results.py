"""Results of a phase that stayed in memory, made when somebody asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, overload

__all__ = ["LazyMapping", "LazySequence", "plain"]

T = TypeVar("T")


class LazyMapping(Mapping[str, T]):
    """A mapping whose values are made one by one, each when it is first asked for.

    Args:
        keys: Returns the keys; called once, when they are first asked for.
        make: Returns the value of a key.
    """

    def __init__(self, keys: Callable[[], Sequence[str]], make: Callable[[str], T]) -> None:
        self._find = keys
        self._make = make
        self._made: dict[str, T] = {}

    @cached_property
    def _keys(self) -> dict[str, None]:
        return dict.fromkeys(self._find())

    def __getitem__(self, key: str) -> T:
        if key not in self._made:
            if key not in self._keys:
                raise KeyError(key)
            self._made[key] = self._make(key)
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return "<results by name, made when asked for>"  # which a look at them is not

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mapping) and dict(self) == dict(other)  # pyright: ignore[reportUnknownArgumentType]

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class LazySequence(Sequence[T]):
    """A sequence that is made when it is first looked into.

    Args:
        make: Returns it.
    """

    def __init__(self, make: Callable[[], Sequence[T]]) -> None:
        self._make = make

    @cached_property
    def _items(self) -> Sequence[T]:
        return self._make()

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return "<results, made when asked for>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)  # pyright: ignore[reportUnknownArgumentType]

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def plain(value: object) -> object:
    """Return a lazy mapping or sequence as a plain one, as an encoder's hook.

    Raises:
        NotImplementedError: It is something else.
    """
    if isinstance(value, LazyMapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, LazySequence):
        return list(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise NotImplementedError(type(value).__qualname__)
