from __future__ import annotations

import json.decoder
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from admf.containers.strategies.user_code import Place, import_user_module, user_place
from admf.engine.errors import ConfigError


@pytest.fixture(autouse=True)
def _modules_as_before() -> Iterator[None]:
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]
    sys.modules.update(before)


def write(folder: Path, **files: str) -> Path:
    """Write modules; a double underscore in a name stands for a folder."""
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def failure(name: str, folder: Path | None) -> str:
    with pytest.raises(ConfigError) as caught:
        import_user_module(name, folder)
    return str(caught.value)


def test_a_module_is_found_in_the_search_path_and_the_path_is_as_before(tmp_path: Path) -> None:
    before = list(sys.path)
    module = import_user_module("mine", write(tmp_path, mine="value = 1"))
    assert module.value == 1
    assert sys.path == before


def test_the_path_is_as_before_when_the_import_fails(tmp_path: Path) -> None:
    before = list(sys.path)
    failure("mine", write(tmp_path, mine="raise ValueError"))
    assert sys.path == before
    assert "mine" not in sys.modules


def test_without_a_search_path_only_what_python_finds_is_imported() -> None:
    assert import_user_module("json").__name__ == "json"
    assert failure("no_such_module", None) == "there is no module 'no_such_module'"


def test_modules_of_the_search_path_see_each_other(tmp_path: Path) -> None:
    write(
        tmp_path, pkg____init__="", pkg__mine="import helper\nfrom pkg import other\nx = helper.x"
    )
    write(tmp_path, pkg__other="", helper="x = 5")
    assert import_user_module("pkg.mine", tmp_path).x == 5


def test_a_module_is_imported_once_and_its_classes_can_be_pickled(tmp_path: Path) -> None:
    write(tmp_path, mine="class Thing: pass")
    first = import_user_module("mine", tmp_path)
    assert import_user_module("mine", tmp_path) is first
    assert pickle.loads(pickle.dumps(first.Thing)) is first.Thing  # noqa: S301 - our own bytes


def test_two_folders_may_use_the_same_names(tmp_path: Path) -> None:
    modules: list[ModuleType] = []
    for letter in ("a", "b", "a"):
        folder = write(
            tmp_path / letter,
            mine="import helper\nfrom pkg.sub import where",
            helper=f"where = {letter!r}",
            pkg____init__="",
            pkg__sub=f"where = {letter!r}",
        )
        modules.append(import_user_module("mine", folder))
    assert [module.helper.where for module in modules] == ["a", "b", "a"]
    assert [module.where for module in modules] == ["a", "b", "a"]


def test_two_folders_may_use_the_same_names_without_init(tmp_path: Path) -> None:
    for letter in ("a", "b"):
        folder = write(tmp_path / letter, strategies__mine=f"where = {letter!r}")
        assert import_user_module("strategies.mine", folder).where == letter


def test_what_others_imported_is_never_dropped(tmp_path: Path) -> None:
    write(tmp_path / "a", mine="import colorsys")  # of the standard library: stays for good
    write(tmp_path / "b", mine="")
    sys.modules.pop("colorsys", None)
    import_user_module("mine", tmp_path / "a")
    loaded = sys.modules["colorsys"]
    import_user_module("mine", tmp_path / "b")
    assert sys.modules["colorsys"] is loaded


def test_a_folder_that_is_on_the_path_already_is_imported_from_as_usual(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "host", app="", mine="")
    write(tmp_path / "other", other="")
    monkeypatch.syspath_prepend(str(tmp_path / "host"))
    app = import_user_module("app", tmp_path / "host")
    import_user_module("other", tmp_path / "other")
    assert sys.modules["app"] is app
    assert import_user_module("app", tmp_path / "host") is app


def test_a_module_that_another_one_hides_is_reported(tmp_path: Path) -> None:
    write(tmp_path, json="x = 1")
    message = failure("json", tmp_path)
    assert f"module 'json' in {tmp_path} is hidden by another module 'json' in " in message
    assert message.endswith("; rename it")


def test_an_application_module_without_a_file_hides_too(tmp_path: Path) -> None:
    sys.modules["made_up"] = ModuleType("made_up")
    message = failure("made_up", write(tmp_path, made_up=""))
    assert message.endswith("is hidden by another module 'made_up'; rename it")


def test_a_folder_without_init_is_hidden_only_if_the_module_is_not_found(tmp_path: Path) -> None:
    write(tmp_path, json__mine="", json__decoder="")
    assert "is hidden by another module 'json' in" in failure("json.mine", tmp_path)
    assert import_user_module("json.decoder", tmp_path) is json.decoder


def test_an_installed_module_is_found_with_a_search_path_too(tmp_path: Path) -> None:
    assert import_user_module("json.decoder", tmp_path).__name__ == "json.decoder"


def test_a_missing_module_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert failure("strategy", write(tmp_path, strategies="")) == (
        f"there is no module 'strategy' in {tmp_path} or among the installed packages "
        "(did you mean 'strategies'?)"
    )
    assert "there is no module 'pkg.sub.deep'" in failure("pkg.sub.deep", tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        ("x = 1\nraise ValueError('no')\n", 2, "ValueError: no"),
        ("import sys\n\nsys.exit(3)\n", 3, "SystemExit: 3"),
        ("def f():\n    return 1 / 0\n\n\nf()\n", 2, "ZeroDivisionError: division by zero"),
        ("import no_such_thing\n", 1, "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError: Expecting property name"),
        ("x = 1\ny = (\n", 2, "SyntaxError: '(' was never closed"),
        ("x = 1\ny = eval('(')\n", 2, "SyntaxError: '(' was never closed"),
    ],
)
def test_an_error_while_importing_names_the_line_in_the_users_file(
    tmp_path: Path, text: str, line: int, error: str
) -> None:
    message = failure("mine", write(tmp_path, mine=text))
    file = tmp_path / "mine.py"
    assert message.startswith(f"module 'mine' cannot be imported: {file}:{line}: {error}")


def test_an_error_in_a_module_that_the_user_imports_names_that_module(tmp_path: Path) -> None:
    write(tmp_path, mine="import helper", helper="\n\nx = [][1]")
    assert f"{tmp_path / 'helper.py'}:3: IndexError" in failure("mine", tmp_path)


FRACTION = "import fractions\n\ndef work():\n    fractions.Fraction('x')\n"


def raised_in(module: ModuleType) -> ValueError:
    """Return an error that a library raised for the user's line 4, as the engine would catch it."""
    with pytest.raises(ValueError, match="Invalid literal") as caught:
        module.work()
    (entry,) = (entry for entry in caught.traceback if entry.name == "work")
    assert caught.traceback[-1].path.name == "fractions.py"
    return caught.value.with_traceback(entry._rawentry)


def test_the_place_is_the_users_innermost_line_not_the_librarys(tmp_path: Path) -> None:
    module = import_user_module("mine", write(tmp_path, mine=FRACTION))
    assert user_place(raised_in(module)) == (str(tmp_path / "mine.py"), 4)


def test_a_module_that_the_strategy_uses_counts_as_the_users(tmp_path: Path) -> None:
    write(tmp_path, mine="import helper\n\nwork = lambda: helper.work()", helper=FRACTION)
    module = import_user_module("mine", tmp_path)
    with pytest.raises(ValueError, match="Invalid literal") as caught:
        module.work()
    assert user_place(caught.value) == (str(tmp_path / "helper.py"), 4)


def test_an_installed_strategy_is_found_by_its_own_file(tmp_path: Path) -> None:
    home = Place(str(tmp_path / "site-packages" / "plugin.py"), 3)
    module = import_user_module("plugin", write(tmp_path / "site-packages", plugin=FRACTION))
    assert user_place(raised_in(module), home) == (home.file, 4)


def test_an_error_of_what_a_strategy_returned_is_placed_at_its_method() -> None:
    home = Place("strategies.py", 7)
    with pytest.raises(ValueError, match="could not convert") as caught:
        float("x")
    error = caught.value.with_traceback(None)
    assert user_place(error, home) == home


def test_where_nothing_is_the_users_the_innermost_line_counts(tmp_path: Path) -> None:
    module = import_user_module("plugin", write(tmp_path / "site-packages", plugin=FRACTION))
    assert user_place(raised_in(module)).file.endswith("fractions.py")


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert str(user_place(ValueError("x"))) == "<unknown>:0"
