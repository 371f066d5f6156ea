"""From the body of a request to an experiment with its places."""

from __future__ import annotations

import anyio
import msgspec
from starlette.requests import Request

from admf.engine.errors import ConfigError, Problem
from admf.workflows.nodes import Node, Place, node_of
from admf.workflows.service.limits import ServiceLimits
from admf.workflows.service.problems import HttpError
from admf.workflows.yaml_source import compose

__all__ = ["JSON", "YAML", "media_type_of", "parse", "read_body"]

JSON = "application/json"
YAML = "application/yaml"
_NAMES = {JSON: JSON, YAML: YAML, "text/yaml": YAML, "application/x-yaml": YAML}
_LONGEST_LENGTH = 18
_CLOSE = {"Connection": "close"}
_FILES = {JSON: "experiment.json", YAML: "experiment.yaml"}


def media_type_of(request: Request) -> str:
    """Return what the body of a request is written in.

    Raises:
        HttpError: It is neither YAML nor JSON. A page of another site could have a browser send
            anything else without asking first.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in _NAMES:
        raise HttpError(
            415,
            f"an experiment is sent as {YAML} or {JSON}; name it in the header Content-Type",
            headers={"Accept-Post": f"{YAML}, {JSON}"},
        )
    return _NAMES[given]


async def read_body(request: Request, limits: ServiceLimits) -> bytes:
    """Return the body of a request.

    Raises:
        HttpError: It is too long, or takes too long; the rest of it is not read.
        ClientDisconnect: The client has left.
    """
    too_long = HttpError(413, f"a body may have {limits.body_bytes} bytes", headers=_CLOSE)
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and (len(length) > _LONGEST_LENGTH or int(length) > limits.body_bytes):
        raise too_long
    body = bytearray()
    try:
        with anyio.fail_after(limits.body_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.body_bytes:
                    raise too_long
    except TimeoutError:
        raise HttpError(408, "the body took too long to arrive", headers=_CLOSE) from None
    return bytes(body)


def parse(body: bytes, media_type: str) -> tuple[Node, list[Problem]]:
    """Return an experiment, and the mistakes that allow to read on.

    Args:
        body: The body of a request.
        media_type: What it is written in. Only of YAML are the lines and columns known.

    Raises:
        ConfigError: It is neither, or holds no fields.
    """
    place = Place(_FILES[media_type], 1, 1)
    problems: list[Problem] = []
    if media_type == JSON:
        root = node_of(_decoded(body, place), problems)
    else:
        root, problems = compose(_text(body, place), place)
    if not isinstance(root.value, dict):
        message = "an experiment has fields, at least workflow and data"
        raise ConfigError([*problems, place.problem((), message)])
    return root, problems


def _text(body: bytes, place: Place) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte 0x{body[error.start]:02x} at {error.start}"
        raise ConfigError([place.problem((), message)]) from None


def _decoded(body: bytes, place: Place) -> object:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError([place.problem((), f"is no JSON: {error}")]) from None
