"""One rule, written twice: bar by bar, and on whole columns."""

from typing import Annotated

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from admf.containers import Bar
from admf.containers.strategies import Bars, Context, FeatureView, Strategy

Period = Annotated[int, Meta(ge=2)]


class BuyTheDip(Strategy):
    """Buy when the RSI falls below a floor, sell when it is back above 50."""

    period: Period = 14
    floor: float = 30.0

    def on_bar(self, bar: Bar, ctx: Context) -> None:
        rsi = ctx.feature("rsi", self.period)
        if not ctx.position and rsi < self.floor:
            ctx.buy()
        elif ctx.position and rsi > 50:
            ctx.close()


class BuyTheDipColumns(Strategy):
    """The same rule: where neither condition holds, NaN keeps the last exposure."""

    period: Period = 14
    floor: float = 30.0

    def targets(self, bars: Bars, features: FeatureView) -> NDArray[np.float64]:
        rsi = features("rsi", self.period)
        return np.select([rsi < self.floor, rsi > 50], [1.0, 0.0], default=np.nan)
