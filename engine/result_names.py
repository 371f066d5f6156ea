"""What the files and folders of results are called; see `admf.engine.results` for the tree."""

from __future__ import annotations

from admf.engine.packing import plain_name

__all__ = [
    "AGGREGATE_FILE",
    "COMMIT_FILE",
    "CONTAINERS",
    "RESULTS_END",
    "RUN_FILE",
    "TRACE_END",
    "TRADES_FILE",
    "container_of",
    "results_path",
    "trace_path",
]

RUN_FILE = "run.json"
COMMIT_FILE = "phase_summary.json"
AGGREGATE_FILE = "aggregate_results.json"
TRADES_FILE = "all_trades.json"
CONTAINERS = "containers"

RESULTS_END = "_results.json"
TRACE_END = "_trace.frames"
"""How the names of a container's files end, the suffix of a compression aside."""


def results_path(container_id: str) -> str:
    """Return the path of a container's results in the folder of its window."""
    return f"{CONTAINERS}/{container_id}{RESULTS_END}"


def trace_path(container_id: str) -> str:
    """Return the path of a container's trace in the folder of its window."""
    return f"{CONTAINERS}/{container_id}{TRACE_END}"


def container_of(path: str) -> str | None:
    """Return what stands before the end of the name of a container's results; None of others."""
    plain = plain_name(path)
    return plain.removesuffix(RESULTS_END) if plain.endswith(RESULTS_END) else None
