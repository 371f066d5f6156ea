"""The parameter space of a search: all combinations of what its parameters can be."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence

from admf.engine.errors import ConfigError, Problem
from admf.sequences.axes import axis_of, dimension_problems
from admf.sequences.config import Dimension, Scalar
from admf.sequences.expressions import Expression
from admf.sequences.outcome import Point

__all__ = ["ParameterSpace"]


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
            for message in dimension_problems(dimension)
        ]
        problems += _unknown_names(constraint, {**dict.fromkeys(dimensions), **self._fixed})
        if problems:
            raise ConfigError(problems)
        self.names = tuple(dimensions)
        self.axes = tuple(map(axis_of, dimensions.values()))
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
