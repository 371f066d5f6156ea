"""What the signals that ask the process to end lead to."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from admf.workflows.cli.exits import ExitCode

__all__ = ["escalating_signals"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def escalating_signals(*answers: Callable[[], None]) -> Generator[None]:
    """Answer the first signals with one call each, in the event loop; the next ends the process.

    The signals are caught by Python itself rather than by the event loop, so the last one also ends
    a process whose event loop is stuck in the user's code. Outside the main thread, where Python
    delivers no signals, this does nothing.

    Args:
        answers: Called in turn.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    pending = list(answers)

    def handle(_signum: int, _frame: FrameType | None) -> None:
        if not pending:
            os._exit(ExitCode.INTERRUPTED)
        loop.call_soon_threadsafe(pending.pop(0))

    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
