"""Where a container stands in its life, and which way it may go from there."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

__all__ = ["TRANSITIONS", "ContainerState", "Health", "Status"]

Status: TypeAlias = Literal["completed", "failed", "cancelled"]
"""How an execution window, or a container's part in it, ended."""

Health: TypeAlias = Literal["healthy", "degraded", "failed"]
"""How a container is: it never failed; it did and went on; it failed for good."""


class ContainerState(enum.Enum):
    """Where a container stands in its life."""

    CREATED = "created"
    STARTING = "starting"
    RUNNING = "running"
    DEGRADED = "degraded"
    """It runs, and something in it has failed; see `Supervision`."""
    PAUSED = "paused"
    STOPPING = "stopping"
    FLUSHING = "flushing"
    DESTROYED = "destroyed"
    FAILED = "failed"


_S = ContainerState

TRANSITIONS: Mapping[ContainerState, frozenset[ContainerState]] = MappingProxyType(
    {
        _S.CREATED: frozenset({_S.STARTING, _S.FAILED}),
        _S.STARTING: frozenset({_S.RUNNING, _S.FAILED}),
        _S.RUNNING: frozenset({_S.DEGRADED, _S.PAUSED, _S.STOPPING, _S.FAILED}),
        _S.DEGRADED: frozenset({_S.PAUSED, _S.STOPPING, _S.FAILED}),
        _S.PAUSED: frozenset({_S.RUNNING, _S.DEGRADED, _S.STOPPING, _S.FAILED}),
        _S.STOPPING: frozenset({_S.FLUSHING, _S.FAILED}),
        _S.FLUSHING: frozenset({_S.DESTROYED, _S.FAILED}),
        _S.FAILED: frozenset({_S.FLUSHING}),
        _S.DESTROYED: frozenset(),
    }
)
