"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from admf.engine.container import Status

__all__ = ["PhaseResult", "PhaseSummary", "Progress", "RunResult"]


class PhaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a phase that fit on a line.

    Args:
        containers: Portfolios that ran.
        failed: Portfolios that failed.
        windows: Execution windows that ran.
        best_sharpe: Greatest Sharpe ratio of a portfolio; None if none has one.
        avg_return: Mean total return of the portfolios, fraction; None if none has one.
        total_trades: Closed trades of all portfolios.
        rejects: Refused orders by reason.
        metrics: All metrics of the portfolio, if there is only one.
    """

    containers: int
    failed: int
    windows: int
    best_sharpe: float | None
    avg_return: float | None
    total_trades: int
    rejects: Mapping[str, int]
    metrics: Mapping[str, float | None] | None


class PhaseResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a phase ended.

    Args:
        success: Whether at least one portfolio ran to its end, and nothing concerned them all.
        summary: Its figures.
        errors: What went wrong, the first cause first.
        results_saved: Whether its results are files.
        results_path: Folder of those files.
        phase_results: The container results by id, if they are not files.
    """

    success: bool
    summary: PhaseSummary | None
    errors: tuple[str, ...] = ()
    results_saved: bool = False
    results_path: str | None = None
    phase_results: Mapping[str, Any] | None = None


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    Args:
        status: ``completed``, ``failed`` or ``cancelled``.
        run_id: Names the run: its folder, and a fingerprint of experiment and data.
        results_path: The run's folder; None if nothing was written.
        phases: The phases that ran, by name.
    """

    status: Status
    run_id: str
    results_path: str | None
    phases: Mapping[str, PhaseResult]

    @property
    def some_failed(self) -> bool:
        """Whether anything failed, be it a single lane."""
        phases = self.phases.values()
        return any(not it.success or (it.summary and it.summary.failed) for it in phases)


class Progress(msgspec.Struct, frozen=True):
    """How far a run is.

    Args:
        phase: Name of the phase that runs.
        window_id: The execution window that runs; empty if it is the phase's only one.
        bars_done: Bars of the window that were handled.
        bars_total: Bars of the window.
        lanes: Lanes that handle them.
    """

    phase: str
    window_id: str
    bars_done: int
    bars_total: int
    lanes: int
