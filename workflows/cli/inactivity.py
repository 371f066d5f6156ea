"""What became of a portfolio's signals and orders, and why it made no trades."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = ["Activity", "Cause", "PortfolioActivity", "Totals", "sentence", "totals_of"]

Cause: TypeAlias = Literal[
    "traded", "failed", "no_bars", "no_signals", "no_orders", "refused", "unfilled", "open"
]

_REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "max_leverage": "risk.max_leverage allows less than the sizing asks for",
        "max_position": "risk.max_position allows fewer units than the sizing asks for",
        "max_drawdown": "risk.max_drawdown_pct was reached, and halts trading for good",
        "zero_quantity": "the sizing comes to no unit at these prices: more capital, a larger "
        "portfolio.sizing.value, or no whole_units",
    }
)


class Activity(msgspec.Struct, frozen=True):
    """Events of a portfolio, whatever was traced."""

    signals: int
    orders: int
    cancels: int
    fills: int


class PortfolioActivity(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a portfolio's file that says what it did.

    Args:
        status: How it ended.
        error: Why it failed; None if it did not.
        parameters: Of its strategy.
        metrics: By name.
        rejects: Refused orders by reason.
        activity: Its events.
        open_positions: Those that were open at the end.
    """

    status: str
    error: str | None = None
    parameters: Mapping[str, Any] = {}
    metrics: Mapping[str, float | None] = {}
    rejects: Mapping[str, int] = {}
    activity: Activity = Activity(0, 0, 0, 0)
    open_positions: tuple[Mapping[str, Any], ...] = ()

    @property
    def bars(self) -> int:
        """Bars at which it was marked."""
        return int(self.metrics.get("bars") or 0)

    @property
    def trades(self) -> int:
        """Trades that were closed, kept or not."""
        return int(self.metrics.get("trade_count") or 0)

    @property
    def cause(self) -> Cause:
        """Why it made no trades; ``traded`` if it did."""
        did = self.activity
        if self.trades:
            return "traded"
        if self.error:
            return "failed"
        if did.fills:
            return "open"
        if not self.bars:
            return "no_bars"
        if not did.orders:
            return "no_orders" if did.signals else "no_signals"
        return "refused" if self.rejects else "unfilled"


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Portfolios summed up.

    Args:
        portfolios: How many there are.
        without_trades: Those that made none.
        causes: Why they made none, the most frequent first.
        signals: Of all portfolios, as the rest.
        orders: Whether they filled or not.
        rejects: Refused orders by reason, the most frequent first.
        cancels: Orders that ended without a fill, and were not refused.
        fills: Each of a part of an order, or all of it.
        trades: Positions that were closed.
        open_positions: Positions that were open at the end.
    """

    portfolios: int
    without_trades: int
    causes: Mapping[Cause, int]
    signals: int
    orders: int
    rejects: Mapping[str, int]
    cancels: int
    fills: int
    trades: int
    open_positions: int


def totals_of(found: Sequence[PortfolioActivity]) -> Totals:
    """Sum up portfolios."""
    causes: Counter[Cause] = Counter(it.cause for it in found if it.cause != "traded")
    rejects: Counter[str] = Counter()
    for it in found:
        rejects.update(it.rejects)
    return Totals(
        portfolios=len(found),
        without_trades=causes.total(),
        causes=dict[Cause, int](causes.most_common()),
        signals=sum(it.activity.signals for it in found),
        orders=sum(it.activity.orders for it in found),
        rejects=dict(rejects.most_common()),
        cancels=sum(it.activity.cancels for it in found),
        fills=sum(it.activity.fills for it in found),
        trades=sum(it.trades for it in found),
        open_positions=sum(len(it.open_positions) for it in found),
    )


def sentence(cause: Cause, found: Sequence[PortfolioActivity]) -> str:
    """Say why portfolios made no trades, and what can be done about it.

    Args:
        cause: What they have in common.
        found: The portfolios; at least one.
    """
    it = totals_of(found)
    match cause:
        case "traded":
            return f"{_count(it.trades, 'trade')} came about"
        case "failed":
            return f"an error ended it: {found[0].error}"
        case "no_bars":
            return "no bar lay in the time that it was to run"
        case "no_signals":
            return (
                f"the strategy never wanted anything: no signal in {_bars(found)}. Is an indicator "
                "longer than the data, or its condition never true?"
            )
        case "no_orders":
            return f"{_count(it.signals, 'signal')} cancelled orders, and none asked for one"
        case "refused":
            return f"of {_count(it.orders, 'order')} none filled, {_refusals(it.rejects)}"
        case "unfilled":
            return (
                f"{_count(it.orders, 'order')} never filled ({_ends(it)}): no bar reached their "
                "limit or stop prices, or none came after them"
            )
        case _:
            return (
                f"what was opened was never closed: {_count(it.open_positions, 'position')} open "
                "at the end, which execution.close_at_end: true would close"
            )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _ends(it: Totals) -> str:
    if not it.cancels:
        return "they worked until the end"
    if it.cancels >= it.orders:
        return "all ended without a fill"
    return f"{it.cancels:,} ended without a fill, the others worked until the end"


def _bars(found: Sequence[PortfolioActivity]) -> str:
    counts = {it.bars for it in found}
    return _count(counts.pop(), "bar") if len(counts) == 1 else "all of its bars"


def _refusals(rejects: Mapping[str, int]) -> str:
    told = " and ".join(f"{count:,} refused for {reason}" for reason, count in rejects.items())
    remedy = _REMEDIES.get(next(iter(rejects)), "")
    return f"{told}: {remedy}" if remedy else told
