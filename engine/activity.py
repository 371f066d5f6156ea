"""What goes on: runs, phases, windows and flushes, each a part of another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from admf.engine.window import ExecutionWindow

__all__ = ["Activity", "ActivityKind", "Attribute"]

ActivityKind: TypeAlias = Literal["run", "phase", "window", "flush"]
Attribute: TypeAlias = str | int | float | bool


class Activity:
    """Work that takes time and may have parts: a run, its phases, their windows, a window's flush.

    Attributes:
        kind: What it is.
        name: Its id among those of its kind, e.g. the id of the window.
        parent: What it is a part of; None for the outermost.
        attributes: What is known of it; more of it once it is over.
        window: The window, of which a bus and containers are to be had until it is closed; None
            for other kinds, and for windows that run in another process.
        status: ``running``, and then how it ended: ``completed``, ``failed`` or ``cancelled``; a
            phase may be ``skipped`` too.
        errors: What went wrong, the first cause first.
    """

    __slots__ = ("attributes", "errors", "kind", "name", "parent", "status", "window")

    def __init__(
        self,
        kind: ActivityKind,
        name: str,
        parent: Activity | None = None,
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
        window: ExecutionWindow | None = None,
    ) -> None:
        self.kind: ActivityKind = kind
        self.name = name
        self.parent = parent
        self.attributes: dict[str, Attribute] = dict(attributes)
        self.window = window
        self.status = "running"
        self.errors: tuple[BaseException, ...] = ()

    def __repr__(self) -> str:
        return f"<Activity {self.kind} {self.name!r} {self.status}>"

    def nearest(self, kind: ActivityKind) -> Activity | None:
        """Return this activity, or the nearest that it is a part of, that is of a kind."""
        activity: Activity | None = self
        while activity is not None and activity.kind != kind:
            activity = activity.parent
        return activity

    def end(
        self,
        status: str,
        errors: Iterable[BaseException] = (),
        attributes: Mapping[str, Attribute] = MappingProxyType({}),
    ) -> None:
        """Say how it ended, and what is known of it by now; whoever says so first has it."""
        if self.status == "running":
            self.status = status
            self.errors = tuple(errors)
        self.attributes.update(attributes)
