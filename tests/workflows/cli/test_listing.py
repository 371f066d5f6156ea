from __future__ import annotations

import pytest

from admf.containers.events import MARKET_EVENTS
from admf.containers.metrics.catalogue import METRICS
from admf.engine.events import ENGINE_EVENTS, event_name

NAMES = {
    "strategies": {"sma_cross", "ema_cross", "buy_and_hold", "random_entry"},
    "workflows": {
        "research_pipeline",
        "robustness",
        "simple_backtest",
        "train_test_optimization",
        "walk_forward_optimization",
    },
    "sequences": {
        "k_fold",
        "monte_carlo",
        "parameter_sweep",
        "single_pass",
        "train_test",
        "walk_forward",
    },
    "topologies": {"backtest"},
    "metrics": {info.name for info in METRICS},
    "events": {event_name(cls) for cls in (*ENGINE_EVENTS, *MARKET_EVENTS)},
    "retention": {"trade_complete", "sliding_window", "minimal"},
}


@pytest.mark.parametrize("kind", NAMES)
def test_everything_is_listed_with_a_line_on_it(admf, kind):
    outcome = admf("list", kind)
    assert (outcome.code, outcome.err) == (0, "")
    words = [line.split() for line in outcome.out.splitlines()]
    listed = {line[0]: line[1:] for line in words if line}
    assert NAMES[kind] <= set(listed)
    assert all(len(listed[name]) > 1 for name in NAMES[kind])


@pytest.mark.parametrize("kind", NAMES)
def test_the_document_has_the_same_names(admf, kind):
    entries = admf("list", kind, "--json").document
    assert NAMES[kind] <= {entry["name"] for entry in entries}
    assert all(entry["summary"] and "\n" not in entry["summary"] for entry in entries)


def test_strategies_are_listed_with_parameters_types_and_defaults(admf):
    lines = [line.split() for line in admf("list", "strategies").out.splitlines()]
    assert ["mode", "'long_flat'", "or", "'long_short'", "default", "long_flat"] in lines
    assert any(line[0] == "lookback" and line[-1] == "required" for line in lines if line)


def test_the_parameters_of_strategies_are_in_the_document(admf):
    entries = {entry["name"]: entry for entry in admf("list", "strategies", "--json").document}
    fast = entries["sma_cross"]["parameters"][0]
    assert (fast["name"], fast["required"], fast["default"]) == ("fast", False, 10)


def test_metrics_are_listed_with_their_unit(admf):
    lines = admf("list", "metrics").out.splitlines()
    (line,) = [line for line in lines if line.startswith("cagr ")]
    assert line.endswith("(fraction)")
