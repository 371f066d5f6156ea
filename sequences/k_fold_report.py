"""What a cross-validation says of its splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from admf.containers.report import LaneReport
from admf.sequences.outcome import Outcome, Point, TrialCounts
from admf.sequences.splits import Split
from admf.sequences.stretch import Stretch
from admf.sequences.trials import Judge

__all__ = ["KFoldReport", "KFoldSplit", "mean_metrics", "merged_report"]

Metrics = Mapping[str, float | None]

_SUMMED = frozenset(["bars", "trade_count", "long_trade_count", "short_trade_count"])


class KFoldSplit(msgspec.Struct, frozen=True, omit_defaults=True):
    """One split of a cross-validation.

    Args:
        test: First and last time of each fold of its test, ISO 8601.
        parameters: The best of the training data; None if no trial was eligible.
        in_sample: Its objective on the training data.
        out_of_sample: Its objective on the test, the mean over its folds.
    """

    split_id: str
    test: tuple[Mapping[str, str], ...]
    parameters: Point | None = None
    in_sample: float | None = None
    out_of_sample: float | None = None


class KFoldReport:
    """Takes the splits one after the other.

    Args:
        stretch: Where the cross-validation runs.
    """

    def __init__(self, stretch: Stretch) -> None:
        self._objective = Judge(stretch.settings).objectives[0].name
        self._splits: list[KFoldSplit] = []
        self._found: list[Outcome] = []
        self._counts = TrialCounts()

    def take(self, part: Stretch, split: Split, found: Outcome, rows: Sequence[LaneReport]) -> None:
        """Take a split: what its search found, and the reports of its tests."""
        outside = mean_metrics([row.metrics for row in rows], [1] * len(rows)) if rows else {}
        self._splits.append(
            KFoldSplit(
                split_id=part.path,
                test=tuple(part.span(steps) for steps in split.test),
                parameters=found.best_parameters,
                in_sample=found.best_objective,
                out_of_sample=outside.get(self._objective),
            )
        )
        self._found.append(msgspec.structs.replace(found, top_parameters=()))
        self._counts = self._counts + found.trials

    def outcome(self, paths: Sequence[Metrics]) -> Outcome:
        """Return what all splits say together.

        The best parameters are those that most splits chose, the first of them if there are
        several; the metrics out of sample are the mean over the paths.

        Args:
            paths: Metrics of each path through all folds.
        """
        leader = self._most_chosen()
        return Outcome(
            best_parameters=leader.best_parameters if leader else None,
            best_objective=leader.best_objective if leader else None,
            best=leader.best if leader else {},
            top_parameters=(leader.best_parameters,) if leader and leader.best_parameters else (),
            trials=self._counts,
            overfitting=leader.overfitting if leader else None,
            out_of_sample=mean_metrics(paths, [1] * len(paths)),
            report={"splits": self._splits, "paths": list(paths)},
        )

    def _most_chosen(self) -> Outcome | None:
        keys = [msgspec.json.encode(it.best_parameters) for it in self._found]
        chosen = Counter(
            key for key, it in zip(keys, self._found, strict=True) if it.best_parameters is not None
        )
        if not chosen:
            return None
        return self._found[keys.index(chosen.most_common(1)[0][0])]


def merged_report(rows: Sequence[LaneReport], lengths: Sequence[int]) -> LaneReport:
    """Return one report of a parameter set that ran on several stretches of data.

    Metrics are means weighted by length, over the stretches in which they are not null; counts of
    bars and trades are sums. A failure on one stretch is a failure. Groups of returns add up.

    Args:
        rows: The reports, one for each stretch.
        lengths: Time steps of each stretch.
    """
    worst = next((row for row in rows if row.status != "completed"), rows[0])
    blocks = [row.return_blocks for row in rows if row.return_blocks]
    return msgspec.structs.replace(
        worst,
        metrics=mean_metrics([row.metrics for row in rows], lengths),
        return_count=sum(row.return_count for row in rows),
        return_blocks=np.sum(blocks, axis=0).tolist() if len(blocks) == len(rows) else None,
    )


def mean_metrics(rows: Sequence[Metrics], weights: Sequence[int]) -> dict[str, float | None]:
    """Return the weighted mean of each metric where it is not null; counts are added up."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: _mean(name, [row.get(name) for row in rows], weights) for name in names}


def _mean(name: str, values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    known = [
        (value, weight) for value, weight in zip(values, weights, strict=True) if value is not None
    ]
    if not known:
        return None
    if name in _SUMMED:
        return sum(value for value, _ in known)
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known)
