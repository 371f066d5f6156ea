"""The HTTP service: runs for those who reach them over the network."""

from __future__ import annotations

from importlib.util import find_spec

if find_spec("starlette") is None:
    raise ModuleNotFoundError(
        "the HTTP service needs starlette; install it with: pip install 'admf[server]'",
        name="starlette",
    )

from admf.workflows.service.app import create_app
from admf.workflows.service.limits import ServiceLimits
from admf.workflows.service.service import RunService

__all__ = ["RunService", "ServiceLimits", "create_app"]
