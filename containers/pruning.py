"""When a lane is looked at, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable

from admf.containers.config import LanePruning
from admf.containers.metrics.catalogue import METRICS
from admf.engine.errors import ConfigError, Problem, did_you_mean

__all__ = ["Pruner"]


class Pruner:
    """The rule by which the lanes of a window are given up; it is shared by them.

    Args:
        config: The rule.
        window_steps: Time steps of the window; at its end nobody is looked at.

    Raises:
        ConfigError: There is no such metric, or it stands without a threshold, or the other way
            round.
    """

    def __init__(self, config: LanePruning, window_steps: int) -> None:
        _check(config)
        self._config = config
        self._window_steps = window_steps

    def looks(self, first_step: int, steps: int) -> list[int]:
        """Return after how many steps of a block the lanes are looked at.

        Args:
            first_step: Index of the block's first time step within the window.
            steps: Time steps of the block.
        """
        after, every = self._config.after_bars, self._config.every_bars
        passed = max(0, -(-(first_step + 1 - after) // every))
        stop = min(self._window_steps, first_step + steps + 1)
        return [look - first_step for look in range(after + passed * every, stop, every)]

    def gives_up(self, metric: Callable[[str], float | None]) -> bool:
        """Whether a lane is to end.

        Args:
            metric: Returns a metric of the lane so far; None if it is undefined.
        """
        config = self._config
        if config.max_drawdown_pct is not None:
            drawdown = metric("max_drawdown")
            if drawdown is not None and drawdown <= -config.max_drawdown_pct / 100:
                return True
        if config.metric is None or config.threshold is None:
            return False
        value = metric(config.metric)
        if value is None:
            return False
        return value < config.threshold if config.maximize else value > config.threshold


def _check(config: LanePruning) -> None:
    names = [info.name for info in METRICS]
    if config.metric is not None and config.metric not in names:
        hint = did_you_mean(config.metric, names)
        raise ConfigError(
            [Problem(f"there is no metric {config.metric!r}{hint}", "pruning.metric")]
        )
    if (config.metric is None) != (config.threshold is None):
        field = "metric" if config.metric is None else "threshold"
        raise ConfigError(
            [Problem("metric and threshold are given together, or neither", f"pruning.{field}")]
        )
