"""Serves the HTTP service by uvicorn, and ends it in good order."""

from __future__ import annotations

import socket
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from cyclopts import CycloptsError
from starlette.applications import Starlette
from starlette.middleware.trustedhost import TrustedHostMiddleware

from admf.workflows.cli.exits import ExitCode
from admf.workflows.cli.signals import escalating_signals
from admf.workflows.cli.streams import say
from admf.workflows.runner import Runner
from admf.workflows.service import RunService, create_app

__all__ = ["run_server", "service_app"]

_NAMES_HERE = ("localhost", "127.0.0.1", "::1", "[::1]")
_CONNECTIONS = 1_000
_LEAVE_S = 5
"""Seconds that requests have to end when the service does."""
_STOPPING = (
    "stopping, and writing the results of what ran; interrupt again to hurry, and a third time to "
    "leave at once"
)
_HURRYING = "hurrying; what cannot be written within a second is lost"


def service_app(
    runner: Runner, token: str | None, data_root: Path, allowed: Collection[str]
) -> Starlette:
    """Return the service; without a token it answers only to the names of this machine.

    A page of another site could otherwise reach it under a name of its own.

    Args:
        runner: Runs what is submitted.
        token: What clients have to send.
        data_root: The folder below which data lies.
        allowed: Strategies and workflows that experiments may name.

    Raises:
        CycloptsError: The token or a name cannot be used.
    """
    try:
        app = create_app(runner, token=token, data_root=data_root, allowed_strategies=allowed)
    except ValueError as error:
        raise CycloptsError(msg=str(error)) from error
    if token is None:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=_NAMES_HERE, www_redirect=False)
    return app


class _Server(uvicorn.Server):
    """Ends streams and runs when a signal comes, since uvicorn waits for the one, and then stops.

    Args:
        config: What is served.
        service: Its streams.

    Attributes:
        has_cut: Whether runs were cut short.
    """

    def __init__(self, config: uvicorn.Config, service: RunService) -> None:
        super().__init__(config)
        self.has_cut = False
        self._service = service

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Answer signals as the other commands do."""
        with escalating_signals(self._stop, self._hurry):
            yield

    def _stop(self) -> None:
        say("note", _STOPPING)
        self._service.stop()
        for run in self._service.runner.runs:
            self.has_cut |= not run.is_over
            run.cancel()
        self.should_exit = True

    def _hurry(self) -> None:
        say("note", _HURRYING)
        for run in self._service.runner.runs:
            run.hurry()


async def run_server(app: Starlette, listener: socket.socket) -> int:
    """Serve until a signal comes; return what to exit with.

    Args:
        app: The service.
        listener: Where clients connect.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # a client could say that it is another one, to be counted as such
        server_header=False,
        ws="none",
        lifespan="on",
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=_LEAVE_S,
    )
    server = _Server(config, app.state.service)
    await server.serve(sockets=[listener])
    return ExitCode.INTERRUPTED if server.has_cut else ExitCode.OK
