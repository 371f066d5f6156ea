"""The registries that an experiment draws on: plug-ins and event names."""

from __future__ import annotations

from admf.containers.events import MARKET_EVENTS
from admf.containers.strategies.loading import strategy_problem
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry, needs_method
from admf.workflows.declared import DeclaredWorkflow
from admf.workflows.experiment import Experiment
from admf.workflows.workflow import Workflow

__all__ = ["installed_plugins", "known_events", "workflow_of"]


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


def workflow_of(experiment: Experiment, registry: Registry) -> Workflow:
    """Return the workflow of an experiment: the one it declares, or the one it names.

    Raises:
        RegistryError: No workflow has this name.
    """
    if experiment.phases:
        return DeclaredWorkflow()
    plugin = registry.get("workflows", experiment.workflow)
    workflow: Workflow = plugin() if isinstance(plugin, type) else plugin
    return workflow
