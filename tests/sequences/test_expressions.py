"""Expressions: what they may hold, and what they come to."""

from __future__ import annotations

import ast
import copy
import math
import operator
import pickle
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admf.engine.errors import ConfigError, Problem
from admf.sequences.expressions import Expression

VALUES: dict[str, object] = {
    "fast": 10,
    "slow": 30,
    "ratio": 0.5,
    "zero": 0,
    "name": "sma",
    "on": True,
    "off": False,
    "nothing": None,
    "nan": math.nan,
    "huge": 1e308,
    "vast": 10**400,
    "infinite": math.inf,
    "front": (1, 2),
    "risk.stop_loss_pct": 2.5,
    "search.best.sharpe_ratio": 1.2,
}


def value(text: str) -> object:
    return Expression.parse(text).value(VALUES.__getitem__)


def holds(text: str) -> bool:
    return Expression.parse(text).holds(VALUES.__getitem__)


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        Expression.parse(text, "constraint")
    (problem,) = caught.value.problems
    assert problem.field == "constraint"
    return problem.message


@pytest.mark.parametrize(
    "text",
    [
        "fast < slow",
        "fast <= 10 and slow >= 30",
        "slow > fast or nothing",
        "not fast > slow",
        "fast != slow",
        "fast == 10.0",
        "name == 'sma'",
        'name < "smb"',
        "5 < fast < slow <= 30",
        "risk.stop_loss_pct <= 5",
        "search.best.sharpe_ratio > 0.5 and on",
        "fast in [5, 10]",
        "name in ('sma', 'ema')",
        "name not in ['ema', 'macd']",
        "fast in [-10, 10, null, true]",
        "-fast == -10",
        "fast * 2 + slow / 3 - 1 == 29",
        "slow // 7 == 4 and slow % 7 == 2",
        "(fast + slow) * ratio == 20",
        "true and True and not false and not False",
        "on == true and off != true",
        "front",
        "  fast < slow \n",
        "fast<slow # a remark",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    assert holds(text)


@pytest.mark.parametrize(
    "text",
    [
        "fast > slow",
        "fast < slow < 20",
        "fast < 5 < undefined",  # what comes later is not looked at
        "off and undefined",
        "name == 10",
        "fast == 'sma'",
        "name in [10]",
        "fast not in [10]",
        "zero",
        "off or zero or nothing",
        "null",
        "None",
    ],
)
def test_a_condition_that_does_not_hold(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("other", ["fast", "nothing", "nan", "1", "'text'", "0 * nothing"])
@pytest.mark.parametrize("missing", ["nothing", "nan", "slow / zero"])
def test_no_comparison_with_null_holds(sign: str, other: str, missing: str) -> None:
    assert not holds(f"{missing} {sign} {other}")
    assert not holds(f"{other} {sign} {missing}")


@pytest.mark.parametrize("text", ["nothing in [null]", "nothing not in [1]", "not fast > 1"])
def test_membership_of_null_does_not_hold_either(text: str) -> None:
    assert not holds(text)


@pytest.mark.parametrize("null", ["null", "None"])
def test_the_word_null_asks_whether_there_is_a_value(null: str) -> None:
    assert holds(f"nothing == {null}")
    assert holds(f"{null} == nan")
    assert holds(f"fast != {null}")
    assert not holds(f"fast == {null}")
    assert not holds(f"nothing != {null}")
    assert not holds(f"fast < {null}")


@pytest.mark.parametrize(
    "text",
    [
        "nothing + 1",
        "1 - nothing",
        "-nothing",
        "fast / zero",
        "fast // zero",
        "fast % zero",
        "fast / 0.0",
        "huge * huge",
        "huge + vast",
        "vast / 3",
        "vast + 1",
        "infinite - infinite",
        "nan",
    ],
)
def test_what_has_no_number_as_its_result_is_null(text: str) -> None:
    assert value(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2 + 3 * 4", 14),
        ("7 // 2", 3),
        ("-7 % 3", 2),
        ("7 / 2", 3.5),
        ("- - 3", 3),
        ("'text'", "text"),
        ("1e3", 1000.0),
        ("name", "sma"),
        ("front", (1, 2)),
        ("fast and slow", True),
        ("zero or off", False),
        ("on + on", 2),
    ],
)
def test_the_value_of_a_formula(text: str, expected: object) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    "text",
    [
        "name < 5",
        "5 >= name",
        "front > 1",
        "name + 1",
        "-name",
        "fast * front",
        "name + name",
        "fast in [10] < 3",
    ],
)
def test_values_of_the_wrong_type_are_refused_with_the_expression(text: str) -> None:
    expression = Expression.parse(text, "metric_constraints.0")
    with pytest.raises(ConfigError) as caught:
        expression.holds(VALUES.__getitem__)
    (problem,) = caught.value.problems
    assert repr(text) in problem.message
    assert problem.field == "metric_constraints.0"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("f(x)", "f(x)"),
        ("__import__('os').system('true')", "__import__"),
        ("x.__class__()", "x.__class__()"),
        ("f(x).y", "f(x).y"),
        ("a < b and x[0]", "x[0]"),
        ("x ** 2", "x ** 2"),
        ("lambda: 1", "lambda"),
        ("a if b else c", "a if b else c"),
        ("[1, 2]", "[1, 2]"),
        ("a, b", "a, b"),
        ("{1}", "{1}"),
        ("[x for x in y]", "for"),
        ("f'{x}'", "f'{x}'"),
        ("~x", "~x"),
        ("+x", "+x"),
        ("x @ y", "x @ y"),
        ("x << 1", "x << 1"),
        ("1j", "1j"),
        ("b'x'", "b'x'"),
        ("...", "..."),
        ("1e999", "1e999"),
        ("-1e999", "1e999"),
        ("(x := 1)", "x := 1"),
        ("x in y", "'y'"),
        ("x in 'text'", "'text'"),
        ("x in [1, y]", "y"),
        ("x in [[1]]", "[[1]]"),
        ("x in [-'a']", "-'a'"),
        ("x in [-1e999]", "1e999"),
        ("x in {1}", "{1}"),
        ("x is None", "'is'"),
        ("x is not null", "=="),
    ],
)
def test_what_is_not_admitted_is_refused_by_name(text: str, named: str) -> None:
    assert named in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "a = b",
        "a && b",
        "a <",
        "(a",
        "a b",
        "a <\nb",
        "*a",
        "a\0b",
        "x; y",
        "\ufeffa",
        "1x",
    ],
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    assert "cannot be read" in refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * 250 + ")" * 250,
        "-" * 499 + "1",
        "not " * 120 + "a",
        "a+" * 249 + "a",
        "x<(" * 120 + "1" + ")" * 120,
    ],
)
def test_deep_nesting_is_refused(text: str) -> None:
    assert refusal(text)


def test_the_limits_of_length_and_depth() -> None:
    assert "501 characters" in refusal("a" * 501)
    assert Expression.parse("a" * 500).names == ("a" * 500,)
    assert value("1" + " + 1" * 100) == 101
    assert "more than 100 deep" in refusal("1" + "+1" * 101)


@pytest.mark.parametrize("error", [RecursionError("deep"), MemoryError("full"), ValueError("odd")])
def test_whatever_stops_the_parser_is_a_config_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(ast, "parse", fail)
    assert str(error) in refusal("a < b")


@given(st.text(st.sampled_from("ab.<>=!+-*/%()[],'\"\\ 01e notrueandi{}:\n\0é"), max_size=60))
def test_any_text_is_an_expression_or_a_config_error(text: str) -> None:
    try:
        expression = Expression.parse(text)
        expression.value(lambda _: 1)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - both outcomes are allowed


@given(st.text(max_size=600))
def test_any_unicode_is_an_expression_or_a_config_error(text: str) -> None:
    try:
        Expression.parse(text)
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - both outcomes are allowed


def test_reading_oddities_warns_of_nothing() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Expression.parse("'\\d' != name and 1and 2").holds(VALUES.__getitem__)


SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
}
NUMBERS = st.integers(-1000, 1000) | st.floats(-1000, 1000)


@given(st.sampled_from(sorted(SIGNS)), NUMBERS, NUMBERS)
def test_operators_are_those_of_python(sign: str, left: float, right: float) -> None:
    found = Expression.parse(f"left {sign} right").value({"left": left, "right": right}.get)
    try:
        expected = SIGNS[sign](left, right)
    except ZeroDivisionError:
        expected = None
    if isinstance(expected, float) and not math.isfinite(expected):
        expected = None
    assert found == expected


@given(
    st.recursive(
        st.sampled_from(["a", "b", "c"]),
        lambda inner: st.one_of(
            inner.map(lambda it: f"not ({it})"),
            st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(
                lambda it: f"({' '.join(it)})"
            ),
        ),
        max_leaves=8,
    ),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
)
def test_logic_is_that_of_python(text: str, bits: tuple[bool, bool, bool]) -> None:
    values = dict(zip("abc", bits, strict=True))
    expected = eval(text, {}, values)  # noqa: S307 - made of three letters and three words
    assert Expression.parse(text).holds(values.__getitem__) is expected


def test_names_come_once_each_in_the_order_of_their_appearance() -> None:
    text = "slow > fast and risk.stop > slow and true and z.y.x in [1, null] and -a < fast * b"
    assert Expression.parse(text).names == ("slow", "fast", "risk.stop", "z.y.x", "a", "b")


def test_unknown_names_are_all_listed_with_the_nearest_known_one() -> None:
    expression = Expression.parse("fsat < slow and risk.stop < other", "constraint")
    with pytest.raises(ConfigError) as caught:
        expression.check_names(["fast", "slow", "risk.stop_loss"])
    first, second, third = caught.value.problems
    assert "'fsat' (did you mean 'fast'?); there are fast, slow, risk.stop_loss" in first.message
    assert "did you mean 'risk.stop_loss'" in second.message
    assert "'other'; there" in third.message
    assert {it.field for it in caught.value.problems} == {"constraint"}


def test_known_names_pass_the_check_and_the_field_can_be_given() -> None:
    expression = Expression.parse("fast < slow")
    expression.check_names({"fast": 1, "slow": 2})
    with pytest.raises(ConfigError) as caught:
        expression.check_names([], "elsewhere")
    assert caught.value.problems[0] == Problem(
        "'fast < slow' has an unknown name 'fast'; there are none", "elsewhere"
    )


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])  # noqa: S301
def test_copies_and_pickles_are_equivalent(clone: Callable[[Expression], Expression]) -> None:
    original = Expression.parse("fast < slow and name > 1", "constraint")
    copied = clone(original)
    assert (copied.text, copied.names) == (original.text, original.names)
    assert repr(copied) == "Expression('fast < slow and name > 1')"
    with pytest.raises(ConfigError, match="constraint: 'fast < slow"):
        copied.holds(VALUES.__getitem__)


def test_errors_of_the_values_pass_through() -> None:
    with pytest.raises(KeyError, match="undefined"):
        holds("undefined > 1")


def test_reading_leaves_the_recursion_limit_alone() -> None:
    before = sys.getrecursionlimit()
    refusal("-" * 499 + "1")
    assert sys.getrecursionlimit() == before
