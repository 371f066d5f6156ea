"""``admf check-lookahead``: whether a strategy knows what only the future can tell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from rich.table import Table
from rich.text import Text

from admf.engine.errors import ConfigError
from admf.workflows.cli.exits import ExitCode
from admf.workflows.cli.options import Overrides
from admf.workflows.cli.rendering import moment_text, point_text, rendered
from admf.workflows.cli.streams import foreign_code, say, write_json, write_out
from admf.workflows.lookahead import LookaheadCheck, LookaheadReport, check_lookahead
from admf.workflows.lookahead_findings import CAUSES
from admf.workflows.runner import Runner

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["check"]


def check(file: Path, /, *, overrides: Overrides = (), json: bool = False) -> int:
    """Look whether a decision of the strategy depends on bars that come after it.

    Windows over the first part of the data are run with the real bars after them and with corrupted
    ones, and are compared with a run over all of the data. Nothing is written to disk.

    Args:
        file: The experiment file.
        overrides: Set a field of the experiment, e.g. strategy.params.fast=20; may be repeated.
        json: Write the outcome as a JSON document to standard output.
    """
    with foreign_code():
        runner = Runner()
        loaded = runner.load(file, overrides)
        for warning in loaded.warnings:
            say("warning", str(warning))
        try:
            report = anyio.run(check_lookahead, loaded)
        except ConfigError as error:
            raise loaded.located(error) from error
    if json:
        write_json(report)
    else:
        write_out(rendered(*_shown(report)))
    return ExitCode.OK if report.clean else ExitCode.SOME_FAILED


def _shown(report: LookaheadReport) -> Iterator[RenderableType]:
    for check_ in report.checks:
        yield from _check(check_)
        yield Text("")
    if report.clean:
        yield Text("no look-ahead: every decision was the same without the bars that follow")
        return
    findings = [cut.finding for it in report.checks for cut in it.cuts if cut.finding]
    if all(finding.kind == "chance" for finding in findings):
        yield Text("the results differ from run to run", "red")
        return
    yield Text("the strategy looks ahead; what usually causes that:", "red")
    for cause in CAUSES:
        yield Text(f"- {cause}")
    yield Text("row i of targets() may use bars up to row i, and none after it")


def _check(check_: LookaheadCheck) -> Iterator[RenderableType]:
    rows = Table.grid(padding=(0, 2, 0, 0))
    rows.add_column(style="bold", no_wrap=True)
    rows.add_column(overflow="fold")
    on = f"{' '.join(check_.symbols)}, {check_.steps:,} time steps"
    rows.add_row(check_.strategy, f"in {', '.join(check_.phases)}, on {on}")
    for point in check_.parameter_sets:
        if point:
            rows.add_row("", point_text(point))
    yield rows
    cuts = Table.grid(padding=(0, 2, 0, 0))
    cuts.add_column(no_wrap=True)
    cuts.add_column(overflow="fold")
    for cut in check_.cuts:
        finding, place = cut.finding, f"  up to {moment_text(cut.last)}"
        if finding is None:
            cuts.add_row(place, Text("ok", "green"))
        else:
            which = f" ({point_text(cut.parameters)})" if cut.parameters else ""
            cuts.add_row(place, Text(f"{finding.message}{which}", "red"))
    yield cuts
