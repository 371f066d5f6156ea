"""Phases that many workflows have, with their settings."""

from __future__ import annotations

from typing import Any

import msgspec

from admf.containers.config import StrategyConfig
from admf.engine.errors import did_you_mean
from admf.sequences.config import TrainTestConfig
from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseOptions

__all__ = ["DEFAULT_SPACE", "StandardPhaseConfigs"]

_TRADES = ("POSITION_OPEN", "POSITION_CLOSE", "FILL")

DEFAULT_SPACE = PhaseOptions(
    strategy=StrategyConfig(type="sma_cross"),
    parameter_space={"fast": (5, 10, 20), "slow": (30, 50, 100, 200)},
    constraint="fast < slow",
)
"""What is searched if the experiment names no strategy: two moving averages."""


class StandardPhaseConfigs:
    """Makes the phases that many workflows have.

    Each takes overrides by name: fields of `PhaseConfig` (``input``, ``depends_on``, ...) and
    settings of `PhaseOptions` (``results_storage``, ``train_test``, ...).
    """

    @staticmethod
    def optimization_phase(name: str, **overrides: Any) -> PhaseConfig:
        """Return a phase that searches the parameter space on the first 80 % of the data.

        It writes its results to disk, since a search has many of them, and traces trades alone.

        Args:
            name: Of the phase.
            overrides: Fields of the phase, and settings.

        Raises:
            TypeError: An override is neither.
        """
        phase = PhaseConfig(
            name=name,
            sequence="train_test",
            description="Searches the parameter space and tests the best on held-out data",
            config=msgspec.structs.replace(
                DEFAULT_SPACE,
                results_storage="disk",
                event_tracing=_TRADES,
                retention_policy="trade_complete",
                train_test=TrainTestConfig(data_split=0.8),
            ),
            output=("best_parameters", "best_objective", "trials", "overfitting"),
        )
        return _changed(phase, overrides)

    @staticmethod
    def validation_phase(name: str, **overrides: Any) -> PhaseConfig:
        """Return a phase that runs given parameters once, with its equity curve.

        It returns its results in memory, and keeps the last 1000 events of each type.

        Args:
            name: Of the phase.
            overrides: Fields of the phase, and settings.

        Raises:
            TypeError: An override is neither.
        """
        phase = PhaseConfig(
            name=name,
            sequence="single_pass",
            description="Runs the best parameters on data that the search has not seen",
            config=PhaseOptions(
                strategy=DEFAULT_SPACE.strategy,
                results_storage="memory",
                event_tracing=(*_TRADES, "PORTFOLIO_UPDATE"),
                retention_policy="sliding_window",
                sliding_window_size=1000,
            ),
            output=("metrics",),
        )
        return _changed(phase, overrides)

    @staticmethod
    def monte_carlo_phase(name: str, **overrides: Any) -> PhaseConfig:
        """Return a phase that lets chance change what given parameters did.

        Args:
            name: Of the phase.
            overrides: Fields of the phase, and settings.

        Raises:
            TypeError: An override is neither.
        """
        phase = PhaseConfig(
            name=name,
            sequence="monte_carlo",
            description="Lets chance change what the best parameters did",
            config=PhaseOptions(
                strategy=DEFAULT_SPACE.strategy,
                results_storage="disk",
                event_tracing=_TRADES,
                retention_policy="trade_complete",
            ),
            output=("report",),
        )
        return _changed(phase, overrides)


def _changed(phase: PhaseConfig, overrides: dict[str, Any]) -> PhaseConfig:
    known = (*PhaseConfig.__struct_fields__, *PhaseOptions.__struct_fields__)
    for name in overrides:
        if name not in known:
            hint = did_you_mean(name, known)
            raise TypeError(f"a phase has no field or setting {name!r}{hint}")
    settings = {
        name: it for name, it in overrides.items() if name in phase.config.__struct_fields__
    }
    fields = {name: it for name, it in overrides.items() if name not in settings}
    config = msgspec.structs.replace(fields.pop("config", phase.config), **settings)
    return msgspec.structs.replace(phase, config=config, **fields)
