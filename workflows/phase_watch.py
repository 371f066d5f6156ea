"""Watches the windows of a phase: progress while they run, and what is left of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from admf.containers.events import Bar
from admf.containers.market_data import MarketData
from admf.engine.block import Block
from admf.engine.events import WindowEnd
from admf.engine.results import ResultStore
from admf.engine.storage import MemoryStorage
from admf.engine.summary import WindowSummary
from admf.engine.window import ExecutionWindow
from admf.sequences.phase import PhaseConfig
from admf.workflows.outcome import PhaseResult, PhaseSummary, Progress

__all__ = ["PhaseWatch"]


class PhaseWatch:
    """Follows one phase.

    Args:
        phase: The phase.
        data: Its market data.
        on_progress: Called as bars are handled.
    """

    def __init__(
        self,
        phase: PhaseConfig,
        data: MarketData,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._phase = phase
        self._bars_total = _bars(phase, data)
        self._on_progress = on_progress
        self._summaries: list[WindowSummary] = []

    def opened(self, window: ExecutionWindow) -> None:
        """Report the bars that the window has handled, block by block."""
        if self._on_progress is None:
            return
        report, phase, done = self._on_progress, self._phase, 0

        def tell() -> None:
            lanes = len(phase.config.lanes)
            report(Progress(phase.name, window.spec.window_id, done, self._bars_total, lanes))

        def count(bars: Block[Bar]) -> None:
            nonlocal done
            tell()  # the lanes have handled the blocks before this one
            done += len(bars)

        def finish(_: WindowEnd) -> None:
            tell()

        window.bus.subscribe(Bar, count, blocks=True, name="progress")
        window.bus.subscribe(WindowEnd, finish, name="progress")

    def closed(self, summary: WindowSummary) -> None:
        """Keep the window's summary."""
        self._summaries.append(summary)

    async def result(
        self, path: str, store: ResultStore, kept: MemoryStorage | None
    ) -> PhaseResult:
        """Return how the phase ended.

        Args:
            path: The phase's folder in the storage.
            store: Where its results went.
            kept: The storage, if it is memory: the results are then handed over.
        """
        reports = [summary.report for summary in self._summaries if summary.report]
        summary = _merge(reports, len(self._summaries)) if reports else None
        on_disk = kept is None
        return PhaseResult(
            success=self._success(summary),
            summary=summary,
            errors=tuple(_errors(self._summaries)),
            results_saved=on_disk,
            results_path=f"{store.location}/{self._phase.name}" if on_disk else None,
            phase_results=None if kept is None else await _documents(kept, path),
        )

    def _success(self, summary: PhaseSummary | None) -> bool:
        finished = bool(self._summaries) and all(
            summary.status == "completed" for summary in self._summaries
        )
        return finished and summary is not None and summary.failed < summary.containers


def _bars(phase: PhaseConfig, data: MarketData) -> int:
    steps = data.step_range(phase.config.start_ts, phase.config.end_ts)
    ranges = [data.bar_range(symbol, *steps) for symbol in data.symbols]
    return sum(stop - start for start, stop in ranges)


def _merge(reports: list[Mapping[str, Any]], windows: int) -> PhaseSummary:
    rejects: Counter[str] = Counter()
    for report in reports:
        rejects.update(report["rejects"])
    sharpes = [it["best_sharpe_ratio"] for it in reports if it["best_sharpe_ratio"] is not None]
    returns = [it["avg_return"] for it in reports if it["avg_return"] is not None]
    return PhaseSummary(
        containers=sum(it["portfolio_count"] for it in reports),
        failed=sum(it["failed_count"] for it in reports),
        windows=windows,
        best_sharpe=max(sharpes, default=None),
        avg_return=sum(returns) / len(returns) if returns else None,
        total_trades=sum(it["total_trades"] for it in reports),
        rejects=dict(sorted(rejects.items())),
        metrics=reports[0]["metrics"] if len(reports) == 1 else None,
    )


def _errors(summaries: list[WindowSummary]) -> list[str]:
    errors = [error for summary in summaries for error in summary.errors]
    errors += [it.error for summary in summaries for it in summary.containers if it.error]
    return list(dict.fromkeys(errors))


async def _documents(storage: MemoryStorage, path: str) -> dict[str, Any]:
    """Return the files of a folder, decoded, by their path in it."""
    files = await storage.list_files(path)
    return {
        file.removeprefix(f"{path}/"): msgspec.json.decode(await storage.read(file))
        for file in files
    }
