"""Several errors as one, and one error as a line of text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

__all__ = ["combine", "describe", "describe_all", "ungroup"]


def combine(message: str, errors: list[Exception]) -> Exception | None:
    """Return one error as it is, several as a group, and None for none."""
    if len(errors) > 1:
        return ExceptionGroup(message, errors)
    return errors[0] if errors else None


def ungroup(error: BaseException) -> BaseException:
    """Return the error that stands alone in a group, or in groups of one within each other."""
    while len(members := _members(error)) == 1:
        error = members[0]
    return error


def describe(error: BaseException) -> str:
    """Return the class and the message of an error."""
    return f"{type(error).__name__}: {error}"


def describe_all(errors: Iterable[BaseException]) -> Iterator[str]:
    """Describe each error; of a group, each of its members."""
    for error in errors:
        if members := _members(error):
            yield from describe_all(members)
        else:
            yield describe(error)


def _members(error: BaseException) -> tuple[BaseException, ...]:
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).exceptions
    return ()
