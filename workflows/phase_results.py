"""What a phase has found, in the forms in which it is handed on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from admf.engine.held import HeldStorage
from admf.engine.result_names import container_of
from admf.engine.storage import Storage
from admf.sequences.sequencer import PhaseEnd
from admf.workflows.held_results import LazyMapping, LazySequence
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

    What a `HeldStorage` has stays there, undecoded, until somebody asks for it.

    Args:
        storage: Holds its files.
        folder: Its folder there.
        aggregate: Its aggregate metrics.
    """
    names = [path.removeprefix(f"{folder}/") for path in await storage.list_files(folder)]
    read: Callable[[str], bytes]
    if isinstance(storage, HeldStorage):
        read = partial(_peeked, storage, folder)
    else:
        read = {name: await storage.read(f"{folder}/{name}") for name in names}.__getitem__
    files = LazyMapping[Any](lambda: names, lambda name: msgspec.json.decode(read(name)))
    portfolios = [name for name in names if container_of(name) is not None]

    def with_curve() -> list[str]:
        return [
            name for name in _traded(files, portfolios) if files[name]["equity_curve"] is not None
        ]

    return PhaseData(
        aggregate_metrics=aggregate or {},
        trades=LazySequence(lambda: _trades(files, portfolios)),
        equity_curves=LazyMapping(with_curve, lambda name: files[name]["equity_curve"]),
        files=files,
    )


def _peeked(storage: HeldStorage, folder: str, name: str) -> bytes:
    return storage.peek(f"{folder}/{name}") or b"null"


def _traded(files: Mapping[str, Any], containers: Iterable[str]) -> Iterator[str]:
    """Yield the names of those containers' files that are portfolios."""
    return (name for name in containers if files[name].get("role") == "portfolio")


def _trades(files: Mapping[str, Any], containers: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {"portfolio": name, **trade}
        for name in _traded(files, containers)
        for trade in files[name]["trades"]
    ]
