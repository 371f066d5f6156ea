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

__all__ = ["Place", "import_user_module", "user_place"]

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
    with _import_lock, _importable_from(search_path):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{name}.".startswith(f"{error.name}."):
                raise ConfigError(_not_found(name, search_path)) from error
            raise ConfigError(_import_failed(name, error)) from error
        except (Exception, SystemExit) as error:  # a module may raise anything
            raise ConfigError(_import_failed(name, error)) from error
        if search_path is not None:
            _check_origin(name, search_path)
    return module


def user_place(error: BaseException, home: str | None = None) -> Place:
    """Return where in the user's code an error came from.

    That is the innermost line that belongs neither to admf nor to a library; if there is none (the
    user's code is an installed package), the innermost line of ``home``.

    Args:
        error: An error that was raised.
        home: File of the user's strategy.
    """
    if isinstance(error, SyntaxError) and error.filename:
        return Place(error.filename, error.lineno or 0)
    frames = list(traceback.walk_tb(error.__traceback__))
    places = [Place(frame.f_code.co_filename, line) for frame, line in frames]
    own = [place for place, (frame, _) in zip(places, frames, strict=True) if not _library(frame)]
    at_home = [place for place in places if place.file == home]
    return (own or at_home or places or [Place("<unknown>", 0)])[-1]


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
def _importable_from(folder: Path | None) -> Generator[None]:
    path = os.path.realpath(folder) if folder is not None else None
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
        sys.path.remove(path)
        for name in sys.modules.keys() - before:
            module = sys.modules[name]
            if "." not in name and _folder_of(module) == path:
                setattr(module, _FOLDER_MARK, path)


def _forget_other_folders(path: str) -> None:
    """Drop modules that an earlier search path brought in, and only those."""
    marks = {name: vars(module).get(_FOLDER_MARK, path) for name, module in _plain_modules()}
    foreign = {name for name, folder in marks.items() if folder != path}
    for name in list(sys.modules):
        if name.partition(".")[0] in foreign:
            del sys.modules[name]


def _plain_modules() -> list[tuple[str, ModuleType]]:
    return [(name, it) for name, it in list(sys.modules.items()) if type(it) is ModuleType]


def _folder_of(module: object) -> str | None:
    """Return the folder in which a top-level module or package lies."""
    spec = getattr(module, "__spec__", None)
    places = list(getattr(spec, "submodule_search_locations", None) or ())
    origin = places[0] if places else getattr(spec, "origin", None)
    return str(Path(origin).parent) if origin else None


def _check_origin(name: str, search_path: Path) -> None:
    path = os.path.realpath(search_path)
    top = name.partition(".")[0]
    wanted = PathFinder.find_spec(top, [path])
    loaded = _folder_of(sys.modules[top])
    if wanted is not None and wanted.origin is not None and loaded != path:
        raise ConfigError(
            f"module {top!r} in {search_path} is hidden by another module {top!r}"
            f"{f' in {loaded}' if loaded else ''}, which is loaded already; rename the file"
        )


def _not_found(name: str, search_path: Path | None) -> str:
    files = sorted(search_path.glob("*.py")) if search_path else []
    hint = did_you_mean(name, [file.stem for file in files])
    where = f" in {search_path} or among the installed packages" if search_path else ""
    return f"there is no module {name!r}{where}{hint}"


def _import_failed(name: str, error: BaseException) -> str:
    return (
        f"module {name!r} cannot be imported: {user_place(error)}: {type(error).__name__}: {error}"
    )
