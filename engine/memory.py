"""How much memory there is, and what to do as it runs short.

`SystemMemory` finds the limit and its use, `MemoryGovernor` decides. Nothing here waits or repeats
itself: whoever holds the memory looks from time to time, and acts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from admf.engine.cgroups import find_limit, find_pressure_file, read_pressure_pct

__all__ = ["MemoryGovernor", "MemoryProbe", "MemoryThresholds", "SystemMemory"]

_MIB = 2**20

Share = Annotated[float, Meta(gt=0, le=1)]


class MemoryProbe(Protocol):
    """Tells the state of the memory; polled, so every call is cheap and none raises."""

    def limit_bytes(self) -> int:
        """Return how much may be used; more than 0."""
        ...

    def used_bytes(self) -> int:
        """Return how much of it is used."""
        ...

    def pressure_pct(self) -> float:
        """Return the percentage of the last 10 seconds in which a task waited for memory."""
        ...


class SystemMemory:
    """The memory of this process, as the operating system tells it.

    The limit is the lowest of the control groups' limits, or the machine's memory where that is
    less; it is looked up once. Make a new one in a forked process.

    Args:
        proc: Where the kernel describes processes; may be missing.
        cgroup_root: Where the control groups are mounted; may be missing.
    """

    def __init__(
        self, proc: Path = Path("/proc"), cgroup_root: Path = Path("/sys/fs/cgroup")
    ) -> None:
        import psutil  # not every run asks for the memory

        self._process = psutil.Process()
        self._limit_bytes = psutil.virtual_memory().total
        self._group = find_limit(proc, cgroup_root)
        if self._group is not None and self._group.limit_bytes >= self._limit_bytes:
            self._group = None
        if self._group is not None:
            self._limit_bytes = self._group.limit_bytes
        self._pressure_file = find_pressure_file(proc, cgroup_root)

    def limit_bytes(self) -> int:
        """Return how much may be used."""
        return self._limit_bytes

    def used_bytes(self) -> int:
        """Return the resident memory of this process, or that of its limited group if larger."""
        resident: int = self._process.memory_info().rss
        return resident if self._group is None else max(resident, self._group.used_bytes())

    def pressure_pct(self) -> float:
        """Return the memory pressure (PSI, some avg10); 0 where the kernel does not measure it."""
        return 0.0 if self._pressure_file is None else read_pressure_pct(self._pressure_file)


class MemoryThresholds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to do something about the memory; as shares of the limit where not said otherwise.

    Args:
        back: Managed bytes below which results may stay in memory again.
        spill: Use from which on results go to disk.
        no_new_windows: Use from which on no window is opened beside another.
        give_up: Use from which on the newest window is to be given up.
        pressure_pct: Memory pressure in percent from which on results go to disk.

    Raises:
        ValueError: They are not in that order, or not positive, or beyond the whole.
    """

    back: Share = 0.30
    spill: Share = 0.70
    no_new_windows: Share = 0.80
    give_up: Share = 0.92
    pressure_pct: Annotated[float, Meta(gt=0, le=100)] = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.back < self.spill <= self.no_new_windows <= self.give_up <= 1:
            raise ValueError(
                "memory thresholds must be 0 < back < spill <= no_new_windows <= give_up <= 1, not "
                f"{self.back:g}, {self.spill:g}, {self.no_new_windows:g}, {self.give_up:g}"
            )
        if not 0 < self.pressure_pct <= 100:
            raise ValueError(f"pressure_pct must be above 0 and up to 100, not {self.pressure_pct}")


class MemoryGovernor:
    """Decides what to do as memory runs short; it holds no memory itself.

    All answers are those of the latest `look`; the first is taken when it is made.

    Args:
        probe: Tells the state of the memory.
        thresholds: When to do something about it.
    """

    def __init__(self, probe: MemoryProbe, thresholds: MemoryThresholds | None = None) -> None:
        self._probe = probe
        self._thresholds = thresholds or MemoryThresholds()
        self._on_disk = False
        self.look(0)

    @property
    def on_disk(self) -> bool:
        """Whether results are to go to disk.

        So it is from the first look that finds the memory short (use or pressure) to the first
        that does not and, besides, finds few bytes managed. Since a process seldom shrinks when
        it frees memory, the bytes managed say little about its use, and both have to be low: a
        process that stays large stays on disk, rather than to and fro at each look.
        """
        return self._on_disk

    @property
    def must_give_up(self) -> bool:
        """Whether use is so near the limit that the newest window has to end, results flushed."""
        return self._share >= self._thresholds.give_up

    def look(self, managed_bytes: int) -> None:
        """Take in the state of the memory.

        Args:
            managed_bytes: What the caller holds and could spill.
        """
        self._limit_bytes = self._probe.limit_bytes()
        self._used_bytes = self._probe.used_bytes()
        self._pressure_pct = self._probe.pressure_pct()
        self._share = self._used_bytes / self._limit_bytes
        short_of_space = self._share >= self._thresholds.spill
        if short_of_space or self._pressure_pct >= self._thresholds.pressure_pct:
            self._on_disk = True
        elif managed_bytes / self._limit_bytes < self._thresholds.back:
            self._on_disk = False

    def may_open(self, open_windows: int) -> bool:
        """Whether one more window may be opened.

        While memory is short, those that are open have to end first, which frees theirs. With
        none open the answer is always yes, whatever the use and the bytes managed: nobody is left
        to free memory, so a run that waited might wait forever. Short of `must_give_up` the window
        may well fit, into what the process has freed but not given back. Beyond, it is given up at
        the next look unless use falls: it fails, cleanly, and a new process resumes it with less
        in use. So each window that is opened ends, one way or the other, and with them the run.

        Args:
            open_windows: How many are open now, in the whole run.
        """
        return open_windows == 0 or self._share < self._thresholds.no_new_windows

    def has_room(self, more_bytes: int) -> bool:
        """Whether so much could be taken without that results would have to go to disk."""
        share = (self._used_bytes + more_bytes) / self._limit_bytes
        return not self._on_disk and share < self._thresholds.spill

    def describe(self) -> str:
        """Return the state in a line, for a message; shares are rounded down."""
        return (
            f"{self._used_bytes // _MIB} MiB of {self._limit_bytes // _MIB} MiB in use "
            f"({100 * self._used_bytes // self._limit_bytes} %), "
            f"memory pressure {self._pressure_pct:.0f} %"
        )
