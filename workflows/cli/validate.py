"""``admf validate``: an experiment file, checked, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from admf.engine.errors import ConfigError, Problem
from admf.sequences.phase import ResolvedPhase
from admf.sequences.search import space_of
from admf.workflows.cli.options import Overrides
from admf.workflows.cli.rendering import path_text, rendered
from admf.workflows.cli.resolved import settings_tables
from admf.workflows.cli.streams import foreign_code, say, write_json, write_out
from admf.workflows.phase_checks import PARAMETERS
from admf.workflows.resolution import ResolvedSetting, resolved_origins
from admf.workflows.runner import Runner

__all__ = ["Validation", "validate"]


class Validation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The outcome as a document; ``phases`` is what would run, ``settings`` who decided what."""

    valid: bool
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    phases: tuple[ResolvedPhase, ...]
    settings: Mapping[str, tuple[ResolvedSetting, ...]] | None = None


def validate(
    file: Path, /, *, overrides: Overrides = (), resolved: bool = False, json: bool = False
) -> None:
    """Check an experiment file without running it or reading its data.

    Args:
        file: The experiment file.
        overrides: Set a field of the experiment, e.g. strategy.params.fast=20; may be repeated.
        resolved: Show every setting of every phase, and where its value comes from.
        json: Write the outcome as a JSON document to standard output.
    """
    try:
        with foreign_code():
            runner = Runner()
            loaded = runner.load(file, overrides)
            phases = runner.phases(loaded)
            workflow = loaded.workflow
            settings = resolved_origins(loaded, workflow) if resolved else None
    except ConfigError as error:
        if json:
            write_json(Validation(valid=False, problems=error.problems, warnings=(), phases=()))
        raise
    for warning in loaded.warnings:
        say("warning", str(warning))
    if json:
        warnings = loaded.warnings
        write_json(
            Validation(valid=True, problems=(), warnings=warnings, phases=phases, settings=settings)
        )
    elif settings is not None:
        write_out(rendered(*settings_tables(phases, settings)))
    else:
        write_out(f"{file} is valid; {loaded.experiment.workflow} would run\n")
        for phase in phases:
            write_out(f"  {phase.name}: {_described(phase)}\n")


def _described(phase: ResolvedPhase) -> str:
    """Return what a phase would run, on what."""
    settings = phase.settings
    data = settings.data
    source = "the sample data" if data.path is None else path_text(data.path)
    span = f"{data.start or 'the first bar'} to {data.end or 'the last bar'}"
    return (
        f"{settings.strategy.type} with {_parameter_sets(phase)} on {', '.join(data.symbols)} of "
        f"{source}, {span}, as {phase.sequence}"
    )


def _parameter_sets(phase: ResolvedPhase) -> str:
    handed_over = phase.input.get(PARAMETERS)
    if handed_over is not None:
        return handed_over.strip("{ }")
    trials = phase.settings.search.max_trials
    size = space_of(phase.settings).size
    count = min((it for it in (size, trials) if it is not None), default=None)
    if count is None:
        return "parameter sets without end"
    return "1 parameter set" if count == 1 else f"{count:,} parameter sets"
