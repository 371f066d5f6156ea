"""What is wrong with the rows of a table of bars, reported as one error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.engine.errors import DataError

__all__ = ["Fault", "fault_error", "shown"]

_REPORTED: Final = 5
_LONGEST_VALUE: Final = 40

Rows: TypeAlias = NDArray[np.signedinteger[Any]]


@dataclass(frozen=True, slots=True)
class Fault:
    """Rows of a column that cannot be used, and why.

    Args:
        column: Name of the column.
        rows: int (k,), positions of the rows in their table, ascending.
        describe: Says what is wrong with the row at a position, and how to mend it.
    """

    column: str
    rows: Rows
    describe: Callable[[int], str]


def fault_error(
    faults: Sequence[Fault], source: str, places: Callable[[Sequence[int]], list[str]]
) -> DataError:
    """Return one error that names the first few faults and counts the rest.

    Args:
        faults: At least one fault with at least one row.
        source: Name of the file or frame.
        places: Says where rows stand, e.g. ``GOOG.csv:17``.
    """
    each = [(int(row), fault) for fault in faults for row in fault.rows[:_REPORTED]]
    first = sorted(each, key=itemgetter(0))[:_REPORTED]
    total = sum(len(fault.rows) for fault in faults)
    messages = [
        f"{place}: {fault.column}: {fault.describe(row)}"
        for place, (row, fault) in zip(places([row for row, _ in first]), first, strict=True)
    ]
    if total > len(first):
        messages.append(f"and {total - len(first)} more like these in {source}")
    return DataError("\n".join(messages))


def shown(value: object) -> str:
    """Return a value as it stands in a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
