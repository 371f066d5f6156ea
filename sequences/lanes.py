"""From a parameter set to the settings of its lane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from admf.containers.config import (
    ExecutionConfig,
    LaneConfig,
    PortfolioConfig,
    RiskConfig,
    StrategyConfig,
)
from admf.engine.errors import ConfigError, Problem
from admf.sequences.outcome import Point
from admf.sequences.settings import PhaseSettings

__all__ = ["SETTING_SECTIONS", "lane_id", "make_lane", "seed_of", "seeds_of"]

SETTING_SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "portfolio": PortfolioConfig,
    "risk": RiskConfig,
    "execution": ExecutionConfig,
}
"""Sections that a parameter such as ``risk.stop_loss_pct`` may reach into."""


def seeds_of(seed: int, path: str) -> np.random.SeedSequence:
    """Return the root of all randomness at a path of windows, e.g. ``search/mc_003/wf_012``.

    It depends on nothing else, so neither on the order in which windows run nor on who runs them.
    """
    return np.random.SeedSequence(seed, spawn_key=tuple(path.encode()))


def seed_of(seed: int, path: str) -> int:
    """Return a seed for generators at a path of windows; see `seeds_of`."""
    return int(seeds_of(seed, path).generate_state(1, np.uint64)[0] >> np.uint64(1))


def lane_id(number: int) -> str:
    """Return the id of the lane of a numbered parameter set."""
    return f"{number:03}"


def make_lane(settings: PhaseSettings, number: int, point: Point, path: str) -> LaneConfig:
    """Return the lane of a parameter set.

    A name with a dot is a setting (``risk.stop_loss_pct``), ``seed`` is the lane's seed, and every
    other one is a parameter of the strategy.

    Args:
        settings: The phase's settings, which the parameter set changes.
        number: Names the lane.
        point: The parameter set.
        path: Where the lane runs: phase and path of windows; its randomness depends on it.

    Raises:
        ConfigError: A setting does not exist, or refuses its value.
    """
    strategy = settings.strategy
    own = {name: value for name, value in point.items() if "." not in name and name != "seed"}
    sections = {name: _section(settings, name, point) for name in SETTING_SECTIONS}
    return LaneConfig(
        lane_id=lane_id(number),
        strategy=StrategyConfig(type=strategy.type, params={**strategy.params, **own}),
        seed=seed_of(int(point.get("seed", settings.seed)), path),
        parameters=dict(point),
        **sections,
    )


def _section(settings: PhaseSettings, section: str, point: Point) -> Any:
    found: msgspec.Struct = getattr(settings, section)
    changes = {name: value for name, value in point.items() if name.startswith(f"{section}.")}
    if not changes:
        return found
    fields = msgspec.to_builtins(found)
    for name, value in changes.items():
        _put(fields, name.split(".")[1:], value)
    try:
        return msgspec.convert(fields, SETTING_SECTIONS[section])
    except msgspec.ValidationError as error:
        names = ", ".join(f"{name}={value}" for name, value in changes.items())
        raise ConfigError([Problem(f"{names}: {error}", "parameter_space")]) from error


def _put(fields: dict[str, Any], path: list[str], value: object) -> None:
    for part in path[:-1]:
        fields = fields.setdefault(part, {})
    fields[path[-1]] = value
