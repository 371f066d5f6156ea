from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from admf.containers.strategies.base import BarStrategy, Strategy
from admf.containers.strategies.crossover import SmaCross
from admf.containers.strategies.parameters import make_strategy, parameters, parameters_of
from admf.containers.strategies.reversion import RsiReversion
from admf.containers.strategies.trend import Momentum
from admf.engine.errors import ConfigError


class Size(enum.Enum):
    SMALL = "small"
    LARGE = "large"


class Silent(Strategy):
    def on_bar(self, bar: object, ctx: object) -> None:
        pass


class Everything(Silent):
    count: Annotated[int, Meta(description="how many")]
    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    even: Annotated[int, Meta(ge=2, le=10, multiple_of=2)] = 2
    mode: Literal["a", "b"] = "a"
    limit: Annotated[float, Meta(ge=0)] | None = None
    size: Size = Size.SMALL
    lengths: list[int] = []  # noqa: RUF012 - a Struct copies it
    active: bool = True
    label: str = msgspec.field(default="x", name="name")


@dataclass
class Plain:
    level: Annotated[int, Meta(ge=1)]
    names: list[str] = field(default_factory=lambda: ["a"])

    def on_bar(self, bar: object, ctx: object) -> None:
        pass


class Fussy(Silent):
    low: int = 1
    high: int = 2

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"low must not exceed high, got low={self.low} and high={self.high}")
        if self.low == self.high:
            raise ValueError("nothing follows lower, highest or below")
        if self.low < 0:
            {}["missing"]
        if self.high > 100:
            self.low + "text"  # type: ignore[operator]


def problems(cls: type[BarStrategy], params: dict[str, Any]) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        make_strategy(cls, params)
    return [(problem.field, problem.message) for problem in caught.value.problems]


def test_given_parameters_are_set_and_the_others_keep_their_defaults() -> None:
    strategy = make_strategy(SmaCross, {"fast": 5})
    assert strategy == SmaCross(5, 50, "long_flat", "cross")
    assert parameters_of(strategy) == {
        "fast": 5,
        "slow": 50,
        "mode": "long_flat",
        "signal": "cross",
    }


def test_an_int_is_good_for_a_float_and_becomes_one() -> None:
    strategy = make_strategy(RsiReversion, {"oversold": 25})
    assert isinstance(strategy, RsiReversion)
    assert type(strategy.oversold) is float


def test_any_dataclass_will_do() -> None:
    strategy = make_strategy(Plain, {"level": 3})
    assert strategy == Plain(3, ["a"])
    assert parameters_of(strategy) == {"level": 3, "names": ["a"]}
    assert problems(Plain, {"level": 0, "lvl": 1}) == [
        ("strategy.params.level", "must be int >= 1, got 0"),
        (
            "strategy.params.lvl",
            "Plain has no parameter 'lvl' (did you mean 'level'?); it has level, names",
        ),
    ]


@pytest.mark.parametrize(
    ("params", "name", "message"),
    [
        ({"count": "3"}, "count", "must be int, got '3'"),
        ({"count": 3.0}, "count", "must be int, got 3.0"),
        ({"count": True}, "count", "must be int, got True"),
        ({"count": None}, "count", "must be int, got None"),
        ({"rate": 1.0}, "rate", "must be float > 0 and < 1, got 1.0"),
        ({"rate": float("nan")}, "rate", "must be float > 0 and < 1, got nan"),
        ({"limit": float("inf")}, "limit", "must be float >= 0 or null, got inf"),
        ({"even": 3}, "even", "must be int >= 2 and <= 10 and multiple of 2, got 3"),
        ({"mode": "c"}, "mode", "must be 'a' or 'b', got 'c'"),
        ({"size": "medium"}, "size", "must be 'small' or 'large', got 'medium'"),
        ({"lengths": [1, "x"]}, "lengths", "must be list of int, got [1, 'x']"),
        ({"active": 1}, "active", "must be bool, got 1"),
        ({"name": 1}, "name", "must be str, got 1"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_must_be(
    params: dict[str, Any], name: str, message: str
) -> None:
    assert problems(Everything, {"count": 1, **params}) == [(f"strategy.params.{name}", message)]


def test_a_missing_parameter_is_named_with_its_type() -> None:
    assert problems(Momentum, {}) == [
        ("strategy.params.lookback", "is required: int >= 1 and <= 100000")
    ]


def test_all_mistakes_are_reported_together() -> None:
    found = problems(Everything, {"rate": 2.0, "mood": "a", "label": "y"})
    known = "it has count, rate, even, mode, limit, size, lengths, active, name"
    assert found == [
        ("strategy.params.rate", "must be float > 0 and < 1, got 2.0"),
        (
            "strategy.params.mood",
            f"Everything has no parameter 'mood' (did you mean 'mode'?); {known}",
        ),
        ("strategy.params.label", f"Everything has no parameter 'label'; {known}"),
        ("strategy.params.count", "is required: int"),
    ]


def test_a_strategy_without_parameters_says_so() -> None:
    assert problems(Silent, {"fast": 1}) == [
        ("strategy.params.fast", "Silent has no parameter 'fast'; it has none")
    ]


def test_a_long_value_is_cut_in_the_message() -> None:
    ((_, message),) = problems(Everything, {"count": "9" * 10_000})
    assert len(message) < 100


def test_the_class_itself_may_refuse_at_the_first_parameter_it_names() -> None:
    assert problems(SmaCross, {"fast": 60}) == [
        ("strategy.params.fast", "fast must be less than slow, got fast=60 and slow=50")
    ]
    assert problems(Fussy, {"low": 3, "high": 1}) == [
        ("strategy.params.low", "low must not exceed high, got low=3 and high=1")
    ]
    assert problems(Fussy, {"low": 2}) == [
        ("strategy.params", "nothing follows lower, highest or below")
    ]


@pytest.mark.parametrize(
    ("params", "error"),
    [({"low": -1}, "KeyError: 'missing'"), ({"high": 101}, "TypeError: unsupported operand")],
)
def test_a_bug_in_the_class_is_reported_with_its_place(params: dict[str, Any], error: str) -> None:
    ((field_, message),) = problems(Fussy, params)
    assert field_ == "strategy.params"
    place, _, what = message.partition(": ")
    assert place.startswith(__file__)
    assert what.startswith(error)


def test_parameters_are_described_with_types_and_defaults() -> None:
    described = {
        each.name: (each.type, each.required, each.default) for each in parameters(Everything)
    }
    assert described == {
        "count": ("int", True, None),
        "rate": ("float > 0 and < 1", False, 0.5),
        "even": ("int >= 2 and <= 10 and multiple of 2", False, 2),
        "mode": ("'a' or 'b'", False, "a"),
        "limit": ("float >= 0 or null", False, None),
        "size": ("'small' or 'large'", False, "small"),
        "lengths": ("list of int", False, []),
        "active": ("bool", False, True),
        "name": ("str", False, "x"),
    }


def test_resolved_parameters_are_json_and_give_the_same_strategy_again() -> None:
    strategy = make_strategy(Everything, {"count": 1, "size": "large", "name": "n"})
    resolved = parameters_of(strategy)
    assert make_strategy(Everything, json.loads(json.dumps(resolved))) == strategy
