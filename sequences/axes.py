"""The values that a parameter of a search can take, in order.

Values of a range are computed from their position with whole numbers, so that steps of 0.1 give
0.3 and neither drift nor depend on where one starts.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final, TypeAlias

import msgspec

from admf.sequences.config import Dimension, ParameterRange, Scalar

__all__ = ["Axis", "Choices", "Interval", "Steps", "axis_of", "dimension_problems"]

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


def dimension_problems(dimension: Dimension) -> Iterator[str]:
    """Yield what is wrong with the values of a parameter."""
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


def axis_of(dimension: Dimension) -> Axis:
    """Return the values of a parameter that has no problems."""
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
