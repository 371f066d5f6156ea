"""Settings of the topology ``live``."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from admf.containers.config import (
    BacktestConfig,
    DataConfig,
    Identifier,
    LaneConfig,
    PositiveFloat,
    PositiveInt,
)
from admf.engine.errors import ConfigError, Problem

__all__ = ["LiveConfig"]


class LiveConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the topology ``live`` needs for the execution windows of a session.

    Args:
        symbols: What is traded, in the order in which symbols are handled within a time step.
        lanes: The parameter sets that run side by side on the same bars.
        history: Bars of each symbol that indicators and columnar strategies see at most, those
            before the session included. Whatever looks further back than that is another figure
            than in a backtest: recursive indicators by a little, and sums by their last digits.
        periods_per_year: Periods a year for annualisation; None bins by day, as the bars before the
            session suggest.
        broker: Registered name of what fills orders; ``paper`` simulates it, as a backtest does.
        room: Events that may wait in a window before the source has to.
    """

    symbols: Annotated[tuple[Identifier, ...], Meta(min_length=1)]
    lanes: Annotated[tuple[LaneConfig, ...], Meta(min_length=1)]
    history: PositiveInt = 5_000
    periods_per_year: PositiveFloat | None = None
    broker: str = "paper"
    room: PositiveInt = 1_024

    def backtest(self) -> BacktestConfig:
        """Return what a window of a backtest would be told about the lanes.

        Raises:
            ConfigError: A lane is to be closed at the end of a window, although none is the last.
        """
        for lane in self.lanes:
            if lane.execution.close_at_end:
                message = (
                    "close_at_end closes positions at the end of the data, which live data lack"
                )
                raise ConfigError([Problem(message, "execution.close_at_end")])
        return BacktestConfig(
            data=DataConfig(source="frames", symbols=self.symbols),
            lanes=self.lanes,
            periods_per_year=self.periods_per_year,
            dispatch="bus",
        )
