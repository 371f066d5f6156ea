"""Metrics of FILL: what trading moved and cost."""

from __future__ import annotations

from typing import Any

import numpy as np

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
            self._fold_block(event)
        elif isinstance(event, Fill):
            self.traded_value += abs(event.quantity * event.price)
            self.commission += event.commission
            self.slippage += event.slippage

    def _fold_block(self, fills: Block[Any]) -> None:
        sums = np.empty((3, len(fills) + 1))
        sums[:, 0] = self.traded_value, self.commission, self.slippage
        sums[0, 1:] = np.abs(fills.column("quantity") * fills.column("price"))
        sums[1, 1:] = fills.column("commission")
        sums[2, 1:] = fills.column("slippage")
        totals = np.add.accumulate(sums, axis=1)[:, -1].tolist()
        self.traded_value, self.commission, self.slippage = totals
