"""From an experiment file, or a mapping, to a checked `Experiment`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.workflows.checks import mistakes, suspicions
from admf.workflows.experiment import Experiment
from admf.workflows.nodes import Node, Place, located, node_of, plain
from admf.workflows.overrides import apply_overrides
from admf.workflows.schema import experiment_schema
from admf.workflows.validation import describe, schema_problems
from admf.workflows.vocabulary import Vocabulary
from admf.workflows.yaml_source import compose, read_text

__all__ = ["LoadedExperiment", "experiment_from_mapping", "load_experiment"]

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
    """

    experiment: Experiment
    warnings: tuple[Problem, ...]
    folder: Path | None
    root: Node = field(repr=False)

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
        message = f"{found}; an experiment has fields, at least workflow, data and strategy"
        raise ConfigError(_report([*problems, root.place.problem((), message)]))
    root = apply_overrides(root, overrides, problems)
    return _checked(root, problems, vocabulary, file.resolve().parent)


def experiment_from_mapping(
    mapping: Mapping[str, object], overrides: Iterable[str] = (), *, vocabulary: Vocabulary
) -> LoadedExperiment:
    """Check an experiment that was made in Python; fields as in a file.

    Values may also be config Structs, tuples, dates and paths. Relative paths are left to the
    current folder.

    Args:
        mapping: The experiment.
        overrides: ``a.b=value`` each; see `apply_overrides`.
        vocabulary: The names that the experiment may use.

    Raises:
        ConfigError: With every mistake that was found, by field.
    """
    problems: list[Problem] = []
    root = apply_overrides(node_of(mapping, problems), overrides, problems)
    return _checked(root, problems, vocabulary, None)


def _checked(
    root: Node, problems: list[Problem], vocabulary: Vocabulary, folder: Path | None
) -> LoadedExperiment:
    found = [*problems, *schema_problems(root, experiment_schema())]
    found += islice(mistakes(root, vocabulary, folder), _MOST_FOUND)
    if found:
        raise ConfigError(_report(found))
    experiment = msgspec.convert(plain(root), Experiment)
    warnings = _report(islice(suspicions(experiment, root, vocabulary), _MOST_FOUND))
    return LoadedExperiment(_anchored(experiment, folder), warnings, folder, root)


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


def _anchored(experiment: Experiment, folder: Path | None) -> Experiment:
    data = experiment.data
    if folder is None or data.path is None:
        return experiment
    data = msgspec.structs.replace(data, path=str(folder / data.path))
    return msgspec.structs.replace(experiment, data=data)
