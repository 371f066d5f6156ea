"""What a phase has found, in the forms in which it is handed on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from admf.engine.storage import Storage
from admf.sequences.sequencer import PhaseEnd
from admf.workflows.outcome import PhaseData, PhaseSummary
from admf.workflows.phase_watch import PhaseWatch

__all__ = ["found_nothing", "namespace_of", "phase_data", "summary_of"]


def summary_of(watch: PhaseWatch, end: PhaseEnd | None) -> PhaseSummary | None:
    """Return the figures of a phase that fit on a line; None if it ran no portfolio.

    Args:
        watch: Has seen its windows.
        end: How it ended; None if it did not come to its end.
    """
    if not watch.containers:
        return None
    last = watch.last_report
    alone = watch.containers == 1 and watch.windows == 1
    return PhaseSummary(
        containers=watch.containers,
        failed=watch.failed if end is None else end.failed,
        windows=watch.windows,
        best_sharpe=last.get("best_sharpe_ratio") if end is None else end.metrics.best_sharpe_ratio,
        avg_return=last.get("avg_return") if end is None else _mean_return(end),
        total_trades=watch.total_trades,
        rejects=dict(sorted(watch.rejects.items())),
        metrics=last.get("metrics") if alone else None,
    )


def _mean_return(end: PhaseEnd) -> float | None:
    return end.metrics.metrics["total_return"].avg


def found_nothing(end: PhaseEnd) -> str:
    """Return why a phase that searched has no eligible parameter set; empty if it has one."""
    counts = end.outcome.trials
    if not end.trials or counts.completed:
        return ""
    first = f"; the first that failed: {end.trial_error}" if end.trial_error else ""
    return (
        f"no parameter set is eligible: of {counts.total} trials {counts.failed} failed or have no "
        f"objective, {counts.infeasible} break a constraint, {counts.pruned} were pruned{first}"
    )


def namespace_of(
    end: PhaseEnd | None, summary: PhaseSummary | None, *, success: bool
) -> dict[str, Any]:
    """Return a phase's results as references such as ``{search.best.sharpe_ratio}`` see them."""
    found: dict[str, Any] = {"success": success, "summary": msgspec.to_builtins(summary)}
    if end is not None:
        found |= msgspec.structs.asdict(end.outcome)
        found["trials"] = msgspec.structs.asdict(end.outcome.trials)
        found["aggregate_metrics"] = msgspec.to_builtins(end.metrics)
        found["metrics"] = None if summary is None else summary.metrics
    return found


async def phase_data(
    storage: Storage, folder: str, aggregate: Mapping[str, Any] | None
) -> PhaseData:
    """Return what a phase left in memory.

    Args:
        storage: Holds its files.
        folder: Its folder there.
        aggregate: Its aggregate metrics.
    """
    files: dict[str, Any] = {
        path.removeprefix(f"{folder}/"): msgspec.json.decode(await storage.read(path))
        for path in await storage.list_files(folder)
    }
    portfolios = {
        name: document for name, document in files.items() if document.get("role") == "portfolio"
    }
    return PhaseData(
        aggregate_metrics=aggregate or {},
        trades=[
            {"portfolio": name, **trade}
            for name, document in portfolios.items()
            for trade in document["trades"]
        ],
        equity_curves={
            name: document["equity_curve"]
            for name, document in portfolios.items()
            if document["equity_curve"] is not None
        },
        files=files,
    )
