"""How answers are written, and how what requests ask for is read."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from admf.workflows.held_results import plain
from admf.workflows.service.ids import is_run_id
from admf.workflows.service.problems import HttpError

__all__ = ["JsonResponse", "encoded", "link", "number", "problem_response", "run_id_of", "word"]

_NUMBER = re.compile(r"[0-9]{1,9}")


class JsonResponse(Response):
    """An answer in JSON, from a Struct or from bytes that are encoded already."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return content if isinstance(content, bytes) else encoded(content)


def encoded(content: Any) -> bytes:
    """Return JSON; what is no number becomes null."""
    return msgspec.json.encode(content, enc_hook=plain)


def problem_response(problem: HttpError) -> Response:
    """Return the answer that says what is wrong."""
    return Response(
        encoded(problem.details),
        problem.status,
        problem.headers,
        media_type="application/problem+json",
    )


def link(request: Request, path: str) -> str:
    """Return the path of a resource, as seen from outside the application that this is part of."""
    return f"{request.scope.get('root_path', '')}{path}"


def run_id_of(request: Request) -> str:
    """Return the id of the run that a request is about.

    Raises:
        HttpError: It is none.
    """
    run_id = str(request.path_params["run_id"])
    if not is_run_id(run_id):
        raise HttpError(404, "there is no such run")
    return run_id


def word(request: Request, name: str, pattern: str) -> str | None:
    """Return a parameter of the query, None if it is not given.

    Raises:
        HttpError: It is not of the pattern.
    """
    text = request.query_params.get(name)
    if text is not None and not re.fullmatch(pattern, text):
        raise HttpError(400, f"the parameter {name!r} is to match {pattern}")
    return text


def number(request: Request, name: str, default: int, *, least: int, most: int) -> int:
    """Return a whole number of the query.

    Raises:
        HttpError: It is none, or out of bounds.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and _NUMBER.fullmatch(text) and least <= int(text) <= most):
        raise HttpError(400, f"the parameter {name!r} is a whole number from {least} to {most}")
    return int(text)
