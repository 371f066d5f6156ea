"""The intake of live bars: time steps out of bars that arrive one by one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal, TypeAlias

import numpy as np

from admf.containers.bar_history import BarHistory
from admf.containers.events import Bar
from admf.engine.block import Block, Column, DictionaryColumn
from admf.engine.bus import Bus
from admf.engine.events import Event, Published, SourceHeld
from admf.engine.intake import Intake
from admf.engine.results import WindowResults

__all__ = ["BarRefused", "LiveIntake", "Refusal", "step_block"]

Refusal: TypeAlias = Literal["late", "duplicate", "unknown_symbol", "invalid"]


class BarRefused(Event, frozen=True, gc=False, tag="BAR_REFUSED"):
    """A bar that came too late, twice, or cannot be one.

    Args:
        reason: ``late``: its time step is over; ``duplicate``: its time step has a bar of the
            symbol; ``unknown_symbol``: the symbol is not traded; ``invalid``: its prices are not
            finite and positive, or its high and low do not enclose the others.
    """

    key_field: ClassVar[str | None] = "symbol"

    symbol: str
    reason: Refusal


class LiveIntake(Intake):
    """Publishes a block of bars for each time step, and every other event as it comes.

    A time step is complete when all symbols have a bar in it, or when a bar of a later one comes; a
    window never ends within a step. Bars that cannot be part of a step are refused, which is an
    event and a count.

    Args:
        container_id: Names the container, and the source of its events.
        history: Keeps the bars.
        scope: The bus it lives on.
        room: Events that may wait before the session has to.
        depends_on: Ids of the containers that must be running before this one starts.
    """

    def __init__(
        self,
        container_id: str,
        history: BarHistory,
        *,
        scope: Bus,
        room: int,
        depends_on: Sequence[str] = (),
    ) -> None:
        super().__init__(container_id, scope=scope, room=room, depends_on=depends_on)
        self._history = history
        self._step: dict[str, Bar] = {}
        self._step_ts = 0
        self._refused: Counter[str] = Counter()

    def assemble(self, event: Event) -> Iterable[Published]:
        """Return the time steps that a bar completes; anything else as it is."""
        if not isinstance(event, Bar):
            return (event,)
        reason = self._refusal(event)
        if reason:
            self._refused[reason] += 1
            return (BarRefused(event.ts, event.symbol, reason),)
        published = list(self.complete()) if self._step and event.ts > self._step_ts else []
        self._step[event.symbol] = event
        self._step_ts = event.ts
        if len(self._step) == len(self._history.symbols):
            published.extend(self.complete())
        return published

    def complete(self) -> Iterable[Published]:
        """Return the time step that has begun."""
        if not self._step:
            return ()
        bars = [self._step[name] for name in self._history.symbols if name in self._step]
        self._step.clear()
        self._history.taken_until = self._step_ts
        return (step_block(bars, self._history.symbols),)

    def may_end_before(self, event: Event | None) -> bool:
        """Whether no time step has begun, or the event is a bar of a later one.

        A source that is held gives nothing more before the window has ended, so that ends a step.
        """
        if not self._step or isinstance(event, SourceHeld):
            return True
        return isinstance(event, Bar) and event.ts > self._step_ts and not self._refusal(event)

    def admit(self, item: Published) -> None:
        """Publish a time step, whose bars are history from now on, or another event."""
        if isinstance(item, Block):
            self._history.append(item.events())
        super().admit(item)

    async def report(self, results: WindowResults) -> Mapping[str, object]:
        """Return what the commit record says of the intake."""
        refused = dict(sorted(self._refused.items()))
        return {**await super().report(results), "bars_refused": refused}

    def _refusal(self, bar: Bar) -> Refusal | Literal[""]:
        if bar.symbol not in self._history.symbols:
            return "unknown_symbol"
        if not _is_valid(bar):
            return "invalid"
        until = self._history.taken_until
        if self._step and bar.ts == self._step_ts:
            return "duplicate" if bar.symbol in self._step else ""
        if (self._step and bar.ts < self._step_ts) or (until is not None and bar.ts <= until):
            return "late"
        return ""


def step_block(bars: Sequence[Bar], symbols: tuple[str, ...]) -> Block[Bar]:
    """Return the bars of one time step, in the order of the symbols, as a block."""
    columns: dict[str, Column] = {"ts": np.array([bar.ts for bar in bars], dtype=np.int64)}
    if len(symbols) == 1:
        columns["symbol"] = symbols[0]
    else:
        codes = np.array([symbols.index(bar.symbol) for bar in bars])
        columns["symbol"] = DictionaryColumn(codes, symbols)
    for name in ("open", "high", "low", "close", "volume"):
        columns[name] = np.array([getattr(bar, name) for bar in bars], dtype=np.float64)
    return Block(Bar, columns)


def _is_valid(bar: Bar) -> bool:
    low, high = min(bar.open, bar.close, bar.high), max(bar.open, bar.close, bar.low)
    enclosed = 0.0 < bar.low <= low and high <= bar.high < math.inf
    return enclosed and 0.0 <= bar.volume < math.inf
