"""TA-Lib's functions: which there are, what they take, and their values over whole columns."""

from __future__ import annotations

import numbers
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from admf.engine.errors import ConfigError, did_you_mean

__all__ = ["BAR_COLUMNS", "CHUNK", "Indicator", "indicator_names", "resolve_indicator"]

BAR_COLUMNS = ("open", "high", "low", "close", "volume")

CHUNK = 262_144
"""Bars that are computed at once, after some that lie before them: their context."""

_LEAST_CONTEXT = 16_384
_LOOKBACKS = 32
"""Lookbacks after which recursive averages, Wilder's too, have forgotten all before, to 1e-13."""

_NEED_ALL = frozenset(
    {
        *("ad", "adosc", "cumsum", "nvi", "obv", "pvi", "pvt", "vwap", "wad"),  # sums of all bars
        *("maxindex", "minindex", "minmaxindex"),  # count from the first bar
        *("sar", "sarext"),  # turn where earlier turns let them
    }
)
"""Functions whose value may depend on any bar before."""

_FIXED_INPUT = "prices"


class Indicator(msgspec.Struct, frozen=True):
    """A TA-Lib function with its inputs and parameters settled.

    Args:
        function: TA-Lib's name in lower case.
        inputs: Columns of the bars, in TA-Lib's order.
        parameters: All parameters, in TA-Lib's order, defaults filled in.
        outputs: Names of what it returns.
        lookback: Bars before the first value.
    """

    function: str
    inputs: tuple[str, ...]
    parameters: tuple[float, ...]
    outputs: tuple[str, ...]
    lookback: int

    @property
    def needs_all(self) -> bool:
        """Whether a value may depend on bars that lie further back than a chunk."""
        return self.function in _NEED_ALL or _LOOKBACKS * self.lookback > CHUNK

    def chunks(self, rows: int) -> Iterator[tuple[int, int, int]]:
        """Yield what is to be computed one after the other: context, start and stop of each chunk.

        Args:
            rows: How many bars there are. Chunks are counted from the first one, so that a value
                does not depend on where anybody begins to look.
        """
        size = max(rows, 1) if self.needs_all else CHUNK
        context = max(_LEAST_CONTEXT, _LOOKBACKS * self.lookback)
        for start in range(0, rows, size):
            yield max(0, start - context), start, min(start + size, rows)

    def compute(
        self, columns: Mapping[str, NDArray[np.float64]]
    ) -> tuple[NDArray[np.float64], ...]:
        """Return every output over whole columns, NaN while it warms up.

        Args:
            columns: float64 (n,) each, by name; the inputs must be among them.

        Returns:
            float64 (n,) for each of ``outputs``; integer outputs are converted.
        """
        function = getattr(_talib(), self.function.upper())
        returned = function(*(columns[name] for name in self.inputs), *self.parameters)
        arrays: tuple[NDArray[Any], ...] = returned if len(self.outputs) > 1 else (returned,)
        return tuple(self._as_float(array) for array in arrays)

    def _as_float(self, values: NDArray[Any]) -> NDArray[np.float64]:
        if values.dtype == np.float64:
            return values
        converted = values.astype(np.float64)
        converted[: self.lookback] = np.nan  # an integer array could only say 0 here
        return converted

    def output_index(self, name: str | None) -> int:
        """Return the position of an output; ``None`` stands for the only one.

        Raises:
            ConfigError: There is no such output, or there are several and none was chosen.
        """
        known = ", ".join(self.outputs)
        if name is None:
            if len(self.outputs) > 1:
                raise ConfigError(f"{self.function} has several outputs; choose output= of {known}")
            return 0
        if name not in self.outputs:
            hint = did_you_mean(name, self.outputs)
            raise ConfigError(f"{self.function} has no output {name!r}{hint}; it has {known}")
        return self.outputs.index(name)


@cache
def indicator_names() -> tuple[str, ...]:
    """Return the names of all of TA-Lib's functions, in lower case, sorted."""
    names: list[str] = _talib().get_functions()
    return tuple(sorted(name.lower() for name in names))


def resolve_indicator(function: str, params: Sequence[float], on: str | None = None) -> Indicator:
    """Return a TA-Lib function with its inputs and parameters checked and settled.

    Args:
        function: TA-Lib's name in lower case.
        params: Leading parameters, in TA-Lib's order; the others keep TA-Lib's defaults.
        on: Column to read instead of the close, for a function of one free input.

    Raises:
        ConfigError: The function is not known, does not fit bars, or its parameters do not fit it.
    """
    known = indicator_names()
    if function not in known:
        hint = did_you_mean(function.lower(), known)
        raise ConfigError(f"unknown indicator {function!r}{hint}")
    described = _describe(function)
    inputs = _inputs(function, described.inputs, on)
    settled = _parameters(function, described.defaults, params)
    lookback = _lookback(function, tuple(settled.values()))
    if lookback < 0:
        given = ", ".join(f"{name}={value}" for name, value in settled.items())
        usage = _usage(function, described.defaults)
        raise ConfigError(f"{function}: TA-Lib refuses {given} as out of range; {usage}")
    return Indicator(function, inputs, tuple(settled.values()), described.outputs, lookback)


def _talib() -> Any:
    """Import TA-Lib when it is needed: it takes long, and brings pandas if that is installed."""
    import talib

    return talib


class _Description(msgspec.Struct, frozen=True):
    """What TA-Lib says of one of its functions, each in TA-Lib's order."""

    inputs: Mapping[str, str | list[str]]
    defaults: Mapping[str, float]
    outputs: tuple[str, ...]


def _abstract(function: str) -> Any:
    from talib import abstract

    return cast("Any", abstract).Function(function)


@cache  # as many as TA-Lib has functions
def _describe(function: str) -> _Description:
    found = _abstract(function)
    return _Description(found.input_names, found.parameters, tuple(found.output_names))


@lru_cache(maxsize=4096)
def _lookback(function: str, parameters: tuple[float, ...]) -> int:
    """Return the bars before the first value, or -1 if TA-Lib does not take the parameters."""
    found = _abstract(function)
    found.set_function_args(**dict(zip(found.parameters, parameters, strict=True)))
    try:
        lookback: int = found.lookback
    except OverflowError:  # more than TA-Lib's integers hold
        return -1
    return lookback


def _inputs(function: str, names: Mapping[str, str | list[str]], on: str | None) -> tuple[str, ...]:
    """Lay out the input columns; what TA-Lib calls ``prices`` is fixed, the rest is free."""
    free = [name for name in names if name != _FIXED_INPUT]
    inputs: list[str] = []
    for name, default in names.items():
        if name == _FIXED_INPUT:
            inputs.extend(default)
        else:
            inputs.append(on if on and len(free) == 1 else str(default))
    if on is not None and len(free) != 1:
        raise ConfigError(f"{function} takes {', '.join(inputs)}; on={on!r} cannot replace them")
    for column in inputs:
        if column not in BAR_COLUMNS:
            hint = did_you_mean(column, BAR_COLUMNS)
            raise ConfigError(f"{function}: bars have no column {column!r}{hint}")
    return tuple(inputs)


def _parameters(
    function: str, defaults: Mapping[str, float], params: Sequence[object]
) -> dict[str, float]:
    if len(params) > len(defaults):
        raise ConfigError(
            f"{function} takes at most {len(defaults)} parameters, got {len(params)}; "
            f"{_usage(function, defaults)}"
        )
    settled = dict(defaults)
    for name, value in zip(defaults, params, strict=False):
        kind = numbers.Integral if isinstance(defaults[name], int) else numbers.Real
        if isinstance(value, bool) or not isinstance(value, kind):
            wanted = "an integer" if kind is numbers.Integral else "a number"
            raise ConfigError(
                f"{function}: {name} must be {wanted}, got {value!r}; {_usage(function, defaults)}"
            )
        settled[name] = type(defaults[name])(value)
    return settled


def _usage(function: str, defaults: Mapping[str, float]) -> str:
    listed = ", ".join(f"{name}={default}" for name, default in defaults.items())
    return f"its parameters and defaults are {function}({listed})"
