"""``aggregate_results.json``, ``all_trades.json`` and the figures of the commit record."""

from __future__ import annotations

import pytest

from admf.containers.metrics.catalogue import HEADLINE_METRICS
from tests.containers.harness import Lane, WindowRun, random_bars, run_window

BARS = random_bars(300)
LANES = [Lane("sma_cross", {"fast": fast, "slow": 20}) for fast in (3, 5, 8)]
SUMMARY = [
    "portfolio_count",
    "failed_count",
    "pruned_count",
    "best_sharpe_ratio",
    "avg_return",
    "total_trades",
    "rejects",
    "metrics",
]


@pytest.fixture(scope="module")
def window() -> WindowRun:
    return run_window(LANES, BARS, return_blocks=16)


def test_the_commit_record_has_the_figures_that_are_small(window: WindowRun) -> None:
    report = window.summary.report
    assert list(report) == SUMMARY
    assert (report["portfolio_count"], report["failed_count"], report["pruned_count"]) == (3, 0, 0)
    assert window.read("phase_summary.json")["report"] == report


def test_the_file_has_all_of_them_then_the_rows(window: WindowRun) -> None:
    found = window.aggregate
    assert list(found) == [
        "schema_version",
        "aggregate_metrics",
        *SUMMARY,
        "portfolios",
        "content_sha256",
    ]
    assert {name: found[name] for name in SUMMARY} == window.summary.report
    aggregate = found["aggregate_metrics"]
    assert list(aggregate["metrics"]) == list(HEADLINE_METRICS)
    assert aggregate["metrics"]["sharpe_ratio"]["count"] == 3


def test_the_best_portfolio_is_told_with_all_of_its_metrics(window: WindowRun) -> None:
    best = window.aggregate["aggregate_metrics"]["best_portfolio_metrics"]
    row = max(window.rows, key=lambda it: it.metrics["sharpe_ratio"] or 0)
    assert best["container_id"] == row.container_id
    assert best["parameters"] == row.parameters
    assert best["metrics"] == row.metrics
    assert window.summary.report["best_sharpe_ratio"] == row.metrics["sharpe_ratio"]


def test_a_row_says_what_became_of_a_lane(window: WindowRun) -> None:
    for number, row in enumerate(window.rows, 1):
        document = window.document(number)
        assert (row.container_id, row.lane_id) == (f"portfolio_{number:03}", f"{number:03}")
        assert (row.status, row.error) == ("completed", None)
        assert row.metrics == document["metrics"]
        assert row.parameters == document["parameters"]
        assert row.rejects == document["rejects"]
        assert row.return_count == 300
        assert row.return_blocks is not None
        assert [count for count, _, _ in row.return_blocks] == [
            sum(it * 16 // 300 == group for it in range(300)) for group in range(16)
        ]


def test_daily_returns_of_finer_bars_are_grouped_by_day() -> None:
    quarter_day = 6 * 3600 * 10**9
    (row,) = run_window(LANES[:1], BARS, return_blocks=5, step_ns=quarter_day).rows
    assert row.return_count == 75
    assert [count for count, _, _ in row.return_blocks or ()] == [15] * 5


def test_without_blocks_a_row_has_none() -> None:
    (row,) = run_window(LANES[:1], BARS).rows
    assert (row.return_count, row.return_blocks) == (300, None)


@pytest.mark.parametrize("block_size", [1, 7, 4096])
def test_the_files_do_not_depend_on_the_size_of_blocks(window: WindowRun, block_size: int) -> None:
    again = run_window(LANES, BARS, return_blocks=16, block_size=block_size)
    assert again.files == window.files


def test_all_trades_are_those_of_all_portfolios(window: WindowRun) -> None:
    found = window.read("all_trades.json")["trades"]
    expected = [
        {"container_id": f"portfolio_{number:03}", **trade}
        for number in (1, 2, 3)
        for trade in window.document(number)["trades"]
    ]
    assert found == expected
    assert len(found) == window.summary.report["total_trades"]
