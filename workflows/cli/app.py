"""The commands, and how they end."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from admf.workflows.cli.exits import ExitCode

__all__ = ["main"]

_EXIT_CODES = (
    "Exit codes: 0 ok, 2 usage, 3 invalid experiment, 4 data, 5 something failed, 6 storage, "
    "130 interrupted"
)
_COMMANDS = (
    ("run", "run:run", "Run an experiment.", "experiment.yaml --set strategy.params.fast=20"),
    ("resume", "resume:resume", "Go on with a run that was cut short.", "results/my_study"),
    ("verify", "verify:verify", "Check that the files of a run are whole.", "results/my_study"),
    ("replay", "replay:replay", "Compute results anew from event logs.", "results/my_study"),
    (
        "rerun",
        "rerun:rerun",
        "Run one portfolio once more, and compare the bytes.",
        "results/my_study/search/sweep/portfolio_007",
    ),
    ("validate", "validate:validate", "Check an experiment without running it.", "experiment.yaml"),
    (
        "check-lookahead",
        "lookahead:check",
        "Look whether a strategy uses bars of the future.",
        "experiment.yaml",
    ),
    (
        "why-no-trades",
        "why_no_trades:why_no_trades",
        "Say why there are no trades.",
        "results/my_study",
    ),
    (
        "serve",
        "serve:serve",
        "Take runs over HTTP.",
        "--port 8000 --data-root data --results-root results",
    ),
    ("init", "project:init", "Write a first project, which runs at once.", "my_study"),
    ("list", "listing:list_names", "List what there is to use.", "strategies"),
    ("schema", "project:schema", "Write the JSON Schema of the experiment file.", "> schema.json"),
)
_RESULTS_COMMANDS = (
    ("results ls", "results_ls:ls", "List runs, phases, windows or portfolios.", "results"),
    ("results show", "results:show", "Check and show the results of a run.", "results/my_study"),
    (
        "results top",
        "results_top:top",
        "Show the best portfolios.",
        "results/my_study --by sharpe_ratio -n 20 --where 'max_drawdown > -0.2'",
    ),
    (
        "results trades",
        "results_top:trades",
        "Show trades.",
        "results/my_study/search --where 'pnl < 0' -n 50",
    ),
    (
        "results export",
        "export:export",
        "Write metrics, trades or equity curves for other programs.",
        "results/my_study --what trades --format parquet -o trades.parquet",
    ),
    (
        "results compare",
        "compare:compare",
        "Show how two runs or portfolios differ, and why.",
        "results/before results/after",
    ),
)
"""Words, where the command is, what it does, and the rest of an example."""


def main(tokens: Sequence[str] | None = None) -> int:
    """Carry out a command.

    Args:
        tokens: The words after ``admf``; those of the process, if not given.

    Returns:
        What the process is to exit with.
    """
    try:
        command, bound, _ = _app().parse_args(
            sys.argv[1:] if tokens is None else tokens, exit_on_error=False, print_error=False
        )
        return int(command(*bound.args, **bound.kwargs) or ExitCode.OK)
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        code = _reported(error)
        if code is None:
            raise
        return code


def _interrupted() -> ExitCode:
    from admf.workflows.cli.streams import say

    say("error", "interrupted")
    return ExitCode.INTERRUPTED


def _reported(error: Exception) -> int | None:
    """Say what went wrong and return the exit code; None if it is not for users to see."""
    from admf.engine.errors import AdmfError
    from admf.workflows.cli.streams import report, say

    if isinstance(error, CycloptsError):
        say("error", f"{error}\nsee {_help_of(error)}")
        return ExitCode.USAGE
    if isinstance(error, AdmfError):
        report(error)
        return error.exit_code
    return None


def _help_of(error: CycloptsError) -> str:
    return " ".join(["admf", *(error.command_chain or ()), "--help"])


def _app() -> App:
    """Return the commands; each is imported when it is called for."""
    app = App(
        name="admf",
        help="Quantitative studies on an event-bus engine.",
        help_epilogue=_EXIT_CODES,
        help_format="plaintext",
        version=lambda: f"admf {version('admf')}",
        default_parameter=Parameter(negative="", show_default=False),
    )
    results = App(
        name="results",
        help="Look at results.",
        help_epilogue="Example: admf results top results/my_study --by sharpe_ratio -n 20",
    )
    for owner, commands in ((app, _COMMANDS), (results, _RESULTS_COMMANDS)):
        for words, place, summary, example in commands:
            owner.command(
                f"admf.workflows.cli.{place}",
                name=words.rpartition(" ")[2],
                help=summary,
                help_epilogue=f"Example: admf {words} {example}",
            )
    app.command(results)
    return app
