"""The runs that were submitted over HTTP, and those who follow them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from admf.engine.clock import Clock, WallClock
from admf.engine.errors import AdmfError, ConfigError
from admf.engine.events import Event
from admf.engine.storage import LocalStorage, Storage
from admf.workflows.loading import LoadedExperiment, checked_experiment
from admf.workflows.nodes import Node
from admf.workflows.plugins import known_events
from admf.workflows.run import Run
from admf.workflows.runner import Runner
from admf.workflows.service.admission import Admission
from admf.workflows.service.bodies import parse
from admf.workflows.service.channel import Channel
from admf.workflows.service.idempotency import IdempotencyKeys
from admf.workflows.service.ids import RunIds
from admf.workflows.service.limits import ServiceLimits
from admf.workflows.service.problems import HttpError, Redaction
from admf.workflows.vocabulary import vocabulary_of

__all__ = ["RunService"]

T = TypeVar("T")

_RETRY = {"Retry-After": "5"}


class RunService:
    """The runs that were submitted over HTTP, and those who follow them.

    Args:
        runner: Runs them; its host opens and closes it.
        data_root: The folder below which the data of experiments lies.
        allowed_strategies: The strategies and workflows of one's own that experiments may name,
            ``package.module:Class`` each.
        limits: How much of the host's it may take.
        clock: Tells the time; the machine's own by default.

    Raises:
        TypeError: The runner does not write to a local folder.
        ValueError: The name of a strategy is of another form.
    """

    def __init__(
        self,
        runner: Runner,
        *,
        data_root: Path,
        allowed_strategies: Collection[str] = (),
        limits: ServiceLimits | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.runner = runner
        self.results_root = _local(runner.storage).folder.root
        self.limits = limits or ServiceLimits()
        self.clock = clock or WallClock()
        self.redaction = Redaction(self.results_root, data_root.resolve(), data_root.absolute())
        self.keys = IdempotencyKeys(self.limits.idempotency_keys)
        self.is_stopping = False
        self.streams = 0
        self._admission = Admission(data_root.resolve(), allowed_strategies)
        self._ids = RunIds(self.clock)
        self._runs: dict[str, Run] = {}
        self._arriving = 0
        self._channels: OrderedDict[tuple[str, frozenset[type[Event]]], Channel] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_by_one = anyio.CapacityLimiter(1)
        self._readers = anyio.CapacityLimiter(self.limits.readers)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that are in its hands, the oldest first."""
        return tuple(self._runs)

    def find(self, run_id: str) -> Run | None:
        """Return a run that is in its hands; None if there is none of this id."""
        return self._runs.get(run_id)

    async def submit(self, body: bytes, media_type: str, key: str | None) -> str:
        """Have an experiment run, and return the id of the run.

        Args:
            body: The experiment.
            media_type: What it is written in.
            key: What the client calls the request, if it may send it twice.

        Raises:
            ConfigError: It has mistakes, or may not do what it asks for.
            DataError: Its data cannot be used.
            HttpError: There are too many runs already, or the key was used before.
            StateError: The runner is not open.
        """
        whole = media_type.encode() + b"\n" + body
        return await self.keys.once(key, whole, lambda: self._submit(body, media_type))

    async def reading(self, work: Callable[[], T]) -> T:
        """Read results in a thread, few at a time."""
        return await to_thread.run_sync(work, limiter=self._readers)

    def channel(self, run_id: str, run: Run, types: frozenset[type[Event]]) -> Channel:
        """Return the messages on a run, which have begun by now.

        Raises:
            HttpError: Too many are followed already.
            StateError: The run's events cannot be followed.
        """
        place = (run_id, types)
        channel = self._channels.get(place)
        if channel is not None and (channel.is_over or not channel.is_closed):
            self._channels.move_to_end(place)
            return channel
        self._make_room()
        channel = Channel(
            run, types, limits=self.limits, clock=self.clock, redaction=self.redaction
        )
        self._channels[place] = channel
        task = asyncio.create_task(channel.follow(), name=f"follow {run_id}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return channel

    def stop(self) -> None:
        """Take no more runs and end the streams, as the host is about to close the runner."""
        self.is_stopping = True
        for channel in self._channels.values():
            channel.close()

    async def _submit(self, body: bytes, media_type: str) -> str:
        self._check_room()
        self._arriving += 1
        try:
            run_id = self._ids.make()
            load = partial(self._loaded, body, media_type, run_id)
            loaded = await to_thread.run_sync(load, limiter=self._one_by_one)
            run = await self.runner.submit(loaded)
        finally:
            self._arriving -= 1
        self._forget_oldest()
        self._runs[run_id] = run
        return run_id

    def _check_room(self) -> None:
        if self.is_stopping:
            raise HttpError(503, "the service is about to stop", headers=_RETRY)
        waiting = sum(run.status == "queued" for run in self._runs.values())
        if waiting + self._arriving >= self.limits.waiting_runs:
            raise HttpError(503, "too many runs wait for their turn", headers=_RETRY)

    def _loaded(self, body: bytes, media_type: str, run_id: str) -> LoadedExperiment:
        """Check an experiment: first what it may do, and only then what it names."""
        root, problems = parse(body, media_type)
        foreign = list(self._admission.foreign_code(root))
        problems += self._admission.problems(root)
        if foreign:  # to look for more mistakes would import it
            raise ConfigError([*problems, *foreign])
        root = self._admission.placed(root)
        vocabulary = vocabulary_of(self.runner.registry, known_events())
        loaded = checked_experiment(_in_folder(root, run_id), problems, vocabulary, None)
        try:
            self._admission.check_data(self.runner.phases(loaded))
        except ConfigError as error:
            raise loaded.located(error) from error
        return loaded

    def _forget_oldest(self) -> None:
        over = [run_id for run_id, run in self._runs.items() if run.is_over]
        for run_id in over[: max(len(over) - self.limits.kept_runs, 0)]:
            del self._runs[run_id]

    def _make_room(self) -> None:
        """Give up channels that nobody follows now, those of closed ones first."""
        for place in [it for it, channel in self._channels.items() if _is_spent(channel)]:
            del self._channels[place]
        while len(self._channels) >= self.limits.channels:
            idle = next((it for it, channel in self._channels.items() if channel.is_idle), None)
            if idle is None:
                raise HttpError(503, "too many runs are followed already", headers=_RETRY)
            self._channels.pop(idle).close()

    async def errors(self, run: Run) -> tuple[str, ...]:
        """Return what went wrong in a run that is over, without the server's paths."""
        if not run.is_over:
            return ()
        try:
            result = await run.result()
        except AdmfError as error:
            return (self.redaction.text(str(error)),)
        except Exception:  # noqa: BLE001 - what it says is for the host's log alone
            return ("the run failed for a reason that is the server's",)
        found = (error for phase in result.phases.values() for error in phase.errors)
        return tuple(self.redaction.text(it) for it in found)


def _local(storage: Storage) -> LocalStorage:
    if not isinstance(storage, LocalStorage):
        raise TypeError("results over HTTP are read from a local folder: give results_root")
    return storage


def _is_spent(channel: Channel) -> bool:
    return channel.is_closed and not channel.is_over and channel.is_idle


def _in_folder(root: Node, run_id: str) -> Node:
    fields = root.value if isinstance(root.value, dict) else {}
    return Node({**fields, "results_dir": Node(run_id)}, root.place, root.keys)
