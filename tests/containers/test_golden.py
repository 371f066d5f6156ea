"""A whole trace, committed and replayed; `python -m tests.containers.test_golden` renews it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from admf.containers.events import PortfolioUpdate
from tests.containers.harness import LaneRun, Ohlc, run, script

GOLDEN = Path(__file__).parent / "golden" / "lane_events.json"

# (open, high, low, close) by time step
BARS: dict[str, dict[int, Ohlc]] = {
    "A": {
        0: (100, 102, 99, 101),
        1: (101, 104, 100, 103),
        2: (103, 109, 102, 108),
        3: (107, 112, 106, 111),
        4: (110, 111, 97, 98),
        6: (96, 99, 91, 92),
        7: (92, 93, 86, 88),
        8: (89, 96, 88, 95),
        9: (97, 104, 96, 103),
        10: (103, 105, 101, 102),
        11: (102, 103, 98, 99),
    },
    "B": {
        1: (50, 51, 49, 50),
        2: (50, 53, 50, 52),
        3: (52, 54, 51, 53),
        5: (47, 48, 44, 45),
        6: (45, 46, 42, 43),
        8: (44, 49, 44, 48),
        10: (49, 52, 48, 51),
        11: (51, 55, 50, 54),
    },
}

PLAN: dict[tuple[str, int], Any] = {
    ("A", 0): lambda ctx: ctx.buy(20, take_profit=111),  # target within bar 3
    ("B", 0): lambda ctx: ctx.target(0.4),
    ("B", 1): lambda ctx: ctx.buy(10, limit=51.5, stop_loss=48),  # enlarges; gapped out on bar 5
    ("A", 3): lambda ctx: ctx.sell(15, stop=105, limit=104),  # stop-limit, within bar 4
    ("A", 4): lambda ctx: ctx.sell(),  # enlarges the short position beyond the leverage: refused
    ("A", 5): lambda ctx: ctx.buy(5, time_in_force="day", limit=80),  # expires
    ("A", 6): lambda ctx: ctx.buy(25, stop=94),  # covers and reverses within bar 8
    ("B", 4): lambda ctx: ctx.buy(7, limit=30),
    ("A", 8): lambda ctx: ctx.sell(4),  # a part
    ("B", 5): lambda ctx: ctx.cancel(),
    ("A", 9): lambda ctx: ctx.target(-0.5, symbol="B"),
}


def golden_run(block_size: int = 4096) -> LaneRun:
    """Return the run whose events are the golden ones."""
    return run(
        script(PLAN),
        BARS,
        block_size=block_size,
        risk={"trailing_stop_pct": 12, "max_leverage": 1.0},
        execution={
            "slippage_bps": 10,
            "commission": {"type": "rate", "value": 0.001, "minimum": 1},
            "close_at_end": True,
        },
    )


def trace(result: LaneRun) -> list[dict[str, Any]]:
    """Return the lane's events as plain data, the marks last, since they come by the block."""
    own = [it for it in result.events if type(it).__module__ == "admf.containers.events"]
    events = [it for it in own if type(it).__name__ not in ("Bar", "Features")]
    marks = result.of(PortfolioUpdate)
    ordered = [*(it for it in events if not isinstance(it, PortfolioUpdate)), *marks]
    plain: list[dict[str, Any]] = json.loads(msgspec.json.encode(ordered))
    return plain


@pytest.mark.parametrize("block_size", [1, 5, 4096])
def test_the_golden_trace_comes_again(block_size: int) -> None:
    found, expected = trace(golden_run(block_size)), json.loads(GOLDEN.read_text())
    for event, golden in zip(found, expected, strict=False):
        numbers = {name for name, value in golden.items() if isinstance(value, float)}
        assert {k: v for k, v in event.items() if k not in numbers} == {
            k: v for k, v in golden.items() if k not in numbers
        }
        for name in numbers:
            assert event[name] == pytest.approx(golden[name], rel=1e-12)
    assert len(found) == len(expected)


def test_the_golden_trace_shows_every_kind_of_event() -> None:
    kinds = {event["event"] for event in json.loads(GOLDEN.read_text())}
    assert kinds == {
        "SIGNAL",
        "ORDER",
        "REJECT",
        "CANCEL",
        "FILL",
        "POSITION_OPEN",
        "POSITION_CLOSE",
        "PORTFOLIO_UPDATE",
    }


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(event) for event in trace(golden_run()))
    GOLDEN.write_text(f"[\n{lines}\n]\n")
