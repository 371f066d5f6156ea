"""Parts of a sequence side by side, with the outcome of one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, TypeAlias, TypeVar

import anyio

from admf.engine.failures import ungroup
from admf.sequences.stretch import PhaseRun

__all__ = ["Work", "side_by_side"]

T = TypeVar("T")

Work: TypeAlias = Callable[[PhaseRun], Awaitable[T]]
"""A part, which is given the run that its windows are to be run with."""

_AHEAD = 2
"""Parts that may be under way, or done and not yet taken, for each slot."""


async def side_by_side(
    run: PhaseRun,
    works: Iterable[Work[T]] | AsyncIterable[Work[T]],
    take: Callable[[T], Awaitable[None]],
) -> None:
    """Do parts side by side, and take what they return in their order.

    With one slot, each is done and taken before the next is begun, and so is a part that has none
    beside it. With several, some are under way at once, and what they tell the record of the phase
    is told in their order as well.

    Args:
        run: What the parts have in common.
        works: The parts; the next one is asked for when it can begin.
        take: Is given what each part returns; one call ends before the next begins.
    """
    rest = _each(works)
    begin = [] if run.slots == 1 else [it async for it in _first(rest, 2)]
    if len(begin) < 2:
        async for work in _chained(begin, rest):
            await take(await work(run))
        return
    try:
        await _Parts(run, take).do(_chained(begin, rest))
    except BaseExceptionGroup as errors:
        raise ungroup(errors) from None


class _Parts(Generic[T]):
    """Parts that are under way, and those that are done and wait for their turn."""

    def __init__(self, run: PhaseRun, take: Callable[[T], Awaitable[None]]) -> None:
        self._run = run
        self._take = take
        self._room = anyio.Semaphore(_AHEAD * run.slots)
        self._done: dict[int, tuple[PhaseRun, T]] = {}
        self._next = 0
        self._turn = anyio.Lock()

    async def do(self, works: AsyncIterator[Work[T]]) -> None:
        number = 0
        async with anyio.create_task_group() as group:
            await self._room.acquire()
            async for work in works:
                group.start_soon(self._do, number, work)
                number += 1
                await self._room.acquire()

    async def _do(self, number: int, work: Work[T]) -> None:
        branch = self._run.branch()
        self._done[number] = (branch, await work(branch))
        async with self._turn:
            while self._next in self._done:
                branch, outcome = self._done.pop(self._next)
                self._next += 1
                self._run.merge(branch)
                await self._take(outcome)
                self._room.release()


async def _each(works: Iterable[Work[T]] | AsyncIterable[Work[T]]) -> AsyncIterator[Work[T]]:
    if isinstance(works, AsyncIterable):
        async for work in works:
            yield work
        return
    for work in works:
        yield work


async def _first(works: AsyncIterator[Work[T]], count: int) -> AsyncIterator[Work[T]]:
    while count and (work := await anext(works, None)) is not None:
        count -= 1
        yield work


async def _chained(begin: list[Work[T]], rest: AsyncIterator[Work[T]]) -> AsyncIterator[Work[T]]:
    for work in begin:
        yield work
    async for work in rest:
        yield work
