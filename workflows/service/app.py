"""The service as an ASGI application."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from admf.engine.clock import Clock
from admf.engine.errors import AdmfError
from admf.workflows.runner import Runner
from admf.workflows.schema import JsonSchema
from admf.workflows.service.access import Gate, TokenBuckets
from admf.workflows.service.answers import JsonResponse, problem_response
from admf.workflows.service.limits import ServiceLimits
from admf.workflows.service.openapi import Operation, openapi
from admf.workflows.service.operations import operations_of
from admf.workflows.service.problems import HttpError, problem_of
from admf.workflows.service.service import RunService
from admf.workflows.service.views import Health

__all__ = ["create_app"]


def create_app(
    runner: Runner,
    *,
    token: str | None = None,
    data_root: str | os.PathLike[str],
    allowed_strategies: Collection[str] = (),
    limits: ServiceLimits | None = None,
    clock: Clock | None = None,
) -> Starlette:
    """Return an ASGI application through which runs are submitted, followed and read.

    Served by itself, it opens and closes the runner. Mounted in another application it does not,
    as no framework runs the lifespan of what is mounted: that application's lifespan has to enter
    `Runner.lifespan`. ``app.state.service`` is the `RunService`.

    Args:
        runner: Runs what is submitted; it writes to a local folder.
        token: What clients have to send as bearer token; None lets everybody who reaches it.
        data_root: The folder below which data of experiments lies; nothing else is read.
        allowed_strategies: The strategies and workflows of one's own that experiments may name,
            ``package.module:Class`` each, from where Python finds them.
        limits: How much of the host's it may take.
        clock: Tells the time; the machine's own by default.

    Raises:
        TypeError: The runner does not write to a local folder.
        ValueError: The token is empty or not ASCII, or the name of a strategy is of another form.
    """
    if token is not None and not (token.isascii() and token.isprintable() and token.strip()):
        raise ValueError("the token is to be printable ASCII, and not empty")
    service = RunService(
        runner,
        data_root=Path(data_root),
        allowed_strategies=allowed_strategies,
        limits=limits,
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        async with runner:
            try:
                yield
            finally:
                service.stop()

    async def on_error(_request: Request, error: Exception) -> Response:
        return problem_response(_told(service, error))

    app = Starlette(
        routes=_routes(service, token),
        lifespan=lifespan,
        exception_handlers=dict.fromkeys(
            (HttpError, HTTPException, AdmfError, Exception), on_error
        ),
    )
    app.router.redirect_slashes = False  # a redirect would go wherever the header Host says
    app.state.service = service
    return app


def _told(service: RunService, error: Exception) -> HttpError:
    """Return what a client is told; of what nobody expected, nothing but that."""
    if isinstance(error, HttpError):
        return error
    if isinstance(error, AdmfError):
        return problem_of(error, service.redaction)
    if isinstance(error, HTTPException):
        return HttpError(error.status_code, error.detail, headers=error.headers)
    return HttpError(500, "the server failed; its log says why")


def _routes(service: RunService, token: str | None) -> list[BaseRoute]:
    operations = operations_of(service)

    @cache
    def described() -> JsonSchema:  # takes some 20 ms
        return openapi(operations, needs_token=token is not None)

    async def document(request: Request) -> Response:
        found = await to_thread.run_sync(described)
        prefix = request.scope.get("root_path", "")
        return JsonResponse({**found, "servers": [{"url": prefix or "/"}]})

    async def healthz(_request: Request) -> Response:
        return JsonResponse(Health("ok"))

    async def readyz(_request: Request) -> Response:
        return await _readiness(service)

    operations = (
        Operation(
            "GET", "/healthz", healthz, "Whether the service is alive", answer=Health, is_open=True
        ),
        Operation(
            "GET",
            "/readyz",
            readyz,
            "Whether runs can be submitted",
            answer=Health,
            problems=(503,),
            is_open=True,
        ),
        *operations,
        Operation("GET", "/openapi.json", document, "This description"),
    )
    free = [_route(it) for it in operations if it.is_open]
    guarded = Router([_route(it) for it in operations if not it.is_open], redirect_slashes=False)
    buckets = TokenBuckets(service.limits, service.clock)
    gate = Middleware(Gate, token=token, buckets=buckets)
    return [*free, Mount("", app=guarded, middleware=[gate])]


def _route(operation: Operation) -> Route:
    return Route(operation.path, operation.endpoint, methods=[operation.method])


async def _readiness(service: RunService) -> Response:
    if not service.runner.is_open or service.is_stopping:
        raise HttpError(503, "the runner takes no runs")
    try:
        await to_thread.run_sync(_write_to, service.results_root)
    except OSError:
        raise HttpError(503, "results cannot be written") from None
    return JsonResponse(Health("ok"))


def _write_to(folder: Path) -> None:
    """Raise if nothing can be written to a folder; nothing is left there."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"ready")
