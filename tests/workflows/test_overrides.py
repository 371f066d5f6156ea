from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.errors import Problem
from admf.workflows.nodes import Place, find, plain
from admf.workflows.overrides import apply_overrides
from admf.workflows.yaml_source import compose

FILE = "a: 1\nb: {c: 2, d: [x, y]}\ne:\n"


def override(*overrides: str, text: str = FILE) -> tuple[object, list[str]]:
    root, problems = compose(text, Place("f", 1, 1))
    changed = apply_overrides(root, overrides, problems)
    return plain(changed), [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("a=5", {"a": 5, "b": {"c": 2, "d": ["x", "y"]}, "e": None}),
        ("a=", {"a": None, "b": {"c": 2, "d": ["x", "y"]}, "e": None}),
        ("b.c=1e3", {"a": 1, "b": {"c": 1000.0, "d": ["x", "y"]}, "e": None}),
        ("b.c=x=y", {"a": 1, "b": {"c": "x=y", "d": ["x", "y"]}, "e": None}),
        (" b . c = 2004-08-19", {"a": 1, "b": {"c": "2004-08-19", "d": ["x", "y"]}, "e": None}),
        ("b.d.1='7'", {"a": 1, "b": {"c": 2, "d": ["x", "7"]}, "e": None}),
        ("b.d=[]", {"a": 1, "b": {"c": 2, "d": []}, "e": None}),
        ("b={q: [1, {r: 2}]}", {"a": 1, "b": {"q": [1, {"r": 2}]}, "e": None}),
        ("e.f.g=1", {"a": 1, "b": {"c": 2, "d": ["x", "y"]}, "e": {"f": {"g": 1}}}),
        ("n.m=1", {"a": 1, "b": {"c": 2, "d": ["x", "y"]}, "e": None, "n": {"m": 1}}),
    ],
)
def test_an_override_sets_one_field(given_: str, expected: object) -> None:
    assert override(given_) == (expected, [])


def test_later_overrides_win() -> None:
    assert override("a=1", "a=2", "b={c: 3}", "b.c=4", text="{}")[0] == {"a": 2, "b": {"c": 4}}


def test_the_original_is_not_changed() -> None:
    root, problems = compose(FILE, Place("f", 1, 1))
    before = plain(root)
    apply_overrides(root, ["b.c=9", "b.d.0=9", "e.x=9"], problems)

    assert plain(root) == before


def test_an_override_of_an_aliased_section_leaves_the_anchor_alone() -> None:
    result, _ = override("b.c=2", text="a: &x {c: 1}\nb: *x")

    assert result == {"a": {"c": 1}, "b": {"c": 2}}


def test_changed_fields_stand_in_the_override_and_others_in_the_file() -> None:
    root, problems = compose(FILE, Place("f", 1, 1))
    changed = apply_overrides(root, ["b.c=5", "n.m=1"], problems)

    assert changed.keys["b"] == Place("f", 2, 1)
    section = find(changed, ("b",))
    assert section is not None
    assert section.place == Place("f", 2, 4)
    assert section.keys == {"c": Place("--set b.c"), "d": Place("f", 2, 11)}
    assert section.value["c"].place == Place("--set b.c")
    assert changed.keys["n"] == Place("--set n.m")


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("a", "--set: expected 'field.name=value', got 'a'"),
        ("", "--set: expected 'field.name=value', got ''"),
        ("=5", "--set: expected 'field.name=value', got '=5'"),
        ("a..b=5", "--set: expected 'field.name=value', got 'a..b=5'"),
        ("a.=5", "--set: expected 'field.name=value', got 'a.=5'"),
        ("a.x=5", "--set a.x: a.x: a is a single value and has no field 'x'"),
        (
            "b.d.2=5",
            "--set b.d.2: b.d.2: b.d is a list; name one of its 2 entries by number, from 0",
        ),
        (
            "b.d.x=5",
            "--set b.d.x: b.d.x: b.d is a list; name one of its 2 entries by number, from 0",
        ),
        ("a=[1", "--set a: a: is not YAML: did not find expected ',' or ']'"),
        (
            "a=b: c: d",
            "--set a: a: is not YAML: mapping values are not allowed in this context (put",
        ),
        ("a=!x 1", "--set a: a: the tag '!x' is not allowed; remove it"),
        ("a=.nan", "--set a: a: must be a finite number, got nan"),
        ("a=x\0y", "--set a: a: control character U+0000 is not allowed; remove it"),
        ("a=*x", "--set a: a: alias '*x' has no anchor before it"),
        ("a=1\n---\n2", "--set a: a: a second document starts here; keep one in a file"),
        (".".join("a" * 200) + "=1", "nests deeper than 100 levels"),
        ("a=" + "[" * 100 + "]" * 100, "nests deeper than 100 levels"),
    ],
)
def test_an_override_that_cannot_be_applied_is_refused(given_: str, expected: str) -> None:
    result, problems = override(given_)

    assert len(problems) == 1
    assert expected in problems[0]
    assert isinstance(result, dict)
    assert {"a", "b", "e"} <= result.keys()


def test_all_bad_overrides_are_reported() -> None:
    _, problems = override("a.x=1", "oops", "b.c=3")

    assert [problem.partition(":")[0] for problem in problems] == ["--set a.x", "--set"]


@given(st.lists(st.text(max_size=30), max_size=3))
def test_any_override_is_applied_or_refused(overrides: list[str]) -> None:
    result, _ = override(*overrides)

    assert isinstance(result, dict)


paths = st.lists(st.sampled_from(["a", "b", "c", "d", "e", "0", "1", "x"]), min_size=1, max_size=4)
values = st.sampled_from(["1", "x", "[1, 2]", "{c: 1}", "", "[", "'q'"])


@given(st.lists(st.builds(lambda path, value: f"{'.'.join(path)}={value}", paths, values)))
def test_an_override_without_a_problem_is_found_in_the_outcome(overrides: list[str]) -> None:
    root, problems = compose(FILE, Place("f", 1, 1))
    for each in overrides:
        problems = list[Problem]()
        root = apply_overrides(root, [each], problems)
        name, _, text = each.partition("=")
        if not problems:
            expected, _ = compose(text, Place("x"))
            found = find(root, _steps(plain(root), name.split(".")))
            assert found is not None
            assert plain(found) == plain(expected)


def _steps(value: object, names: list[str]) -> tuple[str | int, ...]:
    steps: list[str | int] = []
    for name in names:
        if isinstance(value, list):
            steps.append(int(name))
            value = value[int(name)]
        else:
            assert isinstance(value, dict)
            steps.append(name)
            value = value[name]
    return tuple(steps)


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("parameter_space.risk.stop_loss_pct=[2]", {"risk.stop_loss_pct": [2]}),
        ("parameter_space.execution.commission.value=[2]", {"execution.commission.value": [2]}),
        ("parameter_space.risk.stop_loss_pct.min=2", {"risk.stop_loss_pct": {"min": 2}}),
        ("parameter_space.fast=[2]", {"fast": [2]}),
        ("parameter_space.fast.max=2", {"fast": {"max": 2}}),
        ("parameter_space={a: [2]}", {"a": [2]}),
    ],
)
def test_searched_settings_are_named_with_their_dots(given_: str, expected: object) -> None:
    assert override(given_, text="{}") == ({"parameter_space": expected}, [])
    assert override(f"phase_overrides.a.{given_}", text="{}") == (
        {"phase_overrides": {"a": {"parameter_space": expected}}},
        [],
    )


def test_an_entry_of_the_values_of_a_searched_setting_is_named_by_its_position() -> None:
    text = "parameter_space: {risk.stop_loss_pct: [1, 2]}"

    assert override("parameter_space.risk.stop_loss_pct.1=5", text=text) == (
        {"parameter_space": {"risk.stop_loss_pct": [1, 5]}},
        [],
    )
