"""From an experiment and its workflow to the phases in order, each with its settings and places."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError, Problem, did_you_mean
from admf.sequences.phase import PhaseConfig
from admf.sequences.settings import PhaseSettings
from admf.workflows.data_folder import with_data_folder
from admf.workflows.default_space import fit_default_space
from admf.workflows.experiment import Experiment
from admf.workflows.layers import OVERRIDES, PHASES, merged_settings
from admf.workflows.nodes import FieldPath, Node, Place, find, key_place, place_of, plain
from admf.workflows.references import referenced_phases
from admf.workflows.vocabulary import Vocabulary
from admf.workflows.workflow import Workflow

__all__ = ["PhasePlan", "owner_path", "phase_path", "plan_phases", "settings_of"]


@dataclass(frozen=True, slots=True)
class PhasePlan:
    """A phase, and its settings as far as anybody sets them.

    Args:
        config: The phase; its inputs are those that nobody overrides, and it depends on the phases
            that they and its condition name.
        node: Its settings with their places.
        root: The experiment.
        folder: The folder of the experiment file; None without one.
    """

    config: PhaseConfig
    node: Node
    root: Node = field(repr=False)
    folder: Path | None = None


def plan_phases(
    root: Node,
    experiment: Experiment,
    workflow: Workflow,
    vocabulary: Vocabulary,
    folder: Path | None,
) -> tuple[PhasePlan, ...]:
    """Return the phases of an experiment in the order in which they run.

    Args:
        root: The experiment, with its places.
        experiment: The same as a Struct.
        workflow: Says which phases there are.
        vocabulary: Knows the parameters of strategies.
        folder: The folder of the experiment file; None without one.

    Raises:
        ConfigError: A phase depends on one that does not exist, or phases depend on one another in
            a circle.
    """
    chosen = workflow.get_phases(experiment)
    phases = {name: _linked(it, root, chosen) for name, it in chosen.items()}
    problems = _unknown_dependencies(root, phases)
    if problems:
        raise ConfigError(problems)
    plans: list[PhasePlan] = []
    for name in _ordered(root, phases):
        merged = merged_settings(root, phases[name], experiment.workflow)
        node = fit_default_space(merged, experiment.workflow, vocabulary, folder)
        plans.append(PhasePlan(phases[name], with_data_folder(node, folder), root, folder))
    return tuple(plans)


def settings_of(plan: PhasePlan) -> PhaseSettings:
    """Return the settings of a phase, with defaults where nobody says anything.

    Raises:
        ConfigError: A setting is missing, or has a wrong type.
    """
    try:
        settings = msgspec.convert(plain(plan.node), PhaseSettings)
    except msgspec.ValidationError as error:
        raise ConfigError([Problem(str(error), field=f"{PHASES}.{plan.config.name}")]) from error
    data = settings.data
    if plan.folder is None or data.path is None:
        return settings
    anchored = msgspec.structs.replace(data, path=str(plan.folder / data.path))
    return msgspec.structs.replace(settings, data=anchored)


def phase_path(root: Node, name: str) -> FieldPath:
    """Return the field at which the experiment speaks of a phase; the workflow's, if at none."""
    paths = ((PHASES, name), (OVERRIDES, name))
    return next((path for path in paths if find(root, path) is not None), ("workflow",))


def owner_path(plan: PhasePlan, path: FieldPath, place: Place) -> FieldPath:
    """Return the field of the experiment that gives a setting of a phase its value.

    Args:
        plan: The phase.
        path: The setting.
        place: Where its value stands.
    """
    name = plan.config.name
    owners: tuple[FieldPath, ...] = ((OVERRIDES, name), (PHASES, name), ())
    for known in (path, path[:1]):  # what is missing belongs where its section stands
        for owner in owners:
            stands = find(plan.root, (*owner, *known)) is not None
            if stands and place_of(plan.root, (*owner, *path)) == place:
                return (*owner, *path)
    return path


def _linked(phase: PhaseConfig, root: Node, phases: Collection[str]) -> PhaseConfig:
    """Return a phase without the inputs that the user overrides, and with all it depends on."""
    overrides = find(root, (OVERRIDES, phase.name))
    inputs = {
        name: reference
        for name, reference in phase.input.items()
        if overrides is None or not _speaks_of(overrides, name)
    }
    phase = msgspec.structs.replace(phase, input=inputs)
    named = (name for name in referenced_phases(phase) if name in phases)
    needed = dict.fromkeys((*phase.depends_on, *named))
    return msgspec.structs.replace(phase, depends_on=tuple(needed))


def _speaks_of(section: Node, setting: str) -> bool:
    return find(section, tuple(setting.split("."))) is not None


def _unknown_dependencies(root: Node, phases: Mapping[str, PhaseConfig]) -> list[Problem]:
    return [
        _depends_problem(root, phase, row, _unknown_phase(phase.name, name, phases))
        for phase in phases.values()
        for row, name in enumerate(phase.depends_on)
        if name not in phases
    ]


def _unknown_phase(phase: str, name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known) or f" (there are: {', '.join(known)})"
    return f"phase {phase!r} depends on {name!r}, which is no phase{hint}"


def _depends_problem(root: Node, phase: PhaseConfig, row: int, message: str) -> Problem:
    path = (PHASES, phase.name, "depends_on", row)
    node = find(root, path)
    place = node.place if node else key_place(root, phase_path(root, phase.name))
    return place.problem(path, message)


def _ordered(root: Node, phases: Mapping[str, PhaseConfig]) -> list[str]:
    """Return the names in an order that keeps the workflow's where dependencies allow it."""
    position = {name: row for row, name in enumerate(phases)}
    sorter = TopologicalSorter({name: it.depends_on for name, it in phases.items()})
    try:
        sorter.prepare()
    except CycleError as error:
        circle: list[str] = error.args[1]
        path = phase_path(root, circle[0])
        message = f"phases depend on one another in a circle: {' -> '.join(reversed(circle))}"
        raise ConfigError([key_place(root, path).problem(path, message)]) from error
    ready: list[str] = []
    ordered: list[str] = []
    while sorter.is_active():
        ready = sorted((*ready, *sorter.get_ready()), key=position.__getitem__)
        ordered.append(ready.pop(0))
        sorter.done(ordered[-1])
    return ordered
