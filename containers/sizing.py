"""How many units a full position has, decided when the order fills."""

from __future__ import annotations

import math

import numpy as np

from admf.containers.account import Account
from admf.containers.config import SizingConfig
from admf.containers.costs import Costs
from admf.containers.market import Market, Quotes

__all__ = ["Sizer"]


class Sizer:
    """Sizes the positions of one lane.

    Args:
        config: The rule.
        account: The lane's cash and positions.
        costs: The lane's commission and slippage.
        market: The window's market data.
        quotes: The lane's place in it.
        bars_per_year: For ``volatility_target``, whose returns are those of single bars.
        max_leverage: Bound of ``volatility_target``, which would otherwise lever up calm markets.
    """

    def __init__(
        self,
        config: SizingConfig,
        *,
        account: Account,
        costs: Costs,
        market: Market,
        quotes: Quotes,
        bars_per_year: float,
        max_leverage: float | None,
    ) -> None:
        self._config = config
        self._account = account
        self._costs = costs
        self._market = market
        self._quotes = quotes
        self._bars_per_year = bars_per_year
        self._max_leverage = max_leverage

    def full_position(
        self, symbol: str, price: float, exposure: float = 1.0, held: float = 0.0
    ) -> float:
        """Return the units of a full position, times ``exposure``.

        Commission is set aside for what is still missing: a position that is full stays as it is.

        Args:
            symbol: What is bought or sold.
            price: Price of the fill, slippage included.
            exposure: Multiple of the full position, positive.
            held: Units held already in the same direction, positive.

        Returns:
            Units, positive; 0 if equity or volatility allow none.
        """
        config = self._config
        if config.type == "fixed_units":
            return self.rounded(config.value * exposure)
        if config.type == "fixed_notional":
            return self.rounded(config.value * exposure / price)
        fraction = config.value
        if config.type == "volatility_target":
            fraction = self._volatility_fraction(symbol)
        room = fraction * exposure * self._equity(symbol, price) - held * price
        missing = self._costs.affordable(room, price) if room > 0.0 else room / price
        return self.rounded(max(held + missing, 0.0))

    def rounded(self, quantity: float) -> float:
        """Return the quantity, in whole units if the rule says so."""
        if self._config.whole_units:
            return float(np.floor(quantity + 1e-9))
        return quantity

    def _equity(self, symbol: str, price: float) -> float:
        quote = self._quotes.price
        return self._account.equity(lambda name: price if name == symbol else quote(name))

    def _volatility_fraction(self, symbol: str) -> float:
        """Return target volatility / realised volatility of the last bars' simple returns."""
        lookback = self._config.lookback
        closes = self._market.closes_before(symbol, self._quotes.ts, lookback + 1)
        if len(closes) <= lookback:
            return 0.0
        returns = np.diff(closes) / closes[:-1]
        volatility = float(np.std(returns, ddof=1)) * math.sqrt(self._bars_per_year)
        if volatility == 0.0:
            return 0.0
        fraction = self._config.value / volatility
        return fraction if self._max_leverage is None else min(fraction, self._max_leverage)
