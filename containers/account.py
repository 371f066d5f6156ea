"""Cash and positions of one lane, as its fills make them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Self

import msgspec

from admf.containers.config import CarriedAccount, CarriedPosition, CarriedTargets
from admf.containers.events import Fill, FillMoment, PositionSide

__all__ = ["Account", "Position"]


class Position(msgspec.Struct):
    """An open position and what its trade has cost so far.

    Args:
        direction: 1 for long, -1 for short.
        opening_price: Price of the first entry.
        quantity: Units now, positive.
        entered: Units entered in total.
        entry_value: Sum of quantity * price of the entries, quote currency.
        exited: Units left in total.
        exit_value: Sum of quantity * price of the exits.
        commission: Of all fills so far.
        entry_equity: Equity just before the entry, quote currency; NaN if it is not known.
    """

    position_id: str
    symbol: str
    direction: int
    entry_ts: int
    entry_moment: FillMoment
    opening_price: float
    quantity: float = 0.0
    entered: float = 0.0
    entry_value: float = 0.0
    exited: float = 0.0
    exit_value: float = 0.0
    commission: float = 0.0
    entry_equity: float = math.nan

    @classmethod
    def of(cls, carried: CarriedPosition) -> Self:
        """Return a position as another window left it."""
        entered = carried.quantity if carried.entered is None else carried.entered
        value = (
            entered * carried.entry_price if carried.entry_value is None else carried.entry_value
        )
        return cls(
            carried.position_id,
            carried.symbol,
            carried.direction,
            carried.entry_ts,
            carried.entry_moment,
            carried.entry_price if carried.opening_price is None else carried.opening_price,
            quantity=carried.quantity,
            entered=entered,
            entry_value=value,
            exited=carried.exited,
            exit_value=carried.exit_value,
            commission=carried.commission,
            entry_equity=math.nan if carried.entry_equity is None else carried.entry_equity,
        )

    def carried(self) -> CarriedPosition:
        """Return the position as another window can take it over."""
        return CarriedPosition(
            symbol=self.symbol,
            direction=1 if self.direction > 0 else -1,
            quantity=self.quantity,
            entry_price=self.entry_price,
            entry_ts=self.entry_ts,
            commission=self.commission,
            position_id=self.position_id,
            entry_moment=self.entry_moment,
            opening_price=self.opening_price,
            entered=self.entered,
            entry_value=self.entry_value,
            exited=self.exited,
            exit_value=self.exit_value,
            entry_equity=None if math.isnan(self.entry_equity) else self.entry_equity,
        )

    @property
    def side(self) -> PositionSide:
        """Long or short."""
        return "long" if self.direction > 0 else "short"

    @property
    def units(self) -> float:
        """Units now, negative when short."""
        return self.direction * self.quantity

    @property
    def entry_price(self) -> float:
        """Quantity-weighted mean price of the entries."""
        return self.entry_value / self.entered

    @property
    def exit_price(self) -> float:
        """Quantity-weighted mean price of the exits."""
        return self.exit_value / self.exited

    @property
    def pnl(self) -> float:
        """Profit of what was exited against what was entered, after commission."""
        return self.direction * (self.exit_value - self.entry_value) - self.commission

    def apply(self, fill: Fill) -> None:
        """Take in a fill that enlarges or shrinks the position."""
        self.commission += fill.commission
        if (fill.side == "buy") == (self.direction > 0):
            self.quantity += fill.quantity
            self.entered += fill.quantity
            self.entry_value += fill.quantity * fill.price
        else:
            left = self.quantity - fill.quantity
            self.quantity = left if left > 1e-12 * self.entered else 0.0
            self.exited += fill.quantity
            self.exit_value += fill.quantity * fill.price


class Account:
    """Cash and open positions; only the portfolio's container changes it, on FILL events.

    Args:
        initial_capital: Quote currency.

    Attributes:
        cash: Quote currency.
        positions: The open positions by symbol.
        held: The units of each, negative when short.
    """

    def __init__(self, initial_capital: float) -> None:
        self.cash = initial_capital
        self.positions: dict[str, Position] = {}
        self.held: dict[str, float] = {}
        self._opened = 0

    @classmethod
    def of(cls, carried: CarriedAccount) -> Self:
        """Return an account as another window left it."""
        account = cls(carried.cash)
        account.resume(carried)
        return account

    def resume(self, carried: CarriedAccount) -> None:
        """Go on from what another window left."""
        self.cash = carried.cash
        self.positions = {it.symbol: Position.of(it) for it in carried.positions}
        self.held.clear()  # others look at it
        self.held.update((symbol, it.units) for symbol, it in self.positions.items())
        self._opened = carried.opened

    def carried(self, wanted: CarriedTargets | None = None) -> CarriedAccount:
        """Return the account as another window can take it over."""
        positions = tuple(position.carried() for position in self.positions.values())
        return CarriedAccount(
            cash=self.cash, positions=positions, opened=self._opened, wanted=wanted
        )

    def quantity(self, symbol: str) -> float:
        """Return the units held, negative when short."""
        return self.held.get(symbol, 0.0)

    def position_id(self, symbol: str) -> str:
        """Return the id of the open position, or the one that the next position will get."""
        position = self.positions.get(symbol)
        return f"{symbol}-{self._opened + 1}" if position is None else position.position_id

    @property
    def next_number(self) -> int:
        """The number that the next position will get; it is part of its id."""
        return self._opened + 1

    def equity(self, price: Callable[[str], float]) -> float:
        """Return cash + sum(position * price)."""
        equity = self.cash
        for symbol, position in self.positions.items():
            equity += position.direction * position.quantity * price(symbol)
        return equity

    def exposure(self, price: Callable[[str], float]) -> float:
        """Return sum(abs(position) * price)."""
        return sum(item.quantity * price(symbol) for symbol, item in self.positions.items())

    def apply(self, fill: Fill) -> Position:
        """Take in a fill; a position that it makes flat is no longer among the open ones."""
        sign = 1 if fill.side == "buy" else -1
        self.cash -= sign * fill.quantity * fill.price + fill.commission
        position = self.positions.get(fill.symbol)
        if position is None:
            position = self._open(fill, sign)
        position.apply(fill)
        if position.quantity == 0.0:
            del self.positions[fill.symbol]
            self.held.pop(fill.symbol, None)
        else:
            self.held[fill.symbol] = position.units
        return position

    def settle(self, cash: float, symbol: str, position: Position | None, *, opened: int) -> None:
        """Take in what many fills of one symbol come to.

        Args:
            cash: After them, quote currency.
            symbol: What was traded.
            position: The position after them, if there is one.
            opened: Positions that they opened.
        """
        self.cash = cash
        self._opened += opened
        if position is None:
            self.positions.pop(symbol, None)
            self.held.pop(symbol, None)
        else:
            self.positions[symbol] = position
            self.held[symbol] = position.units

    def _open(self, fill: Fill, direction: int) -> Position:
        position = Position(
            fill.position_id, fill.symbol, direction, fill.ts, fill.moment, fill.price
        )
        self._opened += 1
        self.positions[fill.symbol] = position
        return position
