"""The OpenAPI document of the service, made from what its routes and Structs are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, NamedTuple, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from admf.engine.errors import Problem
from admf.workflows.experiment import Experiment
from admf.workflows.schema import JsonSchema, definitions_of
from admf.workflows.service.problems import ProblemDetails

__all__ = ["EVENT_STREAM", "Endpoint", "Operation", "Parameter", "openapi"]

EVENT_STREAM = "text/event-stream"

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]

_PROBLEM = "application/problem+json"
_REF = "#/components/schemas/{name}"


class Parameter(NamedTuple):
    """A parameter of an operation.

    Args:
        name: Its name.
        place: ``path``, ``query`` or ``header``.
        schema: What it may be.
        description: What it is for.
    """

    name: str
    place: str
    schema: JsonSchema
    description: str


class Operation(NamedTuple):
    """What can be asked of the service.

    Args:
        method: The HTTP method.
        path: The path, with parameters in braces.
        endpoint: Answers it.
        summary: What it does.
        status: Of the answer.
        answer: Its body: a Struct, the name of a media type, or any JSON object if None.
        problems: The statuses of what may be wrong, other than what is the same for all.
        parameters: What it takes.
        takes_experiment: Whether its body is an experiment.
        is_open: Whether it needs no token.
    """

    method: str
    path: str
    endpoint: Endpoint
    summary: str
    status: int = 200
    answer: type[msgspec.Struct] | str | None = None
    problems: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    takes_experiment: bool = False
    is_open: bool = False


def openapi(operations: Iterable[Operation], *, needs_token: bool) -> JsonSchema:
    """Return the OpenAPI document, but for where the service is.

    Args:
        operations: What can be asked.
        needs_token: Whether that needs a token.
    """
    operations = tuple(operations)
    answers = (it.answer for it in operations)
    structs = [it for it in answers if isinstance(it, type)]
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        described = _described(operation, needs_token=needs_token)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    components: JsonSchema = {
        "schemas": definitions_of(
            dict.fromkeys([*structs, Problem, ProblemDetails, Experiment]), _REF
        )
    }
    if needs_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "admf", "version": version("admf")},
        "paths": paths,
        "components": components,
    }


def _described(operation: Operation, *, needs_token: bool) -> JsonSchema:
    described: JsonSchema = {
        "operationId": f"{operation.method.lower()}_{_words(operation.path)}",
        "summary": operation.summary,
        "parameters": [_parameter(it) for it in operation.parameters],
        "responses": _responses(operation, needs_token=needs_token),
    }
    if operation.takes_experiment:
        schema = {"$ref": _REF.format(name=Experiment.__name__)}
        content = {name: {"schema": schema} for name in ("application/json", "application/yaml")}
        described["requestBody"] = {"required": True, "content": content}
    if needs_token and not operation.is_open:
        described["security"] = [{"token": []}]
    return described


def _words(path: str) -> str:
    return "_".join(part.strip("{}.").replace(".", "_") for part in path.split("/") if part)


def _parameter(parameter: Parameter) -> JsonSchema:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _responses(operation: Operation, *, needs_token: bool) -> JsonSchema:
    codes = [*operation.problems, 500]
    if not operation.is_open:
        codes += [429, *([401] if needs_token else [])]
    good: JsonSchema = {"description": HTTPStatus(operation.status).phrase, **_content(operation)}
    if operation.status == 202:
        good["headers"] = {"Location": {"schema": {"type": "string"}}} if _makes(operation) else {}
    responses = {str(operation.status): good}
    for code in sorted(set(codes)):
        schema = {"$ref": _REF.format(name=ProblemDetails.__name__)}
        responses[str(code)] = {
            "description": HTTPStatus(code).phrase,
            "content": {_PROBLEM: {"schema": schema}},
        }
    if operation.answer == EVENT_STREAM:
        responses["204"] = {"description": "The run is over, and the client has had its end"}
    return responses


def _makes(operation: Operation) -> bool:
    return operation.takes_experiment


def _content(operation: Operation) -> Mapping[str, Any]:
    answer = operation.answer
    if isinstance(answer, str):
        return {"content": {answer: {"schema": {}}}}  # of each message, or of all: readers differ
    schema: JsonSchema = {"type": "object"}
    if answer is not None:
        schema = {"$ref": _REF.format(name=answer.__name__)}
    return {"content": {"application/json": {"schema": schema}}}
