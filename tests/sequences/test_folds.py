from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skfolio.model_selection import CombinatorialPurgedCV

from admf.engine.errors import ConfigError, DataError
from admf.sequences.config import KFoldConfig
from admf.sequences.folds import combinatorial_paths, k_fold_splits
from admf.sequences.splits import Split, StepRange

COMBINATIONS = [
    (n, count, tested, purge, embargo)
    for n in (24, 29, 30, 31, 101)
    for count, tested in ((3, 2), (4, 2), (5, 2), (5, 3), (6, 2), (6, 5))
    for purge, embargo in ((0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (2, 3), (5, 4))
    if purge + embargo < n // count - 1  # skfolio refuses more
]


def steps(ranges: tuple[StepRange, ...]) -> list[int]:
    return [step for it in ranges for step in range(it.start, it.stop)]


def folds(n: int, count: int) -> list[StepRange]:
    tests = k_fold_splits(StepRange(0, n), KFoldConfig(folds=count))
    return [test for split in tests for test in split.test]


@pytest.mark.parametrize(("n", "count", "tested", "purge", "embargo"), COMBINATIONS)
def test_combinations_are_those_of_skfolio(
    n: int, count: int, tested: int, purge: int, embargo: int
) -> None:
    cv = CombinatorialPurgedCV(count, tested, purge, embargo)
    expected = [
        (train.tolist(), [test.tolist() for test in tests])
        for train, tests in cv.split(np.zeros(n))
    ]
    config = KFoldConfig(
        method="combinatorial_purged", folds=count, test_folds=tested, purge=purge, embargo=embargo
    )
    if not all(train for train, _ in expected):
        with pytest.raises(DataError, match=f"leaves none of the {n} bars to train on"):
            k_fold_splits(StepRange(0, n), config)
        return
    for start in (0, 7):
        splits = list(k_fold_splits(StepRange(start, start + n), config))
        assert [
            (
                [step - start for step in steps(it.train)],
                [[step - start for step in steps((test,))] for test in it.test],
            )
            for it in splits
        ] == expected


@pytest.mark.parametrize(
    ("count", "tested"), [(n, k) for n in range(3, 9) for k in range(2, n)] + [(10, 8)]
)
def test_paths_are_those_of_skfolio(count: int, tested: int) -> None:
    config = KFoldConfig(method="combinatorial_purged", folds=count, test_folds=tested)
    paths = combinatorial_paths(config)
    cv = CombinatorialPurgedCV(count, tested)
    assert len(paths) == cv.n_test_paths == math.comb(count - 1, tested - 1)
    np.testing.assert_array_equal(np.array(paths).T, cv.recombined_paths)


@pytest.mark.parametrize(("count", "tested"), [(n, k) for n in range(2, 9) for k in range(1, n)])
def test_each_test_of_a_fold_is_in_one_path_and_each_path_has_all_folds(
    count: int, tested: int
) -> None:
    config = KFoldConfig(method="combinatorial_purged", folds=count, test_folds=tested)
    cut = folds(3 * count, count)
    splits = list(k_fold_splits(StepRange(0, 3 * count), config))
    used = Counter(
        (split, fold) for path in combinatorial_paths(config) for fold, split in enumerate(path)
    )
    tests = Counter((i, cut.index(it)) for i, split in enumerate(splits) for it in split.test)
    assert used == tests
    assert set(used.values()) == {1}
    assert all(len(path) == count for path in combinatorial_paths(config))


def test_purged_folds_are_combinations_of_one_and_have_one_path() -> None:
    config = KFoldConfig(folds=4, purge=1, embargo=2)
    one = KFoldConfig(method="combinatorial_purged", folds=4, test_folds=1, purge=1, embargo=2)
    within = StepRange(0, 41)
    assert list(k_fold_splits(within, config)) == list(k_fold_splits(within, one))
    assert combinatorial_paths(config) == combinatorial_paths(one) == ((0, 1, 2, 3),)


def test_purged_folds_by_hand() -> None:
    found = list(k_fold_splits(StepRange(100, 122), KFoldConfig(folds=4, purge=1, embargo=2)))
    assert found == [
        Split(train=(StepRange(108, 122),), test=(StepRange(100, 105),)),
        Split(train=(StepRange(100, 104), StepRange(113, 122)), test=(StepRange(105, 110),)),
        Split(train=(StepRange(100, 109), StepRange(118, 122)), test=(StepRange(110, 115),)),
        Split(train=(StepRange(100, 114),), test=(StepRange(115, 122),)),
    ]


def test_purge_by_trades_asks_for_each_fold_and_keeps_the_embargo() -> None:
    asked: list[StepRange] = []

    def purged(fold: StepRange) -> tuple[int, int]:
        asked.append(fold)
        return (fold.start // 10, 1)

    config = KFoldConfig(folds=3, purge="trades", embargo=2)
    found = list(k_fold_splits(StepRange(0, 30), config, purged))
    assert asked == [StepRange(0, 10), StepRange(10, 20), StepRange(20, 30)]
    assert [it.train for it in found] == [
        (StepRange(13, 30),),
        (StepRange(0, 9), StepRange(23, 30)),
        (StepRange(0, 18),),
    ]


def test_a_given_purge_takes_the_place_of_the_number() -> None:
    config = KFoldConfig(folds=3, purge=3)
    found = list(k_fold_splits(StepRange(0, 30), config, lambda _: (0, 0)))
    assert found == list(k_fold_splits(StepRange(0, 30), KFoldConfig(folds=3)))


def test_trades_that_nobody_tells_of_purge_nothing() -> None:
    config = KFoldConfig(folds=3, purge="trades", embargo=1)
    found = list(k_fold_splits(StepRange(0, 30), config))
    assert found == list(k_fold_splits(StepRange(0, 30), KFoldConfig(folds=3, embargo=1)))


@settings(deadline=None)
@given(
    st.integers(2, 8),
    st.integers(1, 7),
    st.integers(2, 90),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=8, max_size=8),
    st.integers(0, 50),
)
def test_nothing_near_a_test_is_trained_on_and_everything_else_is(
    count: int, tested: int, n: int, embargo: int, purges: list[tuple[int, int]], start: int
) -> None:
    within = StepRange(start, start + n)
    if tested >= count or n < count:
        return
    config = KFoldConfig(
        method="combinatorial_purged", folds=count, test_folds=tested, embargo=embargo
    )
    cut = [StepRange(it.start + start, it.stop + start) for it in folds(n, count)]
    purge = dict(zip(cut, purges, strict=False))
    try:
        splits = list(k_fold_splits(within, config, purge.__getitem__))
    except DataError:
        return
    whole = set(range(within.start, within.stop))
    for split in splits:
        left_out = {
            step
            for it in split.test
            for step in range(it.start - purge[it][0], it.stop + purge[it][1] + embargo)
        }
        assert steps(split.train) == sorted(whole - left_out)
        assert all(len(it) > 0 for it in split.train)
        assert all(a.stop < b.start for a, b in pairwise(split.train))
    tests = Counter(step for split in splits for step in steps(split.test))
    assert tests == Counter(dict.fromkeys(whole, math.comb(count - 1, tested - 1)))


@pytest.mark.parametrize("tested", [3, 4])
def test_no_folds_to_train_on_are_refused(tested: int) -> None:
    config = KFoldConfig(method="combinatorial_purged", folds=3, test_folds=tested)
    for use in (combinatorial_paths, lambda it: k_fold_splits(StepRange(0, 30), it)):
        with pytest.raises(ConfigError, match=f"{tested} of 3 folds leave none") as caught:
            use(config)
        assert caught.value.problems[0].field == "k_fold.test_folds"


def test_far_too_many_combinations_are_refused() -> None:
    config = KFoldConfig(method="combinatorial_purged", folds=64, test_folds=32)
    with pytest.raises(ConfigError, match="make 1832624140942590534 combinations, more than"):
        combinatorial_paths(config)


def test_the_number_of_test_folds_does_not_matter_to_purged_folds() -> None:
    config = KFoldConfig(folds=2, test_folds=9)
    assert len(list(k_fold_splits(StepRange(0, 10), config))) == 2


def test_fewer_bars_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match="5 folds need a bar each, and there are 4 bars"):
        k_fold_splits(StepRange(3, 7), KFoldConfig())


def test_a_split_without_training_is_refused_before_any_is_made() -> None:
    within = StepRange(0, 10)
    with pytest.raises(DataError, match=r"a test of fold 1 \(of 2\) leaves none of the 10 bars"):
        k_fold_splits(within, KFoldConfig(folds=2, purge=5))
    config = KFoldConfig(method="combinatorial_purged", folds=3, test_folds=2, embargo=3)
    with pytest.raises(DataError, match=r"a test of fold 1, 2 \(of 3\) leaves none"):
        k_fold_splits(StepRange(0, 9), config)
