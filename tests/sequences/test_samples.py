from __future__ import annotations

import pytest

from admf.containers.metrics.annualisation import Annualisation
from admf.containers.series import LaneSeries
from admf.engine.errors import DataError
from admf.sequences.samples import period_returns

HOUR = 3_600 * 10**9


def series(equity: list[float], hours: list[int]) -> LaneSeries:
    return LaneSeries(
        container_id="portfolio_001",
        initial_capital=100.0,
        commission=0.0,
        slippage=0.0,
        traded_value=0.0,
        trades=(),
        ts=tuple(hour * HOUR for hour in hours),
        equity=tuple(equity),
        exposure=(0.0,) * len(equity),
        benchmark=(None,) * len(equity),
    )


def test_a_return_per_mark_begins_with_the_initial_capital() -> None:
    found = period_returns(series([110.0, 99.0, 99.0], [1, 2, 30]), Annualisation(8760.0, "bar"))
    assert found.tolist() == pytest.approx([0.1, -0.1, 0.0])


def test_a_return_per_day_is_made_of_the_last_mark_of_each_day() -> None:
    made = series([500.0, 110.0, 7.0, 132.0, 99.0], [1, 23, 24, 30, 100])
    found = period_returns(made, Annualisation(252.0, "day"))
    assert found.tolist() == pytest.approx([0.1, 0.2, -0.25])


@pytest.mark.parametrize("lost", [0.0, -5.0])
def test_a_run_that_lost_everything_has_no_returns(lost: float) -> None:
    with pytest.raises(DataError, match=r"lost all it had .*price_path"):
        period_returns(series([110.0, lost], [1, 2]), Annualisation(8760.0, "bar"))


def test_a_lane_without_marks_has_no_returns() -> None:
    assert period_returns(series([], []), Annualisation(252.0, "day")).tolist() == []
