"""The code that results depend on and that no version stands for: the user's own modules."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from admf.containers.strategies.loading import strategy_class
from admf.engine.registry import Registry
from admf.sequences.phase import ResolvedPhase
from admf.workflows.workflow import Workflow

__all__ = ["code_digests"]

_OWN = "admf."


def code_digests(
    phases: Iterable[ResolvedPhase],
    name: str,
    workflow: Workflow,
    *,
    registry: Registry,
    folder: Path | None,
) -> Mapping[str, str]:
    """Return the SHA-256 of the file of each strategy and workflow that is not admf's own.

    Modules that such a file imports are not looked at.

    Args:
        phases: They name the strategies.
        name: The workflow's name.
        workflow: The workflow.
        registry: Strategies by name.
        folder: Where the user's modules may lie.

    Returns:
        By the name as it stands in the experiment; what has no file is left out.
    """
    names = dict.fromkeys(phase.settings.strategy.type for phase in phases)
    classes = {it: strategy_class(it, registry, search_path=folder) for it in names}
    found = {it: _digest(cls.__module__) for it, cls in {**classes, name: type(workflow)}.items()}
    return {it: digest for it, digest in found.items() if digest}


def _digest(module: str) -> str:
    """Return the SHA-256 of a module's file; empty for admf's own, and if it has no file."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.startswith(_OWN) or file is None or not Path(file).is_file():
        return ""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()
