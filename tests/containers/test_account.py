from __future__ import annotations

from typing import Literal

import pytest

from admf.containers.account import Account
from admf.containers.events import Fill

approx = pytest.approx


def fill(
    side: Literal["buy", "sell"],
    quantity: float,
    price: float,
    *,
    symbol: str = "A",
    commission: float = 0.0,
    account: Account,
) -> Fill:
    position_id = account.position_id(symbol)
    return Fill(7, symbol, 1, position_id, side, quantity, price, commission, 0.0, "open", "signal")


def test_an_account_without_positions_is_its_cash() -> None:
    account = Account(500.0)
    assert account.equity(lambda _: 1 / 0) == 500.0
    assert account.exposure(lambda _: 1 / 0) == 0.0
    assert account.quantity("A") == 0.0


def test_buying_pays_the_price_and_the_commission() -> None:
    account = Account(1_000.0)
    position = account.apply(fill("buy", 5, 100, commission=2, account=account))
    assert account.cash == 498.0
    assert account.quantity("A") == 5.0
    assert (position.side, position.quantity, position.entry_price) == ("long", 5.0, 100.0)
    assert account.equity(lambda _: 110.0) == 1_048.0
    assert account.exposure(lambda _: 110.0) == 550.0


def test_selling_short_brings_in_the_price_and_owes_the_units() -> None:
    account = Account(1_000.0)
    position = account.apply(fill("sell", 5, 100, commission=2, account=account))
    assert account.cash == 1_498.0
    assert account.quantity("A") == -5.0
    assert position.side == "short"
    assert account.equity(lambda _: 110.0) == 948.0
    assert account.exposure(lambda _: 110.0) == 550.0


@pytest.mark.parametrize(("enter", "leave", "sign"), [("buy", "sell", 1), ("sell", "buy", -1)])
def test_prices_of_a_position_are_weighted_by_quantity(
    enter: Literal["buy", "sell"], leave: Literal["buy", "sell"], sign: int
) -> None:
    # in: 10 at 100 and 30 at 110, mean 107.5; out: 30 at 120 and 10 at 100, mean 115
    account = Account(0.0)
    account.apply(fill(enter, 10, 100, commission=1, account=account))
    account.apply(fill(enter, 30, 110, commission=1, account=account))
    position = account.apply(fill(leave, 30, 120, commission=1, account=account))
    assert (position.quantity, position.entered, position.exited) == (10.0, 40.0, 30.0)
    account.apply(fill(leave, 10, 100, commission=1, account=account))
    assert position.quantity == 0.0
    assert position.entry_price == 107.5
    assert position.exit_price == 115.0
    assert position.commission == 4.0
    assert position.pnl == sign * 300.0 - 4.0
    assert account.cash == approx(position.pnl)
    assert account.positions == {}


def test_what_rounding_leaves_of_a_position_is_none() -> None:
    account = Account(0.0)
    for _ in range(3):
        account.apply(fill("buy", 0.1, 100, account=account))
    assert account.quantity("A") == 0.1 + 0.1 + 0.1 != 0.3
    account.apply(fill("sell", 0.3, 100, account=account))
    assert account.positions == {}


def test_positions_are_numbered_through_the_account() -> None:
    account = Account(0.0)
    assert account.position_id("A") == "A-1"
    account.apply(fill("buy", 1, 100, account=account))
    account.apply(fill("buy", 1, 100, symbol="B", account=account))
    assert (account.position_id("A"), account.position_id("B")) == ("A-1", "B-2")
    account.apply(fill("sell", 1, 100, account=account))
    assert (account.position_id("A"), account.position_id("B")) == ("A-3", "B-2")
