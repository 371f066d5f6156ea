"""Who holds the lock of a run's folder, and whether that process is still there."""

from __future__ import annotations

import hashlib
import math
import os
import socket
from pathlib import Path
from typing import Annotated

import msgspec

__all__ = [
    "STALE_AFTER_S",
    "LockOwner",
    "decode_owner",
    "encode_owner",
    "is_stale",
    "this_process",
]

STALE_AFTER_S = 60.0
"""Silence after which a process that cannot be looked for, as on another host, counts as gone."""

_SAME_START_S = 2.0
"""How far two readings of one process's start may differ."""


class LockOwner(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds, or held, the lock of a run's folder.

    Args:
        pid: Its process.
        host: The machine, by name.
        pid_space: Which process ids of that machine can be seen from there; empty if unknown. Hosts
            of one name, such as containers, differ in it.
        started_s: When the process started, in seconds since the machine did: unlike a time of day,
            this stays the same when the clock is set.
        token: Tells this claim from all others.
        taken_at_ns: When the lock was taken, nanoseconds since 1970-01-01 UTC.
        heartbeat_at_ns: When the owner was last heard of.
    """

    pid: Annotated[int, msgspec.Meta(gt=0)]
    host: str
    pid_space: str
    started_s: float
    token: str
    taken_at_ns: int
    heartbeat_at_ns: int

    def describe(self, now_ns: int) -> str:
        """Return e.g. ``pid 4711 on host web1, last heard of 3 s ago``."""
        silence = _duration((now_ns - self.heartbeat_at_ns) / 1e9)
        return f"pid {self.pid} on host {self.host}, last heard of {silence} ago"

    @property
    def is_near(self) -> bool:
        """Whether its process can be looked for from here."""
        return self.host == socket.gethostname() and self.pid_space == _pid_space()


def is_stale(owner: LockOwner, now_ns: int) -> bool:
    """Whether an owner is gone, as far as can be told at once.

    A process that can be looked for counts as long as it lives, however long it has been silent.

    Args:
        owner: Who holds the lock.
        now_ns: Nanoseconds since 1970-01-01 UTC.
    """
    if owner.is_near:
        return not _is_running(owner)
    return abs(now_ns - owner.heartbeat_at_ns) >= STALE_AFTER_S * 1e9


class _OwnerFile(msgspec.Struct, frozen=True):
    """An owner, and the SHA-256 of its JSON: a flipped digit must not make another pid of it."""

    owner: msgspec.Raw
    sha256: str


def encode_owner(owner: LockOwner) -> bytes:
    """Return the content of an owner's file."""
    content = msgspec.json.encode(owner)
    file = _OwnerFile(msgspec.Raw(content), hashlib.sha256(content).hexdigest())
    return msgspec.json.encode(file) + b"\n"


def decode_owner(content: bytes) -> LockOwner | None:
    """Return the owner, None if the file is torn or foreign; fields it has beyond are ignored."""
    try:
        file = msgspec.json.decode(content, type=_OwnerFile)
        if hashlib.sha256(file.owner).hexdigest() != file.sha256:
            return None
        return msgspec.json.decode(file.owner, type=LockOwner)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def this_process(now_ns: int) -> LockOwner:
    """Return this process as an owner.

    Args:
        now_ns: Nanoseconds since 1970-01-01 UTC.
    """
    return LockOwner(
        pid=os.getpid(),
        host=socket.gethostname(),
        pid_space=_pid_space(),
        started_s=_started_s(os.getpid()),
        token=os.urandom(8).hex(),
        taken_at_ns=now_ns,
        heartbeat_at_ns=now_ns,
    )


def _pid_space() -> str:
    """Return the boot and the namespace that process ids belong to, where the system tells."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _started_s(pid: int) -> float:
    import psutil  # late: who has no lock to judge does without

    boot_s = psutil.boot_time()  # first: older versions of psutil reckon with the last one read
    return psutil.Process(pid).create_time() - boot_s


def _is_running(owner: LockOwner) -> bool:
    """Whether a process of this machine is the owner, and not another with its pid."""
    import psutil  # late, as above

    try:
        same = math.isclose(_started_s(owner.pid), owner.started_s, abs_tol=_SAME_START_S)
        return same and psutil.Process(owner.pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _duration(seconds: float) -> str:
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{max(seconds, 0) / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} days"
