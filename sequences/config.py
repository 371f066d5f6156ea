"""Settings of searches and sequences, as they stand in an experiment file."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from admf.containers.config import NonNegativeInt, PositiveInt

__all__ = [
    "Dimension",
    "Direction",
    "Fold",
    "KFoldConfig",
    "MonteCarloConfig",
    "MonteCarloMethod",
    "ObjectiveConfig",
    "ParameterRange",
    "ParameterSweepConfig",
    "Scalar",
    "SearchConfig",
    "SearchPruningConfig",
    "SinglePassConfig",
    "Span",
    "TrainTestConfig",
    "WalkForwardConfig",
]

Scalar: TypeAlias = str | int | float | bool
Span: TypeAlias = int | str
"""A length of time: a whole number of bars, or text such as ``6M``, ``2w``, ``30d`` or ``12h``."""

Direction: TypeAlias = Literal["maximize", "minimize"]
MonteCarloMethod: TypeAlias = Literal[
    "trade_shuffle",
    "trade_bootstrap",
    "return_block_bootstrap",
    "price_path",
    "skip_trades",
    "cost_jitter",
    "parameter_jitter",
]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Fold: TypeAlias = Annotated[int, Meta(ge=2, le=64)]


class ParameterRange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A range of numbers to search, both ends included.

    Args:
        min: Least value.
        max: Greatest value.
        step: Distance between values; without it, whole numbers are 1 apart, and other numbers are
            any in the range (which a grid needs ``points`` for).
        log: Space the values evenly on a logarithmic scale.
        points: Number of values, spread evenly from ``min`` to ``max``; instead of ``step``.
    """

    min: int | float
    max: int | float
    step: int | float | None = None
    log: bool = False
    points: PositiveInt | None = None


Dimension: TypeAlias = Annotated[tuple[Scalar, ...], Meta(min_length=1)] | ParameterRange
"""The values of a parameter: a list of them, or a range."""


class SearchConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the parameter space is searched.

    Args:
        method: ``grid``: every combination, in order; ``random``; ``sobol``: a quasi-random
            sequence that covers the space evenly; ``bayesian``: learns from the trials before.
        max_trials: Parameter sets to try; null tries the whole grid, or 100 with other methods.
        seed: Seed of the search; null takes the experiment's.
        top_k: Parameter sets that go on to the test.
        batch_size: Parameter sets that run side by side, in one execution window; null takes 100,
            or 10 with ``bayesian``, which learns from one batch to the next.
    """

    method: Literal["grid", "random", "sobol", "bayesian"] = "grid"
    max_trials: PositiveInt | None = None
    seed: NonNegativeInt | None = None
    top_k: PositiveInt = 1
    batch_size: PositiveInt | None = None

    @property
    def at_once(self) -> int:
        """Parameter sets of a batch."""
        return self.batch_size or (10 if self.method == "bayesian" else 100)


class ObjectiveConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a parameter set good.

    Args:
        name: A metric.
        direction: ``maximize`` or ``minimize``; null takes the metric's own better direction.
    """

    name: str = "sharpe_ratio"
    direction: Direction | None = None


class SearchPruningConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a parameter set is given up before its window ends.

    Args:
        max_drawdown_pct: Drawdown from which it is hopeless, percent.
        objective: Value of the first objective from which on, on the bad side, it is hopeless.
        after_bars: Bars of the window before the first look.
        every_bars: Bars between two looks.
    """

    max_drawdown_pct: Annotated[float, Meta(gt=0, lt=100)] | None = None
    objective: float | None = None
    after_bars: PositiveInt = 250
    every_bars: PositiveInt = 250


class SinglePassConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``single_pass``.

    Args:
        inner: Sequence that runs in place of the one window.
    """

    inner: str | None = None


class ParameterSweepConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``parameter_sweep``.

    Args:
        inner: Sequence by which each parameter set is judged, instead of a pass over all data.
    """

    inner: str | None = None


class TrainTestConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``train_test``.

    Args:
        data_split: Share of the data that is trained on, or the first day of the test.
        gap: Time between the two that neither sees (embargo), in bars or as text (``5d``).
        inner: Sequence that searches the training part.
    """

    data_split: float | str = 0.8
    gap: Span = 0
    inner: str | None = None


class WalkForwardConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``walk_forward``; lengths are in bars, or text such as ``6M``.

    Args:
        mode: ``rolling``: the training part keeps its length; ``anchored``: it grows.
        train: Length of the (first) training part; null takes half of the data.
        test: Length of a test part; null takes a tenth of the data.
        step: From one test to the next; null takes the length of a test.
        gap: Time between a training part and its test that neither sees.
        warmup: Bars before a window that indicators see; null gives them all there are.
        carry_positions: Begin a test with what the test before held, instead of flat.
        inner: Sequence that searches each training part.
    """

    mode: Literal["rolling", "anchored"] = "rolling"
    train: Span | None = None
    test: Span | None = None
    step: Span | None = None
    gap: Span = 0
    warmup: NonNegativeInt | None = None
    carry_positions: bool = False
    inner: str | None = None


class KFoldConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``k_fold``.

    Args:
        method: ``purged``: each fold is the test once; ``combinatorial_purged``: each combination
            of ``test_folds`` folds is.
        folds: Number of folds, of equal length.
        test_folds: Folds in a test of ``combinatorial_purged``.
        purge: Bars of training data that are left out before and after a test; ``trades`` leaves
            out those in which a trade was held across the border.
        embargo: Further bars that are left out after a test.
        inner: Sequence that searches each stretch of training data.
    """

    method: Literal["purged", "combinatorial_purged"] = "purged"
    folds: Fold = 5
    test_folds: PositiveInt = 2
    purge: NonNegativeInt | Literal["trades"] = 0
    embargo: NonNegativeInt = 0
    inner: str | None = None


class MonteCarloConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of ``monte_carlo``.

    Args:
        method: What chance changes. Of the trades of a run: ``trade_shuffle``: their order;
            ``trade_bootstrap``: which of them happen, drawn with replacement; ``skip_trades``: some
            do not happen. Of its returns: ``return_block_bootstrap``: blocks drawn with
            replacement. Run through the engine again: ``price_path``: bars made of blocks of the
            real ones; ``cost_jitter``: commission and slippage; ``parameter_jitter``: parameters.
        batches: Execution windows that the simulations are divided into.
        simulations: In all.
        block_length: Mean length of a block, in returns or bars; null estimates it from the data.
        skip: Share of trades that do not happen (``skip_trades``).
        jitter: Largest relative change, up or down (``cost_jitter``, ``parameter_jitter``).
        ruin: Drawdown that counts as ruin, as a fraction.
        inner: Sequence that is simulated, instead of a pass over the data.
    """

    method: MonteCarloMethod = "trade_bootstrap"
    batches: PositiveInt = 10
    simulations: PositiveInt = 1000
    block_length: Annotated[float, Meta(ge=1)] | None = None
    skip: Share = 0.1
    jitter: Share = 0.2
    ruin: Annotated[float, Meta(gt=0, le=1)] = 0.5
    inner: str | None = None
