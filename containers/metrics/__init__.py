"""Portfolio metrics, each folded in one pass from the events of a portfolio."""

from __future__ import annotations

from admf.containers.metrics.annualisation import Annualisation, Interval, infer_annualisation
from admf.containers.metrics.catalogue import HEADLINE_METRICS, METRICS, MetricInfo
from admf.containers.metrics.history import EquityCurve, Trade
from admf.containers.metrics.portfolio import MetricsResult, PortfolioMetrics
from admf.containers.metrics.return_blocks import ReturnBlock, ReturnBlocks
from admf.containers.metrics.tracer import MetricsEventTracer, PortfolioResults, history_limit

__all__ = [
    "HEADLINE_METRICS",
    "METRICS",
    "Annualisation",
    "EquityCurve",
    "Interval",
    "MetricInfo",
    "MetricsEventTracer",
    "MetricsResult",
    "PortfolioMetrics",
    "PortfolioResults",
    "ReturnBlock",
    "ReturnBlocks",
    "Trade",
    "history_limit",
    "infer_annualisation",
]
