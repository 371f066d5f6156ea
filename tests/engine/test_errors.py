from __future__ import annotations

import inspect

import pytest

from admf.engine import errors
from admf.engine.errors import (
    AdmfError,
    ConfigError,
    Problem,
    UserCodeError,
    WindowError,
    did_you_mean,
)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("FIL", " (did you mean 'FILL'?)"),
        ("fill", " (did you mean 'FILL'?)"),
        ("Sma_Crss", " (did you mean 'sma_cross'?)"),
        ("xyzzy", ""),
        ("", ""),
        ("FILL" * 1_000_000, ""),
    ],
)
def test_a_hint_names_the_nearest_known_name_in_any_case(name: str, hint: str) -> None:
    assert did_you_mean(name, ["FILL", "sma_cross"]) == hint


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("broken"), "broken"),
        (Problem("broken", field="a.b"), "a.b: broken"),
        (Problem("broken", file="f.yaml"), "f.yaml: broken"),
        (Problem("broken", "a.b", "f.yaml", 3, 7), "f.yaml:3:7: a.b: broken"),
    ],
)
def test_a_problem_reads_as_place_field_and_message(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_lists_its_problems() -> None:
    assert ConfigError("broken").problems == (Problem("broken"),)
    assert str(ConfigError([Problem("one"), Problem("two", field="b")])) == "one\nb: two"


def test_an_error_of_the_users_code_tells_its_place() -> None:
    error = UserCodeError("strategy.py:7: it broke", file="strategy.py", line=7)
    assert isinstance(error, WindowError)
    assert (str(error), error.file, error.line) == ("strategy.py:7: it broke", "strategy.py", 7)
    assert error.exit_code == 5


def test_every_error_stands_in_the_tree_of_the_docstring() -> None:
    names = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, AdmfError)
    }

    assert names <= set(errors.__all__)
    assert all(name in (errors.__doc__ or "") for name in names)
