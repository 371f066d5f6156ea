"""Quantiles of a stream in bounded memory, those of returns above all."""

from __future__ import annotations

import math

import numpy as np
from fastdigest import TDigest

from admf.containers.metrics.chunks import CHUNK, Floats
from admf.containers.metrics.ratio import ratio

__all__ = ["EXACT_SAMPLES", "QuantileAccumulator"]

EXACT_SAMPLES = 16 * CHUNK

_FEWEST = 128
_GROUP = 8
_TAIL = 0.05


class QuantileAccumulator:
    """Exact up to a number of values, an estimate beyond.

    Values are collected in a buffer; each time it is full and more come, it is sorted and its
    neighbours are averaged in groups of eight, which the t-digest (1,000 centroids) takes with
    that weight. This costs a fifth of the time of single values and no accuracy that could be
    measured: both put the 5 % quantile within about 0.001 of itself.

    Args:
        exact: Values up to which the quantiles are exact, a multiple of eight.

    Source: Dunning and Ertl (2019), "Computing extremely accurate quantiles using t-digests".
    """

    def __init__(self, exact: int = EXACT_SAMPLES) -> None:
        self._exact = exact
        self._buffer = np.empty(0)
        self._filled = 0
        self._digest: TDigest | None = None
        self._known_tails: tuple[float, ...] | None = None

    def copied(self) -> QuantileAccumulator:
        """Return an accumulator of the same values, which goes on by itself."""
        copied = QuantileAccumulator(self._exact)
        copied._buffer = self._buffer[: self._filled].copy()
        copied._filled = self._filled
        copied._digest = None if self._digest is None else self._digest.copy()
        return copied

    @property
    def approximate(self) -> bool:
        """Whether there were more values than are kept exactly."""
        return self._digest is not None

    def fold(self, values: Floats) -> None:
        """Take float64 (n,) values, in any portions."""
        self._known_tails = None
        start = 0
        while start < len(values):
            if self._filled == self._exact:
                self._compress()
            stop = min(len(values), start + self._exact - self._filled)
            self._make_room(self._filled + stop - start)
            self._buffer[self._filled : self._filled + stop - start] = values[start:stop]
            self._filled += stop - start
            start = stop

    def quantiles(self, *shares: float) -> tuple[float, ...] | None:
        """Return the quantiles at some shares (0.5: the median), with linear interpolation.

        Where they are estimates, those far out in the tails are drawn towards the middle.

        None: without values.
        """
        if self._digest is not None:
            digest = self._whole(self._digest)
            return tuple(digest.quantile(share) for share in shares)
        if not self._filled:
            return None
        values = np.sort(self._buffer[: self._filled])
        return tuple(_interpolated(values, share) for share in shares)

    def value_at_risk_95(self) -> float | None:
        """5 % quantile of the returns, linear interpolation; a loss is negative.

        Null: without returns. Source: empyrical ``value_at_risk`` (historical simulation).
        """
        return self._tails()[0]

    def conditional_value_at_risk_95(self) -> float | None:
        """Mean of the returns that are not above `value_at_risk_95`.

        Null: without returns. Source: Rockafellar and Uryasev (2000).
        """
        if self._digest is not None:
            return float(self._whole(self._digest).trimmed_mean(0.0, _TAIL))
        low = self._tails()[0]
        values = self._buffer[: self._filled]
        return None if low is None else float(values[values <= low].mean())

    def tail_ratio(self) -> float | None:
        """``|95 % quantile| / |5 % quantile|`` of the returns.

        Null: without returns, or if the 5 % quantile is 0. Source: empyrical ``tail_ratio``.
        """
        low, high = self._tails()
        return None if low is None or high is None else ratio(abs(high), abs(low))

    def _make_room(self, count: int) -> None:
        if count > len(self._buffer):
            larger = np.empty(min(self._exact, max(2 * count, _FEWEST)))
            larger[: self._filled] = self._buffer[: self._filled]
            self._buffer = larger

    def _compress(self) -> None:
        groups = np.sort(self._buffer).reshape(-1, _GROUP).mean(axis=1)
        self._digest = self._digest or TDigest()
        self._digest.batch_update(groups.tolist(), float(_GROUP))
        self._filled = 0

    def _tails(self) -> tuple[float, ...] | tuple[None, None]:
        if self._known_tails is None:
            self._known_tails = self.quantiles(_TAIL, 1.0 - _TAIL)
        return self._known_tails or (None, None)

    def _whole(self, digest: TDigest) -> TDigest:
        whole = digest.copy()
        if self._filled:
            whole.batch_update(self._buffer[: self._filled].tolist())
        return whole


def _interpolated(values: Floats, share: float) -> float:
    """Return a quantile of sorted values: that of `numpy.quantile`, bit by bit, in less time.

    Source: Hyndman and Fan (1996), definition 7.
    """
    last = len(values) - 1
    place = last * share
    before, after = (-1, -1) if place >= last else (math.floor(place), math.floor(place) + 1)
    low, high, weight = float(values[before]), float(values[after]), place - before
    return high - (high - low) * (1.0 - weight) if weight >= 0.5 else low + (high - low) * weight
