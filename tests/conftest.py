"""Fixtures shared by all tests."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoints, entry_points, version

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def installed() -> Iterator[None]:
    """Look up once what is installed on a path: every run asks, and it takes 10 ms each time."""

    @cache
    def on(_path: tuple[str, ...]) -> EntryPoints:
        return entry_points()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", lambda: on(tuple(sys.path)))
        patch.setattr("admf.workflows.versions.version", cache(version))
        yield
