"""Fixtures shared by all tests."""

from __future__ import annotations

import gc
import importlib.metadata
import os
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoints, entry_points, version

import pytest
import structlog
from hypothesis import settings

REDIS_IS_MISSING = "redis-server is not installed"
"""Why the tests of the Redis bridge are left out, if they are."""

settings.register_profile("patient", deadline=None)  # how long an example takes tells nothing
settings.load_profile("patient")


def pytest_collection() -> None:
    """Spare collections of garbage the modules and thousands of tests, which live to the end."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say plainly what was not tested."""
    skipped = terminalreporter.stats.get("skipped", [])
    left_out = sum(REDIS_IS_MISSING in str(report.longrepr) for report in skipped)
    if left_out:
        terminalreporter.section("left out")
        terminalreporter.write_line(
            f"{left_out} tests of the Redis bridge were left out: {REDIS_IS_MISSING}"
        )


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


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Take back what a command run in this process has configured, so that no other test has it."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session", autouse=True)
def prompt_disk() -> Iterator[None]:
    """Wait for no disk in this process: no test cuts the power, and it takes 5 ms each time."""

    def fsync(descriptor: int) -> None:
        os.fstat(descriptor)  # refuses what is no descriptor, as fsync does

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield
