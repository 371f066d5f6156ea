"""A strategy of your own; experiment.yaml names it as ``strategies.my_strategy:TrendFollower``."""

from typing import Annotated

from msgspec import Meta

from admf.containers.events import Bar
from admf.containers.strategies.base import Context, Strategy


class TrendFollower(Strategy):
    """Holds a long position while the close is above its moving average.

    The fields are the parameters that experiment.yaml may set under ``strategy.params``.
    """

    period: Annotated[int, Meta(ge=2)] = 50

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        """Decide at the close of a bar; orders fill at the open of the next one."""
        average = ctx.feature("sma", self.period)  # NaN, and so neither, for the first bars
        if bar.close > average and ctx.position == 0:
            ctx.buy()
        elif bar.close < average and ctx.position > 0:
            ctx.close()
