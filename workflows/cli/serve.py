"""``admf serve``: runs for those who reach them over HTTP."""

from __future__ import annotations

import os
import socket
from ipaddress import ip_address
from pathlib import Path
from types import ModuleType
from typing import Annotated

import anyio
from cyclopts import CycloptsError, Parameter, validators

from admf.engine.errors import ConfigError
from admf.workflows.cli.logs import configure_logging
from admf.workflows.cli.streams import foreign_code, say
from admf.workflows.runner import Runner

__all__ = ["serve"]

_TOKEN = "ADMF_TOKEN"  # noqa: S105 - the name of a variable
_LEAST_TOKEN = 16
_ONLY_HERE = "127.0.0.1"

_Count = Annotated[int, Parameter(validator=validators.Number(gte=1), show_default=True)]
_Port = Annotated[int, Parameter(validator=validators.Number(gte=0, lte=65_535), show_default=True)]
_Folder = Annotated[Path, Parameter(show_default=True)]


def serve(
    *,
    host: Annotated[str, Parameter(show_default=True)] = _ONLY_HERE,
    port: _Port = 8000,
    token_file: Path | None = None,
    results_root: _Folder = Path("results"),
    data_root: _Folder = Path("data"),
    allow_strategy: tuple[str, ...] = (),
    max_runs: _Count = 4,
    verbose: Annotated[bool, Parameter(alias="-v")] = False,
) -> int:
    """Take runs over HTTP, until SIGINT or SIGTERM; runs are then cut short, and can be resumed.

    Clients send the token in the header Authorization. It is read from a file, or from the variable
    ADMF_TOKEN; without one the service is only for this machine.

    Args:
        host: Address to listen at.
        port: Port to listen at; 0 takes any that is free.
        token_file: File with the token that clients have to send.
        results_root: Folder below which each run has its own.
        data_root: Folder below which the data of experiments lies.
        allow_strategy: A strategy or workflow package.module:Class that experiments may name; may
            be repeated.
        max_runs: Runs that are at work at once; others wait for their turn.
        verbose: Show the log.
    """
    token = _token(token_file)
    if token is None and not _is_here(host):
        raise CycloptsError(
            msg=f"--host {host} is reached from elsewhere: give --token-file, or set {_TOKEN}"
        )
    configure_logging(verbose=verbose)
    server = _server()
    if not data_root.is_dir():
        raise CycloptsError(msg=f"--data-root {data_root}: there is no such folder")
    with foreign_code(), _listening(host, port) as listener:
        runner = Runner(results_root=results_root, max_runs=max_runs)
        app = server.service_app(runner, token, data_root, allow_strategy)
        say("note", f"serving on http://{_shown(listener)}")
        code: int = anyio.run(server.run_server, app, listener)
        return code


def _server() -> ModuleType:
    try:
        from admf.workflows.cli import server
    except ImportError as error:
        message = f"admf serve needs {error.name}; install it with: pip install 'admf[server]'"
        raise ConfigError(message) from error
    return server


def _token(file: Path | None) -> str | None:
    """Return the secret that clients have to send; None if there is none."""
    if file is None:
        token = os.environ.get(_TOKEN)
    else:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise CycloptsError(msg=f"--token-file {file} cannot be read: {error}") from error
    if token is not None and len(token) < _LEAST_TOKEN:
        raise CycloptsError(
            msg=f"the token has fewer than {_LEAST_TOKEN} characters and could be guessed"
        )
    return token


def _is_here(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _listening(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host.strip("[]"), port), family=family, backlog=128)
    except OSError as error:
        raise CycloptsError(msg=f"cannot listen at {host}, port {port}: {error}") from error


def _shown(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
