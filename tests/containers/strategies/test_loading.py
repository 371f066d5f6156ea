from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta

from admf.containers.strategies.base import Strategy
from admf.containers.strategies.crossover import SmaCross
from admf.containers.strategies.loading import (
    describe_strategies,
    strategy_class,
    strategy_problem,
    user_error,
)
from admf.containers.strategies.parameters import make_strategy
from admf.engine.errors import ConfigError, RegistryError, UserCodeError
from admf.engine.registry import Registry

BUILT_IN = [
    "bollinger_reversion",
    "buy_and_hold",
    "donchian_breakout",
    "ema_cross",
    "macd_cross",
    "momentum",
    "random_entry",
    "rsi_reversion",
    "sma_cross",
]

DIP = """
from __future__ import annotations
from dataclasses import dataclass

@dataclass
class Dip:
    level: float = 30.0

    def on_bar(self, bar, ctx):
        return 1 / (self.level - 30)
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    """The strategies of the installed distribution, behind the check that users' must pass."""
    registry = Registry()
    registry.define_group("strategies", strategy_problem)
    registry.load_entry_points()
    return registry


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "dips.py").write_text(DIP)
    yield tmp_path
    sys.modules.pop("dips", None)


def refusal(name: str, registry: Registry, folder: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        strategy_class(name, registry, search_path=folder)
    (problem,) = caught.value.problems
    assert problem.field == "strategy.type"
    return problem.message


def test_a_registered_name_gives_its_class(registry: Registry) -> None:
    assert strategy_class("sma_cross", registry) is SmaCross


def test_every_strategy_comes_with_the_distribution(registry: Registry) -> None:
    assert [each.name for each in describe_strategies(registry)] == BUILT_IN


def test_strategies_are_described_by_their_first_line_and_parameters(registry: Registry) -> None:
    described = {each.name: each for each in describe_strategies(registry)}
    assert all(each.summary.endswith(".") for each in described.values())
    momentum = described["momentum"]
    assert momentum.summary == (
        "Long while the return over ``lookback`` bars is above ``threshold``, otherwise flat."
    )
    assert [(each.name, each.type, each.default) for each in momentum.parameters] == [
        ("lookback", "int >= 1 and <= 100000", None),
        ("threshold", "float >= 0", 0.0),
        ("mode", "'long_flat' or 'long_short'", "long_flat"),
    ]


def test_a_strategy_without_a_docstring_has_an_empty_summary() -> None:
    registry = Registry()
    registry.register("strategies", "silent", Fits)
    (described,) = describe_strategies(registry)
    assert (described.summary, described.parameters) == ("", ())


def test_a_users_class_is_found_by_module_and_name(registry: Registry, folder: Path) -> None:
    cls = strategy_class("dips:Dip", registry, search_path=folder)
    assert cls.__name__ == "Dip"
    assert make_strategy(cls, {"level": 20}) == make_strategy(cls, {"level": 20.0})


def test_an_unknown_name_suggests_another(registry: Registry) -> None:
    message = refusal("sma_cros", registry)
    assert "'sma_cros'" in message
    assert "(did you mean 'sma_cross'?)" in message


@pytest.mark.parametrize(
    "name", [":Dip", "dips:", "a..b:Dip", ".dips:Dip", "dips:Dip:x", "my dips:Dip", "../dips:Dip"]
)
def test_what_is_no_module_and_class_is_refused(name: str, registry: Registry) -> None:
    assert refusal(name, registry) == f"{name!r} is not of the form package.module:Class"


def test_missing_modules_and_classes_suggest_others(registry: Registry, folder: Path) -> None:
    assert "there is no module 'dip' in" in refusal("dip:Dip", registry, folder)
    assert refusal("dips:Dipp", registry, folder) == (
        "module 'dips' has no class 'Dipp' (did you mean 'Dip'?)"
    )


def test_a_module_that_raises_is_reported_with_its_line(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("\nboom()\n")
    message = refusal("broken:Dip", registry, tmp_path)
    assert f"{tmp_path / 'broken.py'}:2: NameError: name 'boom' is not defined" in message


class Fits(Strategy):
    def on_bar(self, bar: object, ctx: object) -> None: ...


class Both(Fits):
    def targets(self, bars: object, features: object) -> None: ...


class Neither(Strategy):
    def on_barr(self, bar: object, ctx: object) -> None: ...


class Short(Strategy):
    def on_bar(self, bar: object) -> None: ...


class Long(Strategy):
    def targets(self, bars: object, features: object, more: object) -> None: ...


class Async(Strategy):
    async def on_bar(self, bar: object, ctx: object) -> None: ...


class Generating(Strategy):
    def on_bar(self, bar: object, ctx: object) -> Iterator[None]:
        yield


class NoStruct:
    def on_bar(self, bar: object, ctx: object) -> None: ...


class BadRange(Fits):
    fast: Annotated[str, Meta(ge=1)] = "x"


@dataclass
class BadAnnotation(NoStruct):
    fast: Nowhere = 1  # type: ignore[name-defined]  # noqa: F821


class Optional(Strategy):
    def on_bar(self, bar: object, ctx: object, more: int = 0, **others: object) -> None: ...


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        (Fits, ""),
        (Optional, ""),
        (Fits(), "is not a class"),
        (
            Both,
            "exactly one of on_bar(self, bar, ctx) or targets(self, bars, features), but has both",
        ),
        (Neither, "but has neither"),
        (Short, "has on_bar(self, bar: 'object') -> 'None'; needed is on_bar(self, bar, ctx)"),
        (Long, "needed is targets(self, bars, features)"),
        (Async, "has a on_bar that is no plain function; needed is def on_bar(self, bar, ctx)"),
        (Generating, "that is no plain function"),
        (NoStruct, "has parameters that cannot be used: NoStruct is neither a Strategy nor a data"),
        (BadRange, "has parameters that cannot be used: "),
        (BadAnnotation, "has parameters that cannot be used: name 'Nowhere' is not defined"),
    ],
)
def test_a_class_that_is_no_strategy_says_why(plugin: object, problem: str) -> None:
    found = strategy_problem(plugin)
    assert (problem in found) if problem else (found == "")


def test_a_users_class_that_is_no_strategy_is_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text("class Wrong: pass\nvalue = 3\n")
    message = refusal("wrong:Wrong", registry, tmp_path)
    assert message.startswith("strategy 'wrong:Wrong' needs exactly one of on_bar(")
    assert refusal("wrong:value", registry, tmp_path) == "strategy 'wrong:value' is not a class"


def test_a_registered_class_that_is_no_strategy_is_refused_by_name() -> None:
    registry = Registry()
    registry.register("strategies", "wrong", Neither)
    assert "strategy 'wrong' needs exactly one of" in refusal("wrong", registry)
    registry = Registry()
    registry.define_group("strategies", strategy_problem)
    with pytest.raises(RegistryError, match=r"'wrong'.*Neither needs exactly one of"):
        registry.register("strategies", "wrong", Neither)


def failing(strategy: Any, call: Callable[[Any], None], ts: int | None) -> UserCodeError:
    with pytest.raises(ZeroDivisionError) as caught:
        call(strategy)
    return user_error(caught.value, strategy, symbol="GOOG", ts=ts)


def test_an_error_of_the_user_names_line_bar_and_parameters(
    registry: Registry, folder: Path
) -> None:
    strategy = make_strategy(strategy_class("dips:Dip", registry, search_path=folder), {})
    error = failing(strategy, lambda it: it.on_bar(None, None), 1_098_993_600_000_000_000)
    file = str(folder / "dips.py")
    assert str(error) == (
        f"{file}:10: ZeroDivisionError: float division by zero "
        "(strategy Dip, bar GOOG 2004-10-28T20:00:00Z, parameters level=30.0)"
    )
    assert (error.file, error.line) == (file, 10)


def test_an_error_of_a_whole_window_names_the_symbol_only(registry: Registry, folder: Path) -> None:
    strategy = make_strategy(strategy_class("dips:Dip", registry, search_path=folder), {})
    error = failing(strategy, lambda it: it.on_bar(None, None), None)
    assert "(strategy Dip, bars of GOOG, parameters level=30.0)" in str(error)


def test_a_strategy_without_parameters_says_none() -> None:
    error = user_error(ValueError("no"), Fits(), symbol="A")
    assert str(error).endswith("(strategy Fits, bars of A, parameters none)")
