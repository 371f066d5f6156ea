"""What the packages offer: ``__all__`` both ways, and imports that stay light."""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
import types

import pytest

import admf

MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(admf.__path__, "admf.")
    if ".templates" not in info.name and not info.name.endswith("__main__")
)
PACKAGES = [
    "admf.engine",
    "admf.engine.observers",
    "admf.engine.sources",
    "admf.containers",
    "admf.sequences",
    "admf.workflows",
    "admf.workflows.results",
    "admf.workflows.service",
    "admf.results",
]


@pytest.mark.parametrize("name", MODULES)
def test_all_names_exist_and_are_sorted_as_ruff_wants(name: str) -> None:
    module = importlib.import_module(name)
    for exported in module.__all__:
        assert hasattr(module, exported), f"{name}.__all__ names {exported}, which is not there"


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_every_public_class_and_function_made_here(name: str) -> None:
    module = importlib.import_module(name)
    made_here = {
        attribute
        for attribute, value in vars(module).items()
        if isinstance(value, (type, types.FunctionType))
        and value.__module__ == name
        and not attribute.startswith("_")
    }
    assert made_here <= set(module.__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_only_re_exports(name: str) -> None:
    module = importlib.import_module(name)
    for exported in module.__all__:
        value = getattr(module, exported)
        assert getattr(value, "__module__", name) != name or not callable(value)


def test_the_top_level_names_are_those_that_a_host_needs() -> None:
    from admf import workflows

    assert admf.__all__ == [
        "LiveSession",
        "Run",
        "RunProgress",
        "RunResult",
        "Runner",
        "run",
        "run_async",
    ]
    assert all(getattr(admf, name) is getattr(workflows, name) for name in admf.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = admf.nonsense


def test_results_are_opened_by_the_module_that_is_named_so() -> None:
    from admf import results
    from admf.workflows.results import open_run

    assert results.open is open_run


def test_reading_results_pulls_in_polars_only_when_a_frame_is_asked_for() -> None:
    assert not imported_by("import admf.results") & {"polars", "pandas", "pyarrow", "talib"}


def imported_by(statement: str) -> set[str]:
    """Return the top-level modules that a statement imports on top of the engine's libraries."""
    program = (
        "import json, sys, numpy, anyio, msgspec, structlog\n"
        "before = set(sys.modules)\n"
        f"{statement}\n"
        "print(json.dumps(sorted({m.partition('.')[0] for m in set(sys.modules) - before})))"
    )
    result = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout))


HEAVY = {"polars", "pandas", "pyarrow", "talib", "jsonschema", "cyclopts", "rich", "yaml"}
EXTRAS = {"opentelemetry", "prometheus_client", "redis", "starlette", "uvicorn", "websockets"}


@pytest.mark.parametrize(
    "statement",
    [
        "import admf",
        "import admf.engine",
        "import admf.engine.observers",
        "import admf.containers",
    ],
)
def test_importing_the_lower_layers_pulls_in_no_heavy_library(statement: str) -> None:
    assert not imported_by(statement) & (HEAVY | EXTRAS)


def test_the_libraries_of_sources_are_imported_when_a_source_is_made() -> None:
    assert not imported_by("import admf.engine.sources") & {"websockets", "redis"}


def test_the_engine_knows_nothing_of_the_layers_above_it() -> None:
    program = (
        "import sys, admf.engine, admf.engine.testing\n"
        "print([m for m in sys.modules if m.startswith('admf.') and m.split('.')[1] != 'engine'])"
    )
    result = subprocess.run(  # noqa: S603 - our own interpreter and program
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
