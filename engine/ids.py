"""Which ids may become parts of a file name.

Ids come from users' files and plug-ins, so they are checked against an allow-list that is safe on
every common file system, never cleaned up: a cleaned id could meet another one.
"""

from __future__ import annotations

import re

from admf.engine.errors import UnsafeIdError

__all__ = ["MAX_ID_LENGTH", "UniqueIds", "check_id", "check_id_path"]

MAX_ID_LENGTH = 100

_ALLOWED = re.compile(r"[A-Za-z0-9_.-]+")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_.-]")
_DEVICE_NAMES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{port}{n}" for port in ("com", "lpt") for n in range(10)]
)
_RULE = (
    f"use 1 to {MAX_ID_LENGTH} of the letters a-z and A-Z, digits, '_', '-' and '.', "
    "with no '.' at either end"
)


def check_id(value: str, what: str) -> str:
    """Return an id that is safe as a file name.

    Args:
        value: The id as it was given.
        what: What it names, for the message, e.g. ``container id``.

    Raises:
        UnsafeIdError: It is empty, too long, holds a character outside the allow-list, starts or
            ends with a dot, or is a device name on some systems.
    """
    fault = _fault(value)
    if fault:
        raise UnsafeIdError(f"{what} {_shown(value)} {fault}: {_RULE}")
    return value


def check_id_path(value: str, what: str) -> str:
    """Return a nested id such as ``mc_003/wf_012`` whose every part is safe as a file name.

    Raises:
        UnsafeIdError: A part is not safe; see `check_id`.
    """
    for part in value.split("/"):
        check_id(part, what if part == value else f"part of {what} {_shown(value)},")
    return value


class UniqueIds:
    """The ids in use in one folder, no two of which differ by case alone.

    Args:
        what: What the ids name, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._spelling: dict[str, str] = {}

    def add(self, value: str) -> None:
        """Take note of an id; the same id again is welcome.

        Raises:
            UnsafeIdError: An id that differs only by case is in use, and the two would be one file
                on file systems that ignore case.
        """
        if value.upper() == value.lower():  # a number, of which a session may have a million
            return
        known = self._spelling.setdefault(value.casefold(), value)
        if known != value:
            raise UnsafeIdError(
                f"{self._what} {_shown(value)} differs from {_shown(known)} only by case, and some "
                "file systems take them for the same name: rename one of them"
            )


def _fault(value: str) -> str:
    if not value:
        return "is empty"
    if len(value) > MAX_ID_LENGTH:
        return f"has {len(value)} characters"
    if not _ALLOWED.fullmatch(value):
        odd = sorted(set(_NOT_ALLOWED.findall(value)))
        return f"contains {', '.join(map(repr, odd[:5]))}"
    if value[0] == "." or value[-1] == ".":
        return "starts or ends with a dot"
    if value.partition(".")[0].lower() in _DEVICE_NAMES:
        return "is the name of a device on some systems"
    return ""


def _shown(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:57]}...")
