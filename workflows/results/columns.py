"""Columns of frames: their names, and the type that the values of a parameter have in common."""

from __future__ import annotations

import json
import math
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from admf.containers.metrics.catalogue import METRICS
from admf.containers.metrics.history import Trade
from admf.workflows.results.records import LaneRow

if TYPE_CHECKING:
    import polars as pl

__all__ = ["EQUITY_FIELDS", "LANE_FIELDS", "PLACE_FIELDS", "TRADE_FIELDS", "LaneColumns"]

PLACE_FIELDS = ("phase", "window", "container")
LANE_FIELDS = (*PLACE_FIELDS, "status", "error")
TRADE_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(Trade))
EQUITY_FIELDS = ("ts", "equity")

_FIXED = frozenset([*LANE_FIELDS, *TRADE_FIELDS, *EQUITY_FIELDS])
_INT64 = range(-(2**63), 2**63)
_EXACT = range(-(2**53), 2**53 + 1)
"""The whole numbers that float64 tells apart."""


class LaneColumns:
    """Collects the rows of portfolios into the columns of a frame."""

    def __init__(self) -> None:
        self._count = 0
        self._places: dict[str, list[str | None]] = {name: [] for name in LANE_FIELDS}
        self._parameters: dict[str, list[Any]] = {}
        self._phases: dict[str, dict[str, None]] = {}
        self._metrics: dict[str, array[float]] = {info.name: array("d") for info in METRICS}

    def add(self, phase: str, window_id: str, row: LaneRow) -> None:
        """Add a portfolio."""
        place = (phase, window_id, row.container_id, row.status, row.error)
        for column, value in zip(self._places.values(), place, strict=True):
            column.append(value)
        self._phases.setdefault(phase, {}).update(dict.fromkeys(row.parameters))
        for name in row.parameters:
            if name not in self._parameters:
                self._parameters[name] = [None] * self._count
        for name, values in self._parameters.items():
            values.append(row.parameters.get(name))
        for name in row.metrics:
            if name not in self._metrics:
                self._metrics[name] = array("d", [math.nan] * self._count)
        for name, numbers in self._metrics.items():
            number = row.metrics.get(name)
            numbers.append(math.nan if number is None else number)
        self._count += 1

    def frame(self) -> pl.DataFrame:
        """Return what was added: the place, then the parameters, then the metrics."""
        import numpy as np
        import polars as pl

        renamed = self._names()
        places = [pl.Series(name, column, pl.String) for name, column in self._places.items()]
        parameters = [_series(renamed[name], it) for name, it in self._parameters.items()]
        metrics = [
            pl.Series(_metric_name(name), np.array(numbers), pl.Float64).fill_nan(None)
            for name, numbers in self._metrics.items()
        ]
        return pl.DataFrame([*places, *parameters, *metrics])

    def parameters(self) -> dict[str, tuple[str, ...]]:
        """Return the columns of the parameters of each phase that has portfolios."""
        renamed = self._names()
        return {
            phase: tuple(renamed[name] for name in self._parameters if name in names)
            for phase, names in self._phases.items()
        }

    def metrics(self) -> tuple[str, ...]:
        """Return the columns of the metrics."""
        return tuple(map(_metric_name, self._metrics))

    def _names(self) -> dict[str, str]:
        """Return the columns of the parameters; one that is called like another is renamed."""
        taken = _FIXED.union(self.metrics())
        names = {name: name for name in self._parameters if name not in taken}
        for name in self._parameters:
            if name in taken:
                column = f"parameter.{name}"
                while column in self._parameters:
                    column = f"parameter.{column}"
                names[name] = column
        return names


def _metric_name(name: str) -> str:
    return f"metric.{name}" if name in _FIXED else name


def _series(name: str, values: Sequence[Any]) -> pl.Series:
    """Return a column of the type that values have in common; text if they have none."""
    import polars as pl

    kinds: set[type[object]] = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, pl.Null)
    if kinds <= {int} and all(it is None or it in _INT64 for it in values):
        return pl.Series(name, values, pl.Int64)
    if kinds <= {int, float} and all(it in _EXACT for it in values if isinstance(it, int)):
        return pl.Series(name, values, pl.Float64)
    if kinds == {bool}:
        return pl.Series(name, values, pl.Boolean)
    return pl.Series(name, [_text(value) for value in values], pl.String)


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
