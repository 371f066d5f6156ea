"""How an execution window ended, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from admf.engine.container import Container, Status
from admf.engine.failures import describe

__all__ = ["ContainerSummary", "WindowSummary"]


class ContainerSummary(msgspec.Struct, frozen=True):
    """How one container's part in a window ended; ``error`` is empty if it went well."""

    id: str
    role: str
    status: Status
    error: str = ""

    @classmethod
    def of(cls, container: Container) -> ContainerSummary:
        """Return the summary of a container as it stands."""
        error = "" if container.error is None else describe(container.error)
        return cls(container.id, container.role, container.status, error)


class WindowSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What the commit record says of a window, besides its files.

    Args:
        status: ``completed`` only if the run reached its end and everything was written.
        containers: The containers in the order in which they started.
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
