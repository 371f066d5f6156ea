"""Samplers: what they try, in which order, and what they learn."""

from __future__ import annotations

import itertools
import logging
import math
import random
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import mean
from typing import Any, Literal, TypeAlias

import numpy as np
import pytest

from admf.engine.errors import ConfigError
from admf.sequences import samplers
from admf.sequences.config import Dimension, Direction, ParameterRange, SearchConfig
from admf.sequences.expressions import Expression
from admf.sequences.outcome import Point
from admf.sequences.samplers import Objectives, Sampler, make_sampler
from admf.sequences.space import ParameterSpace

Method: TypeAlias = Literal["grid", "random", "sobol", "bayesian"]
Goal: TypeAlias = Callable[[Any], Objectives]

SAMPLED: tuple[Method, ...] = ("random", "sobol", "bayesian")
METHODS: tuple[Method, ...] = ("grid", *SAMPLED)

WHOLE = ParameterRange(min=1, max=60)
MIXED: dict[str, Dimension] = {
    "fast": ParameterRange(min=2, max=50),
    "slow": ParameterRange(min=5, max=200, step=5),
    "kind": ["sma", "ema", True, 3],
    "risk.stop": ParameterRange(min=0.5, max=5.0),
    "rate": ParameterRange(min=1e-4, max=1.0, log=True),
    "length": ParameterRange(min=1, max=1000, log=True),
    "points": ParameterRange(min=0.1, max=10.0, points=7, log=True),
    "width": ParameterRange(min=0.1, max=0.9, step=0.1),
    "one": [4],
}


def space_of(dimensions: Mapping[str, Dimension], text: str = "") -> ParameterSpace:
    return ParameterSpace(dimensions, Expression.parse(text, "constraint") if text else None)


def sampler_of(
    method: Method,
    space: ParameterSpace,
    seed: int = 7,
    *,
    directions: Sequence[Direction] = ("maximize",),
    max_trials: int | None = 30,
) -> Sampler:
    config = SearchConfig(method=method, max_trials=max_trials)
    seeds = np.random.SeedSequence(seed)
    return make_sampler(config, space, seed=seeds, directions=directions)


def nothing(point: Point) -> Objectives:
    return (0.0,)


def tried(sampler: Sampler, goal: Goal = nothing, batch: int = 10) -> list[Point]:
    """Return all that a search tries."""
    points: list[Point] = []
    while found := sampler.ask(batch):
        assert len(found) <= batch
        points += found
        sampler.tell(found, [goal(point) for point in found])
    assert sampler.ask(batch) == []
    return points


def keys(points: Sequence[Point]) -> list[tuple[Any, ...]]:
    return [tuple(point.values()) for point in points]


def slope(point: Point) -> Objectives:
    return (float(point["fast"]),)


@pytest.mark.parametrize("method", SAMPLED)
def test_the_same_seed_gives_the_same_search_and_another_seed_another(method: Method) -> None:
    space = space_of(MIXED, "fast < slow and length > 2")
    first = tried(sampler_of(method, space, 1), slope)
    assert len(first) == 30
    assert tried(sampler_of(method, space, 1), slope) == first
    assert tried(sampler_of(method, space, 2), slope) != first


@pytest.mark.parametrize("method", SAMPLED)
def test_no_other_source_of_chance_and_no_other_search_matters(method: Method) -> None:
    space = space_of(MIXED, "fast < slow")
    expected = tried(sampler_of(method, space), slope)
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002 - what a host may do
    one, other = sampler_of(method, space), sampler_of(method, space)
    both: list[list[Point]] = [[], []]
    for _ in range(3):
        for sampler, points in zip((one, other), both, strict=True):
            found = sampler.ask(10)
            sampler.tell(found, [slope(point) for point in found])
            points += found
            np.random.random(5)  # noqa: NPY002 - what a host may do
    assert both == [expected, expected]


@pytest.mark.parametrize("method", SAMPLED)
def test_the_seed_sequence_is_left_as_it_was(method: Method) -> None:
    seeds = np.random.SeedSequence(5)
    config = SearchConfig(method=method, max_trials=5)
    space = space_of({"x": WHOLE})
    runs = [
        make_sampler(config, space, seed=seeds, directions=["minimize"]).ask(5) for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert seeds.n_children_spawned == 0


@pytest.mark.parametrize("method", SAMPLED)
def test_points_keep_to_their_dimensions(method: Method) -> None:
    for point in tried(sampler_of(method, space_of(MIXED))):
        assert tuple(point) == tuple(MIXED)
        assert type(point["fast"]) is int
        assert 2 <= point["fast"] <= 50
        assert point["slow"] in range(5, 201, 5)
        assert point["kind"] in ("sma", "ema", True, 3)
        assert type(point["risk.stop"]) is float
        assert 0.5 <= point["risk.stop"] <= 5
        assert type(point["rate"]) is float
        assert 1e-4 <= point["rate"] <= 1
        assert type(point["length"]) is int
        assert 1 <= point["length"] <= 1000
        assert point["points"] in (0.1, 0.215443469003, 0.464158883361, 1.0, 2.15443469003,
                                   4.64158883361, 10.0)  # fmt: skip
        assert point["width"] in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
        assert point["one"] == 4


@pytest.mark.parametrize("method", METHODS)
def test_the_constraint_is_respected_and_nothing_comes_twice(method: Method) -> None:
    space = space_of({"fast": WHOLE, "slow": WHOLE}, "fast < slow and slow - fast <= 8")
    points = tried(sampler_of(method, space, max_trials=70), lambda it: (-abs(it["fast"] - 20.0),))
    assert len(points) == 70
    assert all(0 < slow - fast <= 8 for fast, slow in keys(points))
    assert len(set(keys(points))) == 70


@pytest.mark.parametrize("method", METHODS)
def test_a_small_space_is_tried_whole_and_then_the_search_ends(method: Method) -> None:
    axis = ParameterRange(min=1, max=9)
    space = space_of({"a": axis, "b": axis, "c": ["x", "y"]}, "a + b == 10 or a == b")
    points = tried(sampler_of(method, space, max_trials=1000), lambda it: (float(it["a"]),))
    assert sorted(keys(points)) == sorted(keys(list(space.grid())))


@pytest.mark.parametrize("method", METHODS)
def test_a_needle_in_a_small_space_is_found(method: Method) -> None:
    space = space_of({"a": WHOLE, "b": WHOLE}, "a == 17 and b == 58")
    assert tried(sampler_of(method, space)) == [{"a": 17, "b": 58}]


@pytest.mark.parametrize("method", SAMPLED)
def test_a_constraint_that_nothing_fulfils_ends_the_search(method: Method) -> None:
    space = space_of({"a": ParameterRange(min=0.0, max=1.0)}, "a > 2")
    assert tried(sampler_of(method, space)) == []


@pytest.mark.parametrize("method", METHODS)
def test_an_empty_space_is_tried_once(method: Method) -> None:
    assert tried(sampler_of(method, space_of({}))) == [{}]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("limit", "batches"), [(7, [3, 3, 1]), (6, [3, 3]), (1, [1])])
def test_max_trials_bounds_a_search(method: Method, limit: int, batches: list[int]) -> None:
    sampler = sampler_of(method, space_of({"a": WHOLE}), max_trials=limit)
    assert [len(sampler.ask(3)) for _ in range(4)] == [*batches, *[0] * (4 - len(batches))]


@pytest.mark.parametrize(("method", "count"), [("grid", 3600), *((it, 100) for it in SAMPLED)])
def test_without_max_trials_a_grid_is_whole_and_others_try_a_hundred(
    method: Method, count: int
) -> None:
    sampler = sampler_of(method, space_of({"a": WHOLE, "b": WHOLE}), max_trials=None)
    assert len(sampler.ask(10_000)) == count


@pytest.mark.parametrize("method", METHODS[:3])
def test_the_order_does_not_depend_on_the_batch_size_without_learning(method: Method) -> None:
    space = space_of({"a": WHOLE, "b": WHOLE}, "a < b")
    whole = tried(sampler_of(method, space), batch=30)
    assert tried(sampler_of(method, space), batch=7) == whole


def test_a_grid_is_tried_in_order_and_costs_no_memory() -> None:
    dimensions = {name: ParameterRange(min=1, max=10) for name in "abcdefg"}
    tracemalloc.start()
    try:
        sampler = sampler_of("grid", space_of(dimensions), max_trials=None)
        points = sampler.ask(1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
    assert keys(points) == list(itertools.islice(itertools.product(range(1, 11), repeat=7), 1000))


def test_a_grid_over_a_parameter_without_end_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"parameter_space\.x: has no end of values"):
        sampler_of("grid", space_of({"x": ParameterRange(min=0.0, max=1.0)}))


@pytest.mark.parametrize("chunks", [1, 4])
def test_sobol_covers_each_box_of_the_unit_square_alike(chunks: int) -> None:
    # Owen (1998): each 64 points in a row are a net, with one point in each of 8 x 8, 2 x 32 boxes
    axis = ParameterRange(min=0.0, max=1.0)
    count = 64 * chunks
    points = np.array(
        keys(tried(sampler_of("sobol", space_of({"x": axis, "y": axis}), max_trials=count)))
    )
    for columns, rows in [(8, 8), (2, 32), (16, 4), (64, 1)]:
        boxes, _, _ = np.histogram2d(*points.T, bins=(columns, rows), range=((0, 1), (0, 1)))
        assert (boxes == chunks).all()


def test_random_numbers_are_spread_evenly() -> None:
    axis = ParameterRange(min=0.0, max=1.0)
    log = ParameterRange(min=0.01, max=100.0, log=True)
    points = tried(
        sampler_of("random", space_of({"x": axis, "y": log}), max_trials=4000), batch=500
    )
    even, logarithmic = np.array(keys(points)).T
    assert np.histogram(even, 4, (0, 1))[0] == pytest.approx(1000, rel=0.15)
    assert np.histogram(np.log10(logarithmic), 4, (-2, 2))[0] == pytest.approx(1000, rel=0.15)


CONTINUOUS = ParameterRange(min=-5.0, max=5.0)
RISE = ParameterRange(min=1, max=40)


@pytest.mark.parametrize(
    ("dimensions", "text", "goal"),
    [
        (
            {"x": CONTINUOUS, "y": CONTINUOUS},
            "",
            lambda it: (-((it["x"] - 2) ** 2) - (it["y"] + 3) ** 2,),
        ),
        (
            {"x": RISE, "y": RISE},
            "x < y",
            lambda it: (-((it["x"] - 23) ** 2) - (it["y"] - 25) ** 2,),
        ),
        (
            {"x": CONTINUOUS, "y": CONTINUOUS},
            "",
            lambda it: None if it["x"] < it["y"] else (-((it["x"] - 2) ** 2) - (it["y"] - 1) ** 2,),
        ),
    ],
    ids=["continuous", "whole and constrained", "half of it fails"],
)
def test_a_bayesian_search_beats_a_random_one_on_a_quadratic(
    dimensions: Mapping[str, Dimension], text: str, goal: Goal
) -> None:
    def best(method: Method, seed: int) -> float:
        sampler = sampler_of(method, space_of(dimensions, text), seed, max_trials=50)
        found = [goal(point) for point in tried(sampler, goal, batch=5)]
        return max(it[0] for it in found if it is not None)

    bayesian = [best("bayesian", seed) for seed in range(4)]
    assert mean(bayesian) > mean(best("random", seed) for seed in range(20)) / 2


@pytest.mark.parametrize("sign", [1, -1])
def test_a_bayesian_search_goes_in_the_direction_of_the_objective(sign: int) -> None:
    space = space_of({"fast": ParameterRange(min=0.0, max=1.0)})
    direction: Direction = "maximize" if sign > 0 else "minimize"
    sampler = sampler_of("bayesian", space, directions=[direction], max_trials=60)
    late = [point["fast"] for point in tried(sampler, slope, batch=5)[30:]]
    assert np.mean(late) > 0.8 if sign > 0 else np.mean(late) < 0.2


def test_a_bayesian_search_of_several_objectives_nears_their_pareto_front() -> None:
    # nearer to 0 and nearer to 1 at once: the front is 0 <= x <= 1, a tenth of the range
    axis = ParameterRange(min=-4.5, max=5.5)
    sampler = sampler_of(
        "bayesian", space_of({"x": axis}), directions=["minimize", "maximize"], max_trials=80
    )
    points = tried(sampler, lambda it: (it["x"] ** 2, -((it["x"] - 1) ** 2)), batch=5)
    late = [point["x"] for point in points[40:]]
    assert sum(-0.5 <= x <= 1.5 for x in late) > 20


def test_a_bayesian_search_depends_on_what_it_is_told() -> None:
    space = space_of({"fast": ParameterRange(min=0.0, max=1.0)})
    up = tried(sampler_of("bayesian", space), slope)
    down = tried(sampler_of("bayesian", space), lambda it: (-it["fast"],))
    assert up[:10] == down[:10]
    assert up != down


def test_the_order_of_telling_within_a_batch_does_not_matter() -> None:
    space = space_of({"x": WHOLE, "y": WHOLE}, "x < y")
    runs: list[list[Point]] = []
    for order in (1, -1):
        sampler = sampler_of("bayesian", space, max_trials=50)
        points: list[Point] = []
        while found := sampler.ask(10):
            points += found
            goals = [None if it["x"] % 3 else (float(it["y"]),) for it in found]
            sampler.tell(found[::order], goals[::order])
        runs.append(points)
    assert runs[0] == runs[1]


@pytest.mark.parametrize("lost", [(math.nan,), (math.inf,), (-math.inf,)])
def test_an_objective_that_is_not_finite_counts_as_a_failure(lost: Objectives) -> None:
    space = space_of({"fast": ParameterRange(min=0.0, max=1.0)})
    runs = [
        tried(
            sampler_of("bayesian", space),
            lambda it, bad=bad: slope(it) if it["fast"] < 0.5 else bad,  # type: ignore[misc]
        )
        for bad in (None, lost)
    ]
    assert runs[0] == runs[1]


def test_unusable_suggestions_count_as_bad_but_never_make_up_the_best_tenth() -> None:
    sampler: Any = sampler_of("bayesian", space_of({"x": WHOLE, "y": WHOLE}, "x + y < 20"))

    def states() -> list[str]:
        return [trial.state.name for trial in sampler._study.trials]

    points = sampler.ask(10)
    assert set(states()) == {"RUNNING", "FAIL"}
    for row, point in enumerate(points):
        sampler.tell([point], [None if row else (1.0,)])
    assert (states().count("COMPLETE"), states().count("PRUNED")) == (1, 9)
    sampler.tell(points := sampler.ask(10), [(float(it["x"]),) for it in points])
    sampler.ask(10)
    assert 9 < states().count("PRUNED") <= 9 * states().count("COMPLETE")


def test_a_search_in_which_everything_fails_goes_on() -> None:
    points = tried(sampler_of("bayesian", space_of({"x": WHOLE})), lambda _: None)
    assert len(set(keys(points))) == 30


def test_trials_that_are_never_told_do_not_stop_a_search() -> None:
    sampler = sampler_of("bayesian", space_of({"x": WHOLE, "y": WHOLE}, "x < y"))
    points = [point for _ in range(3) for point in sampler.ask(10)]
    assert len(set(keys(points))) == 30


def test_a_search_may_be_asked_from_any_thread() -> None:
    space = space_of(MIXED, "fast < slow")
    expected = tried(sampler_of("bayesian", space), slope)
    sampler = sampler_of("bayesian", space)
    points: list[Point] = []
    while True:
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(sampler.ask, 10).result()
        if not found:
            break
        points += found
        sampler.tell(found, [slope(point) for point in found])
    assert points == expected


def test_a_bayesian_search_neither_logs_nor_warns_nor_configures(
    capfd: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("optuna")
    before = (logger.level, list(logger.handlers), logger.propagate)
    space = space_of({"fast": WHOLE, "slow": WHOLE}, "fast < slow")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tried(sampler_of("bayesian", space), slope)
    assert (logger.level, list(logger.handlers), logger.propagate) == before
    assert capfd.readouterr() == ("", "")


def test_a_warning_of_an_experimental_option_stays_within(monkeypatch: pytest.MonkeyPatch) -> None:
    import optuna

    class Older(optuna.samplers.TPESampler):
        """Warns as optuna 4 does."""

        def __init__(self, **options: Any) -> None:
            warnings.warn("experimental", optuna.exceptions.ExperimentalWarning, stacklevel=2)
            super().__init__(**options)

    monkeypatch.setattr(optuna.samplers, "TPESampler", Older)
    assert sampler_of("bayesian", space_of({"x": WHOLE})).ask(1)


@pytest.mark.parametrize(
    ("method", "module", "library"),
    [("sobol", "scipy.stats.qmc", "scipy"), ("bayesian", "optuna", "optuna")],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, method: Method, module: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as caught:
        sampler_of(method, space_of({"x": WHOLE}))
    (problem,) = caught.value.problems
    assert problem.field == "search.method"
    assert library in problem.message
    assert "pip install 'admf[search]'" in problem.message


def test_random_points_take_over_where_the_estimator_has_nothing_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(samplers, "_SUGGESTIONS", 0)
    points = tried(sampler_of("bayesian", space_of(MIXED, "fast < slow")), slope)
    assert len(set(keys(points))) == 30
    assert all(fast < slow for fast, slow, *_ in keys(points))
