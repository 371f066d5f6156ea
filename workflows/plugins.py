"""The registries that an experiment draws on: plug-ins and event names."""

from __future__ import annotations

from admf.containers.events import MARKET_EVENTS
from admf.containers.strategies.loading import strategy_problem
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry, needs_method

__all__ = ["installed_plugins", "known_events"]


def installed_plugins() -> Registry:
    """Return a registry of all plug-ins that are installed, admf's own among them.

    Raises:
        RegistryError: Two distributions use one name.
    """
    registry = Registry()
    registry.define_group("strategies", strategy_problem)
    registry.define_group("workflows", needs_method("get_phases", "config"))
    registry.load_entry_points()
    return registry


def known_events() -> EventRegistry:
    """Return the events that can be traced."""
    return EventRegistry([*ENGINE_EVENTS, *MARKET_EVENTS])
