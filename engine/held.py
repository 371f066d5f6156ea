"""Results that stay in memory: a document becomes bytes when somebody reads it, if ever."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from admf.engine.storage import MemoryStorage

__all__ = ["HeldStorage"]


class HeldStorage(MemoryStorage):
    """Memory that takes documents as they are, too: those that nobody reads are never encoded."""

    def __init__(self) -> None:
        super().__init__()
        self._held: dict[str, Callable[[], bytes]] = {}

    async def hold(self, path: str, encode: Callable[[], bytes]) -> None:
        """Put a document in the place of a file.

        Args:
            path: Path of the file.
            encode: Returns its content; called when it is read for the first time.
        """
        await self.write_atomic(path, ())
        self._held[path] = encode

    async def write_atomic(self, path: str, chunks: Iterable[bytes]) -> None:
        """Replace a file once all its chunks are there."""
        await super().write_atomic(path, chunks)
        self._held.pop(path, None)

    async def read(self, path: str) -> bytes:
        """Return the content of a file."""
        self._encode(path)
        return await super().read(path)

    def peek(self, path: str) -> bytes | None:
        """Return the content of a file at once; None if there is none."""
        self._encode(path)
        return super().peek(path)

    async def move(self, source: str, target: str) -> None:
        """Rename a folder."""
        for path in self.peek_files(source):
            self._encode(path)
        await super().move(source, target)

    def _encode(self, path: str) -> None:
        """Have a file's content if it is there and has none yet."""
        encode = self._held.pop(path, None)
        if encode is not None and path in self._files:
            self._files[path] = encode()
