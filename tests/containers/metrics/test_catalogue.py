from __future__ import annotations

from collections.abc import Callable

from admf.containers.metrics import HEADLINE_METRICS, METRICS


def test_results_hold_every_metric_once_and_in_the_order_of_the_catalogue(
    measure: Callable[..., dict[str, float | None]],
) -> None:
    names = [info.name for info in METRICS]
    assert list(measure([110.0, 90.0])) == names
    assert len(set(names)) == len(names)


def test_each_metric_has_a_summary_of_one_line() -> None:
    for info in METRICS:
        assert info.summary
        assert len(info.summary) <= 60
        assert "{" not in info.summary
        assert "\n" not in info.summary


def test_trade_metrics_come_for_all_long_and_short() -> None:
    names = {info.name for info in METRICS}
    for name in ("trade_count", "win_rate", "sqn", "kelly", "best_trade"):
        assert {name, f"long_{name}", f"short_{name}"} <= names
    by_name = {info.name: info for info in METRICS}
    assert by_name["long_win_rate"].summary == "Share of long trades with a profit"


def test_headline_metrics_are_metrics() -> None:
    assert set(HEADLINE_METRICS) <= {info.name for info in METRICS}
    assert len(set(HEADLINE_METRICS)) == len(HEADLINE_METRICS) == 12
