"""Strategies: the base of the user's own, and those that come with admf."""

from __future__ import annotations

from admf.containers.features import FeatureSpec
from admf.containers.market_data import Bars
from admf.containers.strategies.base import (
    BarStrategy,
    ColumnarStrategy,
    Context,
    FeatureView,
    Strategy,
)

__all__ = [
    "BarStrategy",
    "Bars",
    "ColumnarStrategy",
    "Context",
    "FeatureSpec",
    "FeatureView",
    "Strategy",
]
