from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from admf.containers.events import PortfolioUpdate, PositionClose
from admf.containers.metrics import Annualisation, PortfolioMetrics
from admf.containers.times import DAY_NS
from admf.engine.block import Block

Values: TypeAlias = dict[str, float | None]
Numbers: TypeAlias = "Sequence[float] | NDArray[np.float64]"

MONDAY_NS = 4 * DAY_NS
PER_BAR = Annualisation(252.0, "bar")


def make_marks(
    equity: Numbers,
    *,
    step_ns: int = DAY_NS,
    exposure: Numbers | float = 0.0,
    benchmark: Numbers | float = math.nan,
) -> Block[PortfolioUpdate]:
    """A block of PORTFOLIO_UPDATE, the first on a Monday."""
    worth = np.asarray(equity, dtype=np.float64)
    return Block(
        PortfolioUpdate,
        {
            "ts": MONDAY_NS + step_ns * np.arange(len(worth), dtype=np.int64),
            "equity": worth,
            "cash": 0.0,
            "exposure": exposure if isinstance(exposure, float) else np.asarray(exposure),
            "benchmark": benchmark if isinstance(benchmark, float) else np.asarray(benchmark),
        },
    )


def make_close(pnl: float, side: str = "long", *, number: int = 1, bars: int = 1) -> PositionClose:
    """A closed trade of 10 units that were entered at 100."""
    return PositionClose(
        ts=MONDAY_NS + number * DAY_NS,
        symbol="GOOG",
        position_id=f"GOOG-{number}",
        side="long" if side == "long" else "short",
        quantity=10.0,
        entry_ts=MONDAY_NS,
        entry_price=100.0,
        exit_price=100.0 + pnl / 10.0,
        pnl=pnl,
        return_fraction=pnl / 1000.0,
        commission=1.0,
        bars_held=bars,
        mae=-0.01,
        mfe=0.02,
        exit_reason="signal",
    )


def measure_equity(
    equity: Numbers,
    *,
    capital: float = 100.0,
    annualisation: Annualisation = PER_BAR,
    step_ns: int = DAY_NS,
    exposure: Numbers | float = 0.0,
    benchmark: Numbers | float = math.nan,
) -> Values:
    """All metrics of an equity curve without fills and trades."""
    metrics = PortfolioMetrics(capital, annualisation)
    marks = make_marks(equity, step_ns=step_ns, exposure=exposure, benchmark=benchmark)
    if len(marks):
        metrics.sinks[0].fold(marks)
    return metrics.result().values


@pytest.fixture(scope="session")
def marks() -> Callable[..., Block[PortfolioUpdate]]:
    return make_marks


@pytest.fixture(scope="session")
def close() -> Callable[..., PositionClose]:
    return make_close


@pytest.fixture(scope="session")
def measure() -> Callable[..., Values]:
    return measure_equity
