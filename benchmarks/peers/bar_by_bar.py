"""The cross of the speed benchmark as a strategy that sees one bar after the other."""

from __future__ import annotations

from admf.containers.events import Bar
from admf.containers.strategies.base import Context, Strategy

__all__ = ["BarByBar"]


class BarByBar(Strategy):
    """Long while the fast average is above the slow one."""

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        """Act on a closed bar."""
        if ctx.feature("sma", 10) > ctx.feature("sma", 50):
            if not ctx.position:
                ctx.buy(100.0)
        elif ctx.position:
            ctx.close()
