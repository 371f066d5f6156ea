"""Where two runs of a lane begin to differ, in plain words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal, TypeAlias, TypeVar

import msgspec
import numpy as np

from admf.containers.events import Signal
from admf.containers.metrics.history import Trade
from admf.containers.times import iso_utc
from admf.workflows.lookahead_runs import Trail

__all__ = ["CAUSES", "LookaheadFinding", "Runs", "first_difference", "when"]

T = TypeVar("T")
Kind: TypeAlias = Literal["decision", "trade", "mark", "file", "failure", "chance"]

CAUSES = (
    "a negative shift, np.roll or a slice that reaches past row i",
    "a centred window, or a filter that runs in both directions",
    "the highest, lowest or mean price of the whole window, a rank or a quantile over all of it",
    "normalising, or fitting a model, on all rows at once",
    "a file or an array that holds later bars",
)
"""What usually makes a strategy look ahead."""

_PLAIN = Signal(0, "", "target")
_TOLD = ("ts", "symbol", "action")


class LookaheadFinding(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing at which two runs differ that ought to agree.

    Args:
        kind: A decision of the strategy, a trade, a mark of the equity, or else some file;
            ``failure`` if the strategy fails in one of them, ``chance`` if not even two runs on the
            same bars agree.
        time: When, ISO 8601; empty if it has no time.
        message: What differs, in plain words.
    """

    kind: Kind
    time: str
    message: str


class Runs(msgspec.Struct, frozen=True):
    """When each of two runs happens, e.g. ``if later bars follow``."""

    first: str
    second: str


def first_difference(
    first: Trail, second: Trail, last_ts: int, names: Runs
) -> tuple[int, LookaheadFinding] | None:
    """Return the earliest difference between two trails up to a time, and when it is, ns UTC.

    Args:
        first: What a lane did.
        second: What it did in another run.
        last_ts: The last time at which both must agree, ns UTC.
        names: What the runs are called.
    """
    found = _differences(first, second, last_ts, names)
    return min(found, key=lambda it: it[0], default=None)  # of those at the same time, the first


def _differences(
    first: Trail, second: Trail, last_ts: int, names: Runs
) -> Iterator[tuple[int, LookaheadFinding]]:
    """Yield the first difference of each kind, causes before effects."""
    decisions = [[it for it in each.decisions if it.ts <= last_ts] for each in (first, second)]
    for mine, other in _unequal(*decisions):
        ts = min(it.ts for it in (mine, other) if it is not None)
        decided = [f"the strategy {_decided(mine, ts)}", _decided(other, ts)]
        yield _finding("decision", ts, decided, names)
    trades = [
        [it for it in each.trades if _ns(it.exit_time) <= last_ts] for each in (first, second)
    ]
    for left, right in _unequal(*trades):
        ts = min(_begin(it, left, right) for it in (left, right) if it is not None)
        yield _finding("trade", ts, [_traded(left), _traded(right)], names)
    for row in _unequal_marks(first, second):
        ts = _ns(first.equity.ts[row])
        if ts <= last_ts:
            worth = [f"the equity is {each.equity.equity[row]:,.6f}" for each in (first, second)]
            yield _finding("mark", ts, worth, names)


def _finding(kind: Kind, ts: int, told: Sequence[str], names: Runs) -> tuple[int, LookaheadFinding]:
    time = iso_utc(ts)
    message = f"{when(ts)} {told[0]} {names.first}, but {told[1]} {names.second}"
    return ts, LookaheadFinding(kind=kind, time=time, message=message)


def when(ts: int) -> str:
    """Return a time in words: the date alone if it is midnight."""
    iso = iso_utc(ts)
    date = iso.removesuffix("T00:00:00Z")
    return f"at {iso}" if date == iso else f"on {date}"


def _unequal(first: Sequence[T], second: Sequence[T]) -> Iterator[tuple[T | None, T | None]]:
    """Yield the first pair that is not equal, if there is one."""
    for mine, other in zip_longest(first, second):
        if mine != other:
            yield mine, other
            return


def _unequal_marks(first: Trail, second: Trail) -> list[int]:
    """Return the first row at which the equity is not equal, if there is one."""
    length = min(len(first.equity.equity), len(second.equity.equity))
    values = [np.array(each.equity.equity[:length]) for each in (first, second)]
    rows: list[int] = np.flatnonzero(values[0] != values[1])[:1].tolist()
    return rows


def _begin(trade: Trade, mine: Trade | None, other: Trade | None) -> int:
    """Return when a trade begins to differ.

    If the other run has no such trade, it may well have the position, and not have closed it.
    """
    entries = {it.entry_time for it in (mine, other) if it is not None and it.id == trade.id}
    return _ns(trade.entry_time if len(entries) > 1 else trade.exit_time)


def _ns(iso: str) -> int:
    return int(np.datetime64(iso.removesuffix("Z"), "ns").astype(np.int64))


def _decided(signal: Signal | None, ts: int) -> str:
    if signal is None or signal.ts != ts:
        return "does nothing"
    if signal.action == "target":
        return f"asks for a target of {signal.target:g} in {signal.symbol}"
    fields = msgspec.structs.asdict(signal).items()
    asked = {name: it for name, it in fields if it != getattr(_PLAIN, name)}
    extra = [f"{name} {it}" for name, it in asked.items() if name not in _TOLD]
    return " ".join(["asks to", signal.action, signal.symbol, *extra])


def _traded(trade: Trade | None) -> str:
    if trade is None:
        return "there is no such trade"
    return (
        f"trade {trade.id} is {trade.side} {trade.quantity:,.6g} from {trade.entry_time} at "
        f"{trade.entry_price:,.6g} to {trade.exit_time} at {trade.exit_price:,.6g}"
    )
