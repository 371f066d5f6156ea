"""The parameter space of a search: which values a parameter can take, and all their combinations.

Values of a range are computed from their position with whole numbers, so that steps of 0.1 give
0.3 and neither drift nor depend on where one starts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, TypeAlias

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.sequences.config import ParameterRange, Scalar
from admf.sequences.expressions import Expression

__all__ = ["Axis", "Choices", "Dimension", "Interval", "ParameterSpace", "Point", "Steps"]

Dimension: TypeAlias = tuple[Scalar, ...] | list[Scalar] | ParameterRange
"""The values of a parameter: a list of them, or a range."""

Point: TypeAlias = dict[str, Scalar]
"""A parameter set: the searched values by dotted name."""

_LARGEST: Final = 2**53
_MOST_POINTS: Final = 1_000_000
_NEARLY: Final = Fraction(1, 10**9)
_DIGITS: Final = 12


class Choices(msgspec.Struct, frozen=True):
    """Values one by one.

    Args:
        values: At least one, all different.
        ordered: Whether neighbours are alike, as in a range; the values of a list need not be.
    """

    values: tuple[Scalar, ...]
    ordered: bool = False

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.values)

    def value(self, index: int) -> Scalar:
        """Return the value at a position from 0."""
        return self.values[index]

    def index(self, value: Scalar) -> int:
        """Return the position of a value."""
        return self.values.index(value)

    def at(self, unit: float) -> Scalar:
        """Map [0, 1) to the values, an equal part to each."""
        return self.values[_bin(unit, self.count)]


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Values at equal distances: ``(start + index * stride) / divisor``, all whole numbers.

    Args:
        count: Number of values.
        whole: Whether the values are whole numbers too, rounded half up.
        last: No value is beyond it.
    """

    start: int
    stride: int
    divisor: int
    count: int
    whole: bool
    last: int | float

    def value(self, index: int) -> int | float:
        """Return the value at a position from 0."""
        numerator = self.start + index * self.stride
        if self.whole:
            return (2 * numerator + self.divisor) // (2 * self.divisor)
        return min(numerator / self.divisor, self.last)

    def index(self, value: Scalar) -> int:
        """Return the position of a value."""
        return round((Fraction(value) * self.divisor - self.start) / self.stride)

    def at(self, unit: float) -> int | float:
        """Map [0, 1) to the values, an equal part to each."""
        return self.value(_bin(unit, self.count))


class Interval(msgspec.Struct, frozen=True, kw_only=True):
    """All numbers from ``low`` to ``high``.

    Args:
        low: Least value.
        high: Greatest value.
        log: Spread them evenly on a logarithmic scale.
        whole: Only the whole numbers.
    """

    low: int | float
    high: int | float
    log: bool
    whole: bool

    @property
    def count(self) -> int | None:
        """Number of values; None if there is no end of them."""
        return int(self.high - self.low) + 1 if self.whole else None

    def value(self, index: int) -> int | float:
        """Return the whole number at a position from 0."""
        return self.low + index

    def at(self, unit: float) -> int | float:
        """Map [0, 1) to the numbers; a whole one gets the part that rounds to it."""
        half = 0.5 if self.whole else 0.0
        low, high = self.low - half, self.high + half
        if self.log:
            found = math.exp(_between(math.log(low), math.log(high), unit))
        else:
            found = _between(low, high, unit)
        return min(max(round(found) if self.whole else found, self.low), self.high)


Axis: TypeAlias = Choices | Steps | Interval
"""The values of one parameter, in order."""


class ParameterSpace:
    """All combinations of the values of some parameters, less those that a constraint excludes.

    Args:
        dimensions: Values by parameter; without any there is one combination, the empty one.
        constraint: What combinations have to fulfil.
        fixed: Values of parameters that are not searched, for the constraint.

    Attributes:
        names: The parameters.
        axes: Their values, in the same order.
        size: Number of combinations, those that the constraint excludes included; None if a
            parameter has no end of values.

    Raises:
        ConfigError: A parameter has no values, or its values make no sense, or the constraint names
            what is no parameter; every problem is listed.
    """

    def __init__(
        self,
        dimensions: Mapping[str, Dimension],
        constraint: Expression | None = None,
        fixed: Mapping[str, object] | None = None,
    ) -> None:
        self._fixed = dict(fixed or {})
        self._constraint = constraint
        problems = [
            Problem(message, f"parameter_space.{name}")
            for name, dimension in dimensions.items()
            for message in _problems(dimension)
        ]
        problems += _unknown_names(constraint, {**dict.fromkeys(dimensions), **self._fixed})
        if problems:
            raise ConfigError(problems)
        self.names = tuple(dimensions)
        self.axes = tuple(map(_axis, dimensions.values()))
        counts = [axis.count for axis in self.axes if axis.count is not None]
        self.size = math.prod(counts) if len(counts) == len(self.axes) else None

    def grid(self) -> Iterator[Point]:
        """Return all combinations one by one; the last parameter varies fastest.

        Raises:
            ConfigError: A parameter has no end of values.
        """
        endless = [
            Problem(
                "has no end of values, which a grid cannot try; give it a step or points, "
                "or search with method random, sobol or bayesian",
                f"parameter_space.{name}",
            )
            for name, axis in zip(self.names, self.axes, strict=True)
            if axis.count is None
        ]
        if endless or self.size is None:
            raise ConfigError(endless)
        return filter(self.admits, map(self.point, range(self.size)))

    def point(self, index: int) -> Point:
        """Return the combination at a position of the grid, from 0, whatever the constraint says.

        Args:
            index: Below `size`.
        """
        values: list[Scalar] = []
        for axis in reversed(self.axes):
            index, place = divmod(index, axis.count or 1)
            values.append(axis.value(place))
        return dict(zip(self.names, reversed(values), strict=True))

    def admits(self, point: Point) -> bool:
        """Whether a combination fulfils the constraint.

        Raises:
            ConfigError: The constraint orders or calculates with values of the wrong type.
        """
        if self._constraint is None:
            return True
        return self._constraint.holds({**self._fixed, **point}.__getitem__)

    def at(self, unit: Sequence[float]) -> Point:
        """Map a point of the unit cube to a combination, whatever the constraint says.

        Args:
            unit: A number in [0, 1) for each parameter, in the order of `names`.
        """
        values = [axis.at(share) for axis, share in zip(self.axes, unit, strict=True)]
        return dict(zip(self.names, values, strict=True))


def _unknown_names(constraint: Expression | None, known: Collection[str]) -> Sequence[Problem]:
    try:
        if constraint is not None:
            constraint.check_names(known)
    except ConfigError as error:
        return error.problems
    return ()


def _problems(dimension: Dimension) -> Iterator[str]:
    if isinstance(dimension, ParameterRange):
        yield from _range_problems(dimension)
    elif not dimension:
        yield "has no values; list at least one, or leave the parameter out"
    else:
        yield from _list_problems(dimension)


def _list_problems(values: Sequence[Scalar]) -> Iterator[str]:
    for value in values:
        if isinstance(value, float) and not math.isfinite(value):
            yield f"{value} is not a finite number"
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{value!r} is listed {count} times; keep one of them"


def _range_problems(span: ParameterRange) -> Iterator[str]:
    if not all(abs(number or 0) <= _LARGEST for number in (span.min, span.max, span.step)):
        yield "min, max and step must be numbers between -9e15 and 9e15"
        return
    if span.min > span.max:
        yield f"min {span.min} is above max {span.max}; exchange them"
    if span.log and span.min <= 0:
        yield f"min must be above 0 on a logarithmic scale, and is {span.min}"
    if span.points is not None and span.min < span.max:
        yield from _points_problems(span, span.points)
    if span.step is not None:
        yield from _step_problems(span, span.step)


def _points_problems(span: ParameterRange, points: int) -> Iterator[str]:
    if span.step is not None:
        yield "step and points exclude each other; keep one of them"
    if not 2 <= points <= _MOST_POINTS:
        yield f"points must be from 2 to {_MOST_POINTS}, and is {points}"
    elif _is_lost(span, (span.max - span.min) / (points - 1)):
        yield f"{points} points are too many to be told apart"


def _step_problems(span: ParameterRange, step: float) -> Iterator[str]:
    if span.log:
        yield "step cannot be used on a logarithmic scale; give points instead"
    if step <= 0:
        yield f"step must be above 0, and is {step}"
    elif _is_lost(span, step):
        yield f"step {step} is too small to tell the values apart"


def _is_lost(span: ParameterRange, distance: float) -> bool:
    """Whether neighbouring values can be the same number."""
    size = max(abs(span.min), abs(span.max))
    return size - distance / 2 == size


def _axis(dimension: Dimension) -> Axis:
    if not isinstance(dimension, ParameterRange):
        return Choices(tuple(dimension))
    numbers = (dimension.min, dimension.max, dimension.step)
    whole = all(isinstance(number, int) for number in numbers if number is not None)
    low, high = dimension.min, dimension.max
    if not whole:
        low, high = float(low), float(high)
    if low == high:
        return Choices((low,))
    if dimension.points is not None:
        spread = _log_spread if dimension.log else _spread
        return spread(dimension.points, low, high, whole=whole)
    if dimension.log or (dimension.step is None and not whole):
        return Interval(low=low, high=high, log=dimension.log, whole=whole)
    return _steps(low, high, dimension.step or 1, whole=whole)


def _steps(low: float, high: float, step: float, *, whole: bool) -> Steps:
    start, stride = _exact(low), _exact(step)
    divisor = math.lcm(start.denominator, stride.denominator)
    return Steps(
        start=int(start * divisor),
        stride=int(stride * divisor),
        divisor=divisor,
        count=math.floor((_exact(high) - start) / stride + _NEARLY) + 1,
        whole=whole,
        last=high,
    )


def _spread(points: int, low: float, high: float, *, whole: bool) -> Steps:
    """Return so many values from ``low`` to ``high``, or all whole numbers if they are fewer."""
    if whole and points > high - low:
        return _steps(low, high, 1, whole=True)
    start, end = _exact(low), _exact(high)
    divisor = math.lcm(start.denominator, end.denominator) * (points - 1)
    return Steps(
        start=int(start * divisor),
        stride=int((end - start) * divisor) // (points - 1),
        divisor=divisor,
        count=points,
        whole=whole,
        last=high,
    )


def _log_spread(points: int, low: float, high: float, *, whole: bool) -> Choices:
    inner = [
        math.exp(_between(math.log(low), math.log(high), index / (points - 1)))
        for index in range(1, points - 1)
    ]
    rounded = [round(value) if whole else float(f"{value:.{_DIGITS}g}") for value in inner]
    clipped = [min(max(value, low), high) for value in rounded]
    return Choices(tuple(dict.fromkeys([low, *clipped, high])), ordered=True)


def _exact(number: float) -> Fraction:
    """Return the number as it is written: 0.1 is a tenth."""
    return Fraction(repr(number))


def _between(low: float, high: float, share: float) -> float:
    return low * (1.0 - share) + high * share


def _bin(unit: float, count: int) -> int:
    return min(int(unit * count), count - 1)
