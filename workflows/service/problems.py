"""What clients are told when a request cannot be met: problem details of RFC 9457."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path

import msgspec

from admf.engine.errors import AdmfError, ConfigError, DataError, Problem, StateError

__all__ = ["HttpError", "ProblemDetails", "Redaction", "problem_of"]

_FOLDERS = re.compile(r"(?<![\w/.:])/(?:[^\s/:'\"]+/)*(?=[^\s/:'\"])")


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem, as RFC 9457 wants it.

    Args:
        type: Its kind; that of the status, if nothing is said.
        title: Its kind for people.
        status: The HTTP status.
        detail: What is wrong with this request.
        mistakes: Every mistake in the experiment, in the order of its text.
    """

    type: str = "about:blank"
    title: str = msgspec.field()
    status: int = msgspec.field()
    detail: str = ""
    mistakes: tuple[Problem, ...] = ()


class HttpError(Exception):
    """A request cannot be met.

    Args:
        status: The HTTP status.
        detail: What is wrong.
        mistakes: Every mistake in the experiment.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        mistakes: tuple[Problem, ...] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.mistakes = mistakes
        self.headers = dict(headers or {})

    @property
    def details(self) -> ProblemDetails:
        """The body of the response."""
        return ProblemDetails(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            mistakes=self.mistakes,
        )


class Redaction:
    """Takes out of messages where on the server something lies.

    Args:
        roots: Folders whose content may be named, relative to them.
    """

    def __init__(self, *roots: Path) -> None:
        self._roots = sorted(
            {str(root) for root in roots if root != root.parent}, key=len, reverse=True
        )

    def text(self, message: str) -> str:
        """Return a message without absolute paths: below the roots relative ones, or file names."""
        for root in self._roots:
            message = message.replace(f"{root}/", "").replace(root, ".")
        return _FOLDERS.sub("", message)

    def problem(self, problem: Problem) -> Problem:
        """Return a mistake that says nothing of the server's folders."""
        return msgspec.structs.replace(
            problem, message=self.text(problem.message), file=self.text(problem.file)
        )


def problem_of(error: AdmfError, redaction: Redaction) -> HttpError:
    """Return what a client is told of an error.

    Args:
        error: The error.
        redaction: For its message.
    """
    if isinstance(error, ConfigError):
        mistakes = tuple(redaction.problem(it) for it in error.problems)
        return HttpError(422, "the experiment has mistakes", mistakes=mistakes)
    detail = redaction.text(str(error))
    if isinstance(error, DataError):
        return HttpError(422, detail)
    if isinstance(error, StateError):
        return HttpError(503, detail, headers={"Retry-After": "5"})
    return HttpError(500, detail)
