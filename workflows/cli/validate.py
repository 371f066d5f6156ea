"""``admf validate``: an experiment file, checked."""

from __future__ import annotations

from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.sequences.phase import PhaseConfig
from admf.workflows.cli.options import Overrides
from admf.workflows.cli.rendering import path_text
from admf.workflows.cli.streams import foreign_code, say, write_json, write_out
from admf.workflows.runner import Runner

__all__ = ["Validation", "validate"]


class Validation(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome as a document; ``phases`` is what would run."""

    valid: bool
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    phases: tuple[PhaseConfig, ...] = ()


def validate(file: Path, /, *, overrides: Overrides = (), json: bool = False) -> None:
    """Check an experiment file without running it or reading its data.

    Args:
        file: The experiment file.
        overrides: Set a field of the experiment, e.g. strategy.params.fast=20; may be repeated.
        json: Write the problems as a JSON document to standard output as well.
    """
    try:
        with foreign_code():
            runner = Runner()
            loaded = runner.load(file, overrides)
            phases = runner.phases(loaded)
    except ConfigError as error:
        if json:
            write_json(Validation(valid=False, problems=error.problems))
        raise
    for warning in loaded.warnings:
        say("warning", str(warning))
    if json:
        write_json(Validation(valid=True, warnings=loaded.warnings, phases=phases))
        return
    write_out(f"{file} is valid; {loaded.experiment.workflow} would run\n")
    for phase in phases:
        write_out(f"  {phase.name}: {_described(phase)}\n")


def _described(phase: PhaseConfig) -> str:
    """Return what a phase would run, on what."""
    data, lanes = phase.config.data, phase.config.lanes
    strategies = dict.fromkeys(lane.strategy.type for lane in lanes)
    sets = "1 parameter set" if len(lanes) == 1 else f"{len(lanes):,} parameter sets"
    source = "the sample data" if data.path is None else path_text(data.path)
    span = f"{data.start or 'the first bar'} to {data.end or 'the last bar'}"
    return (
        f"{', '.join(strategies)} with {sets} on {', '.join(data.symbols)} of {source}, {span}, "
        f"as {phase.sequence}"
    )
