"""What Linux control groups say about this process's memory: the limit, its use, the pressure.

Both versions are read, also side by side. Whatever is missing or cannot be read or understood
counts as not said, so on other systems all of it is.

Source: the kernel's Documentation/admin-guide/cgroup-v2.rst (memory), cgroup-v1/memory.rst and
accounting/psi.rst.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

__all__ = ["CgroupLimit", "find_limit", "find_pressure_file", "read_pressure_pct"]

# Version 1 writes "no limit" as the largest whole number of pages, which depends on the page size.
_NO_LIMIT_BYTES = 2**62
_NUMBER = re.compile(rb"\s*([0-9]{1,19})\s*")
# Of version 1: the lowest limit above the group, also of groups that a container does not see.
_INHERITED_LIMIT = re.compile(rb"^hierarchical_memory_limit ([0-9]{1,19})$", re.MULTILINE)
_SOME_AVG10 = re.compile(rb"^some avg10=([0-9]+(?:\.[0-9]+)?) ", re.MULTILINE)


class _Version(msgspec.Struct, frozen=True):
    """The names that a version of control groups has for the same things."""

    limits: tuple[str, ...]
    usage: str
    file_cache: re.Pattern[bytes]


_V1 = _Version(
    limits=("memory.limit_in_bytes",),
    usage="memory.usage_in_bytes",
    file_cache=re.compile(rb"^total_(?:in)?active_file ([0-9]+)$", re.MULTILINE),
)
_V2 = _Version(
    limits=("memory.max", "memory.high"),
    usage="memory.current",
    file_cache=re.compile(rb"^(?:in)?active_file ([0-9]+)$", re.MULTILINE),
)


class CgroupLimit(msgspec.Struct, frozen=True):
    """A limit on the memory of this process and of all others in the same group.

    Args:
        folder: Where the group's files are.
        limit_bytes: The limit, more than 0.
        version: How the files are named.
    """

    folder: Path
    limit_bytes: int
    version: _Version

    def used_bytes(self) -> int:
        """Return how much the group holds that the kernel cannot drop; 0 if it does not say.

        A limit is only then fatal when dropping cached file pages does not get below it. So these
        do not count, neither the inactive nor the active ones; what is in tmpfs does.
        """
        used = _number(_read(self.folder / self.version.usage))
        stat = _read(self.folder / "memory.stat")
        if used is None or not stat:
            return 0
        return max(0, used - sum(map(int, self.version.file_cache.findall(stat))))


class _Place(msgspec.Struct, frozen=True):
    """Where a process stands in a hierarchy of groups: that of the mount or one below."""

    mount: Path
    folder: Path
    version: _Version


def find_limit(
    proc: Path = Path("/proc"), cgroup_root: Path = Path("/sys/fs/cgroup")
) -> CgroupLimit | None:
    """Return the lowest limit on this process's memory, from its group up to the root.

    Of groups with the same limit it is that of the outermost, which holds the others' memory too.
    """
    limits = [limit for place in _places(proc, cgroup_root) for limit in _limits(place)]
    return min(limits, key=lambda limit: limit.limit_bytes, default=None)


def find_pressure_file(
    proc: Path = Path("/proc"), cgroup_root: Path = Path("/sys/fs/cgroup")
) -> Path | None:
    """Return the file that tells the memory pressure in this process's group, or in the machine."""
    groups = [place.folder for place in _places(proc, cgroup_root) if place.version is _V2]
    files = [*(folder / "memory.pressure" for folder in groups), proc / "pressure" / "memory"]
    return next((file for file in files if _SOME_AVG10.search(_read(file))), None)


def read_pressure_pct(file: Path) -> float:
    """Return for how much of the last 10 seconds a task waited for memory; 0 if it is not said."""
    found = _SOME_AVG10.search(_read(file))
    return float(found[1]) if found else 0.0


def _places(proc: Path, cgroup_root: Path) -> Iterator[_Place]:
    """Yield where this process stands in each hierarchy that may limit its memory."""
    for line in _read(proc / "self" / "cgroup").decode(errors="surrogateescape").split("\n"):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if (number, controllers) == ("0", ""):
            mount, version = _mount_of_v2(cgroup_root), _V2
        elif "memory" in controllers.split(","):
            mount, version = cgroup_root / "memory", _V1
        else:
            continue
        yield _Place(mount, _locate(mount, path), version)


def _mount_of_v2(cgroup_root: Path) -> Path:
    """Return where version 2 is mounted: beside the hierarchies of version 1, or alone."""
    unified = cgroup_root / "unified"
    alone = _read(cgroup_root / "cgroup.controllers") or not _is_folder(unified)
    return cgroup_root if alone else unified


def _locate(mount: Path, path: str) -> Path:
    """Return the folder of a group.

    A container may see only the lower end of its path below the mount, or nothing of it: then the
    mount itself is its group. The latter is so, too, where a namespace puts the path outside (..).
    """
    parts = [part for part in path.split("/") if part]
    if ".." in parts:
        return mount
    folders = (mount.joinpath(*parts[start:]) for start in range(len(parts)))
    return next(filter(_is_folder, folders), mount)


def _limits(place: _Place) -> Iterator[CgroupLimit]:
    """Yield the limits from the mount down to a place."""
    parts = place.folder.relative_to(place.mount).parts
    for depth in range(len(parts) + 1):
        folder = place.mount.joinpath(*parts[:depth])
        limit_bytes = _lowest(_stated_limits(folder, place.version))
        if limit_bytes is not None:
            yield CgroupLimit(folder, limit_bytes, place.version)


def _stated_limits(folder: Path, version: _Version) -> Iterator[int | None]:
    for name in version.limits:
        yield _number(_read(folder / name))
    inherited = _INHERITED_LIMIT.search(_read(folder / "memory.stat"))
    yield _number(inherited[1]) if inherited else None


def _lowest(stated: Iterable[int | None]) -> int | None:
    return min((limit for limit in stated if limit and limit < _NO_LIMIT_BYTES), default=None)


def _number(data: bytes) -> int | None:
    found = _NUMBER.fullmatch(data)
    return int(found[1]) if found else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
