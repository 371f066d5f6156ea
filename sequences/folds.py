"""How a time line is cut into folds, some of which are tested on and the others trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations, pairwise
from typing import Final, TypeAlias

from admf.engine.errors import ConfigError, DataError, Problem
from admf.sequences.config import KFoldConfig
from admf.sequences.splits import Split, StepRange

__all__ = ["Purge", "combinatorial_paths", "k_fold_splits"]

_MOST_SPLITS: Final = 100_000
"""Each split takes at least an execution window, so that more of them are a slip of the pen."""

Purge: TypeAlias = Callable[[StepRange], tuple[int, int]]
"""Takes a test fold; returns how many steps, 0 or more, to leave out before and after it."""


def k_fold_splits(
    within: StepRange, config: KFoldConfig, purged: Purge | None = None
) -> Iterator[Split]:
    """Cut steps into folds; each fold, or each combination of folds, is the test once.

    Every fold has ``len(within) // folds`` steps, and the last one also those that remain. All
    steps that are not in a test fold are trained on, except ``purge`` steps before and after each
    test fold and ``embargo`` further ones after it. Combinations are in lexicographic order.

    Args:
        within: The steps that are cut.
        config: The folds, and what is left out around those of a test.
        purged: Takes the place of ``config.purge``; it is called once for each fold. Without it,
            ``trades`` leaves nothing out, which is of use to see whether there can be splits.

    Returns:
        The splits, made one by one: their training parts as few ranges as possible, none of them
        empty, and one range for each test fold.

    Raises:
        ConfigError: There are no folds to train on, or far too many combinations.
        DataError: There are fewer steps than folds, or a split has no steps to train on.

    Source:
        skfolio's CombinatorialPurgedCV (de Prado, Advances in Financial Machine Learning, 2018).
    """
    _check_folds(config)
    if len(within) < config.folds:
        raise DataError(
            f"k_fold: {config.folds} folds need a bar each, and there are {len(within)} bars; "
            "lower folds, or use more data"
        )
    folds = _folds(within, config.folds)
    zones = [_zone(fold, config, purged) for fold in folds]
    for tested in _tested_folds(config):
        if not _outside(within, [zones[i] for i in tested]):
            shown = ", ".join(str(i + 1) for i in tested)
            raise DataError(
                f"k_fold: a test of fold {shown} (of {config.folds}) leaves none of the "
                f"{len(within)} bars to train on; lower purge, embargo or folds, or use more data"
            )
    return (
        Split(_outside(within, [zones[i] for i in tested]), tuple(folds[i] for i in tested))
        for tested in _tested_folds(config)
    )


def combinatorial_paths(config: KFoldConfig) -> tuple[tuple[int, ...], ...]:
    """Say how the tests of the splits join to paths that each cover every fold once.

    Each test fold of each split belongs to one path: path p takes fold i from the p-th split that
    tests it. Of ``combinatorial_purged`` there are ``C(folds - 1, test_folds - 1)`` paths, of
    ``purged`` there is one.

    Returns:
        For each path, and for each fold, the index of the split whose test of the fold it takes.

    Raises:
        ConfigError: There are no folds to train on, or far too many combinations.

    Source:
        skfolio's CombinatorialPurgedCV.
    """
    _check_folds(config)
    tests: list[list[int]] = [[] for _ in range(config.folds)]
    for split, tested in enumerate(_tested_folds(config)):
        for fold in tested:
            tests[fold].append(split)
    return tuple(zip(*tests, strict=True))


def _check_folds(config: KFoldConfig) -> None:
    if config.method == "purged":
        return
    message = f"{config.test_folds} of {config.folds} folds "
    splits = math.comb(config.folds, config.test_folds)
    if config.test_folds >= config.folds:
        message += "leave none to train on; write fewer than k_fold.folds"
    elif splits > _MOST_SPLITS:
        message += f"make {splits} combinations, more than {_MOST_SPLITS}; use fewer folds"
    else:
        return
    raise ConfigError([Problem(message, "k_fold.test_folds")])


def _tested_folds(config: KFoldConfig) -> Iterator[tuple[int, ...]]:
    at_once = 1 if config.method == "purged" else config.test_folds
    return combinations(range(config.folds), at_once)


def _folds(within: StepRange, folds: int) -> list[StepRange]:
    size = len(within) // folds
    borders = [within.start + size * i for i in range(folds)] + [within.stop]
    return [StepRange(*pair) for pair in pairwise(borders)]


def _zone(fold: StepRange, config: KFoldConfig, purged: Purge | None) -> StepRange:
    """Return the steps that are not trained on when a fold is tested."""
    if purged is not None:
        before, after = purged(fold)
    else:
        before = after = 0 if config.purge == "trades" else config.purge
    return StepRange(fold.start - before, fold.stop + after + config.embargo)


def _outside(within: StepRange, zones: list[StepRange]) -> tuple[StepRange, ...]:
    kept: list[StepRange] = []
    begin = within.start
    for zone in sorted(zones, key=lambda zone: zone.start):
        kept.append(StepRange(begin, zone.start))
        begin = max(begin, zone.stop)
    kept.append(StepRange(begin, within.stop))
    return tuple(steps for steps in kept if steps)
