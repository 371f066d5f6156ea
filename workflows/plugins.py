"""The registries that an experiment draws on: plug-ins and event names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from admf.containers.events import MARKET_EVENTS
from admf.containers.strategies.loading import strategy_problem
from admf.containers.strategies.user_code import import_user_class
from admf.engine.errors import ConfigError, Problem
from admf.engine.events import ENGINE_EVENTS, EventRegistry
from admf.engine.registry import Registry, needs_method
from admf.workflows.declared import DeclaredWorkflow
from admf.workflows.experiment import Experiment
from admf.workflows.workflow import Workflow

__all__ = ["installed_plugins", "known_events", "workflow_of"]

_FIELD = "workflow"
_workflow_problem = needs_method("get_phases", "config")


def installed_plugins() -> Registry:
    """Return a registry of all plug-ins that are installed, admf's own among them.

    Raises:
        RegistryError: Two distributions use one name.
    """
    registry = Registry()
    registry.define_group("strategies", strategy_problem)
    registry.define_group("workflows", _workflow_problem)
    registry.load_entry_points()
    return registry


def known_events() -> EventRegistry:
    """Return the events that can be traced."""
    return EventRegistry([*ENGINE_EVENTS, *MARKET_EVENTS])


def workflow_of(
    experiment: Experiment, registry: Registry, search_path: Path | None = None
) -> Workflow:
    """Return the workflow of an experiment: the one it declares, or the one it names.

    Args:
        experiment: The experiment.
        registry: The workflows known by name.
        search_path: Folder in which a workflow ``package.module:Class`` may lie.

    Raises:
        ConfigError: Nothing has this name, or it is no workflow; the field is ``workflow``.
    """
    if experiment.phases:
        return DeclaredWorkflow()
    try:
        plugin = _plugin(experiment.workflow, registry, search_path)
        workflow: Workflow = plugin() if isinstance(plugin, type) else plugin
    except ConfigError as error:
        raise ConfigError([Problem(it.message, _FIELD) for it in error.problems]) from error
    return workflow


def _plugin(name: str, registry: Registry, search_path: Path | None) -> Any:
    if ":" not in name:
        return registry.get("workflows", name)
    plugin = import_user_class(name, search_path)
    problem = _workflow_problem(plugin)
    if problem:
        raise ConfigError(f"workflow {name!r} {problem}")
    return plugin
