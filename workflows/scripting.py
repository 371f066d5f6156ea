"""Running an experiment by a single call, as in scripts and notebooks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import anyio

from admf.workflows.outcome import RunResult
from admf.workflows.preparation import ExperimentSource
from admf.workflows.progress import RunProgress
from admf.workflows.runner import Runner, Workers

__all__ = ["run", "run_async"]


async def run_async(
    experiment: ExperimentSource,
    *,
    overrides: Iterable[str] = (),
    results_root: str | os.PathLike[str] = "results",
    overwrite: bool = False,
    resume: bool = False,
    allow_changed: bool = False,
    frames: Mapping[str, Any] | None = None,
    workers: Workers = 1,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> RunResult:
    """Run an experiment in the caller's event loop, as in a notebook.

    Args:
        experiment: A file, or a mapping with the same fields.
        overrides: ``a.b=value`` each, as ``--set`` takes them.
        results_root: Folder below which the run has its own.
        overwrite: Replace results that an earlier run left there.
        resume: Go on from such results; see `Runner`.
        allow_changed: Go on even if something has changed since; see `Runner`.
        frames: Data frames by symbol, for experiments with ``source: frames``.
        workers: Processes that run windows side by side; see `Runner`.
        on_progress: Called as bars are handled.

    Raises:
        ConfigError: The experiment has mistakes; every one is named.
        DataError: The data cannot be used.
        StorageError: Results cannot be written.
    """
    runner = Runner(
        results_root=results_root,
        overwrite=overwrite,
        resume=resume,
        allow_changed=allow_changed,
        frames=frames,
        workers=workers,
    )
    return await runner.run(runner.load(experiment, overrides), on_progress=on_progress)


def run(
    experiment: ExperimentSource,
    *,
    overrides: Iterable[str] = (),
    results_root: str | os.PathLike[str] = "results",
    overwrite: bool = False,
    resume: bool = False,
    allow_changed: bool = False,
    frames: Mapping[str, Any] | None = None,
    workers: Workers = 1,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> RunResult:
    """Run an experiment and wait for it, as in a script; see `run_async`."""
    return anyio.run(
        partial(
            run_async,
            experiment,
            overrides=overrides,
            results_root=results_root,
            overwrite=overwrite,
            resume=resume,
            allow_changed=allow_changed,
            frames=frames,
            workers=workers,
            on_progress=on_progress,
        )
    )
