from __future__ import annotations

import subprocess
import sys

import pytest

from admf.engine.errors import RegistryError
from admf.engine.registry import GROUPS, Registry, needs_method


class Topology:
    def build(self, builder) -> None: ...


class OtherTopology:
    def build(self, builder, option=None) -> None: ...


class StaticTopology:
    @staticmethod
    def build(builder) -> None: ...


class ClassTopology:
    @classmethod
    def build(cls, builder) -> None: ...


class NoTopology:
    def build(self) -> None: ...


class Demanding:
    def build(self, builder, *, option) -> None: ...


def function() -> None: ...


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that makes a distribution with entry points and a module importable."""

    def install(distribution: str, entry_points: str, **modules: str) -> None:
        folder = tmp_path / distribution
        metadata = folder / f"{distribution}-1.0.dist-info"
        metadata.mkdir(parents=True)
        text = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        metadata.joinpath("METADATA").write_text(text)
        metadata.joinpath("entry_points.txt").write_text(entry_points)
        for name, source in modules.items():
            folder.joinpath(f"{name}.py").write_text(source)
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(folder)

    return install


def entry(name: str, value: str, group: str = "admf.topologies") -> str:
    return f"[{group}]\n{name} = {value}\n"


GOOD = "class Good:\n    def build(self, builder): ...\n"


@pytest.mark.parametrize(
    "plugin", [Topology, Topology(), OtherTopology, StaticTopology, ClassTopology, ClassTopology()]
)
def test_a_plugin_is_found_by_group_and_name(plugin):
    registry = Registry()
    registry.register("topologies", "mine", plugin)
    assert registry.get("topologies", "mine") is plugin
    assert registry.names("topologies") == ("mine",)


def test_the_groups_are_those_of_the_design_and_begin_empty():
    registry = Registry()
    assert {group: registry.names(group) for group in GROUPS} == dict.fromkeys(GROUPS, ())


def test_names_are_sorted():
    registry = Registry()
    for name in ("b", "c", "a"):
        registry.register("containers", name, function)
    assert registry.names("containers") == ("a", "b", "c")


def test_a_duplicate_is_rejected_and_both_are_named():
    registry = Registry()
    registry.register("topologies", "mine", Topology)
    with pytest.raises(RegistryError, match=r"'mine' is taken by .*Topology.*OtherTopology"):
        registry.register("topologies", "mine", OtherTopology)
    assert registry.get("topologies", "mine") is Topology


@pytest.mark.parametrize(
    ("plugin", "problem"),
    [
        (NoTopology, r"NoTopology has build\(self\).* which cannot be called as build\(builder\)"),
        (NoTopology(), r"NoTopology has build\(\).* which cannot be called as build\(builder\)"),
        (Demanding, "Demanding has build"),
        (function, r"function has no method build\(builder\)"),
        (7, r"builtins.int has no method build\(builder\)"),
    ],
)
def test_a_bad_signature_is_rejected_by_name(plugin, problem):
    registry = Registry()
    with pytest.raises(RegistryError, match=f"topologies 'odd': .*{problem}"):
        registry.register("topologies", "odd", plugin)
    assert registry.names("topologies") == ()


@pytest.mark.parametrize("group", ["containers", "retention"])
def test_what_is_made_by_calling_must_be_callable(group):
    with pytest.raises(RegistryError, match=r"builtins.int is not callable"):
        Registry().register(group, "odd", 7)


def test_an_upper_layer_defines_what_its_plugins_look_like():
    registry = Registry()
    registry.register("strategies", "anything", 7)
    registry.define_group("sequences", needs_method("run"))
    with pytest.raises(RegistryError, match=r"sequences 'odd': .* has no method run\(\)"):
        registry.register("sequences", "odd", Topology)
    with pytest.raises(RegistryError, match=r"strategies 'anything': .* has no method run\(\)"):
        registry.define_group("strategies", needs_method("run"))


def test_an_application_adds_a_group_of_its_own(install):
    install("ours", entry("seven", "ours_module:SEVEN", "admf.reports"), ours_module="SEVEN = 7")
    registry = Registry()
    registry.define_group("reports", lambda plugin: "" if plugin == 7 else "is not 7")
    registry.load_entry_points()
    assert registry.get("reports", "seven") == 7


@pytest.mark.parametrize("action", ["register", "get", "names"])
def test_an_unknown_group_is_named_with_the_nearest(action):
    arguments = {"register": ("stratgies", "x", 1), "get": ("stratgies", "x")}
    with pytest.raises(RegistryError, match=r"'stratgies'.*did you mean 'strategies'\?"):
        getattr(Registry(), action)(*arguments.get(action, ("stratgies",)))


def test_an_unknown_name_is_named_with_the_nearest_and_the_known():
    registry = Registry()
    with pytest.raises(RegistryError, match="known are none"):
        registry.get("topologies", "mine")
    registry.register("topologies", "mine", Topology)
    registry.register("topologies", "yours", Topology)
    pattern = r"'mien' in topologies \(did you mean 'mine'\?\); known are mine, yours"
    with pytest.raises(RegistryError, match=pattern):
        registry.get("topologies", "mien")


def test_entry_points_are_listed_without_importing_and_imported_once_asked_for(install):
    install("theirs", entry("good", "theirs_module:Good"), theirs_module=GOOD)
    registry = Registry()
    registry.load_entry_points()
    assert "good" in registry.names("topologies")
    assert "theirs_module" not in sys.modules
    found = registry.get("topologies", "good")
    assert found is sys.modules["theirs_module"].Good
    assert registry.get("topologies", "good") is found


def test_entry_points_may_be_loaded_again(install):
    install("theirs", entry("good", "theirs_module:Good"), theirs_module=GOOD)
    registry = Registry()
    registry.load_entry_points()
    found = registry.get("topologies", "good")
    registry.load_entry_points()
    assert registry.get("topologies", "good") is found


@pytest.mark.parametrize(
    ("value", "source", "reason"),
    [
        ("absent_module:Good", "", "ModuleNotFoundError"),
        ("theirs_module:Absent", "", "AttributeError"),
        ("theirs_module:Good", "1 / 0", "ZeroDivisionError"),
        ("theirs_module:Good", "def", "SyntaxError"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named_with_its_distribution(
    install, value, source, reason
):
    install("theirs", entry("good", value), theirs_module=source)
    registry = Registry()
    registry.load_entry_points()
    with pytest.raises(RegistryError, match=f"'good'.*'{value}' of theirs 1.0 raised {reason}"):
        registry.get("topologies", "good")


def test_an_entry_point_with_a_bad_signature_is_rejected_when_asked_for(install):
    install("theirs", entry("odd", "theirs_module:odd"), theirs_module="odd = 7")
    registry = Registry()
    registry.load_entry_points()
    with pytest.raises(RegistryError, match=r"topologies 'odd': builtins.int has no method build"):
        registry.get("topologies", "odd")


@pytest.mark.parametrize("value", ["theirs_module:Good", "other_module:Good"])
def test_one_name_in_two_distributions_is_rejected(install, value):
    install("theirs", entry("good", "theirs_module:Good"))
    install("others", entry("good", value))
    with pytest.raises(RegistryError, match=r"'good' of (theirs|others) 1.0 is taken by") as caught:
        Registry().load_entry_points()
    assert "theirs 1.0" in str(caught.value)
    assert "others 1.0" in str(caught.value)


def test_an_entry_point_does_not_replace_what_was_registered(install):
    install("theirs", entry("good", "theirs_module:Good"))
    registry = Registry()
    registry.register("topologies", "good", Topology)
    with pytest.raises(RegistryError, match=r"of theirs 1.0 is taken by .*\.Topology"):
        registry.load_entry_points()


def test_nothing_replaces_an_entry_point(install):
    install("theirs", entry("good", "theirs_module:Good"))
    registry = Registry()
    registry.load_entry_points()
    with pytest.raises(RegistryError, match=r"is taken by theirs_module:Good of theirs 1.0"):
        registry.register("topologies", "good", Topology)


def test_the_built_in_plugins_come_through_the_same_door():
    registry = Registry()
    registry.load_entry_points()
    assert "backtest" in registry.names("topologies")


def test_the_registry_does_not_pay_for_reading_metadata_until_it_is_asked_to():
    code = "import sys, admf.engine.registry; sys.exit('importlib.metadata' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own interpreter
