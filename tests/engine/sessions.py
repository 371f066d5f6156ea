"""Live sessions of plain containers, for tests."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import msgspec

from admf.engine.bus import Bus
from admf.engine.container import Container
from admf.engine.events import Event
from admf.engine.intake import Intake
from admf.engine.lifecycle import LifecycleManager
from admf.engine.registry import Registry
from admf.engine.results import Document, ResultStore
from admf.engine.rolling import RollingSession
from admf.engine.storage import MemoryStorage, Storage
from admf.engine.topology import TopologyBuilder
from admf.engine.window_spec import WindowSpec

FOLDER = "run/phase/live"
SPEC = WindowSpec(workflow_id="service", phase_name="phase", topology="plain")


class Note(Event, frozen=True, gc=False, tag="NOTE"):
    """A numbered fact."""

    number: int


class Total(msgspec.Struct, frozen=True):
    """What a ledger leaves to the next one."""

    total: int


class Ledger(Container):
    """Writes down the numbers that it sees, and keeps a total from window to window."""

    def __init__(self, bus: Bus, container_id: str = "ledger") -> None:
        super().__init__(container_id, "ledger", scope=bus)
        self.seen: list[int] = []
        self.total = 0

    async def on_start(self) -> None:
        self.subscribe(Note, self.write)

    def write(self, note: Note) -> None:
        self.seen.append(note.number)
        self.total += 1

    def hand_over(self) -> Total | None:
        return Total(self.total) if self.total else None

    def take_over(self, state: Total) -> None:
        self.total = state.total

    def results(self) -> Document:
        return Document(self.id, {"seen": self.seen, "total": self.total, "status": self.status})


class PlainTopology:
    """An intake and a ledger, and what a test adds."""

    def __init__(self, add: Callable[[TopologyBuilder], object] = lambda _: None) -> None:
        self._add = add

    def build(self, builder: TopologyBuilder) -> None:
        intake = builder.add(Intake("intake", scope=builder.bus, room=4))
        builder.add_report(intake.report)
        builder.add(Ledger(builder.bus))
        self._add(builder)


class Broker:
    """A source that keeps what nobody has acknowledged, as a message broker does.

    Attributes:
        acknowledged: The positions, in the order in which they came.
    """

    def __init__(self, events: Iterable[Event], *, pause_every: int = 3) -> None:
        self.events = list(events)
        self.acknowledged: list[int] = []
        self.closed = False
        self.position = 0
        self._pause_every = pause_every

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if self.position and self.position % self._pause_every == 0:
            await anyio.lowlevel.checkpoint()
        if self.position == len(self.events):
            raise StopAsyncIteration
        self.position += 1
        return self.events[self.position - 1]

    async def acknowledge(self, position: int) -> None:
        await anyio.lowlevel.checkpoint()
        self.acknowledged.append(position)

    async def aclose(self) -> None:
        self.closed = True


class Live:
    """A source that a test feeds by hand."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Event](100)

    def __aiter__(self) -> Live:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._receive.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    def send(self, *numbers: int) -> None:
        for number in numbers:
            self._send.send_nowait(Note(number, number))

    def end(self) -> None:
        self._send.close()

    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


async def until(condition: Callable[[], bool]) -> None:
    """Let others go on until something is so."""
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


def notes(count: int) -> list[Note]:
    return [Note(number, number) for number in range(1, count + 1)]


async def session_of(
    source: Any,
    *,
    add: Callable[[TopologyBuilder], object] = lambda _: None,
    storage: Storage | None = None,
    lifecycle: dict[str, Any] | None = None,
    spec: Any = SPEC,
    **options: Any,
) -> RollingSession:
    """Return a session of the plain topology."""
    registry = Registry()
    registry.register("topologies", "plain", PlainTopology(add))
    store = await ResultStore.create(MemoryStorage() if storage is None else storage, "run")
    manager = LifecycleManager(registry=registry, **(lifecycle or {}))
    return RollingSession(manager, store, spec, source, **options)


async def documents(storage: Storage, name: str = "ledger") -> list[Any]:
    """Return what a container of each window wrote, in the order of the windows."""
    return await files(storage, f"containers/{name}_results.json")


async def files(storage: Storage, name: str) -> list[Any]:
    """Return a document of each window, in the order of the windows."""
    paths = [path for path in await storage.list_files(FOLDER) if path.endswith(name)]
    return [json.loads(await storage.read(path)) for path in sorted(paths)]


async def seen(storage: Storage) -> list[list[int]]:
    """Return the numbers that the ledger of each window has seen."""
    return [document["seen"] for document in await documents(storage)]


async def records(storage: Storage) -> list[Any]:
    """Return what the commit record of each window says of its intake."""
    found = await files(storage, "phase_summary.json")
    return [document["report"]["intake"] for document in found]


def joined(parts: Sequence[Sequence[int]]) -> list[int]:
    return [number for part in parts for number in part]
