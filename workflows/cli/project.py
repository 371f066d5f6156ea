"""``admf init`` and ``admf schema``: what a new project needs."""

from __future__ import annotations

import shlex
from pathlib import Path

from admf.workflows.cli.streams import write_json, write_out
from admf.workflows.init_project import init_project
from admf.workflows.schema import experiment_schema

__all__ = ["init", "schema"]

_EXPERIMENT = "experiment.yaml"


def init(directory: Path, /, *, json: bool = False) -> None:
    """Write a first project: an experiment, a strategy and data that run at once.

    Args:
        directory: The folder; made if need be, and no file in it is overwritten.
        json: Write a JSON document to standard output instead of text.
    """
    files = init_project(directory)
    command = f"admf run {shlex.quote(str(directory / _EXPERIMENT))}"
    if json:
        write_json({"files": [str(file) for file in files], "next": command})
        return
    write_out("".join(f"wrote {file}\n" for file in files))
    write_out(f"\nrun it with\n  {command}\n")


def schema() -> None:
    """Write the JSON Schema of the experiment file to standard output."""
    write_json(experiment_schema())
