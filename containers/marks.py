"""The account of a lane step by step, so that many steps can be marked at once."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from admf.containers.account import Account

__all__ = ["AccountSteps", "Marks"]

Floats: TypeAlias = NDArray[np.float64]


class AccountSteps(NamedTuple):
    """The account before the next step of a block, and after each of those at which it changed.

    Args:
        steps: int64 (n,), -1 and then the steps, ascending; where two are equal, the last counts.
        cash: float64 (n,), quote currency.
        quantities: float64 (n,) by symbol, units held, negative when short.
    """

    steps: NDArray[np.int64]
    cash: Floats
    quantities: dict[str, Floats]

    def between(self, start: int, stop: int) -> tuple[Floats, dict[str, Floats]]:
        """Return cash and units of each symbol at the end of each step, float64 (steps,).

        Args:
            start: First step.
            stop: The step after the last.
        """
        first = int(self.steps.searchsorted(start, side="right")) - 1
        known = slice(first, int(self.steps.searchsorted(stop)))
        edges: NDArray[np.int64] = np.append(self.steps[known], stop)
        edges[0] = start
        lengths = edges[1:] - edges[:-1]
        held = {symbol: it[known].repeat(lengths) for symbol, it in self.quantities.items()}
        return self.cash[known].repeat(lengths), held


class _Many(NamedTuple):
    """The account after each of many fills of one symbol; see `Marks.note_all`."""

    steps: NDArray[np.int64]
    cash: Floats
    symbol: str
    quantity: Floats


class Marks:
    """Cash and positions after each step of a block that had fills.

    Args:
        account: The lane's cash and positions.
    """

    def __init__(self, account: Account) -> None:
        self._account = account
        self._many: _Many | None = None
        self._begin()

    def note(self, step: int) -> None:
        """Remember the account as it is at the end of a step, as far as we know."""
        if step != self._steps[-1]:
            self._steps.append(step)
            self._cash.append(0.0)
            for quantities in self._holdings.values():
                quantities.append(0.0)
        self._cash[-1] = self._account.cash
        for symbol in self._account.positions:
            if symbol not in self._holdings:
                self._holdings[symbol] = [0.0] * len(self._steps)
        for symbol, quantities in self._holdings.items():
            quantities[-1] = self._account.quantity(symbol)

    def note_all(
        self,
        steps: NDArray[np.int64],
        cash: NDArray[np.float64],
        symbol: str,
        quantity: NDArray[np.float64],
    ) -> None:
        """Remember the account after each of many fills of one symbol, the only one held.

        Args:
            steps: int64 (n,), step of each fill.
            cash: float64 (n,), after it.
            symbol: What was traded.
            quantity: float64 (n,), units held after it, negative when short.
        """
        self._holdings.setdefault(symbol, [0.0] * len(self._steps))
        if self._many is None and len(self._steps) == 1:
            self._many = _Many(steps, cash, symbol, quantity)
            return
        self._holdings[symbol].extend(quantity.tolist())
        self._steps.extend(steps.tolist())
        self._cash.extend(cash.tolist())

    def take(self) -> AccountSteps:
        """Return the account at the steps since those that were taken before."""
        many = self._many
        quantities: dict[str, Floats] = {}
        for symbol, single in self._holdings.items():
            between = many.quantity if many is not None and many.symbol == symbol else None
            quantities[symbol] = self._joined(single, between)
        steps = self._joined(self._steps, None if many is None else many.steps)
        cash = self._joined(self._cash, None if many is None else many.cash)
        self._begin()
        return AccountSteps(steps, cash, quantities)

    @staticmethod
    def _joined(single: list[Any], many: NDArray[Any] | None) -> NDArray[Any]:
        """Return a first value, what is known of many fills, and what came after them."""
        if many is None:
            return np.array(single)
        first, last = (np.array(part, many.dtype) for part in (single[:1], single[1:]))
        return np.concatenate((first, many, last))

    def _begin(self) -> None:
        """Go on from the account as it is, whatever step comes next."""
        self._many = None
        self._steps = [-1]
        self._cash = [self._account.cash]
        self._holdings = {s: [self._account.quantity(s)] for s in self._account.positions}
