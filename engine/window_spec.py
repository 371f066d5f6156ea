"""What an execution window is to do, as plain data."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from admf.engine.retention import TracingConfig

__all__ = ["ResultsStorage", "WindowSpec", "numbered"]

ResultsStorage: TypeAlias = Literal["memory", "disk", "auto"]


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that a window needs, as plain data, so that it runs the same in any process.

    Args:
        workflow_id: The study that the window belongs to.
        phase_name: The phase that the window belongs to.
        window_id: Names the window within its phase; empty if it is the only one.
        topology: Registered name of the topology that makes the containers.
        config: The topology's settings, JSON.
        tracing: What the containers trace, and how much of it they keep.
        results_storage: Where the results go.
        seed: Root of all randomness in the window.
        fingerprint: Stands for all that the results depend on, so that a run that is resumed knows
            which windows are done; empty if nobody asks.
    """

    workflow_id: str
    phase_name: str
    topology: str
    window_id: str = ""
    config: msgspec.Raw = msgspec.Raw(b"{}")
    tracing: TracingConfig = TracingConfig()
    results_storage: ResultsStorage = "disk"
    seed: int = 0
    fingerprint: str = ""


def numbered(template: WindowSpec, number: int) -> WindowSpec:
    """Return the spec of a window of a session, whose id is ``live/000001`` and so on.

    Args:
        template: All of it but the number; its ``window_id``, if it has one, stands for ``live``.
        number: From 1.
    """
    folder = template.window_id or "live"
    return msgspec.structs.replace(template, window_id=f"{folder}/{number:06}")
