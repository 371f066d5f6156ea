from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from admf.engine.memory import MemoryGovernor, MemoryProbe, MemoryThresholds, SystemMemory

MIB = 2**20
RAM, RESIDENT = 8_000 * MIB, 100 * MIB


class FakeMemory:
    """A probe whose answers a test sets."""

    def __init__(self, used: int = 0, pressure: float = 0.0, limit: int = 1_000) -> None:
        self.used, self.pressure, self.limit = used, pressure, limit

    def limit_bytes(self) -> int:
        return self.limit

    def used_bytes(self) -> int:
        return self.used

    def pressure_pct(self) -> float:
        return self.pressure


def governor_at(used: int, pressure: float = 0.0, limit: int = 1_000) -> MemoryGovernor:
    return MemoryGovernor(FakeMemory(used, pressure, limit))


# --- the system's memory ----------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=RESIDENT))
    monkeypatch.setattr("psutil.Process", lambda: process)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=RAM))


def system(root: Path, limit_mib: int, used_mib: int, pressure: str = "0.00") -> SystemMemory:
    """Stand in a group of version 2, half of whose cached 20 MiB are active."""
    group = root / "cgroup" / "job"
    group.mkdir(parents=True)
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text("0::/job\n")
    (group / "memory.max").write_text(f"{limit_mib * MIB}\n")
    (group / "memory.current").write_text(f"{(used_mib + 20) * MIB}\n")
    cached = 10 * MIB
    (group / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file {cached}\n")
    (group / "memory.pressure").write_text(f"some avg10={pressure} avg60=0.00\n")
    return SystemMemory(root / "proc", root / "cgroup")


@pytest.mark.usefixtures("machine")
def test_a_group_sets_the_limit_and_tells_its_use_and_pressure(tmp_path: Path) -> None:
    probe = system(tmp_path, limit_mib=512, used_mib=412, pressure="7.50")
    assert probe.limit_bytes() == 512 * MIB
    assert probe.used_bytes() == 412 * MIB
    assert probe.pressure_pct() == 7.5


@pytest.mark.usefixtures("machine")
def test_the_process_counts_where_its_group_claims_to_use_less(tmp_path: Path) -> None:
    assert system(tmp_path, limit_mib=512, used_mib=50).used_bytes() == RESIDENT


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize("limit_mib", [8_000, 9_000])
def test_a_limit_beyond_the_machine_is_the_machine_and_the_process_alone_counts(
    tmp_path: Path, limit_mib: int
) -> None:
    probe = system(tmp_path, limit_mib, used_mib=7_000)
    assert probe.limit_bytes() == RAM
    assert probe.used_bytes() == RESIDENT


@pytest.mark.usefixtures("machine")
def test_without_proc_and_groups_it_is_the_machine(tmp_path: Path) -> None:
    probe = SystemMemory(tmp_path / "proc", tmp_path / "cgroup")
    assert probe.limit_bytes() == RAM
    assert probe.used_bytes() == RESIDENT
    assert probe.pressure_pct() == 0.0


def test_this_very_machine_is_understood() -> None:
    probe: MemoryProbe = SystemMemory()
    ballast = bytearray(50 * MIB)
    assert probe.limit_bytes() > 0
    assert len(ballast) < probe.used_bytes() < 10_000 * MIB
    assert 0 <= probe.pressure_pct() <= 100
    assert MemoryGovernor(probe).describe()


# --- thresholds -------------------------------------------------------------------------------


def test_the_thresholds_are_those_of_the_design() -> None:
    assert msgspec.to_builtins(MemoryThresholds()) == {
        "back": 0.30,
        "spill": 0.70,
        "no_new_windows": 0.80,
        "give_up": 0.92,
        "pressure_pct": 10.0,
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"back": 0.0},
        {"back": -0.1},
        {"back": 0.7},
        {"spill": 0.3},
        {"spill": 0.81},
        {"no_new_windows": 0.69},
        {"no_new_windows": 0.93},
        {"give_up": 0.79},
        {"give_up": 1.01},
        {"give_up": float("nan")},
        {"pressure_pct": 0.0},
        {"pressure_pct": -1.0},
        {"pressure_pct": 100.5},
        {"pressure_pct": float("nan")},
    ],
)
def test_thresholds_that_are_out_of_order_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be .* not "):
        MemoryThresholds(**changes)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(changes, MemoryThresholds)


@pytest.mark.parametrize(
    "changes",
    [
        {"spill": 0.8},
        {"no_new_windows": 0.92},
        {"give_up": 1.0},
        {"back": 0.01, "spill": 0.02, "no_new_windows": 0.02, "give_up": 0.02},
        {"pressure_pct": 100.0},
    ],
)
def test_thresholds_may_coincide_but_for_the_way_back(changes: dict[str, float]) -> None:
    assert msgspec.to_builtins(MemoryThresholds(**changes)).items() >= changes.items()


def test_a_governor_takes_other_thresholds() -> None:
    thresholds = MemoryThresholds(
        back=0.1, spill=0.2, no_new_windows=0.3, give_up=0.4, pressure_pct=50
    )
    probe = FakeMemory(used=100, pressure=49.0)
    governor = MemoryGovernor(probe, thresholds)
    seen: list[tuple[bool, bool, bool]] = []
    for used in (100, 200, 300, 400):
        probe.used = used
        governor.look(0)
        seen.append((governor.on_disk, governor.may_open(1), governor.must_give_up))
    assert seen == [
        (False, True, False),
        (True, True, False),
        (True, False, False),
        (True, False, True),
    ]


# --- to disk and back -------------------------------------------------------------------------

# Each look: use in 1/1000 of the limit, pressure in percent, managed in 1/1000; on disk after it.
Look = tuple[int, float, int, bool]


@pytest.mark.parametrize(
    "looks",
    [
        pytest.param([(699, 9.99, 600, False), (700, 0, 600, True)], id="use reaches 70 %"),
        pytest.param([(100, 9.99, 50, False), (100, 10.0, 50, True)], id="pressure reaches 10 %"),
        pytest.param([(699, 0, 650, False)] * 3, id="much is managed but there is room"),
        pytest.param(
            [(750, 0, 600, True), (500, 0, 300, True), (480, 0, 299, False)],
            id="back below 30 % managed",
        ),
        pytest.param(
            [(750, 0, 600, True), *[(750, 0, 0, True)] * 5, (699, 0, 0, False)],
            id="the process stays large after the spill",
        ),
        pytest.param(
            [(300, 40.0, 200, True), (300, 10.0, 0, True), (300, 9.9, 0, False)],
            id="the pressure stays",
        ),
        pytest.param(
            [(700, 0, 600, True), (690, 0, 400, True), (710, 0, 500, True), (500, 0, 350, True)],
            id="between the thresholds nothing changes",
        ),
        pytest.param(
            [(800, 0, 700, True), (400, 0, 100, False), (690, 0, 400, False), (701, 0, 400, True)],
            id="there and back and there again",
        ),
    ],
)
def test_results_go_to_disk_and_back_with_hysteresis(looks: list[Look]) -> None:
    probe = FakeMemory()
    governor = MemoryGovernor(probe)
    for used, pressure, managed, on_disk in looks:
        probe.used, probe.pressure = used, pressure
        governor.look(managed)
        assert governor.on_disk is on_disk


@pytest.mark.parametrize(
    ("used", "pressure", "on_disk"), [(0, 0, False), (700, 0, True), (0, 10, True)]
)
def test_a_governor_has_looked_when_it_is_made(used: int, pressure: float, on_disk: bool) -> None:
    assert governor_at(used, pressure).on_disk is on_disk


def test_a_limit_that_changes_counts_from_the_next_look() -> None:
    probe = FakeMemory(used=600)
    governor = MemoryGovernor(probe)
    probe.limit = 800
    assert not governor.on_disk
    governor.look(0)
    assert governor.on_disk


states = st.tuples(
    st.integers(0, 1_100),
    st.floats(0, 100) | st.sampled_from([0.0, 9.99, 10.0]),
    st.integers(0, 1_100),
)


@given(st.lists(st.tuples(states, st.integers(1, 4)), max_size=30))
@example([((700, 0.0, 0), 2), ((0, 0.0, 299), 2), ((0, 0.0, 300), 2)])
def test_every_switch_has_its_reason_and_the_same_state_never_switches_back(
    course: list[tuple[tuple[int, float, int], int]],
) -> None:
    probe = FakeMemory()
    governor = MemoryGovernor(probe)
    for (probe.used, probe.pressure, managed), repeats in course:
        before = governor.on_disk
        governor.look(managed)
        after = governor.on_disk
        short = probe.used * 10 >= 7 * probe.limit or probe.pressure >= 10
        if after and not before:
            assert short
        if before and not after:
            assert not short
            assert managed * 10 < 3 * probe.limit
        if short:
            assert after
        for _ in range(repeats):
            governor.look(managed)
            assert governor.on_disk is after


@given(st.integers(1, 2**50), st.integers(0, 2**50), st.integers(0, 2**50))
def test_answers_hold_for_any_limit_and_agree_with_each_other(
    limit: int, used: int, managed: int
) -> None:
    governor = governor_at(used, limit=limit)
    governor.look(managed)
    assert governor.must_give_up is (used / limit >= 0.92)
    assert governor.may_open(1) is (used / limit < 0.80)
    assert governor.on_disk or not governor.must_give_up
    assert governor.on_disk or governor.may_open(1)


# --- windows ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "open_windows", "allowed"),
    [
        (0, 0, True),
        (0, 1_000, True),
        (799, 1, True),
        (800, 1, False),
        (800, 2, False),
        (800, 0, True),
        (919, 0, True),
        (920, 0, True),
        (920, 1, False),
        (1_500, 0, True),
    ],
)
def test_no_window_is_opened_beside_another_from_80_percent_on(
    used: int, open_windows: int, allowed: bool
) -> None:
    assert governor_at(used).may_open(open_windows) is allowed


@pytest.mark.parametrize(("used", "over"), [(0, False), (919, False), (920, True), (1_500, True)])
def test_a_window_is_given_up_from_92_percent_on(used: int, over: bool) -> None:
    assert governor_at(used).must_give_up is over


@given(st.lists(st.integers(0, 1_100), min_size=1, max_size=20), st.integers(1, 5))
def test_a_run_comes_to_its_end_whatever_the_memory_does(course: list[int], windows: int) -> None:
    probe = FakeMemory()
    governor = MemoryGovernor(probe)
    left, running = windows, 0
    for turn in range(2 * windows):
        probe.used = course[turn % len(course)]
        governor.look(0)
        if left and governor.may_open(running):
            left, running = left - 1, running + 1
        elif running:  # it ends, by itself or because it is given up
            running -= 1
    assert (left, running) == (0, 0)


# --- the message ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("used", "pressure", "limit", "line"),
    [
        (412, 0.0, 512, "412 MiB of 512 MiB in use (80 %), memory pressure 0 %"),
        (600, 12.6, 512, "600 MiB of 512 MiB in use (117 %), memory pressure 13 %"),
        (0, 0.0, 1, "0 MiB of 1 MiB in use (0 %), memory pressure 0 %"),
    ],
)
def test_the_state_is_said_in_a_line(used: int, pressure: float, limit: int, line: str) -> None:
    assert governor_at(used * MIB, pressure, limit * MIB).describe() == line


def test_the_line_never_says_92_percent_before_it_is_reached() -> None:
    assert "(91 %)" in governor_at(919_999, limit=1_000_000).describe()
    assert "(92 %)" in governor_at(920_000, limit=1_000_000).describe()
