"""Names and types of columns."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from admf.containers.metrics.catalogue import METRICS
from admf.workflows.results.columns import LaneColumns
from admf.workflows.results.records import LaneRow


def columns_of(*rows: LaneRow) -> LaneColumns:
    columns = LaneColumns()
    for row in rows:
        columns.add("search", "", row)
    return columns


def with_parameter(*values: Any) -> pl.Series:
    rows = [LaneRow("portfolio_001", "completed", None, {"p": value}) for value in values]
    return columns_of(*rows).frame()["p"]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([1, None, 3], pl.Int64, [1, None, 3]),
        ([1.5, None], pl.Float64, [1.5, None]),
        ([1, 2.5, None], pl.Float64, [1.0, 2.5, None]),
        ([True, None, False], pl.Boolean, [True, None, False]),
        (["a", None], pl.String, ["a", None]),
        ([None, None], pl.Null, [None, None]),
        ([1, True], pl.String, ["1", "true"]),
        ([1, "a", 2.5, None], pl.String, ["1", "a", "2.5", None]),
        ([True, 0.5], pl.String, ["true", "0.5"]),
        ([[1, 2], {"a": None}], pl.String, ["[1,2]", '{"a":null}']),
        ([2**63 - 1, -(2**63)], pl.Int64, [2**63 - 1, -(2**63)]),
        ([2**63, 1], pl.String, ["9223372036854775808", "1"]),
        ([2**53 + 1, 0.5], pl.String, ["9007199254740993", "0.5"]),
        ([10**400, 0.5], pl.String, [str(10**400), "0.5"]),
    ],
)
def test_a_column_has_the_type_that_its_values_share_and_changes_none(
    values: list[Any], kind: type[pl.DataType], expected: list[Any]
) -> None:
    column = with_parameter(*values)
    assert column.dtype == kind
    assert column.to_list() == expected


def test_a_parameter_that_is_called_like_another_column_is_renamed() -> None:
    taken = {"phase": 1, "window": 2, "sharpe_ratio": 3, "pnl": 4, "ts": 5, "fast": 6}
    found = columns_of(LaneRow("portfolio_001", "completed", None, taken))
    names = (
        "parameter.phase", "parameter.window", "parameter.sharpe_ratio", "parameter.pnl",
        "parameter.ts", "fast",
    )  # fmt: skip
    assert found.parameters() == {"search": names}
    assert [found.frame()[name][0] for name in names] == [1, 2, 3, 4, 5, 6]
    assert found.frame()["phase"][0] == "search"


def test_a_renamed_parameter_does_not_take_the_name_of_another() -> None:
    parameters = {"side": 1, "parameter.side": 2}
    found = columns_of(LaneRow("portfolio_001", "completed", None, parameters))
    assert found.parameters() == {"search": ("parameter.parameter.side", "parameter.side")}
    assert found.frame().row(0)[5:7] == (1, 2)


def test_parameters_and_metrics_that_appear_late_are_null_before() -> None:
    first = LaneRow("portfolio_001", "failed", "why", {"a": 1})
    last = LaneRow("portfolio_002", "completed", None, {"b": 2}, {"own": 0.5, "pnl": 2.0})
    found = columns_of(first, last)
    frame = found.frame()
    assert frame["a"].to_list() == [1, None]
    assert frame["b"].to_list() == [None, 2]
    assert frame["own"].to_list() == [None, 0.5]
    assert frame["metric.pnl"].to_list() == [None, 2.0]
    assert found.metrics() == (*(info.name for info in METRICS), "own", "metric.pnl")


def test_without_rows_there_are_the_columns_of_every_run() -> None:
    frame = LaneColumns().frame()
    assert frame.columns[:5] == ["phase", "window", "container", "status", "error"]
    assert frame.width == 5 + len(METRICS)
    assert frame.height == 0
