"""Where the command line writes: data to standard output, all else to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, redirect_stdout, suppress
from types import MappingProxyType
from typing import Any, Literal, TextIO, TypeAlias

import msgspec

from admf.engine.errors import AdmfError, ConfigError, StorageError
from admf.workflows.held_results import plain

__all__ = [
    "can_draw",
    "foreign_code",
    "report",
    "say",
    "shows_colors",
    "write_error",
    "write_json",
    "write_out",
]

Label: TypeAlias = Literal["error", "warning", "note"]

_STYLES: Mapping[Label, str] = MappingProxyType(
    {"error": "1;31", "warning": "1;33", "note": "1;36"}
)


def write_out(text: str) -> None:
    """Write to standard output; nothing more is written once its reader has gone.

    Raises:
        StorageError: It is a file that cannot be written.
    """
    try:
        _write(sys.stdout, text)
    except BrokenPipeError:
        pass
    except OSError as error:
        raise StorageError(f"cannot write to standard output: {error.strerror}") from error


def write_json(document: Any) -> None:
    """Write a document to standard output, indented."""
    text = msgspec.json.encode(document, enc_hook=plain)
    write_out(msgspec.json.format(text, indent=2).decode() + "\n")


def write_error(text: str) -> None:
    """Write to standard error, or nowhere if that is not possible."""
    with suppress(OSError):
        _write(sys.stderr, text)


def can_draw() -> bool:
    """Whether standard error is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def shows_colors() -> bool:
    """Whether text on standard error may be coloured, by https://no-color.org."""
    return can_draw() and not os.environ.get("NO_COLOR")


def say(label: Label, message: str) -> None:
    """Write a message for people to standard error, its further lines indented."""
    shown = f"{label}:"
    if shows_colors():
        shown = f"\x1b[{_STYLES[label]}m{shown}\x1b[0m"
    indented = message.replace("\n", "\n" + " " * len(f"{label}: "))
    write_error(f"{shown} {indented}\n")


def report(error: AdmfError) -> None:
    """Say what an error says; what has a place in a file begins with it, as editors expect."""
    if not isinstance(error, ConfigError):
        say("error", str(error))
        return
    for problem in error.problems:
        if problem.file:
            write_error(f"{problem}\n")
        else:
            say("error", str(problem))


def foreign_code() -> AbstractContextManager[Any]:
    """While plug-ins and the user's modules run, what they print goes to standard error."""
    return redirect_stdout(sys.stderr)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        # the rest, and what Python flushes when it exits, is to go nowhere
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        raise
