"""Watches the windows of a phase: progress while they run, and what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from admf.containers.config import BacktestConfig
from admf.containers.events import Bar
from admf.containers.market_data import MarketData
from admf.engine.block import Block
from admf.engine.events import WindowEnd
from admf.engine.summary import WindowSummary
from admf.engine.window import ExecutionWindow
from admf.engine.window_spec import WindowSpec
from admf.workflows.progress import RunProgress

__all__ = ["PhaseWatch"]

MAX_ERRORS = 50


class PhaseWatch:
    """Follows one phase; what it keeps does not grow with the number of windows.

    Args:
        name: Of the phase, for progress.
        data: Its market data.
        on_progress: Called as bars are handled.
        on_window: Called with each window of this process before it starts, and the name.

    Attributes:
        windows: Execution windows that are over.
        completed: Those of them that came to their end.
        containers: Portfolios that ran in them.
        failed: Those of them that failed.
        total_trades: Closed trades of all portfolios.
        rejects: Refused orders by reason.
        last_report: The last window's figures, as its commit record has them.
        errors: What went wrong, the first cause first, each once.
    """

    def __init__(
        self,
        name: str,
        data: MarketData,
        on_progress: Callable[[RunProgress], None] | None = None,
        on_window: Callable[[str, ExecutionWindow], None] | None = None,
    ) -> None:
        self.windows = 0
        self.completed = 0
        self.containers = 0
        self.failed = 0
        self.total_trades = 0
        self.rejects: Counter[str] = Counter()
        self.last_report: Mapping[str, Any] = {}
        self.errors: dict[str, None] = {}
        self._name = name
        self._data = data
        self._on_progress = on_progress
        self._on_window = on_window

    def opened(self, window: ExecutionWindow) -> None:
        """Report the bars that the window has handled, block by block."""
        if self._on_window is not None:
            self._on_window(self._name, window)
        tell, done = self.watch(window.spec), 0
        if tell is None:
            return

        def count(bars: Block[Bar]) -> None:
            nonlocal done
            tell(done)  # the lanes have handled the blocks before this one
            done += len(bars)

        def finish(_: WindowEnd) -> None:
            tell(done)

        window.bus.subscribe(Bar, count, blocks=True, name="progress")
        window.bus.subscribe(WindowEnd, finish, name="progress")

    def watch(self, spec: WindowSpec) -> Callable[[int], None] | None:
        """Return what is to be told how many bars a window has handled; None if nobody asks."""
        if self._on_progress is None or spec.topology != "backtest":
            return None
        config = msgspec.json.decode(spec.config, type=BacktestConfig)
        report, lanes, total = self._on_progress, len(config.lanes), self._bars(config)

        def tell(done: int) -> None:
            report(RunProgress(self._name, spec.window_id, done, total, lanes, self.windows))

        return tell

    def closed(self, summary: WindowSummary) -> None:
        """Count the window, and take note of what went wrong in it."""
        self.windows += 1
        self.completed += summary.status == "completed"
        self.containers += summary.report.get("portfolio_count", 0)
        self.failed += summary.report.get("failed_count", 0)
        self.total_trades += summary.report.get("total_trades", 0)
        self.rejects.update(summary.report.get("rejects", {}))
        self.last_report = summary.report
        errors = [*summary.errors, *(it.error for it in summary.containers if it.error)]
        for error in errors:
            if len(self.errors) < MAX_ERRORS:
                self.errors.setdefault(error)

    def _bars(self, config: BacktestConfig) -> int:
        steps = self._data.step_range(config.start_ts, config.end_ts)
        ranges = [self._data.bar_range(symbol, *steps) for symbol in self._data.symbols]
        return sum(stop - start for start, stop in ranges)
