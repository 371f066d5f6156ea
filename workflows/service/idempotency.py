"""Requests that may come twice and are to be met once."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable

import anyio

from admf.workflows.service.problems import HttpError

__all__ = ["LONGEST_KEY", "IdempotencyKeys"]

LONGEST_KEY = 255


class _Entry:
    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        self.over = anyio.Event()
        self.run_id: str | None = None  # until it is over, and for good if it failed


class IdempotencyKeys:
    """Remembers which run a key stands for.

    Args:
        most: Keys that are remembered; the one that was not used longest is forgotten.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    async def once(self, key: str | None, body: bytes, make: Callable[[], Awaitable[str]]) -> str:
        """Return the run of a key; it is made if there is none, or the one before failed to be.

        Args:
            key: What the client calls the request; None makes a run each time.
            body: The whole request.
            make: Makes a run, and returns its id.

        Raises:
            HttpError: The key cannot be used, or stood for another request before.
        """
        if key is None:
            return await make()
        if not (0 < len(key) <= LONGEST_KEY and key.isascii() and key.isprintable()):
            raise HttpError(
                400, f"Idempotency-Key is to have 1 to {LONGEST_KEY} printable ASCII characters"
            )
        digest = hashlib.sha256(body).digest()
        while (entry := self._entries.get(key)) is not None:
            if entry.digest != digest:
                raise HttpError(422, "this Idempotency-Key came with another experiment before")
            if entry.run_id is not None:
                self._entries.move_to_end(key)
                return entry.run_id
            await entry.over.wait()
        return await self._make(key, digest, make)

    async def _make(self, key: str, digest: bytes, make: Callable[[], Awaitable[str]]) -> str:
        entry = self._entries[key] = _Entry(digest)
        try:
            run_id = entry.run_id = await make()
        finally:
            if entry.run_id is None:
                del self._entries[key]
            entry.over.set()
        self._forget_oldest()
        return run_id

    def _forget_oldest(self) -> None:
        over = (key for key, it in self._entries.items() if it.run_id is not None)
        for key in list(over)[: max(len(self._entries) - self._most, 0)]:
            del self._entries[key]
