"""``admf verify``: whether all files of a run are as they were written, and what else there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec
from rich.text import Text

from admf.engine.documents import read_document_from
from admf.engine.errors import TornFileError
from admf.engine.local_folder import LocalFolder
from admf.engine.result_names import COMMIT_FILE, RUN_FILE
from admf.engine.tree_check import Finding, RootCheck, verify_tree
from admf.workflows.cli.rendering import rendered, table
from admf.workflows.cli.run_state import how_to_go_on, state_of_unfinished
from admf.workflows.cli.stored import RunRecord, finding_text
from admf.workflows.cli.streams import say, write_json, write_out
from admf.workflows.cli.summary import head
from admf.workflows.results.run_folder import require_run

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["Verification", "VerifiedPhase", "verify"]

_COUNTS = ("Windows", "Files", "Bytes")

State: TypeAlias = Literal["complete", "incomplete", "damaged", "no files"]


class VerifiedPhase(msgspec.Struct, frozen=True):
    """What there is of a phase.

    Args:
        state: ``complete`` if its commit record and everything that this leads to is whole; of a
            live session that has ended, if that is so of each window there is.
        windows: Windows whose commit records are whole.
        files: Files that are as they were written.
        size_bytes: Their size.
    """

    state: State
    windows: int
    files: int
    size_bytes: int


class Verification(msgspec.Struct, frozen=True):
    """What there is of a run.

    Args:
        path: The run's folder.
        run_id: Names the run; None if its record is damaged.
        status: How it ended; ``running`` if it did not, None as above.
        whole: Nothing is damaged; if the run has ended, nothing was cut off either.
        files: Files that are as they were written, with the run's record.
        size_bytes: Their size.
        phases: By their names.
        findings: What is wrong, or foreign.
    """

    path: str
    run_id: str | None
    status: str | None
    whole: bool
    files: int
    size_bytes: int
    phases: Mapping[str, VerifiedPhase]
    findings: tuple[Finding, ...]

    @property
    def is_running(self) -> bool:
        """Whether the run is under way, or was killed."""
        return self.status == "running"

    def is_wrong(self, finding: Finding) -> bool:
        """Whether something must not be in results of this run; a run may still cut windows off."""
        return finding.is_damage or (finding.kind == "unfinished" and not self.is_running)


def verify(directory: Path, /, *, json: bool = False) -> None:
    """Check the size and the SHA-256 of every file of a run; tell what is torn, missing or foreign.

    Args:
        directory: The folder of the run.
        json: Write a JSON document to standard output instead of the summary.
    """
    require_run(directory)
    found = _verified(directory)
    if json:
        write_json(found)
    else:
        write_out(rendered(*_shown(found)))
    if found.is_running:
        say("note", _progress(directory))
    _warn(found)
    if not found.whole:
        wrong = [finding_text(it) for it in found.findings if found.is_wrong(it)]
        raise TornFileError("\n".join([f"results in {directory} are not whole:", *wrong]))


def _verified(directory: Path) -> Verification:
    folder = LocalFolder(directory)
    try:
        run = read_document_from(folder, RUN_FILE, RunRecord)
    except TornFileError:
        return _without_record(folder, str(directory))
    required = {name: run.must_have_record(name) for name in run.phases}
    return _checked(folder, str(directory), run, required)


def _without_record(folder: LocalFolder, path: str) -> Verification:
    """Look at the folders that seem to be those of phases, as the run's record is no help."""
    committed = [file for file in folder.list_files() if file.endswith(f"/{COMMIT_FILE}")]
    return _checked(folder, path, None, {file.partition("/")[0]: False for file in committed})


def _checked(
    folder: LocalFolder, path: str, run: RunRecord | None, required: Mapping[str, bool]
) -> Verification:
    check = verify_tree(folder, required, beside=[RUN_FILE])
    roots = check.roots.values()
    findings = check.findings if run else (Finding("torn", RUN_FILE), *check.findings)
    size = len(folder.read(RUN_FILE)) if run else 0
    found = Verification(
        path=path,
        run_id=run.run_id if run else None,
        status=run.status if run else None,
        whole=True,
        files=sum(root.files for root in roots) + (run is not None),
        size_bytes=sum(root.size_bytes for root in roots) + size,
        phases={name: _phase(name, root, run) for name, root in check.roots.items()},
        findings=findings,
    )
    return msgspec.structs.replace(found, whole=not any(map(found.is_wrong, findings)))


def _phase(name: str, root: RootCheck, run: RunRecord | None) -> VerifiedPhase:
    is_complete = name in root.committed
    if run is not None and not run.phases[name].has_record:
        is_complete = run.is_over and not root.findings
    state: State = "complete" if is_complete else "incomplete"
    if any(it.is_damage for it in root.findings):
        state = "damaged"
    elif not root.committed and not root.findings:
        state = "no files"
    return VerifiedPhase(state, root.windows, root.files, root.size_bytes)


def _shown(found: Verification) -> Iterator[RenderableType]:
    yield head(found.run_id or found.path, found.status or "unknown")
    rows = table("Phase", "Files are", *_COUNTS, right=_COUNTS)
    for name, phase in found.phases.items():
        counts = (phase.windows, phase.files, phase.size_bytes)
        rows.add_row(name, phase.state, *(f"{it:,}" for it in counts))
    yield Text("")
    yield rows
    yield Text("")
    yield Text(f"{found.files:,} files with {found.size_bytes:,} bytes are as they were written")


def _progress(directory: Path) -> str:
    """Return why a run has not ended, and how to go on."""
    state = state_of_unfinished(directory)
    if state.is_under_way:
        return f"the run has not ended: {state.owner}, is at work on it"
    who = f" ({state.owner})" if state.owner else ""
    return (
        f"the run has not ended: it was killed{who}; {how_to_go_on(directory, state.workflow)} "
        "keeps the windows that are complete, and goes on"
    )


def _warn(found: Verification) -> None:
    """Say what is no damage."""
    for finding in found.findings:
        if not found.is_wrong(finding):
            say("warning", finding_text(finding))
