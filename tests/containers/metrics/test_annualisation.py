from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers.metrics import Annualisation, infer_annualisation


def times(start: str, stop: str, unit: str) -> NDArray[np.int64]:
    return np.arange(start, stop, dtype=f"datetime64[{unit}]").astype("datetime64[ns]").view("i8")


def on_weekdays(ts: NDArray[np.int64]) -> NDArray[np.int64]:
    return ts[np.is_busday(ts.view("datetime64[ns]").astype("datetime64[D]"))]


WEEKDAYS = on_weekdays(times("2020-01-01", "2021-01-01", "D"))
FRIDAYS = times("2020-01-03", "2022-01-01", "D")[::7]


@pytest.mark.parametrize(
    ("ts", "periods"),
    [
        pytest.param(WEEKDAYS, 252.0, id="weekdays"),
        pytest.param(times("2020-01-01", "2021-01-01", "D"), 365.0, id="every day"),
        pytest.param(on_weekdays(times("2020-03-02", "2020-04-01", "m")), 252.0, id="minutes"),
        pytest.param(times("2020-03-02", "2020-04-01", "h"), 365.0, id="hours, every day"),
        pytest.param(FRIDAYS, 52.0, id="weekly"),
        pytest.param(times("2015-01", "2020-01", "M"), 12.0, id="monthly"),
        pytest.param(times("2010-01", "2020-01", "M")[::3], 4.0, id="quarterly"),
        pytest.param(times("1990", "2020", "Y"), 1.0, id="yearly"),
        pytest.param(WEEKDAYS[:1], 252.0, id="one bar"),
        pytest.param(WEEKDAYS[:0], 252.0, id="no bar"),
        pytest.param(WEEKDAYS[[2, 3, 8, 9, 10]], 252.0, id="a gap of holidays"),
    ],
)
def test_the_calendar_of_the_data_sets_the_year(ts: NDArray[np.int64], periods: float) -> None:
    assert infer_annualisation(ts) == Annualisation(periods, "day")


def test_currencies_that_open_on_sunday_evening_do_not_trade_at_weekends() -> None:
    hours = times("2020-03-01", "2020-06-01", "h")
    weekday = (hours // 86_400_000_000_000 + 3) % 7
    hour = hours // 3_600_000_000_000 % 24
    traded = (weekday < 4) | ((weekday == 4) & (hour < 22)) | ((weekday == 6) & (hour >= 22))
    assert infer_annualisation(hours[traded]).periods_per_year == 252.0


def test_one_special_saturday_session_does_not_make_weekends_trade() -> None:
    special = np.array(["2020-02-01"], dtype="datetime64[ns]").view("i8")
    ts = np.sort(np.concatenate([WEEKDAYS, special]))
    assert infer_annualisation(ts).periods_per_year == 252.0


def test_an_explicit_figure_takes_every_bar() -> None:
    assert infer_annualisation(WEEKDAYS, 98_280.0) == Annualisation(98_280.0, "bar")
