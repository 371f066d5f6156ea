"""Commission and slippage."""

from __future__ import annotations

from admf.containers.config import ExecutionConfig
from admf.containers.events import Side

__all__ = ["Costs"]


class Costs:
    """What trading costs in one lane.

    Args:
        config: Commission and slippage.
    """

    def __init__(self, config: ExecutionConfig) -> None:
        self._commission = config.commission
        self._slippage = config.slippage_bps / 10_000

    def price(self, side: Side, reference: float) -> float:
        """Return the price of a fill: the reference price moved against the trader."""
        slip = self._slippage if side == "buy" else -self._slippage
        return reference * (1 + slip)

    def commission(self, quantity: float, price: float) -> float:
        """Return the commission of a fill, quote currency."""
        config = self._commission
        amount = {
            "rate": config.value * quantity * price,
            "per_unit": config.value * quantity,
            "fixed": config.value,
        }[config.type]
        return max(amount, config.minimum)

    def affordable(self, budget: float, price: float) -> float:
        """Return the units that a budget pays for, commission included; 0 if it pays for none."""
        config = self._commission
        quantity = {
            "rate": budget / (price * (1 + config.value)),
            "per_unit": budget / (price + config.value),
            "fixed": (budget - config.value) / price,
        }[config.type]
        if self.commission(max(quantity, 0.0), price) <= config.minimum:
            quantity = (budget - config.minimum) / price
        return max(quantity, 0.0)
