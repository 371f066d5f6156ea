"""The JSON Schema of the experiment file, for editors and for validation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

import msgspec

from admf.containers.config import (
    CommissionConfig,
    DataConfig,
    ExecutionConfig,
    PortfolioConfig,
    RiskConfig,
    SizingConfig,
    StrategyConfig,
)
from admf.sequences.config import (
    KFoldConfig,
    MonteCarloConfig,
    ObjectiveConfig,
    ParameterRange,
    ParameterSweepConfig,
    SearchConfig,
    SearchPruningConfig,
    SinglePassConfig,
    TrainTestConfig,
    WalkForwardConfig,
)
from admf.sequences.settings import DataRange, PhaseOptions, PhaseSettings, TraceConfig
from admf.workflows.experiment import DeclaredPhase, Experiment

__all__ = ["JsonSchema", "definitions_of", "experiment_schema", "settings_schema"]

JsonSchema: TypeAlias = dict[str, Any]

_DOCUMENTED: tuple[type[msgspec.Struct], ...] = (
    CommissionConfig,
    DataConfig,
    DataRange,
    DeclaredPhase,
    ExecutionConfig,
    Experiment,
    KFoldConfig,
    MonteCarloConfig,
    ObjectiveConfig,
    ParameterRange,
    ParameterSweepConfig,
    PhaseOptions,
    PhaseSettings,
    PortfolioConfig,
    RiskConfig,
    SearchConfig,
    SearchPruningConfig,
    SinglePassConfig,
    SizingConfig,
    StrategyConfig,
    TraceConfig,
    TrainTestConfig,
    WalkForwardConfig,
)
_DOCUMENTED_FIELD = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def experiment_schema() -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of an experiment file."""
    return _schema(Experiment, "admf experiment")


def settings_schema() -> JsonSchema:
    """Return the JSON Schema of the settings of a phase, all of them together."""
    return _schema(PhaseSettings, "settings of a phase")


def definitions_of(
    classes: Iterable[type[msgspec.Struct]], ref_template: str
) -> dict[str, JsonSchema]:
    """Return the schemas of Structs, and of those within them, by name, with their docstrings.

    Args:
        classes: The Structs.
        ref_template: How they refer to each other, with ``{name}`` in it.
    """
    classes = tuple(classes)
    _, definitions = msgspec.json.schema_components(classes, ref_template=ref_template)
    for documented in dict.fromkeys((*_DOCUMENTED, *classes)):
        if documented.__name__ in definitions:
            _describe(definitions[documented.__name__], documented)
    found = msgspec.json.encode(definitions)
    return msgspec.json.decode(found, type=dict[str, JsonSchema])  # tuples to lists


def _schema(cls: type[msgspec.Struct], title: str) -> JsonSchema:
    definitions = definitions_of([cls], "#/$defs/{name}")
    root = definitions.pop(cls.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": title,
        "$defs": definitions,
    }


def _describe(definition: JsonSchema, cls: type[msgspec.Struct]) -> None:
    """Move the texts of docstrings, of base classes too, to where editors show them."""
    summary, _, _ = _doc(cls).partition("Args:\n")
    definition["description"] = _one_line(summary)
    for documented in reversed(cls.__mro__):
        _, _, fields = _doc(documented).partition("Args:\n")
        for name, text in _DOCUMENTED_FIELD.findall(fields):
            definition["properties"][name]["description"] = _one_line(text)


def _doc(cls: type) -> str:
    return inspect.cleandoc(cls.__dict__.get("__doc__") or "")


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")
