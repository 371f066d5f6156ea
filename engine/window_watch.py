"""Tells observers of one execution window, and of its flush."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import AbstractContextManager, contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

from admf.engine.activity import Activity, Attribute
from admf.engine.container import Container, WriteDocument
from admf.engine.observing import ContainerFlush, Observers
from admf.engine.summary import WindowSummary
from admf.engine.window_spec import WindowSpec

if TYPE_CHECKING:
    from admf.engine.window import ExecutionWindow

__all__ = ["WindowWatch", "attributes_of", "figures_of"]


class WindowWatch:
    """What a window has to tell its observers; nothing, at no cost, if it has none.

    Args:
        observers: Are told.
    """

    __slots__ = ("_flush", "_observers", "_window")

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._window: Activity | None = None
        self._flush: Activity | None = None

    def opened(self, window: ExecutionWindow) -> None:
        """Tell that a window starts."""
        name, attributes = window.bus.name, attributes_of(window.spec)
        self._window = self._observers.open("window", name, attributes, window=window)

    def describe(self, attributes: Mapping[str, Attribute]) -> None:
        """Take in what the topology says of the window."""
        if self._window is not None:
            self._window.attributes.update(attributes)

    def within(self) -> AbstractContextManager[None]:
        """Have code run for the window."""
        return self._observers.within(self._window)

    @contextmanager
    def flushing(self, containers: int) -> Generator[None]:
        """Tell of the flush, in which so many containers have something to write."""
        with self._observers.activity("flush", "flush", {"containers": containers}) as self._flush:
            yield

    async def flush(self, container: Container, write: WriteDocument) -> None:
        """Flush a container, and tell how long it took."""
        if self._window is None:
            await container.flush(write)
            return
        start = perf_counter()
        error: BaseException | None = None
        try:
            await container.flush(write)
        except BaseException as failure:
            error = failure
            raise
        finally:
            seconds = perf_counter() - start
            within = self._flush or self._window
            it = ContainerFlush(container.id, container.role, seconds, error, within)
            self._observers.tell("container_flushed", it)

    def flushed(self, errors: Iterable[Exception | None]) -> None:
        """Say how the flush has gone, before it ends; None stands for one that succeeded."""
        if self._flush is not None:
            found = [error for error in errors if error is not None]
            self._flush.end("failed" if found else "completed", found)

    def closed(
        self, window: ExecutionWindow, summary: WindowSummary, errors: Iterable[BaseException]
    ) -> None:
        """Tell that the window is over."""
        if self._window is None:
            return
        counts = window.bus.counts
        events = counts.published + counts.in_scopes
        figures = figures_of(summary) | {"events": events}
        self._window.end(summary.status, errors, figures)
        self._observers.close(self._window)
        self._window = None


def attributes_of(spec: WindowSpec) -> dict[str, Attribute]:
    """Return what is known of a window before it starts."""
    return {
        "workflow_id": spec.workflow_id,
        "phase": spec.phase_name,
        "window_id": spec.window_id,
        "topology": spec.topology,
        "seed": spec.seed,
    }


def figures_of(summary: WindowSummary) -> dict[str, Attribute]:
    """Return what is known of a window that is over: of its report, what is a single value."""
    return {
        "containers": len(summary.containers),
        "failed": sum(bool(it.error) for it in summary.containers),
        **({"error": summary.errors[0]} if summary.errors else {}),
        **{name: it for name, it in summary.report.items() if isinstance(it, Attribute)},
    }
