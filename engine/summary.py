"""How an execution window ended, as plain data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec
import structlog

from admf.engine.container import Container
from admf.engine.container_state import Health, Status
from admf.engine.failures import describe

__all__ = ["ContainerSummary", "SessionCounts", "WindowSummary", "log_window"]


_log = structlog.get_logger()
_LEVELS: Mapping[Status, int] = MappingProxyType(
    {"completed": logging.INFO, "cancelled": logging.WARNING, "failed": logging.ERROR}
)


class ContainerSummary(msgspec.Struct, frozen=True, omit_defaults=True):
    """How one container's part in a window ended.

    Args:
        error: What made it fail; empty if it went well.
        after_seq: It was added when its scope had given this sequence number, and saw what came
            after.
        last_seq: It was removed when its scope had given this sequence number.
        successor: Id of the container that took its place then.
        health: ``degraded`` if it failed and went on.
        failures: How often it did.
    """

    id: str
    role: str
    status: Status
    error: str
    after_seq: int = 0
    last_seq: int | None = None
    successor: str = ""
    health: Health = "healthy"
    failures: int = 0

    @classmethod
    def of(cls, container: Container, successor: str = "") -> ContainerSummary:
        """Return the summary of a container as it stands."""
        error = "" if container.error is None else describe(container.error)
        return cls(
            container.id,
            container.role,
            container.status,
            error,
            after_seq=container.after_seq,
            last_seq=container.last_seq,
            successor=successor,
            health=container.health,
            failures=container.failures,
        )


class WindowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the commit record says of a window, besides its files.

    Args:
        status: ``completed`` only if the run reached its end and everything was written.
        containers: The containers in the order in which they started; at the end those that left
            before the window did, in the order in which they left.
        errors: What went wrong in the window as a whole, the first cause first.
        report: What the topology's reports returned, merged.
        fingerprint: That of the window's `WindowSpec`.
    """

    workflow_id: str
    phase_name: str
    window_id: str
    topology: str
    seed: int
    status: Status
    containers: tuple[ContainerSummary, ...]
    errors: tuple[str, ...]
    report: Mapping[str, Any]
    fingerprint: str = ""


class SessionCounts(msgspec.Struct, frozen=True):
    """What a session has done so far.

    Args:
        events: Events taken from the source.
        opened: Windows that took, or take, events.
        closed: Those of them that are flushed and committed, or failed to be.
        failed: Those of the closed ones that failed.
        acknowledged: Those whose events were acknowledged to the source.
    """

    events: int = 0
    opened: int = 0
    closed: int = 0
    failed: int = 0
    acknowledged: int = 0


def log_window(summary: WindowSummary) -> None:
    """Leave one line in the log, if the host has configured one; structlog's default prints."""
    if not structlog.is_configured():
        return
    _log.log(
        _LEVELS[summary.status],
        "window_closed",
        workflow_id=summary.workflow_id,
        phase=summary.phase_name,
        window_id=summary.window_id,
        status=summary.status,
        containers=len(summary.containers),
        failed=sum(bool(container.error) for container in summary.containers),
        errors=summary.errors,
    )
