"""The requests about runs: submit, list, look at, follow and cancel."""

from __future__ import annotations

import os
from contextlib import suppress

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from admf.engine.errors import RegistryError, StateError, StorageError
from admf.engine.events import Event
from admf.workflows.plugins import known_events
from admf.workflows.run import Run
from admf.workflows.service.answers import JsonResponse, link, number, run_id_of, word
from admf.workflows.service.bodies import media_type_of, read_body
from admf.workflows.service.channel import END
from admf.workflows.service.ids import RUN_ID, created_at, is_run_id
from admf.workflows.service.problems import HttpError
from admf.workflows.service.service import RunService
from admf.workflows.service.stored import opened, status_of
from admf.workflows.service.stream import EventStream, ending, follow
from admf.workflows.service.views import HttpStatus, RunInfo, RunPage

__all__ = ["EVENT_TYPES", "MOST_RUNS", "RunRequests"]

MOST_RUNS = 100
"""Runs of one page at most."""

EVENT_TYPES = "[A-Z_]{1,40}(,[A-Z_]{1,40}){0,19}"
"""The pattern of the parameter ``types``."""

_FEW_RUNS = 20


class RunRequests:
    """Answers the requests about runs.

    Args:
        service: Has the runs.
    """

    def __init__(self, service: RunService) -> None:
        self._service = service
        self._events = known_events()

    async def submit(self, request: Request) -> Response:
        """Answer ``POST /runs``."""
        media_type = media_type_of(request)
        try:
            body = await read_body(request, self._service.limits)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        key = request.headers.get("idempotency-key")
        run_id = await self._service.submit(body, media_type, key)
        info = await self._info(request, run_id)
        return JsonResponse(info, 202, {"Location": info.links["self"]})

    async def page(self, request: Request) -> Response:
        """Answer ``GET /runs``."""
        limit = number(request, "limit", _FEW_RUNS, least=1, most=MOST_RUNS)
        before = word(request, "before", RUN_ID)
        ids = await self._service.reading(self._ids)
        chosen = [it for it in ids if before is None or it < before]
        infos: list[RunInfo] = []
        for run_id in chosen[:limit]:
            with suppress(HttpError):  # it was removed meanwhile
                infos.append(await self._info(request, run_id))
        following = None
        if len(chosen) > limit:
            following = link(request, f"/runs?limit={limit}&before={chosen[limit - 1]}")
        return JsonResponse(RunPage(runs=infos, next=following))

    async def show(self, request: Request) -> Response:
        """Answer ``GET /runs/{run_id}``."""
        return JsonResponse(await self._info(request, run_id_of(request)))

    async def cancel(self, request: Request) -> Response:
        """Answer ``DELETE /runs/{run_id}``; a run that is over stays as it is."""
        run_id = run_id_of(request)
        run = self._service.find(run_id)
        if run is not None:
            run.cancel()
        return JsonResponse(await self._info(request, run_id), 202)

    async def follow(self, request: Request) -> Response:
        """Answer ``GET /runs/{run_id}/events``."""
        service, run_id = self._service, run_id_of(request)
        types = self._types(request)
        last = request.headers.get("last-event-id")
        run = service.find(run_id)
        if run is None or run.is_over:
            status = (await self._info(request, run_id)).status
            if last == END:
                return Response(status_code=204)  # tells the client not to come back
            if run is None:
                return EventStream(ending(status))
        if service.is_stopping or service.streams >= service.limits.streams:
            raise HttpError(503, "too many clients follow runs", headers={"Retry-After": "5"})
        if request.method == "HEAD":
            return Response(media_type=EventStream.media_type)
        return self._stream(run_id, run, types, last)

    def _stream(
        self, run_id: str, run: Run, types: frozenset[type[Event]], last: str | None
    ) -> EventStream:
        service = self._service
        try:
            channel = service.channel(run_id, run, types)
        except StateError as error:  # its windows run elsewhere
            raise HttpError(409, str(error)) from error
        service.streams += 1
        channel.enter()

        def leave() -> None:
            service.streams -= 1
            channel.leave()

        messages = follow(
            channel,
            last,
            clock=service.clock,
            heartbeat_s=service.limits.heartbeat_s,
            status=lambda: run.status,
        )
        return EventStream(messages, leave)

    def _types(self, request: Request) -> frozenset[type[Event]]:
        names = word(request, "types", EVENT_TYPES)
        try:
            return (
                frozenset(self._events.resolve(it) for it in names.split(",")) if names else _NONE
            )
        except RegistryError as error:
            raise HttpError(400, str(error)) from error

    async def _info(self, request: Request, run_id: str) -> RunInfo:
        """Return what there is to tell of a run, whoever ran it.

        Raises:
            HttpError: There is no such run.
        """
        links = {
            "self": link(request, f"/runs/{run_id}"),
            "events": link(request, f"/runs/{run_id}/events"),
            "results": link(request, f"/runs/{run_id}/results"),
        }
        run, redaction = self._service.find(run_id), self._service.redaction
        if run is None:
            status, name, errors = await self._service.reading(lambda: self._stored(run_id))
            return RunInfo(
                id=run_id,
                status=status,
                created_at=created_at(run_id),
                run_id=name,
                errors=[redaction.text(it) for it in errors],
                links=links,
            )
        return RunInfo(
            id=run_id,
            status=run.status,
            created_at=created_at(run_id),
            run_id=run.run_id,
            progress=await anext(run.progress()),
            errors=await self._service.errors(run),
            warnings=[redaction.problem(it) for it in run.warnings],
            links=links,
        )

    def _stored(self, run_id: str) -> tuple[HttpStatus, str, tuple[str, ...]]:
        """Return the status, name and errors of a run that another process ran.

        Raises:
            HttpError: There is no such run.
        """
        try:
            results = opened(self._service, run_id)
        except StorageError as error:
            return "damaged", "", (str(error),)
        errors = (error for phase in results.phases.values() for error in phase.errors)
        return status_of(results), results.run_id, tuple(errors)

    def _ids(self) -> list[str]:
        """Return the ids of all runs, the newest first."""
        found = set(self._service.run_ids)
        with suppress(OSError), os.scandir(self._service.results_root) as entries:
            found.update(it.name for it in entries if is_run_id(it.name))
        return sorted(found, reverse=True)


_NONE: frozenset[type[Event]] = frozenset()
