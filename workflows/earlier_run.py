"""A run that was cut short, or ended: what of it can be continued, and what has changed since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from admf.engine.differences import differences, shown
from admf.engine.documents import read_document
from admf.engine.errors import MissingFileError, ResultExistsError
from admf.engine.lock import LOCK_FOLDER
from admf.engine.result_names import RUN_FILE
from admf.engine.storage import Storage
from admf.workflows.study import Plan

__all__ = ["EarlierRun", "only_versions", "read_earlier_run", "refuse_changes"]

_MOST_SHOWN = 20
_VERSIONS = "versions"
_NO_RESULT_DEPENDS_ON = ("settings.data.path", "settings.block_size")
"""Where the data lie matters as little as how many bars are handled at once."""


class EarlierRun(msgspec.Struct, frozen=True, kw_only=True):
    """The part of ``run.json`` that a run which goes on from it needs.

    Args:
        run_id: Names the run.
        started_at: When it began, ISO 8601.
        workflow: Its workflow.
        max_iterations: Times at most that the workflow was to run its phases.
        versions: What it ran with.
        code: Digests of the user's own code, by the name of the strategy or workflow.
        experiment: The experiment as it was written.
        overrides: What was set on top of it, ``a.b=value`` each.
        folder: What relative paths in it are relative to.
        results_dir: The run's folder below the results root.
        data: The market data of each phase.
        phases: The phases as they were to run.
        changes: How it differed from a run that it went on from itself.
    """

    run_id: str
    started_at: str
    workflow: str
    max_iterations: int
    versions: Mapping[str, str]
    code: Mapping[str, str]
    experiment: Mapping[str, Any]
    overrides: tuple[str, ...]
    folder: str
    results_dir: str
    data: Mapping[str, Mapping[str, Any]]
    phases: Mapping[str, Any]
    changes: tuple[str, ...] = ()

    def differences(self, plan: Plan) -> list[str]:
        """Return how a plan differs from what ran, a line for each difference; empty if nowhere.

        Args:
            plan: What is to run now.
        """
        experiment = plan.loaded.experiment
        found = [
            *_differences(_VERSIONS, self.versions, plan.versions),
            *_differences("workflow", self.workflow, experiment.workflow),
            *_differences("max_iterations", self.max_iterations, experiment.max_iterations),
        ]
        named = (experiment.workflow, *(phase.settings.strategy.type for phase in plan.phases))
        changed = [it for it in dict.fromkeys(named) if self.code.get(it) != plan.code.get(it)]
        found += [f"code of {name}: its file has changed" for name in changed]
        for phase in plan.phases:
            data = plan.data[phase.name].fingerprint
            before = self.data.get(phase.name, {}).get("fingerprint", data)
            if before != data:
                told = f"fingerprint {before[:12]}... then, {data[:12]}... now"
                found.append(f"data of {phase.name}: {told}")
        then = {name: it for name, it in self.phases.items() if "/" not in name}
        now = {phase.name: _plain(phase) for phase in plan.phases}
        return [*found, *_differences("phases", then, now)]

    @property
    def further_studies(self) -> tuple[str, ...]:
        """The folders of later iterations and of branches."""
        return tuple(dict.fromkeys(it.partition("/")[0] for it in self.phases if "/" in it))

    def phases_of(self, prefix: str) -> tuple[str, ...]:
        """Return the phases of a study.

        Args:
            prefix: Put before the names of its phases in the record.
        """
        names = (it.removeprefix(prefix) for it in self.phases if it.startswith(prefix))
        return tuple(name for name in names if "/" not in name)

    def unchanged(self, plan: Plan, prefix: str) -> frozenset[str]:
        """Return the phases of a study whose settings, data and strategy are what they were.

        A phase that depends on a changed one counts as changed.

        Args:
            plan: The study.
            prefix: Put before the names of its phases in the record.
        """
        kept: set[str] = set()
        if self.workflow != plan.loaded.experiment.workflow:  # each window's record names it
            return frozenset()
        for phase in plan.phases:
            before = self.phases.get(f"{prefix}{phase.name}")
            data = self.data.get(f"{prefix}{phase.name}", {})
            same_data = data.get("fingerprint") == plan.data[phase.name].fingerprint
            strategy = phase.settings.strategy.type
            same_code = self.code.get(strategy) == plan.code.get(strategy)
            same = same_data and same_code and not any(_differences("", before, _plain(phase)))
            if same and kept.issuperset(phase.depends_on):
                kept.add(phase.name)
        return frozenset(kept)


async def read_earlier_run(storage: Storage, folder: str) -> EarlierRun | None:
    """Return the record of the run in a folder; None if it was killed before it wrote anything.

    Raises:
        ResultExistsError: The folder holds something else.
        StorageError: The record cannot be read, or is damaged.
    """
    try:
        return await read_document(storage, f"{folder}/{RUN_FILE}", EarlierRun)
    except MissingFileError:
        files = await storage.list_files(folder)
    if all(file.startswith(f"{folder}/{LOCK_FOLDER}/") for file in files):
        return None
    raise ResultExistsError(
        f"{storage.locate(folder)} holds no run to continue (it has no {RUN_FILE}): move it away, "
        "or choose another results_dir"
    )


def only_versions(changes: Iterable[str]) -> bool:
    """Whether nothing that was asked for has changed, so that every study goes on."""
    return all(change.startswith(_VERSIONS) for change in changes)


def refuse_changes(place: str, differences: list[str]) -> None:
    """Raise if anything has changed.

    Args:
        place: Where the results are, for people.
        differences: See `EarlierRun.differences`.
    """
    if not differences:
        return
    shown = [f"  {line}" for line in differences[:_MOST_SHOWN]]
    if len(differences) > _MOST_SHOWN:
        shown.append(f"  and {len(differences) - _MOST_SHOWN} more")
    head = f"the results in {place} are of something else, so they are not continued:"
    remedy = (
        "give --allow-changed to keep the phases that this leaves as they were and to run the "
        "others again, --overwrite to begin anew, or another results_dir"
    )
    raise ResultExistsError("\n".join([head, *shown, remedy]))


def _plain(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _differences(name: str, before: object, now: object) -> Iterator[str]:
    """Yield a line for each field that is not the same."""
    for it in differences(before, now, name, into_lists=False):
        if not it.path.endswith(_NO_RESULT_DEPENDS_ON):
            yield f"{it.path}: {shown(it.before)} then, {shown(it.now)} now"
