"""What a walk-forward says of its windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from admf.containers.report import LaneReport
from admf.sequences.outcome import Outcome, Point, TrialCounts
from admf.sequences.splits import Split
from admf.sequences.stretch import Stretch
from admf.sequences.trials import Judge

__all__ = [
    "WalkForwardReport",
    "WalkForwardWindow",
    "parameter_stability",
    "walk_forward_efficiency",
]


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
    """Takes the windows one after the other.

    Args:
        stretch: Where the walk-forward runs.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._judge = Judge(stretch.settings)
        self._windows: list[WalkForwardWindow] = []
        self._counts = TrialCounts()
        self._leader: tuple[float, Outcome] | None = None
        self._pbo: list[float] = []

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
        self._windows.append(row)
        self._counts = self._counts + found.trials
        self._follow(found)

    def outcome(self) -> Outcome:
        """Return what all windows say together.

        The best parameters are those of the last window, which one would trade with next. The
        Sharpe statistics are those of the best trial of all windows; the probability of backtest
        overfitting is the mean over the searches.
        """
        chosen = [it for it in self._windows if it.parameters is not None]
        last = chosen[-1] if chosen else None
        return Outcome(
            best_parameters=last.parameters if last else None,
            best_objective=last.in_sample["objective"] if last else None,
            best=self._leader[1].best if self._leader else {},
            top_parameters=(last.parameters,) if last and last.parameters is not None else (),
            trials=self._counts,
            overfitting=self._overfitting(),
            report={
                "windows": self._windows,
                "walk_forward_efficiency": walk_forward_efficiency(self._windows),
                "profitable_windows": _profitable(self._windows),
                "parameter_stability": parameter_stability(
                    [it.parameters for it in chosen if it.parameters is not None]
                ),
            },
        )

    def _figures(self, metrics: Mapping[str, float | None]) -> dict[str, float | None]:
        return {
            "objective": metrics.get(self._judge.objectives[0].name),
            "annual_return": metrics.get("cagr"),
            "total_return": metrics.get("total_return"),
        }

    def _follow(self, found: Outcome) -> None:
        statistics = found.overfitting or {}
        pbo = statistics.get("probability_of_backtest_overfitting")
        if pbo is not None:
            self._pbo.append(pbo)
        if found.best_objective is None:
            return
        sign = -1.0 if self._judge.directions[0] == "maximize" else 1.0
        loss = sign * found.best_objective
        if self._leader is None or loss < self._leader[0]:
            self._leader = (loss, found)

    def _overfitting(self) -> Mapping[str, Any] | None:
        if self._leader is None or self._leader[1].overfitting is None:
            return None
        mean = sum(self._pbo) / len(self._pbo) if self._pbo else None
        return {
            **self._leader[1].overfitting,
            "probability_of_backtest_overfitting": mean,
        }


def walk_forward_efficiency(windows: Sequence[WalkForwardWindow]) -> float | None:
    """Mean annualised return of the tests / mean annualised return of the training parts.

    Over the windows that have both. Null: without such windows, or if the mean of the training
    parts is not positive. Source: Pardo (2008), "The Evaluation and Optimization of Trading
    Strategies", chapter 11.
    """
    pairs = [
        (inside, outside)
        for it in windows
        if (inside := it.in_sample.get("annual_return")) is not None
        and (outside := it.out_of_sample.get("annual_return")) is not None
    ]
    trained = sum(inside for inside, _ in pairs)
    return sum(outside for _, outside in pairs) / trained if trained > 0 else None


def parameter_stability(chosen: Sequence[Point]) -> dict[str, dict[str, object]]:
    """Return, for each parameter, how much the best value changes from window to window.

    Returns:
        ``distinct``: different values; ``changes``: share of the windows but the first whose value
        is not that of the window before; ``most_common`` and its ``share`` of the windows; for
        numbers also ``mean`` and ``std`` (ddof 1, null for a single window).
    """
    names = dict.fromkeys(name for point in chosen for name in point)
    return {name: _stability([point.get(name) for point in chosen]) for name in names}


def _stability(values: list[Any]) -> dict[str, object]:
    common, count = Counter(values).most_common(1)[0]
    pairs = list(pairwise(values))
    found: dict[str, object] = {
        "distinct": len(set(values)),
        "changes": sum(a != b for a, b in pairs) / len(pairs) if pairs else None,
        "most_common": common,
        "share": count / len(values),
    }
    if all(isinstance(it, (int, float)) and not isinstance(it, bool) for it in values):
        found["mean"] = float(np.mean(values))
        found["std"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return found


def _profitable(windows: Sequence[WalkForwardWindow]) -> float | None:
    """Return the share of the tests with a positive return; None without tests."""
    found = [it.out_of_sample.get("total_return") for it in windows]
    returns = [value for value in found if value is not None]
    return sum(value > 0 for value in returns) / len(returns) if returns else None
