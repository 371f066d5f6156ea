"""What an experiment runs: its phases in order, every setting decided, and who decided it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, cast

import msgspec

from admf.engine.errors import Problem
from admf.sequences.phase import ResolvedPhase
from admf.workflows.experiment import Experiment
from admf.workflows.layers import PHASES, workflow_place
from admf.workflows.loading import LoadedExperiment, checked_experiment
from admf.workflows.nodes import FieldPath, Node, Place, changed, find, node_of, place_of
from admf.workflows.planning import PhasePlan, plan_phases, settings_of
from admf.workflows.workflow import Workflow

__all__ = [
    "DEFAULT",
    "ResolvedSetting",
    "loaded_from_experiment",
    "resolve_phases",
    "resolved_origins",
]

DEFAULT = "default"
"""The origin of what nobody chose."""
_PYTHON = "the experiment"
_OF_PHASE = ("sequence", "topology", "input", "when", "depends_on", "output")


class ResolvedSetting(msgspec.Struct, frozen=True):
    """One setting of a phase.

    Args:
        name: Dotted, e.g. ``risk.stop_loss_pct``.
        value: Its value.
        origin: Who chose it: ``default``, ``workflow train_test_optimization``, a place such as
            ``experiment.yaml:12:5`` or ``--set seed``, or ``the experiment`` if it has no file.
    """

    name: str
    value: Any
    origin: str


def resolve_phases(loaded: LoadedExperiment, workflow: Workflow) -> tuple[ResolvedPhase, ...]:
    """Return the phases of an experiment in the order in which they run, every setting decided.

    Args:
        loaded: The experiment.
        workflow: Its workflow; see `workflow_of`.

    Raises:
        ConfigError: The phases do not fit together, or a setting is missing.
    """
    return tuple(_resolved(plan) for plan in _plans(loaded, workflow))


def resolved_origins(
    loaded: LoadedExperiment, workflow: Workflow
) -> dict[str, tuple[ResolvedSetting, ...]]:
    """Return every setting of every phase by its name, with who chose it; see `resolve_phases`."""
    return {
        plan.config.name: (*_of_phase(plan, loaded), *_of_settings(plan))
        for plan in _plans(loaded, workflow)
    }


def loaded_from_experiment(experiment: Experiment, loaded: LoadedExperiment) -> LoadedExperiment:
    """Check an experiment that was made from another one, as in the next iteration of a workflow.

    What has not changed keeps its place, and so its precedence: what ``--set`` gave still wins.

    Args:
        experiment: The new experiment.
        loaded: The one that it was made from.

    Raises:
        ConfigError: With every mistake that was found.
    """
    problems: list[Problem] = []
    before = node_of(loaded.experiment, [])
    root = changed(node_of(experiment, problems), before, loaded.root)
    further = checked_experiment(root, problems, loaded.vocabulary, loaded.folder)
    return replace(further, overrides=loaded.overrides)


def _plans(loaded: LoadedExperiment, workflow: Workflow) -> tuple[PhasePlan, ...]:
    return plan_phases(loaded.root, loaded.experiment, workflow, loaded.vocabulary, loaded.folder)


def _resolved(plan: PhasePlan) -> ResolvedPhase:
    phase = plan.config
    return ResolvedPhase(
        name=phase.name,
        sequence=phase.sequence,
        topology=phase.topology,
        description=phase.description,
        settings=settings_of(plan),
        input=phase.input,
        output=phase.output,
        depends_on=phase.depends_on,
        when=phase.when,
    )


def _of_phase(plan: PhasePlan, loaded: LoadedExperiment) -> Iterator[ResolvedSetting]:
    """Yield what is no setting, but says how the phase hangs together with the others."""
    workflow = workflow_place(loaded.experiment.workflow)
    declared = find(plan.root, (PHASES, plan.config.name))
    fields = msgspec.structs.asdict(plan.config)
    for name in _OF_PHASE:
        for path, value in _leaves((name,), msgspec.to_builtins(fields[name])):
            if value:
                place = _declared_place(declared, path) if declared else workflow
                yield ResolvedSetting(".".join(map(str, path)), value, _origin(place))


def _declared_place(section: Node, path: FieldPath) -> Place:
    names: Mapping[str | int, str] = {"input": "inputs"}
    return place_of(section, (names.get(path[0], path[0]), *path[1:]))


def _of_settings(plan: PhasePlan) -> Iterator[ResolvedSetting]:
    settings = cast("Mapping[str, object]", msgspec.to_builtins(settings_of(plan)))
    for path, value in _leaves((), settings):
        node = find(plan.node, path)
        origin = DEFAULT if node is None else _origin(node.place)
        yield ResolvedSetting(".".join(map(str, path)), value, origin)


def _leaves(path: FieldPath, value: object) -> Iterator[tuple[FieldPath, object]]:
    if isinstance(value, Mapping) and value:
        for key, child in cast("Mapping[str, object]", value).items():
            yield from _leaves((*path, key), child)
    else:
        yield path, value


def _origin(place: Place) -> str:
    return place.text or _PYTHON
