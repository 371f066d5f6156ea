"""Costs and parameters that are a little different from what they are."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import numpy as np

from admf.containers.config import ExecutionConfig
from admf.engine.errors import ConfigError, Problem
from admf.sequences.lanes import make_lane
from admf.sequences.outcome import Point
from admf.sequences.settings import PhaseSettings

__all__ = ["costs_of", "jittered", "numbers_of", "with_changes"]


def costs_of(execution: ExecutionConfig) -> Mapping[str, float]:
    """Return what costs something, by dotted name.

    Raises:
        ConfigError: Nothing does.
    """
    costs = {
        "execution.slippage_bps": execution.slippage_bps,
        "execution.commission.value": execution.commission.value,
        "execution.commission.minimum": execution.commission.minimum,
    }
    found = {name: value for name, value in costs.items() if value}
    if not found:
        message = (
            "cost_jitter changes costs, and there are none: set execution.commission or "
            "execution.slippage_bps, or use another method"
        )
        raise ConfigError([Problem(message, "monte_carlo.method")])
    return found


def numbers_of(parameters: Mapping[str, object]) -> Mapping[str, float]:
    """Return the parameters that are numbers other than 0; a seed is none, nor is true or false.

    Raises:
        ConfigError: None is.
    """
    found = {
        name: value
        for name, value in parameters.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        if value and name != "seed"
    }
    if not found:
        message = (
            "parameter_jitter changes parameters that are numbers, and there are none: "
            "use another strategy or another method"
        )
        raise ConfigError([Problem(message, "monte_carlo.method")])
    return found


def jittered(values: Mapping[str, float], jitter: float, rng: np.random.Generator) -> Point:
    """Return each value times ``1 + u``, u uniform from ``-jitter`` to ``jitter``.

    Each value has a u of its own; whole numbers are rounded to whole numbers.
    """
    factors = 1.0 + rng.uniform(-jitter, jitter, len(values))
    return {
        name: round(value * factor) if isinstance(value, int) else value * factor
        for (name, value), factor in zip(values.items(), factors.tolist(), strict=True)
    }


def with_changes(settings: PhaseSettings, changes: Point) -> PhaseSettings:
    """Return settings in which parameters, and settings by dotted name, have other values.

    Raises:
        ConfigError: A setting does not exist, or refuses its value.
    """
    lane = make_lane(settings, 1, changes, "")
    return msgspec.structs.replace(
        settings,
        strategy=lane.strategy,
        portfolio=lane.portfolio,
        risk=lane.risk,
        execution=lane.execution,
    )
