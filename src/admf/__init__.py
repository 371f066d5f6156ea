"""An asyncio event-bus engine with pluggable containers, and quantitative studies that run on it.

`run` and `run_async` run an experiment; `Runner` runs many inside an application, each a `Run`.
What they left is read with `admf.results`. The engine alone, without markets, is `admf.engine`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from admf.workflows.outcome import RunResult
    from admf.workflows.progress import RunProgress
    from admf.workflows.run import Run
    from admf.workflows.runner import Runner
    from admf.workflows.scripting import run, run_async

__all__ = ["Run", "RunProgress", "RunResult", "Runner", "run", "run_async"]


def __getattr__(name: str) -> Any:
    """Import the top layer when it is first asked for, so that the engine alone stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from admf import workflows

    return getattr(workflows, name)
