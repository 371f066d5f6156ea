"""Made-up trees of /proc and /sys/fs/cgroup, laid out as real machines have them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from admf.engine.cgroups import find_limit, find_pressure_file, read_pressure_pct

MIB = 2**20
NO_LIMIT = "9223372036854771712\n"
NO_LIMIT_64K_PAGES = "9223372036854710272\n"
V1_STAT = "cache 9\ninactive_file 1\nactive_file 2\ntotal_inactive_file {}\ntotal_active_file {}\n"
V2_STAT = "anon 7\nfile 9\ninactive_anon 5\nactive_anon 6\ninactive_file {}\nactive_file {}\n"
HYBRID = "9:name=systemd:/\n5:devices:/\n4:memory:/jobs/7\n3:cpuset:/\n0::/\n"
CALM = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=9.00 total=0\n"


def pressed(percent: str) -> str:
    return f"some avg10={percent} avg60=55.00 avg300=0.00 total=1\nfull avg10=77.00 avg60=0.00\n"


class Tree:
    """A /proc and a /sys/fs/cgroup below a folder."""

    def __init__(self, root: Path) -> None:
        self.proc = root / "proc"
        self.cgroup_root = root / "cgroup"

    def write(self, groups: str, files: Mapping[str, str | bytes]) -> None:
        self._put(self.proc / "self" / "cgroup", groups)
        for name, content in files.items():
            self._put(self.cgroup_root / name, content)

    def write_proc(self, name: str, content: str) -> None:
        self._put(self.proc / name, content)

    @staticmethod
    def _put(file: Path, content: str | bytes) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)

    def limit(self) -> int | None:
        found = find_limit(self.proc, self.cgroup_root)
        return None if found is None else found.limit_bytes

    def limiting_group(self) -> str:
        found = find_limit(self.proc, self.cgroup_root)
        assert found is not None
        return found.folder.relative_to(self.cgroup_root).as_posix()

    def used(self) -> int:
        found = find_limit(self.proc, self.cgroup_root)
        assert found is not None
        return found.used_bytes()

    def pressure(self) -> float | None:
        file = find_pressure_file(self.proc, self.cgroup_root)
        return None if file is None else read_pressure_pct(file)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


# --- limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"a/b/memory.max": "500\n", "a/b/memory.high": "max\n"}, 500),
        ({"a/b/memory.max": "500\n", "a/b/memory.high": "400\n"}, 400),
        ({"a/b/memory.max": "300\n", "a/b/memory.high": "400\n"}, 300),
        ({"a/b/memory.max": "max\n", "a/b/memory.high": "400\n"}, 400),
        ({"a/b/memory.max": "max\n", "a/b/memory.high": "max\n"}, None),
        ({"a/b/memory.max": "500\n", "a/memory.max": "200\n"}, 200),
        ({"a/b/memory.max": "500\n", "a/memory.high": "600\n"}, 500),
        ({"a/b/memory.max": "max\n", "a/memory.max": "max\n", "memory.max": "900\n"}, 900),
        ({"a/b/memory.low": "5\n", "a/b/memory.min": "6\n", "a/b/memory.swap.max": "7\n"}, None),
        ({"a/b/c/memory.max": "5\n", "a/x/memory.max": "6\n", "b/memory.max": "7\n"}, None),
        ({"a/b/memory.max": "500"}, 500),
    ],
)
def test_v2_the_lowest_of_max_and_high_from_the_group_up_to_the_root(
    tree: Tree, files: dict[str, str], limit: int | None
) -> None:
    tree.write("0::/a/b\n", {"a/b/cgroup.procs": "1\n", **files})
    assert tree.limit() == limit


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory/jobs/7/memory.limit_in_bytes": "500\n"}, 500),
        ({"memory/jobs/7/memory.limit_in_bytes": NO_LIMIT}, None),
        ({"memory/jobs/7/memory.limit_in_bytes": NO_LIMIT_64K_PAGES}, None),
        ({"memory/jobs/7/memory.limit_in_bytes": "9223372036854775807\n"}, None),
        ({"memory/jobs/7/memory.limit_in_bytes": "18446744073709551615\n"}, None),
        ({"memory/jobs/7/memory.limit_in_bytes": "-1\n"}, None),
        ({"memory/jobs/7/memory.soft_limit_in_bytes": "500\n"}, None),
        ({"memory/jobs/7/memory.memsw.limit_in_bytes": "500\n"}, None),
        ({"memory/jobs/memory.limit_in_bytes": "500\n"}, 500),
        ({"memory/memory.limit_in_bytes": "500\n"}, 500),
        ({"memory/jobs/8/memory.limit_in_bytes": "500\n"}, None),
        ({"cpuset/memory.limit_in_bytes": "500\n"}, None),
        ({"unified/memory.max": "500\n"}, 500),
        ({"memory/jobs/7/memory.max": "500\n", "memory.max": "500\n"}, None),
    ],
)
def test_v1_beside_v2_the_limit_of_the_memory_controller(
    tree: Tree, files: dict[str, str], limit: int | None
) -> None:
    always = {"memory/jobs/7/tasks": "1\n", "cpuset/tasks": "1\n", "unified/cgroup.procs": "1\n"}
    tree.write(HYBRID, {**always, **files})
    assert tree.limit() == limit


def test_the_lower_limit_wins_where_both_versions_state_one(tree: Tree) -> None:
    files = {"memory/jobs/7/memory.limit_in_bytes": "500\n", "unified/memory.max": "400\n"}
    tree.write(HYBRID, files)
    assert (tree.limit(), tree.limiting_group()) == (400, "unified")


def test_v2_alone_does_not_take_a_group_named_unified_for_its_mount(tree: Tree) -> None:
    files = {"unified/memory.max": "100\n", "a/memory.max": "500\n"}
    tree.write("0::/a\n", {"cgroup.controllers": "cpu memory\n", **files})
    assert tree.limit() == 500


def test_v1_names_several_controllers_in_a_line(tree: Tree) -> None:
    tree.write("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "500\n"})
    assert tree.limit() == 500


def test_v1_a_named_hierarchy_is_not_the_memory_controller(tree: Tree) -> None:
    tree.write("4:name=memory:/a\n", {"memory/a/memory.limit_in_bytes": "500\n"})
    assert tree.limit() is None


def test_v1_a_limit_above_the_container_shows_in_the_statistics(tree: Tree) -> None:
    stat = "cache 1\nhierarchical_memory_limit 300\nhierarchical_memsw_limit 200\n"
    files = {
        "memory/memory.limit_in_bytes": NO_LIMIT,
        "memory/memory.stat": stat,
        "memory/a/memory.limit_in_bytes": "500\n",
        "memory/a/memory.stat": stat,
    }
    tree.write("4:memory:/a\n", files)
    assert (tree.limit(), tree.limiting_group()) == (300, "memory")


def test_of_equal_limits_the_outermost_counts_since_it_holds_most(tree: Tree) -> None:
    files = {"a/memory.max": "500\n", "a/b/memory.max": "500\n", "a/b/c/memory.max": "600\n"}
    tree.write("0::/a/b/c\n", files)
    assert tree.limiting_group() == "a"


@pytest.mark.parametrize(
    "path",
    ["/docker/0123", "/docker/0123/../../x", "/../../other", "/..", "/", "//", "", "/" + "n" * 300],
)
@pytest.mark.parametrize("version", [1, 2])
def test_in_a_namespace_that_hides_the_path_the_mount_is_the_group(
    tree: Tree, version: int, path: str
) -> None:
    if version == 1:
        tree.write(f"4:memory:{path}\n0::/\n", {"memory/memory.limit_in_bytes": "500\n"})
    else:
        tree.write(f"0::{path}\n", {"memory.max": "500\n", "x/memory.max": "1\n"})
    assert tree.limit() == 500


def test_in_a_container_that_shows_the_lower_end_of_the_path_all_below_the_mount_counts(
    tree: Tree,
) -> None:
    files = {
        "memory/memory.limit_in_bytes": "900\n",
        "memory/jobs/memory.limit_in_bytes": "500\n",
        "memory/jobs/7/memory.limit_in_bytes": "600\n",
    }
    tree.write("4:memory:/docker/0123/jobs/7\n", files)
    assert (tree.limit(), tree.limiting_group()) == (500, "memory/jobs")


def test_a_path_may_contain_colons_and_letters_that_are_not_ascii(tree: Tree) -> None:
    tree.write("0::/a:b/ä\n", {"a:b/ä/memory.max": "500\n"})
    assert tree.limiting_group() == "a:b/ä"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "max",
        "many",
        "-5",
        "0",
        "1.5",
        "0x10",
        "1_000",
        "1e9",
        "5 6",
        "\u0665",
        b"\xff\x00",
        "9" * 5000,
    ],
)
@pytest.mark.parametrize("name", ["memory.max", "memory.high"])
def test_a_limit_that_cannot_be_understood_is_none(
    tree: Tree, name: str, content: str | bytes
) -> None:
    tree.write("0::/a\n", {f"a/{name}": content, "memory.max": "500\n"})
    assert tree.limit() == 500


@pytest.mark.parametrize(
    "groups",
    [
        "",
        "\n\n",
        "garbage",
        "0",
        "0:",
        "0::",
        "1:memory",
        ":::::",
        "0:memory\0:/\0",
        "é:memory,:/",
        "0::/\0",
    ],
)
def test_odd_lines_do_no_harm(tree: Tree, groups: str) -> None:
    tree.write(groups, {"cpu/tasks": "1\n"})
    assert tree.limit() is None
    assert tree.pressure() is None


def test_a_folder_in_the_place_of_a_file_is_passed_over(tree: Tree) -> None:
    tree.write(
        "0::/a\n", {"a/memory.max/x": "1\n", "a/memory.stat/x": "1\n", "memory.max": "500\n"}
    )
    assert tree.limit() == 500


def test_without_proc_nothing_is_said(tmp_path: Path) -> None:
    assert find_limit(tmp_path / "proc", tmp_path) is None
    assert find_pressure_file(tmp_path / "proc", tmp_path) is None


def test_without_groups_no_limit_is_said(tree: Tree) -> None:
    tree.write(HYBRID, {})
    assert tree.limit() is None


levels = st.lists(
    st.tuples(st.none() | st.integers(1, 2**61), st.none() | st.integers(1, 2**61)),
    min_size=1,
    max_size=5,
)


@given(levels)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_v2_the_limit_is_the_minimum_over_any_chain(
    tmp_path_factory: pytest.TempPathFactory, levels: list[tuple[int | None, int | None]]
) -> None:
    tree = Tree(tmp_path_factory.mktemp("tree"))
    files: dict[str, str] = {}
    for depth, (top, high) in enumerate(levels):
        folder = "g/" * depth
        files[f"{folder}memory.max"] = "max\n" if top is None else f"{top}\n"
        files[f"{folder}memory.high"] = "max\n" if high is None else f"{high}\n"
    tree.write("0::/" + "/".join("g" * (len(levels) - 1)) + "\n", files)
    stated = [limit for level in levels for limit in level if limit is not None]
    assert tree.limit() == min(stated, default=None)


# --- use --------------------------------------------------------------------------------------


def test_v2_cached_file_pages_are_not_counted_as_used(tree: Tree) -> None:
    files = {
        "a/memory.max": f"{512 * MIB}\n",
        "a/memory.current": f"{400 * MIB}\n",
        "a/memory.stat": V2_STAT.format(90 * MIB, 60 * MIB),
    }
    tree.write("0::/a\n", files)
    assert tree.used() == 250 * MIB


def test_v1_cached_file_pages_of_the_whole_subtree_are_not_counted_as_used(tree: Tree) -> None:
    files = {
        "memory/a/memory.limit_in_bytes": f"{512 * MIB}\n",
        "memory/a/memory.usage_in_bytes": f"{400 * MIB}\n",
        "memory/a/memory.stat": V1_STAT.format(90 * MIB, 60 * MIB),
    }
    tree.write("4:memory:/a\n", files)
    assert tree.used() == 250 * MIB


def test_the_use_is_that_of_the_limiting_group(tree: Tree) -> None:
    files = {
        "a/memory.max": "500\n",
        "a/memory.current": "450\n",
        "a/memory.stat": V2_STAT.format(20, 10),
        "a/b/memory.max": "600\n",
        "a/b/memory.current": "100\n",
        "a/b/memory.stat": V2_STAT.format(0, 0),
    }
    tree.write("0::/a/b\n", files)
    assert tree.used() == 420


@pytest.mark.parametrize(
    ("files", "used"),
    [
        ({}, 0),
        ({"a/memory.current": "400\n"}, 0),
        ({"a/memory.stat": V2_STAT.format(1, 1)}, 0),
        ({"a/memory.current": "some\n", "a/memory.stat": V2_STAT.format(1, 1)}, 0),
        ({"a/memory.current": "400\n", "a/memory.stat": ""}, 0),
        ({"a/memory.current": "400\n", "a/memory.stat": "anon 400\n"}, 400),
        ({"a/memory.current": "400\n", "a/memory.stat": "inactive_file 100\nactive_file\n"}, 300),
        ({"a/memory.current": "400\n", "a/memory.stat": V2_STAT.format(300, 200)}, 0),
    ],
)
def test_a_group_that_does_not_say_its_use_says_nothing(
    tree: Tree, files: dict[str, str], used: int
) -> None:
    tree.write("0::/a\n", {"a/memory.max": "500\n", **files})
    assert tree.used() == used


def test_the_use_is_read_anew_each_time_and_survives_the_end_of_the_group(tree: Tree) -> None:
    usage = "a/memory.current"
    stat = {"a/memory.stat": V2_STAT.format(0, 0)}
    tree.write("0::/a\n", {"a/memory.max": "500\n", usage: "100\n", **stat})
    group = find_limit(tree.proc, tree.cgroup_root)
    assert group is not None
    seen = [group.used_bytes()]
    tree.write("0::/a\n", {usage: "200\n"})
    seen.append(group.used_bytes())
    (tree.cgroup_root / usage).unlink()
    seen.append(group.used_bytes())
    assert seen == [100, 200, 0]


# --- pressure ---------------------------------------------------------------------------------


def test_the_pressure_is_that_of_the_group_before_that_of_the_machine(tree: Tree) -> None:
    tree.write("0::/a\n", {"a/memory.pressure": pressed("12.34"), "memory.pressure": pressed("5")})
    tree.write_proc("pressure/memory", pressed("1.00"))
    assert tree.pressure() == 12.34


def test_the_pressure_is_found_where_v2_stands_beside_v1(tree: Tree) -> None:
    tree.write(HYBRID, {"unified/memory.pressure": pressed("12.34"), "memory/jobs/7/tasks": "1\n"})
    tree.write_proc("pressure/memory", pressed("1.00"))
    assert tree.pressure() == 12.34


@pytest.mark.parametrize("content", [None, "", "garbage", "full avg10=5.00 avg60=0.00\n"])
def test_without_pressure_of_the_group_it_is_that_of_the_machine(
    tree: Tree, content: str | None
) -> None:
    tree.write("0::/a\n", {} if content is None else {"a/memory.pressure": content})
    tree.write_proc("pressure/memory", pressed("3.50"))
    assert tree.pressure() == 3.5


def test_with_v1_alone_the_pressure_is_that_of_the_machine(tree: Tree) -> None:
    tree.write("4:memory:/a\n", {"memory/a/memory.pressure": pressed("9.00")})
    tree.write_proc("pressure/memory", CALM)
    assert tree.pressure() == 0.0


@pytest.mark.parametrize("content", ["", "some", "some avg10=x avg60=1\n", b"\xff"])
def test_pressure_that_is_no_longer_told_is_none(tree: Tree, content: str | bytes) -> None:
    tree.write("0::/a\n", {"a/memory.pressure": pressed("9.00")})
    file = find_pressure_file(tree.proc, tree.cgroup_root)
    assert file is not None
    assert read_pressure_pct(file) == 9.0
    tree.write("0::/a\n", {"a/memory.pressure": content})
    assert read_pressure_pct(file) == 0.0
    file.unlink()
    assert read_pressure_pct(file) == 0.0
