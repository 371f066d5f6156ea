"""Runs a single portfolio of an earlier run once more, and compares the bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import msgspec
from anyio import to_thread

from admf.containers.catalog import DataCatalog, UserModules
from admf.engine.differences import briefly, differences
from admf.engine.errors import ConfigError, Problem, WindowError
from admf.engine.lifecycle import LifecycleManager
from admf.engine.packing import SEAL_FIELD
from admf.engine.registry import Registry
from admf.engine.result_names import results_path, trace_path
from admf.engine.results import ResultStore
from admf.engine.storage import MemoryStorage
from admf.engine.topology import Resources
from admf.sequences.executor import run_to_its_end
from admf.sequences.phase import ResolvedPhase
from admf.sequences.settings import PhaseSettings
from admf.workflows.declared import DeclaredWorkflow
from admf.workflows.plugins import installed_plugins
from admf.workflows.stored_container import StoredContainer, read_container
from admf.workflows.user_code import code_digests
from admf.workflows.versions import installed_versions

__all__ = ["Difference", "Rerun", "rerun", "rerun_async"]

_MOST_DIFFERENCES = 20


class Difference(msgspec.Struct, frozen=True):
    """Where two files are not the same.

    Args:
        path: The field, e.g. ``metrics.sharpe_ratio``; of a list, the first that differs is told.
        stored: What the file says, as JSON, cut to a line; ``nothing`` if it has no such field.
        now: What came out now, likewise.
    """

    path: str
    stored: str
    now: str


class Rerun(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a portfolio that ran once more.

    Args:
        container: Its path below the folder of its run.
        same: Whether it left the same bytes.
        status: How it ended now.
        error: Why it failed now; None if it did not.
        metrics: Those of now.
        differences: The first fields that differ, in the order of the file.
        more: How many further ones there are.
        changes: What is not as it was when the file was written, the data first.
    """

    container: str
    same: bool
    status: str
    error: str | None
    metrics: Mapping[str, float | None]
    differences: tuple[Difference, ...] = ()
    more: int = 0
    changes: tuple[str, ...] = ()


async def rerun_async(
    place: str | os.PathLike[str],
    *,
    registry: Registry | None = None,
    frames: Mapping[str, Any] | None = None,
) -> Rerun:
    """Run a portfolio of an earlier run once more, alone, and compare it with its file.

    Args:
        place: Its file, with or without ``_results.json``; the part ``containers/`` may be left
            out.
        registry: The plug-ins; those that are installed, if not given.
        frames: Data frames by symbol, for experiments with ``source: frames``.

    Raises:
        StorageError: There is no such portfolio, or its file is damaged.
        ConfigError: Its strategy cannot be found, or data frames are missing.
        DataError: Its data cannot be used.
    """
    stored = await to_thread.run_sync(read_container, place)
    _require_frames(stored, frames)
    catalog = DataCatalog(frames)
    ran = await _run(stored, registry or installed_plugins(), catalog)
    found = list(_differences(stored, ran))
    now = msgspec.json.decode(ran.text, type=_Portfolio)
    return Rerun(
        container=stored.name,
        same=not found,
        status=now.status,
        error=now.error,
        metrics=now.metrics,
        differences=tuple(found[:_MOST_DIFFERENCES]),
        more=max(0, len(found) - _MOST_DIFFERENCES),
        changes=(*_data_changes(stored, now, ran.data), *ran.changes, *_run_changes(stored)),
    )


def rerun(
    place: str | os.PathLike[str],
    *,
    registry: Registry | None = None,
    frames: Mapping[str, Any] | None = None,
) -> Rerun:
    """Run a portfolio of an earlier run once more and wait for it; see `rerun_async`."""
    return anyio.run(partial(rerun_async, place, registry=registry, frames=frames))


class _Data(msgspec.Struct, frozen=True):
    fingerprint: str


class _Portfolio(msgspec.Struct, frozen=True):
    status: str
    error: str | None
    data: _Data
    metrics: Mapping[str, float | None]


class _Ran(NamedTuple):
    """What a portfolio left.

    Args:
        text: Its file.
        trace: Its trace; None without one.
        data: Fingerprint of all its bars.
        changes: How its strategy's code has changed.
    """

    text: bytes
    trace: bytes | None
    data: str
    changes: list[str]


def _require_frames(stored: StoredContainer, frames: Mapping[str, Any] | None) -> None:
    if stored.data.source == "frames" and frames is None:
        message = (
            f"{stored.name} ran on data frames, which are not on disk: hand them over in Python, "
            "by admf.workflows.rerun.rerun(place, frames=...)"
        )
        raise ConfigError([Problem(message, field="data.source")])


async def _run(stored: StoredContainer, registry: Registry, catalog: DataCatalog) -> _Ran:
    folder = Path(stored.run.folder)
    changes = _code_changes(stored, registry, folder)
    store = await to_thread.run_sync(catalog.load, stored.data, stored.benchmark)
    resources = Resources(catalog, UserModules(folder))
    lifecycle = LifecycleManager(registry=registry, resources=resources)
    storage, spec = MemoryStorage(), stored.spec
    results = ResultStore(storage, "rerun").window(spec.phase_name, spec.window_id)
    failure = await run_to_its_end(lifecycle.window(spec, results))
    text = storage.peek(f"{results.path}/{results_path(stored.container_id)}")
    if text is None:
        raise failure or WindowError(f"{stored.name} ran once more and left no file")
    trace = storage.peek(f"{results.path}/{trace_path(stored.container_id)}")
    return _Ran(text, trace, store.market_data.fingerprint, changes)


def _data_changes(stored: StoredContainer, now: _Portfolio, data: str) -> Iterator[str]:
    if stored.window_data != now.data.fingerprint:
        bars = "data: the bars of the window have changed"
        yield _told(bars, stored.window_data, now.data.fingerprint)
    elif stored.data_before not in ("", data):
        yield _told("data: bars outside of the window have changed", stored.data_before, data)


def _told(what: str, then: str, now: str) -> str:
    return f"{what} (fingerprint {then[:12]}... then, {now[:12]}... now)"


def _code_changes(stored: StoredContainer, registry: Registry, folder: Path) -> list[str]:
    strategy = stored.lane.strategy
    phase = ResolvedPhase(
        name=stored.phase,
        sequence="",
        topology=stored.spec.topology,
        description="",
        settings=PhaseSettings(data=stored.data, strategy=strategy),
    )
    digests = code_digests([phase], "", DeclaredWorkflow(), registry=registry, folder=folder)
    if digests.get(strategy.type) == stored.run.code.get(strategy.type):
        return []
    return [f"code of {strategy.type}: its file has changed"]


def _run_changes(stored: StoredContainer) -> Iterator[str]:
    now = installed_versions(())
    for name, then in stored.run.versions.items():
        if now.get(name, then) != then:
            yield f"versions.{name}: {then} then, {now[name]} now"
    for change in stored.run.changes:
        yield f"while the run went on after a stop: {change}"
    for error in stored.window_errors:
        yield f"its window failed then: {error}"


def _differences(stored: StoredContainer, ran: _Ran) -> Iterator[Difference]:
    if stored.text != ran.text:
        before, now = _fields(stored.text), _fields(ran.text)
        found = [Difference(it.path, *map(briefly, it[1:])) for it in differences(before, now)]
        sizes = (f"{len(text):,} bytes" for text in (stored.text, ran.text))
        yield from found or [Difference("the same values in other bytes", *sizes)]
    if stored.trace != ran.trace:
        yield Difference(trace_path(stored.container_id), *_bytes_around(stored.trace, ran.trace))


def _fields(text: bytes) -> dict[str, object]:
    found = msgspec.json.decode(text, type=dict[str, object])
    del found[SEAL_FIELD]
    return found


def _bytes_around(before: bytes | None, now: bytes | None) -> tuple[str, str]:
    """Say where two traces differ first, or that one is missing."""
    if before is None or now is None:
        return _size(before), _size(now)
    pairs = enumerate(zip(before, now, strict=False))
    first = next((place for place, (old, new) in pairs if old != new), min(len(before), len(now)))
    return f"{_size(before)}, others from byte {first:,} on", _size(now)


def _size(content: bytes | None) -> str:
    return "nothing" if content is None else f"{len(content):,} bytes"
