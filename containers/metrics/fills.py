"""Metrics of FILL: what trading moved and cost."""

from __future__ import annotations

from typing import Any

import numpy as np

from admf.containers.events import Fill
from admf.containers.metrics.chunks import Floats
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
            values = np.abs(event.column("quantity") * event.column("price"))
            self.traded_value = _added(self.traded_value, values)
            self.commission = _added(self.commission, event.column("commission"))
            self.slippage = _added(self.slippage, event.column("slippage"))
        elif isinstance(event, Fill):
            self.traded_value += abs(event.quantity * event.price)
            self.commission += event.commission
            self.slippage += event.slippage


def _added(total: float, values: Floats) -> float:
    """Return the total after each value was added in turn."""
    return float(np.add.accumulate(np.concatenate(([total], values)))[-1])
