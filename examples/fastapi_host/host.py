"""A web application with a study in its background, whose progress its page shows.

Install it with ``pip install 'admf[server]' fastapi`` and run, in this folder::

    uvicorn host:app --timeout-graceful-shutdown 5

and open http://127.0.0.1:8000. The application is FastAPI's; what it mounts takes runs over HTTP.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse

from admf import Runner
from admf.workflows.service import create_app

HERE = Path(__file__).parent


def make_app(results_root: Path, data_root: Path) -> FastAPI:
    """Return the application.

    Args:
        results_root: Folder below which each run has its own.
        data_root: Folder below which data of experiments lies.
    """
    runner = Runner(results_root=results_root, max_runs=2)
    studies = create_app(runner, data_root=data_root)  # or with a token, if others reach it

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Nobody runs the lifespan of what is mounted, so the runner is opened here, with whatever
        # else the application opens. On the way out its runs are cancelled, flushed and resumable.
        async with runner:
            yield
            studies.state.service.stop()

    app = FastAPI(lifespan=lifespan)
    app.mount("/studies", studies)

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(HERE / "page.html")

    @app.get("/experiment.yaml")
    def experiment() -> FileResponse:
        return FileResponse(HERE / "experiment.yaml", media_type="application/yaml")

    return app


app = make_app(Path("results"), HERE)
