"""One run per result folder: a lock that says who holds it, and when it was last heard of.

::

    <run>/.lock/1/owner.json     a claim; its process was killed, say
    <run>/.lock/2/owner.json     the claim of who took over

Claims are numbered, and making the folder of the next number decides between several who find all
claims there are stale. Nobody moves, rewrites or removes the claim of another who may be alive, so
one who judged a claim long ago and acts late cannot hit its successor. Having said who it is, a
claimant looks again: if another claim has come, or one that it took for stale shows life, it
withdraws and starts over. The folder goes when the lock is released.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import TypeAlias

import msgspec

from admf.engine.clock import Clock, WallClock
from admf.engine.errors import FolderInUseError, MissingFileError, StorageError
from admf.engine.lock_owner import (
    STALE_AFTER_S,
    LockOwner,
    decode_owner,
    encode_owner,
    is_stale,
    this_process,
)
from admf.engine.shielding import finish
from admf.engine.storage import Storage

__all__ = [
    "HEARTBEAT_S",
    "LOCK_FOLDER",
    "RunLock",
    "read_lock",
]

Claims: TypeAlias = Mapping[int, bytes | None]
"""What stands in the owner file of each claim, None where there is no such file."""

LOCK_FOLDER = ".lock"
HEARTBEAT_S = 10.0

_OWNER_FILE = "owner.json"
_LOOK_AGAIN_S = 0.05
_TAKING_S = 2.0
"""How long a claim may take to say whose it is."""

_WATCH_S = 1.5 * HEARTBEAT_S
"""How long to wait for a heartbeat of one whose clock, or whose file, cannot be relied on."""

_MOST_LISTINGS = 100
_CLAIM = re.compile(r"([1-9][0-9]{0,8})/")


class RunLock:
    """The lock of a run's folder, held; `acquire` makes it.

    Attributes:
        owner: This process, and its last heartbeat.
        taken_over: The owner that did not release it, None if there was none, or if there is
            nothing left to tell who it was.
    """

    def __init__(
        self, storage: Storage, folder: str, number: int, judged: Claims, clock: Clock
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._number = number
        self._judged = judged
        self._clock = clock
        self._released = False
        self.owner = this_process(clock.now_ns())
        self.taken_over = _last_owner(judged)

    @classmethod
    async def acquire(
        cls, storage: Storage, run_dir: str, *, clock: Clock | None = None
    ) -> RunLock:
        """Take the lock, also from an owner that is gone.

        That takes seconds if there is only its silence to go by.

        Args:
            storage: Where the run's folder is.
            run_dir: The folder; empty if it is the storage's root.
            clock: For heartbeats and for waiting; the machine's own by default.

        Raises:
            FolderInUseError: Another run holds it.
            StorageError: It cannot be written.
        """
        clock = clock or WallClock()
        folder = _lock_folder(run_dir)
        while True:
            judged = await _wait_until_stale(storage, folder, clock)
            number = max(judged, default=0) + 1
            if await storage.make_dir(f"{folder}/{number}"):
                lock = cls(storage, folder, number, judged, clock)
                if await lock._establish():
                    return lock

    async def beat(self) -> None:
        """Let others know that the owner is alive.

        Raises:
            FolderInUseError: The lock was taken over or removed: the run must end.
            StorageError: The heartbeat cannot be written.
        """
        claims = await _read_claims(self._storage, self._folder)
        last = max(claims, default=0)
        if last > self._number or not self._is_mine(claims):
            raise FolderInUseError(self._loss(claims))
        await self._write()

    async def keep(self) -> None:
        """Beat until cancelled.

        A heartbeat that cannot be written is made up for by the next ones, for half the time after
        which others may take the lock over.

        Raises:
            FolderInUseError: The lock was taken over or removed: the run must end.
            StorageError: No heartbeat could be written for that long.
        """
        heard_s = self._clock.monotonic()
        while True:
            await self._clock.sleep(HEARTBEAT_S)
            try:
                await self.beat()
                heard_s = self._clock.monotonic()
            except FolderInUseError:
                raise
            except StorageError:
                if self._clock.monotonic() - heard_s >= STALE_AFTER_S / 2:
                    raise

    async def release(self) -> None:
        """Give the lock back, even if the caller is cancelled; again does nothing.

        A lock that was lost is left to its new owner.

        Raises:
            StorageError: It cannot be removed.
        """
        await finish(self._release)

    async def _release(self) -> None:
        if self._released:
            return
        claims = await _read_claims(self._storage, self._folder)
        if self._is_mine(claims):
            is_last = max(claims) == self._number
            await self._remove(self._folder if is_last else self._claim)
        self._released = True

    async def _establish(self) -> bool:
        """Say whose the claim is; withdraw it if another is as good. Return whether it stands."""
        stands = False
        try:
            content = await self._write()
            claims = await _read_claims(self._storage, self._folder)
            known = {**self._judged, self._number: content}
            stands = self._number in claims and claims.items() <= known.items()
        finally:
            if not stands:
                await finish(self._withdraw)
        return stands

    async def _withdraw(self) -> None:
        with suppress(StorageError):  # what is left over is stale when this process has ended
            await self._storage.remove_tree(self._claim)

    async def _remove(self, folder: str) -> None:
        try:
            await self._storage.remove_tree(folder)
        except StorageError:  # another claim may have come once this one was gone
            if await self._storage.exists(self._claim):
                raise

    async def _write(self) -> bytes:
        self.owner = msgspec.structs.replace(self.owner, heartbeat_at_ns=self._clock.now_ns())
        content = encode_owner(self.owner)
        await self._storage.write_atomic(f"{self._claim}/{_OWNER_FILE}", [content])
        return content

    @property
    def _claim(self) -> str:
        return f"{self._folder}/{self._number}"

    def _is_mine(self, claims: Claims) -> bool:
        """Whether the claim is still there, be it that its file was damaged."""
        content = claims.get(self._number)
        if content is None:
            return False
        owner = decode_owner(content)
        return owner is None or owner.token == self.owner.token

    def _loss(self, claims: Claims) -> str:
        owner = _last_owner({n: it for n, it in claims.items() if n >= self._number})
        place = _place(self._storage, self._folder)
        if owner is None or owner.token == self.owner.token:
            return f"the lock of {place} was removed, so this run ends: run it again to resume it"
        who = owner.describe(self._clock.now_ns())
        return f"{place} was taken over by {who}, so this run ends: leave it to that one"


async def read_lock(storage: Storage, run_dir: str) -> LockOwner | None:
    """Return who holds a run's lock, or held it and is gone (`is_stale`); None if nobody does.

    Args:
        storage: Where the run's folder is.
        run_dir: The folder; empty if it is the storage's root.

    Raises:
        StorageError: The lock cannot be read.
    """
    return _last_owner(await _read_claims(storage, _lock_folder(run_dir)))


async def _wait_until_stale(storage: Storage, folder: str, clock: Clock) -> Claims:
    """Return the claims once all of them have proved to be stale.

    Times that another host wrote down come from its clock, which may be wrong: there, a claim that
    changes while it is watched is alive, whatever its heartbeat says.

    Raises:
        FolderInUseError: One of them is alive.
    """
    seen: Claims | None = None
    since_s = clock.monotonic()
    while True:
        claims = await _read_claims(storage, folder)
        now_ns = clock.now_ns()
        if claims != seen:
            since_s = clock.monotonic()
        doubt_s = 0.0
        for number, content in claims.items():
            changed = seen is not None and seen.get(number) != content
            owner = None if content is None else decode_owner(content)
            if owner is not None and _is_alive(owner, now_ns, changed=changed):
                raise FolderInUseError(_refusal(_place(storage, folder), owner, now_ns))
            doubt_s = max(doubt_s, _doubt_s(content, owner))
        if clock.monotonic() - since_s >= doubt_s:
            return claims
        seen = claims
        await clock.sleep(_LOOK_AGAIN_S)


def _is_alive(owner: LockOwner, now_ns: int, *, changed: bool) -> bool:
    return not is_stale(owner, now_ns) or (changed and not owner.is_near)


def _doubt_s(content: bytes | None, owner: LockOwner | None) -> float:
    """Return for how long a claim that seems stale must not change before it counts as stale."""
    if content is None:
        return _TAKING_S
    return 0.0 if owner is not None and owner.is_near else _WATCH_S


async def _read_claims(storage: Storage, folder: str) -> dict[int, bytes | None]:
    files = await _list_files(storage, folder)
    matches = (_CLAIM.match(file, len(folder) + 1) for file in files)
    numbers = {int(match[1]) for match in matches if match is not None}
    last = max(numbers, default=0)
    while await storage.exists(f"{folder}/{last + 1}"):  # no file says yet whose it is
        last += 1
        numbers.add(last)
    return {it: await _read(storage, f"{folder}/{it}/{_OWNER_FILE}") for it in sorted(numbers)}


async def _list_files(storage: Storage, folder: str) -> list[str]:
    """Return the files of the lock, which may be going away while they are listed."""
    for _ in range(_MOST_LISTINGS - 1):
        try:
            return await storage.list_files(folder)
        except MissingFileError:
            continue
    return await storage.list_files(folder)


async def _read(storage: Storage, path: str) -> bytes | None:
    try:
        return await storage.read(path)
    except MissingFileError:
        return None


def _last_owner(claims: Claims) -> LockOwner | None:
    owners = [None if content is None else decode_owner(content) for content in claims.values()]
    return next((owner for owner in reversed(owners) if owner is not None), None)


def _lock_folder(run_dir: str) -> str:
    return f"{run_dir}/{LOCK_FOLDER}" if run_dir else LOCK_FOLDER


def _place(storage: Storage, folder: str) -> str:
    """Return where the run's folder is, for people."""
    return storage.locate(folder)[: -len(LOCK_FOLDER) - 1]


def _refusal(place: str, owner: LockOwner, now_ns: int) -> str:
    return (
        f"{place} is in use by {owner.describe(now_ns)}: wait for it, or stop it; "
        f"if you are sure that it is gone, remove {place}/{LOCK_FOLDER}"
    )
