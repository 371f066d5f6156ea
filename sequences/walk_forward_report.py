"""What a walk-forward says of its windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from admf.containers.metrics.ratio import ratio
from admf.containers.report import LaneReport
from admf.engine.spool import Spool
from admf.sequences.config import Scalar
from admf.sequences.outcome import Outcome, Point, TrialCounts
from admf.sequences.splits import Split
from admf.sequences.spread import Spread
from admf.sequences.stretch import Stretch
from admf.sequences.trials import Judge

__all__ = ["WINDOWS_FILE", "ParameterStability", "WalkForwardReport", "WalkForwardWindow"]

WINDOWS_FILE = "windows.json"


class WalkForwardWindow(msgspec.Struct, frozen=True, omit_defaults=True):
    """One window of a walk-forward.

    Args:
        train: First and last time of the training part, ISO 8601.
        test: First and last time of the test part.
        parameters: The best of the training part; None if no trial was eligible, and so none was
            tested.
        in_sample: Objective, and annualised return, of the training part.
        out_of_sample: The same of the test part, and its total return.
    """

    window_id: str
    train: Mapping[str, str]
    test: Mapping[str, str]
    parameters: Point | None = None
    in_sample: Mapping[str, float | None] = {}
    out_of_sample: Mapping[str, float | None] = {}


class WalkForwardReport:
    """Takes the windows one after the other; what it keeps in memory does not grow with them.

    Args:
        stretch: Where the walk-forward runs.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._judge = Judge(stretch.settings)
        self._windows = Spool()
        self._counts = TrialCounts()
        self._returns = _Returns()
        self._stability: dict[str, ParameterStability] = {}
        self._last: Outcome | None = None
        self._leader: tuple[float, Outcome] | None = None
        self._overfitting = Spread()

    def take(self, window: Stretch, split: Split, found: Outcome, test: LaneReport | None) -> None:
        """Take a window: what its search found, and the report of its test if there was one."""
        (train_steps,), (test_steps,) = split.train, split.test
        row = WalkForwardWindow(
            window_id=window.path,
            train=window.span(train_steps),
            test=window.span(test_steps),
            parameters=found.best_parameters,
            in_sample=self._figures(found.best) if found.best else {},
            out_of_sample=self._figures(test.metrics) if test else {},
        )
        self._windows.append(msgspec.json.encode(row))
        self._counts = self._counts + found.trials
        self._returns.take(row)
        self._follow(found)

    def windows(self) -> Iterator[msgspec.Raw]:
        """Return the windows that were taken, one by one, as JSON."""
        return map(msgspec.Raw, self._windows)

    def outcome(self) -> Outcome:
        """Return what all windows say together.

        The best parameters are those of the last window that has some, which one would trade with
        next. The Sharpe statistics are those of the best trial of all windows; the probability of
        backtest overfitting is the mean over the searches.
        """
        last = self._last or Outcome()
        return Outcome(
            best_parameters=last.best_parameters,
            best_objective=last.best_objective,
            best=last.best,
            top_parameters=last.top_parameters[:1],
            trials=self._counts,
            overfitting=self._statistics(),
            report={
                "windows": len(self._windows),
                "walk_forward_efficiency": self._returns.efficiency(),
                "profitable_windows": self._returns.profitable(),
                "parameter_stability": {
                    name: stability.result() for name, stability in self._stability.items()
                },
            },
        )

    def close(self) -> None:
        """Let go of the windows."""
        self._windows.close()

    def _figures(self, metrics: Mapping[str, float | None]) -> dict[str, float | None]:
        return {
            "objective": metrics.get(self._judge.objectives[0].name),
            "annual_return": metrics.get("cagr"),
            "total_return": metrics.get("total_return"),
        }

    def _follow(self, found: Outcome) -> None:
        statistics = found.overfitting or {}
        probability = statistics.get("probability_of_backtest_overfitting")
        if probability is not None:
            self._overfitting.fold(probability)
        if found.best_parameters is None:
            return
        self._last = found
        for name, value in found.best_parameters.items():
            self._stability.setdefault(name, ParameterStability()).take(value)
        if found.best_objective is not None:
            sign = -1.0 if self._judge.directions[0] == "maximize" else 1.0
            loss = sign * found.best_objective
            if self._leader is None or loss < self._leader[0]:
                self._leader = (loss, found)

    def _statistics(self) -> Mapping[str, Any] | None:
        if self._leader is None or self._leader[1].overfitting is None:
            return None
        return {
            **self._leader[1].overfitting,
            "probability_of_backtest_overfitting": self._overfitting.mean,
        }


class ParameterStability:
    """How much the best value of a parameter changes from window to window."""

    def __init__(self) -> None:
        self._values: Counter[Scalar] = Counter()
        self._numbers = Spread()
        self._changes = 0
        self._before: Scalar | None = None

    def take(self, value: Scalar) -> None:
        """Take the best value of the next window."""
        self._changes += bool(self._values) and value != self._before
        self._before = value
        self._values[value] += 1
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._numbers.fold(float(value))

    def result(self) -> dict[str, object]:
        """Return the figures.

        Returns:
            ``distinct``: different values; ``changes``: share of the windows but the first whose
            value is not that of the window before; ``most_common`` (the first of equals) and its
            ``share`` of the windows; for numbers also ``mean`` and ``std`` (ddof 1).
        """
        count = self._values.total()
        (common, times), *_ = self._values.most_common(1)
        found: dict[str, object] = {
            "distinct": len(self._values),
            "changes": ratio(self._changes, count - 1),
            "most_common": common,
            "share": times / count,
        }
        if self._numbers.count == count:
            found |= {"mean": self._numbers.mean, "std": self._numbers.deviation}
        return found


class _Returns:
    """The returns of the training parts and of the tests."""

    def __init__(self) -> None:
        self._trained = 0.0
        self._tested = 0.0
        self._tests = 0
        self._profits = 0

    def take(self, window: WalkForwardWindow) -> None:
        inside = window.in_sample.get("annual_return")
        outside = window.out_of_sample.get("annual_return")
        if inside is not None and outside is not None:
            self._trained += inside
            self._tested += outside
        total = window.out_of_sample.get("total_return")
        if total is not None:
            self._tests += 1
            self._profits += total > 0.0

    def efficiency(self) -> float | None:
        """Mean annualised return of the tests / mean annualised return of the training parts.

        Over the windows that have both. Null: without such windows, or if the mean of the training
        parts is not positive. Source: Pardo (2008), "The Evaluation and Optimization of Trading
        Strategies", chapter 11.
        """
        return self._tested / self._trained if self._trained > 0.0 else None

    def profitable(self) -> float | None:
        """Share of the tests with a positive return. Null: without tests."""
        return ratio(self._profits, self._tests)
