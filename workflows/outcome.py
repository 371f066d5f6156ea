"""What a run gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from admf.engine.container import Status

__all__ = ["PhaseData", "PhaseResult", "PhaseSummary", "RunResult"]


class PhaseSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a phase that fit on a line.

    Args:
        containers: Portfolios that ran: trials, tests and all others.
        failed: Portfolios that failed, but for the trials of a search.
        windows: Execution windows that ran.
        best_sharpe: Greatest Sharpe ratio of a portfolio that is no test; None if none has one.
        avg_return: Mean total return of those portfolios, fraction; None if none has one.
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


class PhaseData(msgspec.Struct, frozen=True, kw_only=True):
    """Results of a phase that stayed in memory.

    Args:
        aggregate_metrics: Best, mean, median and worst of the portfolios.
        trades: The trades that are kept, each with the path of its portfolio's file.
        equity_curves: The equity curves that are kept, by the path of the portfolio's file.
        files: What would be the phase's files, by their path in its folder.
    """

    aggregate_metrics: Mapping[str, Any]
    trades: Sequence[Mapping[str, Any]]
    equity_curves: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, Any]


class PhaseResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a phase ended.

    Args:
        success: Whether it came to its end and found what it was to find.
        summary: Its figures; None if it ran no window.
        errors: What went wrong, the first cause first.
        skipped: Why it did not run; empty if it did.
        results_saved: Whether its results are files.
        results_path: Folder of those files.
        phase_results: Its results, if they are not files.
        output: What the phase was asked to hand back, by key.
    """

    success: bool
    summary: PhaseSummary | None
    errors: tuple[str, ...] = ()
    skipped: str = ""
    results_saved: bool = False
    results_path: str | None = None
    phase_results: PhaseData | None = None
    output: Mapping[str, Any] = {}


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended.

    Args:
        status: ``completed``, ``failed`` or ``cancelled``.
        run_id: Names the run: its folder, and a fingerprint of experiment and data.
        results_path: The run's folder; None if nothing was written.
        phases: The phases by name; those of later iterations and of branches as
            ``iteration_002/<name>`` and ``branch_<branch>/<name>``.
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
