"""A container of an earlier run, read back with all that it takes to run it again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from admf.containers.config import BacktestConfig, DataConfig, LaneConfig
from admf.engine.documents import read_document_from
from admf.engine.errors import MissingFileError, StorageError, TornFileError
from admf.engine.local_folder import LocalFolder
from admf.engine.packing import plain_name
from admf.engine.result_names import CONTAINERS, RESULTS_END, RUN_FILE
from admf.engine.retention import TracingConfig
from admf.engine.window_spec import WindowSpec
from admf.workflows.earlier_run import EarlierRun
from admf.workflows.results.records import LIVE
from admf.workflows.results.run_folder import find_run
from admf.workflows.window_files import WindowFiles

__all__ = ["StoredContainer", "read_container"]


class _Data(msgspec.Struct, frozen=True):
    fingerprint: str


class _Window(msgspec.Struct, frozen=True):
    topology: str
    seed: int
    tracing: TracingConfig
    options: Mapping[str, Any]


class _Portfolio(msgspec.Struct, frozen=True, kw_only=True):
    """Of a portfolio's file, what it takes to run it again."""

    workflow_id: str
    phase_name: str
    window_id: str
    lane: LaneConfig
    data: _Data
    window: _Window
    status: str


class _Kind(msgspec.Struct, frozen=True):
    role: str = ""
    lane: Any = None


class _Settings(msgspec.Struct, frozen=True):
    data: DataConfig
    block_size: int | None


class _Phase(msgspec.Struct, frozen=True):
    settings: _Settings


class StoredContainer(NamedTuple):
    """A portfolio as an earlier run left it.

    Args:
        run: The record of the run.
        phase: Its phase, as the run's record calls it.
        container_id: Its id.
        text: Its file, uncompressed.
        trace: Its trace; None without one.
        data: Where its bars come from.
        window_data: Fingerprint of the bars of its window.
        lane: Its settings.
        spec: A window with its lane, and with others only if its trace depends on them.
        window_errors: Why its window failed, if it did.
    """

    run: EarlierRun
    phase: str
    container_id: str
    text: bytes
    trace: bytes | None
    data: DataConfig
    window_data: str
    lane: LaneConfig
    spec: WindowSpec
    window_errors: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its path below the folder of its run."""
        return "/".join(filter(None, (self.phase, self.spec.window_id, self.container_id)))

    @property
    def benchmark(self) -> str | None:
        """Symbol that its metrics are measured against."""
        return msgspec.json.decode(self.spec.config, type=BacktestConfig).benchmark

    @property
    def data_before(self) -> str:
        """Fingerprint of all bars of its phase; empty if the run did not tell."""
        found: str = self.run.data.get(self.phase, {}).get("fingerprint", "")
        return found


def read_container(place: str | os.PathLike[str]) -> StoredContainer:
    """Read a portfolio of a run, whose files have to be as the record of its window tells.

    Args:
        place: Its file, with or without ``_results.json`` and the suffix of its compression; the
            part ``containers/`` may be left out.

    Raises:
        TornFileError: A file is damaged.
        StorageError: There is no such portfolio, or it is nothing that can be run again.
    """
    path = Path(os.path.abspath(place))  # noqa: PTH100 - links are for the folder to judge
    root = find_run(path)
    if root is None:
        raise StorageError(f"{place} does not lie in the folder of a run: none has a {RUN_FILE}")
    folder, below = LocalFolder(root), path.relative_to(root)
    run = read_document_from(folder, RUN_FILE, EarlierRun)
    if run.workflow == LIVE:
        raise StorageError(
            f"{place} is of a live session, whose bars were not kept, so it cannot be run again"
        )
    if os.path.isdir(path):  # noqa: PTH112 - as for PTH113 below
        raise StorageError(_is_folder(folder, below, Path(place)))
    window = below.parent.parent if below.parent.name == CONTAINERS else below.parent
    if not window.parts:
        phases = ", ".join(run.phases)
        raise MissingFileError(f"{place} does not lie in a phase of its run; there are {phases}")
    files = WindowFiles(folder, window.as_posix(), str(place))
    return _container(run, files, plain_name(path.name).removesuffix(RESULTS_END))


def _is_folder(folder: LocalFolder, below: Path, place: Path) -> str:
    """Say that a folder is no portfolio, and name the first that is in it."""
    files = (Path(plain_name(it)) for it in folder.list_files())
    inside = (it for it in files if it.match(f"{CONTAINERS}/portfolio_*{RESULTS_END}"))
    first = next((it for it in inside if it.is_relative_to(below)), None)
    example = ""
    if first is not None:
        example = f", e.g. {place / first.relative_to(below)}".removesuffix(RESULTS_END)
    return f"{place} is a folder: give a single portfolio in a window{example}"


def _container(run: EarlierRun, files: WindowFiles, container_id: str) -> StoredContainer:
    text = files.text(container_id)
    found = _portfolio(text, files.place)
    phase = files.window.removesuffix(f"/{found.window_id}") if found.window_id else files.window
    if phase not in run.phases or phase.rpartition("/")[2] != found.phase_name:
        raise TornFileError(f"{files.place} says that it lies elsewhere: it was moved")
    settings = _settings(run.phases[phase], files.place)
    lanes = _lanes(found, files, container_id)
    return StoredContainer(
        run=run,
        phase=phase,
        container_id=container_id,
        text=text,
        trace=files.trace(container_id),
        data=settings.data,
        window_data=found.data.fingerprint,
        lane=found.lane,
        spec=_spec(found, settings, lanes, files.place),
        window_errors=files.errors,
    )


def _portfolio(text: bytes, place: str) -> _Portfolio:
    kind = msgspec.json.decode(text, type=_Kind)
    if kind.role == "simulation":
        raise StorageError(
            f"{place} cannot be run again by itself: its simulations are drawn from returns of "
            "other windows, which its file does not hold; run the study again"
        )
    if kind.lane is None:
        raise StorageError(f"{place} cannot be run again by itself: it is no portfolio")
    try:
        found = msgspec.json.decode(text, type=_Portfolio)
    except msgspec.ValidationError as error:
        raise StorageError(_of_another_version(place, error)) from error
    if found.status == "cancelled":
        raise StorageError(
            f"{place} was cut short with its window, so there is nothing to compare: "
            "`admf resume` goes on with its run"
        )
    return found


def _settings(phase: object, place: str) -> _Settings:
    try:
        return msgspec.convert(phase, _Phase).settings
    except msgspec.ValidationError as error:
        raise StorageError(_of_another_version(place, error)) from error


def _lanes(found: _Portfolio, files: WindowFiles, container_id: str) -> list[LaneConfig]:
    """Return the lanes that have to run; others only if their features are in the lane's trace."""
    if found.window.tracing.store != "retained":
        return [found.lane]
    others = [files.text(name) for name in files.containers() if name != container_id]
    lanes = [found.lane, *(it for it in map(_lane_of, others) if it is not None)]
    return sorted(lanes, key=lambda lane: (len(lane.lane_id), lane.lane_id))


def _lane_of(text: bytes) -> LaneConfig | None:
    """Return the lane of a portfolio; None for containers of another kind."""
    try:
        return msgspec.json.decode(text, type=_Portfolio).lane
    except msgspec.ValidationError:
        return None


def _spec(
    found: _Portfolio, settings: _Settings, lanes: list[LaneConfig], place: str
) -> WindowSpec:
    fields = {
        **found.window.options,
        "data": settings.data,
        "lanes": lanes,
        "block_size": settings.block_size,
    }
    config = msgspec.json.encode(fields)
    try:
        msgspec.json.decode(config, type=BacktestConfig)
    except msgspec.ValidationError as error:
        raise StorageError(_of_another_version(place, error)) from error
    return WindowSpec(
        workflow_id=found.workflow_id,
        phase_name=found.phase_name,
        window_id=found.window_id,
        topology=found.window.topology,
        config=msgspec.Raw(config),
        tracing=found.window.tracing,
        results_storage="memory",
        seed=found.window.seed,
    )


def _of_another_version(place: str, error: Exception) -> str:
    return f"{place} was not written by this version of admf: {error}"
