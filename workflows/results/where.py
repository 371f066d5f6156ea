"""Conditions in SQL, as they are given to ``where``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from admf.containers.metrics.catalogue import METRICS
from admf.engine.errors import ConfigError, Problem, did_you_mean

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Condition", "parse_condition"]

_LONGEST_REASON = 300
_SUBQUERY = re.compile(r"\bselect\b", re.IGNORECASE)
"""Polars would read any file that a subquery names; strings are not told apart, to be safe."""


class Condition:
    """A condition on the columns of a frame.

    Args:
        text: What it is called in errors.
        parts: What has to be true of a row, all of it.
    """

    def __init__(self, text: str, parts: Iterable[pl.Expr]) -> None:
        self._text = text
        self._parts = tuple(parts)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that it names."""
        return tuple(dict.fromkeys(it for part in self._parts for it in part.meta.root_names()))

    def split(self, columns: Collection[str]) -> tuple[Condition, Condition]:
        """Return the parts that name no other columns than these, and the others."""
        known = frozenset(columns)
        inside = [part for part in self._parts if known.issuperset(part.meta.root_names())]
        outside = [part for part in self._parts if not known.issuperset(part.meta.root_names())]
        return Condition(self._text, inside), Condition(self._text, outside)

    def rows_of(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the rows of a frame that meet the condition.

        Times count as UTC; the literals of SQL have no time zone.

        Raises:
            ConfigError: It cannot be computed, or is neither true nor false.
        """
        import polars as pl
        from polars import selectors

        if not self._parts:
            return frame
        times = selectors.datetime(time_zone="*")
        plain = frame.with_columns(times.dt.replace_time_zone(None))
        zoned = [pl.col(name).dt.replace_time_zone("UTC") for name in frame.select(times).columns]
        try:
            return plain.filter(*self._parts).with_columns(zoned)
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
            raise _wrong(self._text, f"cannot be computed: {_reason(error)}") from error


def parse_condition(text: str | None, columns: Collection[str]) -> Condition:
    """Return a condition.

    Args:
        text: In SQL, e.g. ``sharpe_ratio > 1``; None is true of every row.
        columns: The columns that there are.

    Raises:
        ConfigError: It is not a condition in SQL, or names a column that there is not.
    """
    if text is None:
        return Condition("", ())
    condition = Condition(text, _conjuncts(_parsed(text)))
    for name in condition.names:
        if name not in columns:
            raise _unknown(text, name, columns)
    return condition


def _parsed(text: str) -> pl.Expr:
    import polars as pl

    if _SUBQUERY.search(text):
        raise _wrong(text, "has the word SELECT in it: a condition may not ask for other tables")
    try:
        condition = pl.sql_expr(text)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise _wrong(text, f"is no condition in SQL: {_reason(error)}") from error
    if condition.meta.has_multiple_outputs():
        raise _wrong(text, "has a pattern that stands for several columns: name each of them")
    return condition


def _conjuncts(condition: pl.Expr) -> Iterator[pl.Expr]:
    """Yield what ANDs join at the top of a condition."""
    inputs = condition.meta.pop()
    if len(inputs) == 2:
        right, left = inputs
        if condition.meta.eq(left & right):
            yield from _conjuncts(left)
            yield from _conjuncts(right)
            return
    yield condition


def _unknown(text: str, name: str, columns: Collection[str]) -> ConfigError:
    dotted = [column for column in columns if column.startswith(f"{name}.")]
    if dotted:
        hint = f'; a name with a dot needs double quotes: "{dotted[0]}"'
    elif f'"{name}"' in text:
        hint = f"{did_you_mean(name, columns)}; text needs single quotes: '{name}'"
    else:
        hint = did_you_mean(name, columns)
    metrics = {info.name for info in METRICS}
    others = [column for column in columns if column not in metrics]
    known = f"columns: {', '.join(others)}, and the metrics, which `admf list metrics` tells"
    return _wrong(text, f"names {name!r}, which is no column{hint}; {known}")


def _wrong(text: str, why: str) -> ConfigError:
    return ConfigError([Problem(f"{text!r} {why}", "where")])


def _reason(error: BaseException) -> str:
    return str(error).partition("\n")[0][:_LONGEST_REASON]
