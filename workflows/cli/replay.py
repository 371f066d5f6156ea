"""``admf replay``: results once more, from the event logs beside them."""

from __future__ import annotations

from pathlib import Path

from admf.engine.errors import StorageError
from admf.workflows.cli.exits import ExitCode
from admf.workflows.cli.streams import foreign_code, say, write_json, write_out
from admf.workflows.replay import Replay
from admf.workflows.replay import replay as replay_folder

__all__ = ["replay"]

_MOST_SAID = 20


def replay(directory: Path, /, *, json: bool = False) -> int:
    """Compute results once more from the event logs beside them, and compare the bytes.

    There are logs where the experiment says trace: {store: all}.

    Args:
        directory: The folder of a run, a phase or a window, or the file of a container.
        json: Write the outcome as a JSON document to standard output.
    """
    with foreign_code():
        found = replay_folder(directory)
    if json:
        write_json(found)
    else:
        write_out(_shown(found))
    _complain(found)
    if found.count("damaged"):
        return StorageError.exit_code
    return ExitCode.SOME_FAILED if found.count("different") else ExitCode.OK


def _shown(found: Replay) -> str:
    same, total = found.count("same"), len(found.containers)
    without = f"; {found.without_log:,} have no event log" if found.without_log else ""
    return f"{same:,} of {total:,} containers give the same bytes{without}\n"


def _complain(found: Replay) -> None:
    bad = [it for it in found.containers if it.outcome != "same"]
    for it in bad[:_MOST_SAID]:
        say("error", f"{it.path}: {it.detail}")
    if len(bad) > _MOST_SAID:
        say("error", f"and {len(bad) - _MOST_SAID:,} more")
