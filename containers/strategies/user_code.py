"""The user's own modules: how they are imported, and where in them something went wrong."""

from __future__ import annotations

import importlib
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import NamedTuple

from admf.engine.errors import ConfigError, did_you_mean

__all__ = ["Place", "import_user_class", "import_user_module", "user_place"]

_FOLDER_MARK = "__admf_search_path__"
_LIBRARY_FOLDERS = ("site-packages", "dist-packages")

# sys.path and sys.modules belong to the process, so their guard does too
_import_lock = threading.RLock()


class Place(NamedTuple):
    """A line of code."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def import_user_class(name: str, search_path: Path | None = None) -> object:
    """Import what ``package.module:Class`` names.

    Args:
        name: Module and class.
        search_path: See `import_user_module`.

    Raises:
        ConfigError: The name has another form, or there is no such module or class.
    """
    module_name, _, class_name = name.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), class_name)):
        raise ConfigError(f"{name!r} is not of the form package.module:Class")
    module = import_user_module(module_name, search_path)
    found: object = getattr(module, class_name, None)
    if found is None:
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        hint = did_you_mean(class_name, classes)
        raise ConfigError(f"module {module_name!r} has no class {class_name!r}{hint}")
    return found


def import_user_module(name: str, search_path: Path | None = None) -> ModuleType:
    """Import a module by its dotted name.

    With ``search_path`` the folder comes first on ``sys.path`` while the module is imported, and is
    taken off again afterwards; so the module's own imports belong at its top. The module stays in
    ``sys.modules``, as any other does: it is imported once, and its classes can be pickled, but a
    process that unpickles them has to find the module by itself. When another folder is used, what
    came from the former one is forgotten first, so that two experiments may both have a
    ``strategies.py`` and never see each other's.

    Args:
        name: For example ``strategies`` or ``package.module``.
        search_path: Folder of the experiment file; None imports what Python finds by itself.

    Raises:
        ConfigError: There is no such module, another one of that name is in the way, or it raised
            while it was imported; the message then names the file and the line.
    """
    path = os.path.realpath(search_path) if search_path is not None else None
    with _import_lock:
        module = sys.modules.get(name)
        if module is None or path is None or _mark_of(name) != path:
            with _importable_from(path):
                module = _import(name, path)
    return module


def _import(name: str, path: str | None) -> ModuleType:
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(_hidden(name, path) or _not_found(name, path)) from error
        raise ConfigError(_import_failed(name, error)) from error
    except (Exception, SystemExit) as error:  # a module may raise anything
        raise ConfigError(_import_failed(name, error)) from error
    hidden = _hidden(name, path, regular_only=True)
    if hidden:
        raise ConfigError(hidden)
    return module


def user_place(error: BaseException, home: Place | None = None) -> Place:
    """Return where in the user's code an error came from.

    That is the innermost line that belongs neither to admf nor to a library; if there is none (the
    user's code is an installed package), the innermost line of the file of ``home``; if there is
    none either (what the code returned cannot be used), ``home``.

    Args:
        error: An error that was raised.
        home: Where the method of the user's strategy begins.
    """
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename).is_file():
        return Place(error.filename, error.lineno or 0)
    frames = list(traceback.walk_tb(error.__traceback__))
    places = [Place(frame.f_code.co_filename, line) for frame, line in frames]
    own = [place for place, (frame, _) in zip(places, frames, strict=True) if not _library(frame)]
    if home is not None:
        places = [home, *(place for place in places if place.file == home.file)]
    return (own or places or [Place("<unknown>", 0)])[-1]


def _library(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    file = Path(frame.f_code.co_filename)
    return (
        module.partition(".")[0] == "admf"
        or str(file).startswith("<frozen ")
        or any(folder in file.parts for folder in _LIBRARY_FOLDERS)
        or file.is_relative_to(sysconfig.get_path("stdlib"))
    )


@contextmanager
def _importable_from(path: str | None) -> Generator[None]:
    if path is None or path in map(os.path.realpath, sys.path):
        yield
        return
    _forget_other_folders(path)
    before = set(sys.modules)
    sys.path.insert(0, path)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        for name in sys.modules.keys() - before:
            module = sys.modules[name]
            if "." not in name and _folder_of(module) == path:
                setattr(module, _FOLDER_MARK, path)
        sys.path.remove(path)


def _forget_other_folders(path: str) -> None:
    """Drop modules that an earlier search path brought in, and only those."""
    foreign = [name for name in sys.modules if _mark_of(name) not in (None, path)]
    for name in foreign:
        del sys.modules[name]


def _mark_of(name: str) -> str | None:
    """Return the search path that brought in a module, or the package that it belongs to."""
    top = sys.modules.get(name.partition(".")[0])
    return vars(top).get(_FOLDER_MARK) if type(top) is ModuleType else None


def _folder_of(module: object) -> str | None:
    """Return the folder in which a top-level module or package lies."""
    spec = getattr(module, "__spec__", None)
    places = list(getattr(spec, "submodule_search_locations", None) or ())
    origin = places[0] if places else getattr(spec, "origin", None)
    return str(Path(origin).parent) if origin else None


def _hidden(name: str, path: str | None, *, regular_only: bool = False) -> str:
    """Say that a module of the search path is hidden by another one, or return an empty string.

    A folder without ``__init__.py`` gives way to any other module of its name by Python's rules, so
    that is worth a word only if the import failed.
    """
    top = name.partition(".")[0]
    wanted = PathFinder.find_spec(top, [path]) if path is not None else None
    loaded = sys.modules.get(top)
    if wanted is None or loaded is None or _folder_of(loaded) == path:
        return ""
    if regular_only and wanted.origin is None:
        return ""
    folder = _folder_of(loaded)
    where = f" in {folder}" if folder else ""
    return f"module {top!r} in {path} is hidden by another module {top!r}{where}; rename it"


def _not_found(name: str, path: str | None) -> str:
    files = sorted(Path(path).glob("*.py")) if path else []
    hint = did_you_mean(name, [file.stem for file in files])
    where = f" in {path} or among the installed packages" if path else ""
    return f"there is no module {name!r}{where}{hint}"


def _import_failed(name: str, error: BaseException) -> str:
    return (
        f"module {name!r} cannot be imported: {user_place(error)}: {type(error).__name__}: {error}"
    )
