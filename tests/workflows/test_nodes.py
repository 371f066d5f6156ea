from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.containers.config import RiskConfig
from admf.engine.errors import ConfigError, Problem
from admf.sequences.settings import PhaseOptions
from admf.workflows.nodes import (
    Node,
    Place,
    changed,
    field_name,
    find,
    key_place,
    located,
    measure,
    node_of,
    path_of,
    place_of,
    plain,
)

ROOT = Node(
    {"a": Node([Node(1, Place("f", 2, 5)), Node({}, Place("f", 3, 5))], Place("f", 2, 3))},
    Place("f", 1, 1),
    {"a": Place("f", 1, 1)},
)


def faults(value: object) -> list[str]:
    problems: list[Problem] = []
    node_of(value, problems)
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (date(2004, 8, 19), "2004-08-19"),
        (datetime(2004, 8, 19, 9, 30, tzinfo=UTC), "2004-08-19T09:30:00+00:00"),
        (Path("a") / "b", "a/b"),
        (("x", 1), ["x", 1]),
    ],
)
def test_python_values_become_the_plain_values_of_a_file(value: object, expected: object) -> None:
    problems: list[Problem] = []
    result = plain(node_of({"k": value}, problems))

    assert problems == []
    assert result == {"k": expected}
    assert isinstance(result, dict)
    assert type(result["k"]) is type(expected)


def test_a_struct_is_a_section() -> None:
    result = plain(node_of({"risk": RiskConfig(stop_loss_pct=5.0)}, []))

    assert isinstance(result, dict)
    assert isinstance(result["risk"], Mapping)
    assert result["risk"]["stop_loss_pct"] == 5.0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": {1, 2}}, "a: must be plain data, got set"),
        ({"a": b"x"}, "a: must be plain data, got bytes"),
        ({"a": [object()]}, "a.0: must be plain data, got object"),
        ({"a": {1: 2}}, "a.1: a key must be text"),
        ({"a\0": 1}, "'a\\x00': holds the control character U+0000"),
        ({"a": "x\ud800"}, "a: holds the control character U+D800"),
        ({"a": math.nan}, "a: must be a finite number, got nan"),
        ({"a": np.float64(math.inf)}, "a: must be a finite number, got inf"),
        ({"a": 2**63}, "a: is too large: whole numbers must fit into 64 bits"),
    ],
)
def test_what_a_file_could_not_hold_is_refused_by_field(value: object, expected: str) -> None:
    assert faults(value) == [expected]


def test_every_fault_of_python_data_is_reported() -> None:
    assert faults({"a": math.nan, "b": [object(), {"c": {3}}]}) == [
        "a: must be a finite number, got nan",
        "b.0: must be plain data, got object",
        "b.1.c: must be plain data, got set",
    ]


def test_data_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)

    assert faults({"a": endless}) == ["a.0.0.0.0.0.0.0...: nests deeper than 100 levels"]


def test_a_field_is_found_by_keys_and_positions() -> None:
    assert find(ROOT, ("a", 0)) == Node(1, Place("f", 2, 5))
    assert find(ROOT, ()) is ROOT
    for path in [("b",), ("a", 2), ("a", "x"), ("a", 0, "x"), (0,)]:
        assert find(ROOT, path) is None


@pytest.mark.parametrize(
    ("path", "place"),
    [
        (("a",), Place("f", 2, 3)),
        (("a", 0), Place("f", 2, 5)),
        (("a", 1, "missing"), Place("f", 3, 5)),
        (("missing",), Place("f", 1, 1)),
        (("missing", "too"), Place("f", 1, 1)),
        (("a", "missing", "too"), Place("f", 1, 1)),
        (("a", 0, "missing", "too", "deep"), Place("f", 2, 5)),
        ((), Place("f", 1, 1)),
    ],
)
def test_a_missing_field_stands_where_its_section_does(
    path: tuple[str | int, ...], place: Place
) -> None:
    assert place_of(ROOT, path) == place


def test_a_key_stands_before_its_value() -> None:
    assert key_place(ROOT, ("a",)) == Place("f", 1, 1)
    assert key_place(ROOT, ("a", 0)) == Place("f", 2, 5)


def test_problems_found_later_get_the_place_of_their_field() -> None:
    error = ConfigError(
        [Problem("late", field="a.1"), Problem("placed", field="a", file="g", line=7, column=7)]
    )

    assert str(located(error, ROOT)) == "f:3:5: a.1: late\ng:7:7: a: placed"


def test_a_field_of_many_digits_is_a_name() -> None:
    error = ConfigError([Problem("late", field=f"a.{'9' * 5000}")])

    assert str(located(error, ROOT)).startswith("f:1:1: a.999")


def test_field_names_are_fit_to_print() -> None:
    assert field_name(("data", "symbols", 0)) == "data.symbols.0"
    assert field_name(tuple("abcdefghi")) == "a.b.c.d.e.f.g.h..."
    assert field_name(("a\nb", "x" * 100)) == f"'a\\nb'.{'x' * 60}..."


@given(st.recursive(st.none(), lambda inner: st.lists(inner, max_size=3), max_leaves=30))
def test_measure_counts_values_and_levels(value: object) -> None:
    def expected(value: object) -> tuple[int, int]:
        if not isinstance(value, list):
            return 1, 1
        inner = [expected(each) for each in value]
        return 1 + sum(n for n, _ in inner), 1 + max([d for _, d in inner], default=0)

    assert measure(node_of(value, [])) == expected(value)


def test_a_pure_path_is_text() -> None:
    assert plain(node_of(PurePosixPath("/x"), [])) == "/x"


def test_a_section_of_an_experiment_made_in_python_may_leave_fields_unset() -> None:
    assert plain(node_of({"data_range": {}, "seed": 1}, [])) == {"data_range": {}, "seed": 1}
    assert plain(node_of(PhaseOptions(seed=1), [])) == {"seed": 1}


DOTTED = node_of({"space": {"risk.stop.x": [1, 2], "risk": {"stop": 3}, "a": 1}}, [])


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("space.risk.stop.x", ("space", "risk.stop.x")),
        ("space.risk.stop.x.1", ("space", "risk.stop.x", 1)),
        ("space.risk.stop", ("space", "risk", "stop")),
        ("space.risk.missing", ("space", "risk", "missing")),
        ("space.a.b.c", ("space", "a", "b", "c")),
        ("other.a.0", ("other", "a", 0)),
        ("", ("",)),
    ],
)
def test_a_field_is_found_though_its_name_holds_dots(
    field: str, path: tuple[str | int, ...]
) -> None:
    assert path_of(DOTTED, field) == path


@pytest.mark.parametrize(
    ("place", "text", "overridden"),
    [
        (Place(), "", None),
        (Place("x.yaml", 3, 7), "x.yaml:3:7", None),
        (Place("--set x.yaml", 3, 7), "--set x.yaml:3:7", None),
        (Place.of_override(("a", "b")), "--set a.b", "a.b"),
        (Place.of_override(("x" * 70,)), f"--set {'x' * 60}...", "x" * 70),
    ],
)
def test_a_place_is_written_as_users_know_it(
    place: Place, text: str, overridden: str | None
) -> None:
    assert (place.text, place.overridden) == (text, overridden)


def test_what_has_changed_takes_the_place_of_what_was_written() -> None:
    old = node_of({"a": 1, "b": {"c": 2, "d": 3}, "e": [1], "gone": 1, "default": 0}, [])
    new = node_of({"a": 1, "b": {"c": 2, "d": 4}, "e": [2], "default": 0, "new": {"x": 1}}, [])
    at = Place("f", 1, 1)
    inner = Node({"c": Node(2, at), "d": Node(3, at)}, at, {"c": at})
    written = Node({"a": Node(1, at), "b": inner, "e": Node([Node(1, at)], at)}, at, {"b": at})
    result = changed(new, old, written)

    assert plain(result) == {"a": 1, "b": {"c": 2, "d": 4}, "e": [2], "new": {"x": 1}}
    assert place_of(result, ("a",)) == place_of(result, ("b", "c")) == at
    assert place_of(result, ("b", "d")) == place_of(result, ("e",)) == Place()
