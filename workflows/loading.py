"""From an experiment file, or a mapping, to a checked `Experiment`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.workflows.checks import mistakes, phase_mistakes
from admf.workflows.data_folder import data_folder
from admf.workflows.experiment import Experiment
from admf.workflows.layers import without_fragments
from admf.workflows.nodes import Node, Place, find, located, node_of, plain
from admf.workflows.overrides import apply_overrides
from admf.workflows.planning import PhasePlan, plan_phases
from admf.workflows.suspicions import suspicions
from admf.workflows.validation import describe, experiment_problems
from admf.workflows.vocabulary import Vocabulary
from admf.workflows.workflow import Workflow
from admf.workflows.yaml_source import compose, read_text

__all__ = [
    "LoadedExperiment",
    "checked_experiment",
    "experiment_from_mapping",
    "load_experiment",
]

_MOST_FOUND = 1_000
_MOST_REPORTED = 50


@dataclass(frozen=True, slots=True)
class LoadedExperiment:
    """A checked experiment, and where its fields were written.

    Args:
        experiment: The experiment; ``data.path`` is joined to ``folder``.
        warnings: What is probably not meant, in the order of the file.
        folder: The folder of its file, absolute, where the user's own strategies are looked for;
            None for an experiment made in Python.
        root: The fields with their places.
        vocabulary: The names that it may use.
        overrides: What was set on top of it, ``a.b=value`` each.
    """

    experiment: Experiment
    warnings: tuple[Problem, ...]
    folder: Path | None
    root: Node = field(repr=False)
    vocabulary: Vocabulary = field(repr=False)
    overrides: tuple[str, ...] = ()

    @property
    def workflow(self) -> Workflow:
        """The workflow of the experiment.

        Raises:
            ConfigError: There is none of this name.
        """
        return self.vocabulary.workflow(self.experiment, self.folder)

    @property
    def results_dir(self) -> str:
        """Folder of the results below the results root: as it says, or named like the workflow."""
        return self.experiment.results_dir or self.experiment.workflow.rpartition(":")[2]

    def located(self, error: ConfigError) -> ConfigError:
        """Return an error that was found after loading, with the places of the fields it names."""
        return located(error, self.root)


def load_experiment(
    path: str | os.PathLike[str], overrides: Iterable[str] = (), *, vocabulary: Vocabulary
) -> LoadedExperiment:
    """Read an experiment file, apply overrides to it and check the outcome.

    Paths in it, overridden or not, are relative to the folder of the file.

    Args:
        path: The file.
        overrides: ``a.b=value`` each; see `apply_overrides`.
        vocabulary: The names that the experiment may use.

    Raises:
        ConfigError: With every mistake that was found, in the order of the file.
    """
    file = Path(path)
    root, problems = compose(read_text(file), Place(str(path), 1, 1))
    if not isinstance(root.value, dict):
        found = "is empty" if root.value is None else f"holds {describe(plain(root))}"
        message = f"{found}; an experiment has fields, at least workflow and data"
        raise ConfigError(_report([*problems, root.place.problem((), message)]))
    overrides = tuple(overrides)
    root = apply_overrides(root, overrides, problems)
    loaded = checked_experiment(root, problems, vocabulary, file.resolve().parent)
    return replace(loaded, overrides=overrides)


def experiment_from_mapping(
    mapping: Mapping[str, object],
    overrides: Iterable[str] = (),
    *,
    vocabulary: Vocabulary,
    folder: Path | None = None,
) -> LoadedExperiment:
    """Check an experiment that was made in Python; fields as in a file.

    Values may also be config Structs, tuples, dates and paths.

    Args:
        mapping: The experiment.
        overrides: ``a.b=value`` each; see `apply_overrides`.
        vocabulary: The names that the experiment may use.
        folder: What relative paths in it are relative to; the current folder if not given.

    Raises:
        ConfigError: With every mistake that was found, by field.
    """
    problems: list[Problem] = []
    overrides = tuple(overrides)
    root = apply_overrides(node_of(mapping, problems), overrides, problems)
    loaded = checked_experiment(root, problems, vocabulary, folder)
    return replace(loaded, overrides=overrides)


def checked_experiment(
    root: Node, problems: list[Problem], vocabulary: Vocabulary, folder: Path | None
) -> LoadedExperiment:
    """Check an experiment that was read.

    Args:
        root: The experiment, a mapping.
        problems: What was found wrong with it while it was read.
        vocabulary: The names that it may use.
        folder: Where its file is; None for an experiment made in Python.

    Raises:
        ConfigError: With every mistake that was found.
    """
    complete = without_fragments(root)
    found = [*problems, *experiment_problems(complete)]
    if found:
        found += islice(mistakes(root, vocabulary, folder), _MOST_FOUND)
        raise ConfigError(_report(found))
    experiment = msgspec.convert(plain(complete), Experiment)
    plans, found = _planned(root, experiment, vocabulary, folder)
    found += islice(mistakes(root, vocabulary, folder), _MOST_FOUND)
    if found:
        raise ConfigError(_report(found))
    unusual = suspicions(root, plans, vocabulary, strict=experiment.strict)
    warnings = _report(islice(unusual, _MOST_FOUND))
    return LoadedExperiment(_anchored(experiment, root, folder), warnings, folder, root, vocabulary)


def _planned(
    root: Node, experiment: Experiment, vocabulary: Vocabulary, folder: Path | None
) -> tuple[Sequence[PhasePlan], list[Problem]]:
    """Return the phases, and what forbids to run them; no phases if there is no such workflow."""
    name = experiment.workflow
    if not experiment.phases and ":" not in name and name not in vocabulary.workflows:
        return (), []
    try:
        workflow = vocabulary.workflow(experiment, folder)
        plans = plan_phases(root, experiment, workflow, vocabulary, folder)
    except ConfigError as error:
        return (), list(located(error, root).problems)
    found = phase_mistakes(root, plans, vocabulary, strict=experiment.strict)
    return plans, list(islice(found, _MOST_FOUND))


def _report(found: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return the first problem of each field, in the order of the file and cut to a short list."""
    by_field: dict[tuple[str, str], Problem] = {}
    for problem in found:
        by_field.setdefault((problem.file, problem.field or problem.message), problem)
    problems = sorted(by_field.values(), key=_in_file_order)
    rest = len(problems) - _MOST_REPORTED
    if rest > 0:
        return (*problems[:_MOST_REPORTED], Problem(f"and {rest} more", file=problems[0].file))
    return tuple(problems)


def _in_file_order(problem: Problem) -> tuple[bool, int, int]:
    return problem.line is None, problem.line or 0, problem.column or 0


def _anchored(experiment: Experiment, root: Node, folder: Path | None) -> Experiment:
    data = experiment.data
    path = data.path or data_folder(find(root, ("data",)), folder)
    if folder is None or path is None:
        return experiment
    data = msgspec.structs.replace(data, path=str(folder / path))
    return msgspec.structs.replace(experiment, data=data)
