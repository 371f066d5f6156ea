"""The requests about results: phases, portfolios and what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from admf.engine.errors import ConfigError, MissingFileError
from admf.engine.ids import check_id_path
from admf.workflows.results import ContainerView, PhaseResults, RunResults
from admf.workflows.service.answers import JsonResponse, encoded, link, number, run_id_of, word
from admf.workflows.service.problems import HttpError
from admf.workflows.service.service import RunService
from admf.workflows.service.stored import opened, status_of
from admf.workflows.service.views import (
    ContainerInfo,
    ContainerPage,
    HttpStatus,
    PhaseInfo,
    ResultsInfo,
    TablePage,
)

if TYPE_CHECKING:
    import polars as pl

__all__ = ["METRIC", "MOST_ROWS", "WINDOW", "ResultRequests"]

MOST_ROWS = 1_000
"""Rows of one page at most."""
WINDOW = "[A-Za-z0-9_./-]{0,300}"
METRIC = "[a-z0-9_]{1,60}"

_FEW_ROWS = 100
_MOST_TO_SKIP = 999_999_999


class ResultRequests:
    """Answers the requests about results, each in a thread.

    Args:
        service: Has the runs.
    """

    def __init__(self, service: RunService) -> None:
        self._service = service

    async def run(self, request: Request) -> Response:
        """Answer ``GET /runs/{run_id}/results``."""
        run_id = run_id_of(request)

        def read() -> ResultsInfo:
            results = opened(self._service, run_id)
            base = link(request, f"/runs/{run_id}/results")
            return ResultsInfo(
                id=run_id,
                status=self._status(run_id, results),
                workflow=results.workflow,
                started_at=results.started_at,
                finished_at=results.finished_at,
                phases=[self._phase(it, base) for it in results.phases.values()],
                links={"run": link(request, f"/runs/{run_id}"), "metrics": f"{base}/metrics"},
            )

        return JsonResponse(await self._service.reading(read))

    async def phase(self, request: Request) -> Response:
        """Answer ``GET /runs/{run_id}/results/phases/{phase}``."""
        base = link(request, f"/runs/{run_id_of(request)}/results")

        def read() -> PhaseInfo:
            phase = self._asked(request)
            frame = phase.metrics()
            states: Mapping[str, int] = dict(frame["status"].value_counts().iter_rows())
            best = phase.metrics(top=1).to_dicts() if frame.height else []
            return self._phase(
                phase,
                base,
                windows=frame["window"].unique(maintain_order=True).to_list(),
                summary={"containers": frame.height, "status": states, "best": best[:1]},
            )

        return JsonResponse(await self._service.reading(read))

    async def containers(self, request: Request) -> Response:
        """Answer ``GET /runs/{run_id}/results/phases/{phase}/containers``."""
        offset, limit = _page_of(request)
        base = link(request, f"/runs/{run_id_of(request)}/results")

        def read() -> ContainerPage:
            phase = self._asked(request)
            frame = phase.metrics().select("window", "container", "status", "error")
            rows = frame.slice(offset, limit).to_dicts()
            return ContainerPage(
                containers=[self._container(row, f"{base}/phases/{_url(phase)}") for row in rows],
                total=frame.height,
                next=_next(request, offset, limit, frame.height),
            )

        return JsonResponse(await self._service.reading(read))

    async def metrics(self, request: Request) -> Response:
        """Answer ``.../results/metrics`` and ``.../results/phases/{phase}/metrics``."""
        by = word(request, "by", METRIC)
        top = number(request, "top", 0, least=1, most=_MOST_TO_SKIP)

        def table() -> pl.DataFrame:
            run = opened(self._service, run_id_of(request))
            asked = self._asked(request) if "phase" in request.path_params else run
            try:
                return asked.metrics(by=by, top=top or None)
            except ConfigError as error:
                raise HttpError(400, str(error)) from error

        return await self._table(request, table)

    async def trades(self, request: Request) -> Response:
        """Answer ``.../containers/{container}/trades``."""
        return await self._table(request, lambda: self._portfolio(request).trades())

    async def equity(self, request: Request) -> Response:
        """Answer ``.../containers/{container}/equity``."""
        return await self._table(request, lambda: self._portfolio(request).equity())

    async def document(self, request: Request) -> Response:
        """Answer ``GET /runs/{run_id}/results/phases/{phase}/containers/{container}``."""

        def read() -> bytes:
            try:
                document = self._portfolio(request).document()
            except MissingFileError as error:
                raise HttpError(404, "this portfolio has left no results") from error
            return encoded(self._redacted(document))

        return JsonResponse(await self._service.reading(read))

    async def _table(self, request: Request, make: Callable[[], pl.DataFrame]) -> Response:
        offset, limit = _page_of(request)

        def read() -> bytes:
            frame = make()
            rows = [self._redacted(it) for it in frame.slice(offset, limit).to_dicts()]
            following = _next(request, offset, limit, frame.height)
            return encoded(TablePage(rows=rows, total=frame.height, next=following))

        return JsonResponse(await self._service.reading(read))

    def _asked(self, request: Request) -> PhaseResults:
        """Return the phase that a request names; ``:`` stands for the ``/`` in its name."""
        results = opened(self._service, run_id_of(request))
        phase = results.phases.get(request.path_params["phase"].replace(":", "/"))
        if phase is None:
            raise HttpError(404, "this run has no such phase")
        if results.status == "completed" and not phase.saved and not phase.skipped:
            raise HttpError(
                409,
                "the results of this phase were not kept as files; ask for results_storage: disk",
            )
        return phase

    def _portfolio(self, request: Request) -> ContainerView:
        window = word(request, "window", WINDOW) or ""
        try:
            view = self._asked(request)[check_id_path(window, "window") if window else ""]
            return view[request.path_params["container"]]
        except (KeyError, ConfigError) as error:
            raise HttpError(404, "this phase has no such window or portfolio") from error

    def _phase(
        self,
        phase: PhaseResults,
        base: str,
        *,
        windows: list[str] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> PhaseInfo:
        here = f"{base}/phases/{_url(phase)}"
        return PhaseInfo(
            name=phase.name,
            status=phase.status,
            saved=phase.saved,
            sequence=phase.sequence,
            errors=[self._service.redaction.text(it) for it in phase.errors],
            skipped=phase.skipped,
            windows=windows,
            summary=summary,
            links={
                "self": here,
                "containers": f"{here}/containers",
                "metrics": f"{here}/metrics",
            },
        )

    def _container(self, row: Mapping[str, Any], base: str) -> ContainerInfo:
        here = f"{base}/containers/{quote(row['container'], safe='')}"
        query = f"?{urlencode({'window': row['window']})}" if row["window"] else ""
        return ContainerInfo(
            **self._redacted(row),
            links={
                "self": f"{here}{query}",
                "trades": f"{here}/trades{query}",
                "equity": f"{here}/equity{query}",
            },
        )

    def _redacted(self, row: Mapping[str, Any]) -> dict[str, Any]:
        error = row.get("error")
        shown = self._service.redaction.text(error) if isinstance(error, str) else error
        return {**row, "error": shown} if "error" in row else dict(row)

    def _status(self, run_id: str, results: RunResults) -> HttpStatus:
        run = self._service.find(run_id)
        return status_of(results) if run is None else run.status


def _url(phase: PhaseResults) -> str:
    return phase.name.replace("/", ":")


def _page_of(request: Request) -> tuple[int, int]:
    offset = number(request, "offset", 0, least=0, most=_MOST_TO_SKIP)
    return offset, number(request, "limit", _FEW_ROWS, least=1, most=MOST_ROWS)


def _next(request: Request, offset: int, limit: int, total: int) -> str | None:
    if offset + limit >= total:
        return None
    query = {**request.query_params, "offset": str(offset + limit), "limit": str(limit)}
    return f"{request.url.path}?{urlencode(query)}"
