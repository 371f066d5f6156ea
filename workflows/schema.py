"""The JSON Schema of the experiment file, for editors and for validation."""

from __future__ import annotations

import inspect
import re
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
from admf.workflows.experiment import Experiment

__all__ = ["JsonSchema", "experiment_schema"]

JsonSchema: TypeAlias = dict[str, Any]

_DOCUMENTED: tuple[type[msgspec.Struct], ...] = (
    CommissionConfig,
    DataConfig,
    ExecutionConfig,
    Experiment,
    PortfolioConfig,
    RiskConfig,
    SizingConfig,
    StrategyConfig,
)
_DOCUMENTED_FIELD = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def experiment_schema() -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of an experiment file."""
    _, definitions = msgspec.json.schema_components([Experiment], ref_template="#/$defs/{name}")
    for cls in _DOCUMENTED:
        _describe(definitions[cls.__name__], cls)
    root = definitions.pop(Experiment.__name__)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "title": "admf experiment",
        "$defs": definitions,
    }


def _describe(definition: JsonSchema, cls: type[msgspec.Struct]) -> None:
    """Move the texts of a docstring to where editors show them."""
    summary, _, fields = (inspect.getdoc(cls) or "").partition("Args:\n")
    definition["description"] = _one_line(summary)
    for name, text in _DOCUMENTED_FIELD.findall(fields):
        definition["properties"][name]["description"] = _one_line(text)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")
