"""The log of the command line: plain lines on standard error."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

from admf.workflows.cli.streams import shows_colors, write_error

__all__ = ["configure_logging"]


def configure_logging(*, verbose: bool) -> None:
    """Send the log to standard error.

    Args:
        verbose: From level info instead of warning, and with what the command tells anyway.
    """
    level = logging.INFO if verbose else logging.WARNING
    structlog.configure(
        processors=[
            *([] if verbose else [_not_twice]),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(colors=shows_colors(), pad_event_to=0, pad_level=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_loggers,
        cache_logger_on_first_use=False,
    )


def _not_twice(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Drop the lines of windows and run: how they ended is what the command reports."""
    if event["event"] in ("window_closed", "run_closed"):
        raise structlog.DropEvent
    return event


class _Lines:
    """Writes lines to whatever standard error is at the moment, as a progress bar replaces it."""

    def msg(self, line: str) -> None:
        write_error(f"{line}\n")

    debug = info = warning = error = critical = msg


def _loggers(*_: object) -> _Lines:
    return _Lines()
