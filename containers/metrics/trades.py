"""Metrics of POSITION_CLOSE: the closed trades."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.containers.events import PositionClose
from admf.containers.metrics.chunks import CHUNK, ChunkBuffer, Floats, run_edges
from admf.containers.metrics.duplicate import duplicate
from admf.containers.metrics.moments import Moments, moments_of
from admf.containers.metrics.ratio import finite, ratio
from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["SideMetrics", "TradeMetrics"]


class _Streaks(msgspec.Struct):
    """Longest runs of wins and of losses; a breakeven trade ends both."""

    sign: float = 0.0
    length: int = 0
    longest_win: int = 0
    longest_loss: int = 0

    def fold(self, runs: _Runs) -> None:
        lengths, signs = runs.lengths, runs.signs
        if signs[0] == self.sign:
            lengths = lengths.copy()
            lengths[0] += self.length
        self.sign, self.length = float(signs[-1]), int(lengths[-1])
        self.longest_win = int(lengths.max(initial=self.longest_win, where=signs > 0.0))
        self.longest_loss = int(lengths.max(initial=self.longest_loss, where=signs < 0.0))


class _Runs(NamedTuple):
    """Consecutive trades with the same sign of pnl: the length and the sign of each run."""

    lengths: NDArray[np.intp]
    signs: Floats

    @classmethod
    def of(cls, pnl: Floats) -> _Runs:
        signs = np.sign(pnl)
        edges = run_edges(signs)
        return cls(edges[1:] - edges[:-1], signs[edges[:-1]])


class _Sums(NamedTuple):
    """What `SideMetrics` needs to know of a chunk of trades, or of a part of one."""

    moments: tuple[int, float, float, float, float]
    runs: _Runs
    wins: int
    losses: int
    profit: float
    loss: float
    return_sum: float
    best: float
    worst: float
    bars_held: int

    @classmethod
    def of(cls, pnl: Floats, returns: Floats, bars_held: Floats) -> _Sums:
        """Sum up trades.

        Args:
            pnl: float64 (n,), quote currency, at least one, at most a chunk.
            returns: float64 (n,), fraction of the entry value.
            bars_held: float64 (n,), whole numbers.
        """
        amounts = np.array((np.maximum(pnl, 0.0), np.minimum(pnl, 0.0), returns, bars_held))
        profit, loss, return_sum, bars = np.add.reduce(amounts, axis=1).tolist()
        return cls(
            moments=moments_of(pnl)[0],
            runs=_Runs.of(pnl),
            wins=int(np.count_nonzero(pnl > 0.0)),
            losses=int(np.count_nonzero(pnl < 0.0)),
            profit=profit,
            loss=loss,
            return_sum=return_sum,
            best=float(returns.max()),
            worst=float(returns.min()),
            bars_held=int(bars),
        )


class SideMetrics:
    """Sums over closed trades: all of them, the long ones, or the short ones.

    A win has pnl > 0 and a loss pnl < 0; a breakeven trade is neither but counts as a trade.
    """

    def __init__(self) -> None:
        self._pnl = Moments()
        self._streaks = _Streaks()
        self._wins = 0
        self._losses = 0
        self._gross_profit = 0.0
        self._gross_loss = 0.0
        self._return_sum = 0.0
        self._best = -math.inf
        self._worst = math.inf
        self._bars_held = 0

    def fold(self, sums: _Sums) -> None:
        """Take the next trades."""
        self._pnl.merge(*sums.moments)
        self._streaks.fold(sums.runs)
        self._wins += sums.wins
        self._losses += sums.losses
        self._gross_profit += sums.profit
        self._gross_loss -= sums.loss
        self._return_sum += sums.return_sum
        self._best = max(self._best, sums.best)
        self._worst = min(self._worst, sums.worst)
        self._bars_held += sums.bars_held

    def copied(self) -> SideMetrics:
        """Return sums over the same trades, which go on by themselves."""
        copied = duplicate(self)
        copied._pnl = copy.copy(self._pnl)
        copied._streaks = copy.copy(self._streaks)
        return copied

    def values(self) -> dict[str, float | None]:
        """Return the metrics by name, without the prefix of the side."""
        return {
            "trade_count": self._pnl.count,
            "win_rate": self.win_rate(),
            "profit_factor": self.profit_factor(),
            "expectancy": self.expectancy(),
            "payoff_ratio": self.payoff_ratio(),
            "average_trade": self.average_trade(),
            "best_trade": finite(self._best),
            "worst_trade": finite(self._worst),
            "max_win_streak": self._streaks.longest_win,
            "max_loss_streak": self._streaks.longest_loss,
            "average_bars_held": ratio(self._bars_held, self._pnl.count),
            "sqn": self.sqn(),
            "kelly": self.kelly(),
        }

    def win_rate(self) -> float | None:
        """Wins / trades. Null: without trades."""
        return ratio(self._wins, self._pnl.count)

    def profit_factor(self) -> float | None:
        """Sum of the wins' pnl / ``|sum of the losses' pnl|``. Null: without losses."""
        return ratio(self._gross_profit, self._gross_loss)

    def expectancy(self) -> float | None:
        """Mean pnl, quote currency. Null: without trades."""
        return self._pnl.mean if self._pnl.count else None

    def payoff_ratio(self) -> float | None:
        """Mean pnl of the wins / ``|mean pnl of the losses|``. Null: without wins or losses."""
        return ratio(ratio(self._gross_profit, self._wins), ratio(self._gross_loss, self._losses))

    def average_trade(self) -> float | None:
        """Mean return of the trades. Null: without trades."""
        return ratio(self._return_sum, self._pnl.count)

    def sqn(self) -> float | None:
        """System quality number: sqrt(n) * mean(pnl) / std(pnl, ddof 1), n not capped at 100.

        Null: fewer than two trades, or all pnl equal. Source: Van Tharp (2008), with pnl in place
        of R multiples.
        """
        quality = ratio(self._pnl.mean, self._pnl.spread(abs(self._pnl.mean)))
        return None if quality is None else quality * math.sqrt(self._pnl.count)

    def kelly(self) -> float | None:
        """W - (1 - W) / R with W the win rate and R the payoff ratio.

        Null: where R is. Source: Kelly (1956), for bets that win W of the time at odds of R to 1.
        """
        win_rate, payoff = self.win_rate(), self.payoff_ratio()
        if win_rate is None or payoff is None:
            return None
        return win_rate - (1.0 - win_rate) / payoff


class TradeMetrics:
    """Folds closed trades; `values` gives the metrics up to now, whenever it is asked."""

    types: frozenset[type[Event]] = frozenset({PositionClose})

    def __init__(self) -> None:
        self._buffer = ChunkBuffer(4)
        self._sides = {"": SideMetrics(), "long_": SideMetrics(), "short_": SideMetrics()}

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one POSITION_CLOSE, or a block of them."""
        if isinstance(event, Block):
            columns = [event.column(name) for name in ("pnl", "return_fraction", "bars_held")]
            columns.append(event.rows_where("side", "long"))
        elif isinstance(event, PositionClose):
            row = (event.pnl, event.return_fraction, event.bars_held, event.side == "long")
            columns = [np.array([value], dtype=np.float64) for value in row]
        else:
            return
        for chunks in self._buffer.extend(*columns):
            for start in range(0, len(chunks[0]), CHUNK):
                rows = slice(start, start + CHUNK)
                _fold_rows(tuple(_floats(chunk[rows]) for chunk in chunks), self._sides)

    def values(self) -> dict[str, float | None]:
        """Return the metrics by name: of all trades, then ``long_`` and ``short_``."""
        sides = {prefix: side.copied() for prefix, side in self._sides.items()}
        rest = self._buffer.rest()
        if rest is not None:
            _fold_rows(rest, sides)
        return {
            prefix + name: value
            for prefix, side in sides.items()
            for name, value in side.values().items()
        }


def _fold_rows(columns: tuple[Floats, ...], sides: Mapping[str, SideMetrics]) -> None:
    *values, is_long = columns
    whole = _Sums.of(*values)
    sides[""].fold(whole)
    for prefix, flag in (("long_", 1.0), ("short_", 0.0)):
        chosen = is_long == flag
        count = np.count_nonzero(chosen)
        if count:
            some = count < len(chosen)
            sides[prefix].fold(_Sums.of(*(it[chosen] for it in values)) if some else whole)


def _floats(values: NDArray[Any]) -> Floats:
    return values.astype(np.float64, copy=False)
