from __future__ import annotations

import json

import msgspec
import pytest
from jsonschema import Draft202012Validator

from admf.containers import config
from admf.workflows.experiment import Experiment
from admf.workflows.schema import JsonSchema, experiment_schema


def test_the_schema_is_a_valid_schema_and_plain_json() -> None:
    schema = experiment_schema()

    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "admf experiment"
    assert schema["required"] == ["workflow", "data", "strategy"]


def test_the_schema_names_every_field_of_every_section() -> None:
    schema = experiment_schema()

    assert set(schema["properties"]) == set(Experiment.__struct_fields__)
    for name, definition in schema["$defs"].items():
        cls: type[msgspec.Struct] = getattr(config, name)
        assert set(definition["properties"]) == set(cls.__struct_fields__)
        assert definition["additionalProperties"] is False


def test_every_section_says_in_one_line_what_it_is() -> None:
    schema = experiment_schema()

    for definition in (schema, *schema["$defs"].values()):
        assert definition["description"]
        assert "\n" not in definition["description"]
        assert "Args:" not in definition["description"]


def _undescribed(name: str, definition: JsonSchema) -> list[str]:
    return [
        f"{name}.{field}"
        for field, property_ in definition["properties"].items()
        if not property_.get("description")
    ]


def test_every_top_level_field_is_described() -> None:
    schema = experiment_schema()

    assert _undescribed("", schema) == []
    assert _undescribed("data", schema["$defs"]["DataConfig"]) == []
    assert schema["$defs"]["DataConfig"]["properties"]["source"]["description"] == (
        "`file` reads `path`; `sample` is the bundled set; `frames` are data frames "
        "that the caller hands over."
    )


def test_each_call_returns_a_schema_of_its_own() -> None:
    experiment_schema()["properties"].clear()

    assert experiment_schema()["properties"]


@pytest.mark.parametrize(
    ("experiment", "fits"),
    [
        ({"workflow": "w", "data": {"symbols": ["A"]}, "strategy": {"type": "s"}}, True),
        ({"workflow": "w", "data": {"symbols": []}, "strategy": {"type": "s"}}, False),
        ({"workflow": "w", "data": {"symbols": ["A"]}}, False),
    ],
)
def test_any_validator_can_use_the_schema(experiment: object, fits: bool) -> None:
    assert Draft202012Validator(experiment_schema()).is_valid(experiment) is fits
