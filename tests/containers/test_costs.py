from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from admf.containers.config import ExecutionConfig
from admf.containers.costs import Costs


def costs(slippage_bps: float = 0.0, **commission: object) -> Costs:
    config = {"slippage_bps": slippage_bps, "commission": commission}
    return Costs(msgspec.convert(config, ExecutionConfig))


def test_slippage_moves_the_price_against_the_trader() -> None:
    assert costs(50).price("buy", 200.0) == pytest.approx(201.0, rel=1e-15)
    assert costs(50).price("sell", 200.0) == pytest.approx(199.0, rel=1e-15)
    assert costs().price("buy", 200.0) == 200.0


@pytest.mark.parametrize(
    ("commission", "expected"),
    [
        ({}, 0.0),
        ({"type": "rate", "value": 0.001}, 2.0),
        ({"type": "per_unit", "value": 0.05}, 0.5),
        ({"type": "fixed", "value": 7}, 7.0),
        ({"type": "rate", "value": 0.001, "minimum": 5}, 5.0),
        ({"type": "rate", "value": 0.01, "minimum": 5}, 20.0),
        ({"type": "per_unit", "value": 0.05, "minimum": 1}, 1.0),
        ({"type": "fixed", "value": 0, "minimum": 1}, 1.0),
    ],
)
def test_commission_of_ten_units_at_200(commission: dict[str, object], expected: float) -> None:
    assert costs(**commission).commission(10, 200.0) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("commission", "budget", "expected"),
    [
        ({}, 2_000, 10),
        ({"type": "rate", "value": 0.01}, 2_020, 10),
        ({"type": "per_unit", "value": 2}, 2_020, 10),
        ({"type": "fixed", "value": 20}, 2_020, 10),
        ({"type": "rate", "value": 0.001, "minimum": 20}, 2_020, 10),
        ({"type": "rate", "value": 0.01, "minimum": 5}, 2_020, 10),
        ({"type": "per_unit", "value": 0.1, "minimum": 20}, 2_020, 10),
        ({"type": "fixed", "value": 20}, 15, 0),
        ({"type": "rate", "value": 0.01, "minimum": 20}, 15, 0),
        ({}, -100, 0),
    ],
)
def test_a_budget_pays_for_the_units_and_their_commission(
    commission: dict[str, object], budget: float, expected: float
) -> None:
    assert costs(**commission).affordable(budget, 200.0) == pytest.approx(expected, rel=1e-14)


@settings(max_examples=200, derandomize=True)
@given(
    kind=st.sampled_from(["rate", "per_unit", "fixed"]),
    value=st.floats(0, 0.5),
    minimum=st.floats(0, 100),
    budget=st.floats(-100, 1e6),
    price=st.floats(0.01, 1e4),
)
def test_a_budget_is_spent_whole_and_never_overspent(
    kind: str, value: float, minimum: float, budget: float, price: float
) -> None:
    rules = costs(type=kind, value=value, minimum=minimum)
    quantity = rules.affordable(budget, price)
    assert quantity >= 0.0
    if quantity:
        spent = quantity * price + rules.commission(quantity, price)
        assert spent == pytest.approx(budget, rel=1e-9)
    else:
        assert budget <= rules.commission(0.0, price)
