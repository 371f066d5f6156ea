from __future__ import annotations

import pytest

from admf.workflows.setting_types import fits, searchable_settings, setting_exists


@pytest.mark.parametrize(
    "name",
    [
        "data_range",
        "data_range.start",
        "seed",
        "risk",
        "risk.stop_loss_pct",
        "portfolio.sizing.value",
        "strategy.params.fast",
        "strategy.type",
        "parameter_space",
        "parameter_space.fast",
        "train_test.data_split",
        "pruning.max_drawdown_pct",
        "data.start",
    ],
)
def test_settings_are_found_by_their_dotted_names(name: str) -> None:
    assert setting_exists(name)


@pytest.mark.parametrize(
    "name", ["", "sede", "seed.x", "risk.", "risk.stop", "strategy.params.a.b", "data.symbols.0"]
)
def test_other_names_are_no_settings(name: str) -> None:
    assert not setting_exists(name)


def test_what_can_be_searched_lies_in_portfolio_risk_and_execution() -> None:
    settings = searchable_settings()

    assert {name.partition(".")[0] for name in settings} == {"portfolio", "risk", "execution"}
    assert {
        "portfolio.initial_capital",
        "portfolio.sizing.type",
        "portfolio.sizing.value",
        "risk.stop_loss_pct",
        "execution.commission.value",
        "execution.slippage_bps",
        "execution.fill_on",
    } <= set(settings)
    assert "portfolio.sizing" not in settings


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("risk.stop_loss_pct", 5, True),
        ("risk.stop_loss_pct", 5.5, True),
        ("risk.stop_loss_pct", 100, False),
        ("risk.stop_loss_pct", 0, False),
        ("risk.stop_loss_pct", "5", False),
        ("risk.max_leverage", 2, True),
        ("execution.fill_on", "close", True),
        ("execution.fill_on", "open", False),
        ("execution.close_at_end", True, True),
        ("execution.close_at_end", 1, False),
        ("portfolio.sizing.lookback", 1, False),
    ],
)
def test_a_value_fits_the_type_of_its_setting(name: str, value: object, *, expected: bool) -> None:
    assert fits(value, searchable_settings()[name]) is expected
