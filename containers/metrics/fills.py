"""Metrics of FILL: what trading moved and cost."""

from __future__ import annotations

from typing import Any

from admf.containers.events import Fill
from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["FillMetrics"]


class FillMetrics:
    """Sums over fills, each added in turn.

    Attributes:
        traded_value: sum(|quantity * price|) of all fills, both sides, quote currency.
        commission: Quote currency.
        slippage: Quote currency.
    """

    types: frozenset[type[Event]] = frozenset({Fill})

    def __init__(self) -> None:
        self.traded_value = 0.0
        self.commission = 0.0
        self.slippage = 0.0

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one FILL, or a block of them."""
        if isinstance(event, Block):
            names = ("quantity", "price", "commission", "slippage")
            columns = (event.column(name).tolist() for name in names)
            for row in zip(*columns, strict=True):
                self._add(*row)
        elif isinstance(event, Fill):
            self._add(event.quantity, event.price, event.commission, event.slippage)

    def _add(self, quantity: float, price: float, commission: float, slippage: float) -> None:
        self.traded_value += abs(quantity * price)
        self.commission += commission
        self.slippage += slippage
