"""Strategies of the golden studies that need more than the built-in ones."""

from __future__ import annotations

from admf.containers.events import Bar
from admf.containers.strategies.base import Context, Strategy

__all__ = ["Brackets", "Levels"]


class Brackets(Strategy):
    """Buys dips with a bracket, by orders that last for a day."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        if ctx.position == 0.0 and ctx.feature("rsi", 5) < 45.0:
            ctx.buy(
                10.0,
                limit=bar.close * 0.998,
                stop_loss=bar.close * 0.97,
                take_profit=bar.close * 1.03,
                time_in_force="day",
            )
        elif ctx.position > 0.0 and ctx.bar_index % 17 == 0:
            ctx.close()


class Levels(Strategy):
    """Enters and leaves at prices: stops, stop-limits and limits, some of which it withdraws."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        turn = ctx.bar_index % 9
        if turn == 0:
            ctx.buy(5.0, stop=bar.high * 1.002)
        elif turn == 3:
            ctx.sell(8.0, stop=bar.low * 0.998, limit=bar.low * 0.985)
        elif turn == 5:
            ctx.buy(3.0, limit=bar.low * 0.995)
        elif turn == 8:
            ctx.cancel()
