"""Metrics of PORTFOLIO_UPDATE: every mark of a portfolio."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from admf.containers.events import PortfolioUpdate
from admf.containers.metrics.annualisation import Annualisation
from admf.containers.metrics.chunks import ChunkBuffer, Floats, changes, running_sum
from admf.containers.metrics.drawdown import DrawdownAccumulator
from admf.containers.metrics.duplicate import duplicate
from admf.containers.metrics.ratio import finite, ratio
from admf.containers.metrics.return_blocks import ReturnBlock, ReturnBlocks
from admf.containers.metrics.returns import ReturnAccumulator
from admf.containers.metrics.sampling import DaySampler
from admf.engine.block import Block
from admf.engine.events import Event

__all__ = ["APPROXIMATED", "EquityMetrics"]

APPROXIMATED = ("value_at_risk_95", "conditional_value_at_risk_95", "tail_ratio")
"""Metrics that are estimates when there are more returns than are kept exactly."""


class EquityMetrics:
    """Folds marks in order of time; `finished` gives the metrics up to now, whenever it is asked.

    Once equity is not positive and finite, a return on it has no meaning: from then on every metric
    of returns is null, while profit, drawdown and exposure stay defined.

    Args:
        initial_capital: Equity before the first mark, quote currency, positive.
        annualisation: Which returns are taken, and how many make a year.
        return_blocks: Groups of returns to sum up; none by default.
    """

    types: frozenset[type[Event]] = frozenset({PortfolioUpdate})

    def __init__(
        self,
        initial_capital: float,
        annualisation: Annualisation,
        return_blocks: ReturnBlocks | None = None,
    ) -> None:
        self._initial_capital = initial_capital
        self._periods_per_year = annualisation.periods_per_year
        self._buffer = ChunkBuffer(1)
        self._sampler = DaySampler() if annualisation.interval == "day" else None
        self._returns = ReturnAccumulator(initial_capital, self._periods_per_year, return_blocks)
        self._drawdown = DrawdownAccumulator(initial_capital)
        self._equity = initial_capital
        self._bars = 0
        self._exposed_bars = 0
        self._equity_sum = 0.0
        self._solvent = True
        self._best_growth = -math.inf
        self._worst_growth = math.inf

    def fold(self, event: Event | Block[Any]) -> None:
        """Take one PORTFOLIO_UPDATE, or a block of them."""
        if isinstance(event, Block):
            self._fold_marks(event)
        elif isinstance(event, PortfolioUpdate):
            self._fold_marks(Block.of([event]))

    def finished(self) -> EquityMetrics:
        """Return a copy that has folded all marks, also those of the incomplete chunk and day."""
        whole = duplicate(self)  # shares the buffer, which is only read from here on
        whole._sampler = None if self._sampler is None else duplicate(self._sampler)
        whole._returns = self._returns.copied()
        whole._drawdown = duplicate(self._drawdown)
        whole.finish()
        return whole

    def finish(self) -> None:
        """Fold what is buffered; no more marks may follow."""
        rest = self._buffer.rest()
        if rest is not None:
            with np.errstate(all="ignore"):
                self._fold_chunks(*rest)
        self._drawdown.finish()
        if not self._solvent:
            self._returns = ReturnAccumulator(
                self._initial_capital, self._periods_per_year, self._returns.blocks.emptied()
            )
            return
        with np.errstate(all="ignore"):
            last_day = None if self._sampler is None else self._sampler.rest()
            if last_day is not None:
                self._returns.fold(*last_day)
            self._returns.finish()

    def values(self) -> dict[str, float | None]:
        """Return the metrics by name; to be asked of a `finished` copy."""
        return {name: compute() for name, compute in self.computations().items()}

    def value(self, name: str) -> float | None:
        """Return one metric up to now, without the work that the others take."""
        if name != "max_drawdown":
            return self.finished().computations()[name]()
        drawdown, rest = duplicate(self._drawdown), self._buffer.rest()
        if rest is not None:
            with np.errstate(all="ignore"):
                drawdown.fold(rest[0])
        drawdown.finish()
        return drawdown.max_drawdown()

    def computations(self) -> dict[str, Callable[[], float | None]]:
        """Return what computes each metric, by name; to be asked of a `finished` copy."""
        returns, drawdown, tails = self._returns, self._drawdown, self._returns.quantiles
        return {
            "initial_capital": lambda: self._initial_capital,
            "final_equity": lambda: self._equity if self._bars else None,
            "bars": lambda: self._bars,
            "total_return": self.total_return,
            "cagr": returns.cagr,
            "annual_volatility": returns.annual_volatility,
            "sharpe_ratio": returns.sharpe_ratio,
            "sortino_ratio": returns.sortino_ratio,
            "calmar_ratio": self.calmar_ratio,
            "omega_ratio": returns.omega_ratio,
            "probabilistic_sharpe_ratio": returns.probabilistic_sharpe_ratio,
            "max_drawdown": drawdown.max_drawdown,
            "max_drawdown_duration": drawdown.max_drawdown_duration,
            "longest_drawdown_duration": drawdown.longest_drawdown_duration,
            "avg_drawdown": drawdown.avg_drawdown,
            "ulcer_index": drawdown.ulcer_index,
            "recovery_factor": self.recovery_factor,
            "value_at_risk_95": tails.value_at_risk_95,
            "conditional_value_at_risk_95": tails.conditional_value_at_risk_95,
            "tail_ratio": tails.tail_ratio,
            "skew": returns.skew,
            "kurtosis": returns.kurtosis,
            "best_bar": self.best_bar,
            "worst_bar": self.worst_bar,
            "exposure_time": self.exposure_time,
            "alpha": returns.benchmark.alpha,
            "beta": returns.benchmark.beta,
            "information_ratio": returns.benchmark.information_ratio,
        }

    def return_count(self) -> int:
        """Return the number of returns, 0 after ruin; to be asked of a `finished` copy."""
        return self._returns.count

    def return_blocks(self) -> tuple[ReturnBlock, ...]:
        """Return the sums of the groups of returns; to be asked of a `finished` copy."""
        return self._returns.blocks.values()

    def approximate(self) -> tuple[str, ...]:
        """Return the names of the metrics that are estimates."""
        return APPROXIMATED if self._returns.quantiles.approximate else ()

    def total_return(self) -> float | None:
        """Last equity / initial capital - 1. Null: without marks."""
        return self._equity / self._initial_capital - 1.0 if self._bars else None

    def calmar_ratio(self) -> float | None:
        """Cagr / ``|max_drawdown|``, over the whole period.

        Null: without a drawdown. Source: Young (1991); empyrical ``calmar_ratio``.
        """
        depth = self._drawdown.max_drawdown()
        return None if depth is None else ratio(self._returns.cagr(), -depth)

    def recovery_factor(self) -> float | None:
        """Net profit / greatest fall from a peak, both in quote currency.

        Null: without a drawdown. Source: MetaTrader's strategy report.
        """
        return ratio(self._equity - self._initial_capital, -self._drawdown.largest_loss())

    def best_bar(self) -> float | None:
        """Largest return from one mark to the next. Null: without marks, or after ruin."""
        return finite(self._best_growth - 1.0) if self._solvent else None

    def worst_bar(self) -> float | None:
        """Smallest return from one mark to the next. Null: without marks, or after ruin."""
        return finite(self._worst_growth - 1.0) if self._solvent else None

    def exposure_time(self) -> float | None:
        """Share of the marks with exposure > 0. Null: without marks."""
        return ratio(self._exposed_bars, self._bars)

    def mean_equity(self) -> float | None:
        """Mean of all marks, quote currency. Null: without marks."""
        return ratio(self._equity_sum, self._bars)

    def _fold_marks(self, marks: Block[Any]) -> None:
        equity = np.asarray(marks.column("equity"), dtype=np.float64)
        exposure = np.asarray(marks.column("exposure"), dtype=np.float64)
        with np.errstate(all="ignore"):
            self._fold_growth(equity)
            self._bars += len(equity)
            self._exposed_bars += int(np.count_nonzero(exposure > 0.0))
            if self._solvent:
                self._fold_returns(marks, equity)
            for chunks in self._buffer.extend(equity):
                self._fold_chunks(*chunks)

    def _fold_growth(self, equity: Floats) -> None:
        growth = changes(equity, self._equity)
        best, worst = float(growth.max()), float(growth.min())
        self._best_growth = max(self._best_growth, best)
        self._worst_growth = min(self._worst_growth, worst)
        self._equity = float(equity[-1])
        if not (worst > 0.0 and best < math.inf):  # what grows by positive factors stays positive
            sound = bool(0.0 < equity.min() <= equity.max() < math.inf)
            self._solvent = self._solvent and sound

    def _fold_returns(self, marks: Block[Any], equity: Floats) -> None:
        benchmark = np.asarray(marks.columns["benchmark"], dtype=np.float64)
        if self._sampler is None:
            self._returns.fold(equity, np.broadcast_to(benchmark, equity.shape))
        else:
            self._returns.fold(*self._sampler.take(marks.ts, equity, benchmark))

    def _fold_chunks(self, equity: Floats) -> None:
        """Fold what depends on how marks are grouped."""
        self._equity_sum = running_sum(self._equity_sum, equity)
        self._drawdown.fold(equity)
