"""The names that an experiment may use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from admf.containers.strategies.loading import strategy_class
from admf.containers.strategies.parameters import make_strategy
from admf.engine.events import EventRegistry
from admf.engine.registry import Registry
from admf.engine.retention import BUILT_IN_POLICIES

__all__ = ["StrategyCheck", "Vocabulary", "vocabulary_of"]

StrategyCheck: TypeAlias = Callable[[str, Mapping[str, object], Path | None], None]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that an experiment may use, and the judge of its strategy.

    Args:
        workflows: Names of workflows.
        events: Names of events that can be traced.
        retention_policies: Names of retention policies.
        check_strategy: Called with a strategy's type, its parameters and the folder of the
            experiment file (None without a file), which is where the user's own strategies are
            looked for. It raises a ConfigError if they do not fit; the fields of its problems are
            ``strategy.type`` and ``strategy.params.<name>``.
    """

    workflows: Collection[str]
    events: Collection[str]
    retention_policies: Collection[str]
    check_strategy: StrategyCheck


def vocabulary_of(registry: Registry, events: EventRegistry) -> Vocabulary:
    """Return the names of what is registered.

    Args:
        registry: Workflows, strategies and retention policies.
        events: The events that can be traced.
    """

    def check_strategy(type_: str, params: Mapping[str, object], folder: Path | None) -> None:
        make_strategy(strategy_class(type_, registry, search_path=folder), params)

    return Vocabulary(
        workflows=registry.names("workflows"),
        events=events.names(),
        retention_policies=(*BUILT_IN_POLICIES, *registry.names("retention")),
        check_strategy=check_strategy,
    )
