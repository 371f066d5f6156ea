from __future__ import annotations

import json

import msgspec
import pytest
from jsonschema import Draft202012Validator

import admf.containers.config
import admf.sequences.config
import admf.sequences.settings
import admf.workflows.experiment
from admf.sequences.settings import PhaseSettings
from admf.workflows.experiment import Experiment
from admf.workflows.schema import JsonSchema, experiment_schema, settings_schema

MODULES = (
    admf.containers.config,
    admf.sequences.config,
    admf.sequences.settings,
    admf.workflows.experiment,
)


def test_the_schema_is_a_valid_schema_and_plain_json() -> None:
    schema = experiment_schema()

    Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == "admf experiment"
    assert sorted(schema["required"]) == ["data", "workflow"]


def test_the_schema_names_every_field_of_every_section() -> None:
    schema = experiment_schema()

    assert set(schema["properties"]) == set(Experiment.__struct_fields__)
    for name, definition in schema["$defs"].items():
        (module,) = (it for it in MODULES if name in it.__all__)
        cls: type[msgspec.Struct] = getattr(module, name)
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


def test_every_field_of_a_study_is_described() -> None:
    schema = experiment_schema()

    assert _undescribed("", schema) == []
    for name in schema["$defs"]:
        if name in {*admf.sequences.config.__all__, *admf.sequences.settings.__all__}:
            assert _undescribed(name, schema["$defs"][name]) == []
    assert _undescribed("phase", schema["$defs"]["DeclaredPhase"]) == []
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
        ({"workflow": "w", "data": {"symbols": ["A"]}}, True),
        ({"data": {"symbols": ["A"]}}, False),
        (
            {
                "workflow": "w",
                "data": {"symbols": ["A"]},
                "parameter_space": {"fast": [1, 2], "slow": {"min": 1, "max": 9, "step": 2}},
                "objective_function": [{"name": "cagr"}, {"name": "max_drawdown"}],
                "phase_overrides": {"search": {"walk_forward": {"train": "6M", "test": 100}}},
                "phases": {"search": {"sequence": "walk_forward", "seed": 7}},
            },
            True,
        ),
        (
            {
                "workflow": "w",
                "data": {"symbols": ["A"]},
                "phase_overrides": {"search": {"sequence": "walk_forward"}},
            },
            False,
        ),
    ],
)
def test_any_validator_can_use_the_schema(experiment: object, fits: bool) -> None:
    assert Draft202012Validator(experiment_schema()).is_valid(experiment) is fits


def test_the_settings_of_a_phase_have_a_schema_of_their_own() -> None:
    schema = settings_schema()

    Draft202012Validator.check_schema(schema)
    assert schema["required"] == ["data", "strategy"]
    assert set(schema["properties"]) == set(PhaseSettings.__struct_fields__)
    assert _undescribed("", schema) == []
